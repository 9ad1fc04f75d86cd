"""Loaded models and their reference rows, kept by the process that explains. No web process imports it."""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog
from django.conf import settings
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile
from django.db.models import F, Max, Min
from django.db.models.fields.files import FieldFile

from opsportal.core import clock
from opsportal.explanations.engine.contributions import Engine, EngineError, Row
from opsportal.explanations.engine.loading import load
from opsportal.explanations.models import Incident
from opsportal.predictions.dictionary import FeatureDictionary, Value, read_dictionary
from opsportal.predictions.models import Format, ModelVersion, Prediction

log = structlog.get_logger(__name__)

# Loading takes some 5 ms for a booster, so a few are enough.
ENGINES_MAX = 8
REFERENCES_MAX = 8
# Fewer logged predictions than the first are too few to be frozen as reference rows for ever after.
FROZEN_MIN, FROZEN_MAX = 100, 2_000
# What may be better at the next attempt. Anything else would fail again, and is said instead of repeated.
TRANSIENT = (OSError, MemoryError)
_GONE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Refusal(Exception):
    """An explanation that cannot be: which check failed, and a sentence with the numbers."""

    def __init__(self, incident: Incident, sentence: str) -> None:
        super().__init__(sentence)
        self.incident = incident
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version's engine with its dictionary, read once."""

    engine: Engine
    dictionary: FeatureDictionary


class _Newest(Generic[K, V]):
    """The values used last. One thread makes a value, the others wait for it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.RLock()

    def get(self, key: K, make: Callable[[], V]) -> V:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
            return self._kept[key]

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()


_engines: _Newest[tuple[str, ...], Loaded] = _Newest(ENGINES_MAX)
_references: _Newest[tuple[str, ...], list[Row]] = _Newest(REFERENCES_MAX)


def loaded(version: ModelVersion) -> Loaded:
    """The version's engine, from memory or else from its file, whose SHA-256 is compared first.

    Raises Refusal for a file that is missing, another one, or not readable as a model.
    """
    words = json.dumps(version.dictionary, sort_keys=True)
    background = _engine_background(version)
    return _engines.get((version.sha256, background, words), lambda: _load(version, background))


def forget() -> None:
    """Drop every loaded model."""
    _engines.clear()
    _references.clear()


def reference_rows(version: ModelVersion) -> list[Row]:
    """What typical cases look like to the model: rows of its inputs, for LIME, what-ifs and counterfactuals.

    The rows that were registered with the version, whose SHA-256 is compared; else up to 2,000 of its logged
    predictions, which the first 100 of them or more become; those are kept until one of the customers opts
    out or they are older than predictions may be. Raises Refusal for a file of rows that is missing,
    another one, or not readable.
    """
    if not version.background_sha256:
        dictionary = version.features
        rows = _logged(version, dictionary)
        if len(rows) < FROZEN_MIN:
            return rows
        _freeze(version, rows)
    key = (version.background_sha256, json.dumps(version.dictionary, sort_keys=True))
    try:
        return _references.get(key, lambda: _read_background(version))
    except Refusal:
        # Logged rows may have been let go a moment ago.
        version.refresh_from_db(fields=["background", "background_sha256"])
        if version.background_sha256 == key[0]:
            raise
        return reference_rows(version)


def row_of(
    prediction: Prediction, dictionary: FeatureDictionary, changes: dict[str, Value] | None = None
) -> Row:
    """What the model gets for a logged prediction, with a what-if's changes put in."""
    values = prediction.values
    text = dictionary.text_feature
    if text is not None and prediction.text:
        values[text.name] = prediction.text
    if changes:
        values.update(changes)
    return dictionary.as_seen(values)


def _engine_background(version: ModelVersion) -> str:
    """SHA-256 of the rows that the engine is measured against; empty for none.

    A checked version goes on with what it was checked with: rows that are frozen later do not move the
    starting point of explanations that are already there.
    """
    if version.format != Format.SKOPS:
        return ""
    if version.state == ModelVersion.State.CHECKING:
        return version.background_sha256
    return str(version.facts.get("background_sha256", version.background_sha256))


def _load(version: ModelVersion, background: str) -> Loaded:
    content = _content(version.file, version.sha256, "The model's file")
    dictionary = read_dictionary(version.dictionary)
    rows: Sequence[Row] = reference_rows(version) if background else ()
    try:
        engine = load(
            format=version.format,
            content=content,
            dictionary=dictionary,
            background=rows,
            trusted=settings.SKOPS_TRUSTED_TYPES,
        )
    except EngineError as error:
        raise Refusal(Incident.LOADING, str(error)) from error
    except TRANSIENT:
        raise
    except Exception as error:
        # The libraries fail at a damaged file in any way they like.
        log.exception("model.not_loaded", version=version.pk)
        raise Refusal(Incident.LOADING, f"The file cannot be read: {brief(error)}") from error
    return Loaded(engine, dictionary)


def brief(error: Exception) -> str:
    """An exception of a library in one line."""
    line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {line}"[:300]


def _content(file: FieldFile, sha256: str, what: str) -> bytes:
    """The file from storage, once its SHA-256 is the one that was registered."""
    if not file.name:
        raise Refusal(Incident.FILE, f"{what} is missing.")
    try:
        with file.storage.open(file.name, "rb") as opened:
            content: bytes = opened.read()
    except _GONE as error:
        raise Refusal(Incident.FILE, f"{what} cannot be opened: {error.strerror}.") from error
    except SuspiciousFileOperation as error:
        raise Refusal(Incident.FILE, f"{what} lies outside the folder of models.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise Refusal(
            Incident.FILE,
            f"{what} is another one than was registered: it has {len(content):,} bytes and the SHA-256 "
            f"{found[:16]}…, registered was {sha256[:16]}….",
        )
    return content


def _read_background(version: ModelVersion) -> list[Row]:
    what = "The file of reference rows"
    dictionary = version.features
    rows: list[Row] = []
    lines = _content(version.background, version.background_sha256, what).splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise Refusal(Incident.LOADING, f"{what} has no JSON object in line {number:,}.")
        rows.append(dictionary.as_seen(values))
    return rows


def _logged(version: ModelVersion, dictionary: FeatureDictionary) -> list[Row]:
    """Up to 2,000 of the version's predictions, evenly from the first to the last that came in."""
    every = Prediction.objects.filter(version=version)
    ends = every.aggregate(first=Min("pk"), last=Max("pk"))
    if ends["first"] is None:
        return []
    step = max(1, (ends["last"] - ends["first"] + 1) // FROZEN_MAX)
    spread = every.alias(place=(F("pk") - ends["first"]) % step).filter(place=0).order_by("pk")
    found: list[Prediction] = list(spread[:FROZEN_MAX])
    if len(found) < FROZEN_MAX and step > 1:
        # Other versions' predictions lie between.
        found = list(every.order_by("pk")[:FROZEN_MAX])
    return [row_of(prediction, dictionary) for prediction in found]


def _freeze(version: ModelVersion, rows: Sequence[Row]) -> None:
    """Keep the rows as the version's reference; of several at once the first one's stay."""
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    sha256 = hashlib.sha256(content).hexdigest()
    version.background.save(f"{sha256}.jsonl", ContentFile(content), save=False)
    mine = str(version.background.name)
    kept = ModelVersion.objects.filter(pk=version.pk, background_sha256="").update(
        background=mine, background_sha256=sha256, background_logged_at=clock.now()
    )
    if not kept:
        version.background.storage.delete(mine)
    version.refresh_from_db(fields=["background", "background_sha256"])
