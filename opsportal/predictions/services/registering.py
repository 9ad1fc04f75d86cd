"""Take in a model's file with its feature dictionary. A worker loads it afterwards to see whether it fits."""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from django.conf import settings
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import Storage, default_storage
from django.db import transaction

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.core.errors import Conflict, Forbidden, Invalid, PortalError, Problem
from opsportal.core.parsers import parse_json
from opsportal.events import outbox
from opsportal.events import services as events
from opsportal.predictions.background import as_lines, read_background
from opsportal.predictions.dictionary import LOGIT, FeatureDictionary, read_dictionary
from opsportal.predictions.model_files import sniff
from opsportal.predictions.models import Format, Model, ModelVersion

CHECK_TASK = "explanations.check_model"
TRAINING_MAX_BYTES = 65_536
# It stands in an address: /models/new/ is the upload page.
NAMES_TAKEN = frozenset({"new"})
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
# One dot or two would be taken for a folder in an address.
_VERSION = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._+-]{1,64}")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    """What came in, as far as it can be judged without loading the model."""

    format: Format
    sha256: str
    size: int
    dictionary: FeatureDictionary
    background: bytes

    @property
    def background_sha256(self) -> str:
        return hashlib.sha256(self.background).hexdigest() if self.background else ""


def register_model(
    *,
    actor: User | None,
    name: str,
    version: str,
    file: IO[bytes],
    dictionary: object,
    training: object = None,
    threshold: float | None = None,
    background: bytes | None = None,
    title: str = "",
    purpose: str = "",
) -> ModelVersion:
    """Keep a version of a model, and ask a worker to load it: its state is `checking` until then.

    file: readable from its start; kept under its SHA-256 before the transaction, so that a failed one leaves
    at most a file that the next try finds. dictionary, training: plain JSON. background: see
    predictions.background. title, purpose: of the model; empty keeps what it has.

    The same again gives the version that is there. One that was refused may be registered anew.
    Locks the model. Raises Forbidden, Invalid with a Problem for each wrong place, and Conflict where this
    version is there with other content.
    """
    if actor is not None and not actor.can("models.write"):
        raise Forbidden("You may not register models.")
    checked = _check(name, version, file, dictionary, training, threshold, background, title, purpose)
    found = _same_or_conflict(name, version, checked, dictionary, training, threshold)
    if found is not None:
        _keep(File(file), str(found.file.name), checked.sha256)
        return found
    file_name = _keep(File(file), f"models/{checked.sha256}", checked.sha256)
    background_name = ""
    if checked.background:
        digest = checked.background_sha256
        background_name = _keep(ContentFile(checked.background), f"models/{digest}", digest)
    with transaction.atomic():
        model = _lock_model(name, title, purpose)
        found = _same_or_conflict(name, version, checked, dictionary, training, threshold)
        if found is not None:
            return found
        row = ModelVersion.objects.create(
            model=model,
            version=version,
            format=checked.format,
            file=file_name,
            sha256=checked.sha256,
            size=checked.size,
            dictionary=dictionary,
            training=training or {},
            threshold=threshold,
            background=background_name,
            background_sha256=checked.background_sha256,
            registered_by=actor,
            registered_at=clock.now(),
        )
        outbox.send(task=CHECK_TASK, key=row.pk)
        events.record(
            actor=actor,
            verb="model.registered",
            subject_type="model",
            subject_id=name,
            summary=f"Registered {model.title} {version}",
            after={
                "version": version,
                "format": row.get_format_display(),
                "sha256": checked.sha256,
                "features": len(checked.dictionary.features),
                "threshold": threshold,
            },
        )
    return row


def read_json(content: bytes, *, at: str, what: str) -> dict[str, Any]:
    """The JSON object in a file or a field. Raises Invalid at `at`; `what` is how the sentence calls it."""
    try:
        return parse_json(content.removeprefix(_BYTE_ORDER_MARK), what=what)
    except PortalError as error:
        places = error.errors or [Problem("", error.code, error.message)]
        problems = [Problem(_below(at, place.path), place.code, place.message) for place in places]
        raise Invalid(error.message, code=error.code, errors=problems) from None


# -- Checks -----------------------------------------------------------------------------------


def _check(
    name: str,
    version: str,
    file: IO[bytes],
    dictionary: object,
    training: object,
    threshold: float | None,
    background: bytes | None,
    title: str,
    purpose: str,
) -> _Checked:
    """Everything that is wrong, in one go."""
    problems = [*_problems_of_words(name, version, title, purpose), *_problems_of_training(training)]
    format_, read = Format.LIGHTGBM, None
    sha256, size = "", _size_of(file)
    try:
        if size > settings.MODEL_MAX_BYTES:
            message = f"The file has {size:,} bytes; at most {settings.MODEL_MAX_BYTES:,} are taken."
            raise Invalid.at("file", "too_large", message)
        format_ = sniff(file)
        sha256 = _digest(file)
    except PortalError as error:
        problems += error.errors
    try:
        read = read_dictionary(dictionary)
    except PortalError as error:
        problems += [Problem(_below("dictionary", p.path), p.code, p.message) for p in error.errors]
    problems += _problems_of_threshold(threshold, read)
    rows = b""
    if background is not None and read is not None:
        try:
            rows = as_lines(read_background(background, read))
        except PortalError as error:
            problems += error.errors
    if problems or read is None:
        raise Invalid(problems[0].message, code="model", errors=problems)
    return _Checked(format=format_, sha256=sha256, size=size, dictionary=read, background=rows)


def _problems_of_words(name: str, version: str, title: str, purpose: str) -> Iterator[Problem]:
    if not _NAME.fullmatch(name):
        message = "Lower-case letters, digits and hyphens, at most 64; it begins with a letter or digit."
        yield Problem("name", "name", message)
    elif name in NAMES_TAKEN:
        yield Problem("name", "taken", f"“{name}” cannot be a name: it is an address of the portal.")
    if not _VERSION.fullmatch(version):
        yield Problem("version", "version", "Letters, digits and . _ + -, at most 64, such as 2026.11 or v3.")
    for path, text, longest in (("title", title, 100), ("purpose", purpose, 300)):
        if len(text) > longest:
            yield Problem(path, "too_long", f"At most {longest} characters are possible.")
        elif not text.isprintable():
            yield Problem(path, "unclean_text", "One line of text, without invisible characters.")


def _problems_of_training(training: object) -> Iterator[Problem]:
    if training is None:
        return
    if not isinstance(training, dict):
        yield Problem("training", "type", "How it was trained must be a JSON object.")
        return
    try:
        text = json.dumps(training, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        yield Problem("training", "json", "How it was trained must be plain JSON.")
        return
    if len(text) > TRAINING_MAX_BYTES:
        message = (
            f"How it was trained takes {len(text):,} bytes as JSON; at most {TRAINING_MAX_BYTES:,} are kept."
        )
        yield Problem("training", "too_large", message)
    elif "\\u0000" in text:
        yield Problem("training", "unclean_text", "How it was trained contains a NUL character.")


def _problems_of_threshold(
    threshold: float | None, dictionary: FeatureDictionary | None
) -> Iterator[Problem]:
    if threshold is None:
        return
    if not math.isfinite(threshold):
        yield Problem("threshold", "number", "The threshold must be a number.")
    elif dictionary is not None and dictionary.link == LOGIT and not 0 <= threshold <= 1:
        yield Problem("threshold", "out_of_range", "The score is a probability, so this lies within 0 and 1.")


def _same_or_conflict(
    name: str,
    version: str,
    checked: _Checked,
    dictionary: object,
    training: object,
    threshold: float | None,
) -> ModelVersion | None:
    """The version that is there with exactly this content; None where there is none or it was refused."""
    found = (
        ModelVersion.objects.select_related("model")
        .filter(model__name=name, version=version)
        .exclude(state=ModelVersion.State.REFUSED)
        .first()
    )
    if found is None:
        return None
    differing = [
        words
        for words, differs in (
            ("file", found.sha256 != checked.sha256),
            ("feature dictionary", found.dictionary != dictionary),
            ("training configuration", found.training != (training or {})),
            ("threshold", found.threshold != threshold),
            # Without any, the engine may have frozen rows of its own by now.
            ("background", bool(checked.background) and found.background_sha256 != checked.background_sha256),
        )
        if differs
    ]
    if differing:
        message = (
            f"{name} {version} is there already with another {differing[0]}. A version is never changed: "
            "register this one under a new version."
        )
        raise Conflict.at("version", "exists", message)
    return found


def _lock_model(name: str, title: str, purpose: str) -> Model:
    """The model's row, made if it is new, locked until the transaction ends."""
    words = name.replace("-", " ")
    defaults = {
        "title": title or words[:1].upper() + words[1:],
        "purpose": purpose,
        "created_at": clock.now(),
    }
    Model.objects.get_or_create(name=name, defaults=defaults)
    model = Model.objects.select_for_update().get(name=name)
    changed = [field for field, text in (("title", title), ("purpose", purpose)) if text]
    if title:
        model.title = title
    if purpose:
        model.purpose = purpose
    if changed:
        model.save(update_fields=changed)
    return model


# -- Files --------------------------------------------------------------------------------------


def _keep(content: "File[bytes]", name: str, sha256: str) -> str:
    """Store the content under this name unless it is there; what is there but differs is put right."""
    if default_storage.exists(name):
        if _stored_digest(default_storage, name) == sha256:
            return name
        default_storage.delete(name)
    content.seek(0)
    return default_storage.save(name, content)


def _stored_digest(storage: Storage, name: str) -> str:
    with storage.open(name) as stored:
        return _digest(stored)


def _digest(file: IO[bytes]) -> str:
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # an IO[bytes] will do
    file.seek(0)
    return digest


def _size_of(file: IO[bytes]) -> int:
    size = file.seek(0, 2)
    file.seek(0)
    return size


def _below(path: str, inner: str) -> str:
    return f"{path}.{inner}" if inner else path
