"""What matters to a model version at large, over a fixed sample of its predictions. Workers only.

Attributions of the sample are computed and averaged, not kept: a page asks for those it shows.
"""

import hashlib
import heapq
import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import structlog
from django.db import transaction

from opsportal.core import clock
from opsportal.events import outbox
from opsportal.events.models import OutboxMessage
from opsportal.explanations import explaining
from opsportal.explanations.engine.importance import evenly, importance_of, strongest_first
from opsportal.explanations.loaded import Refusal, loaded, row_of
from opsportal.explanations.models import Explanation, ImportanceProfile, Method, State
from opsportal.predictions.dictionary import TEXT, FeatureDictionary, Value
from opsportal.predictions.models import ModelVersion, Prediction

log = structlog.get_logger(__name__)

TASK = "explanations.profile"
ALL_MAX, DAY_MAX, DAYS = 2_000, 200, 30
# Rows explained at a time; the message's lease (30 s) is renewed after each.
CHUNK = 50
# A model that only samples can explain may take a second a row, and people wait in the same queue: then
# the sample ends here.
BUDGET_SECONDS = 60.0
# Predictions read at a time: their IDs are hashed to draw the sample.
_PAGE = 20_000
POINTS_MAX, DEPENDENCE_MAX, VALUE_MAX = 500, 30, 200


def want_profiles() -> None:
    """Ask for the importance of every version with predictions that came in since it was computed."""
    for version in ModelVersion.objects.filter(state=ModelVersion.State.READY).order_by("pk"):
        newer = Prediction.objects.filter(version=version)
        computed_at = (
            ImportanceProfile.objects.filter(version=version, day=None)
            .values_list("computed_at", flat=True)
            .first()
        )
        if computed_at is not None:
            newer = newer.filter(received_at__gt=computed_at)
        waiting = OutboxMessage.objects.filter(
            task=TASK, key=str(version.pk), delivered_at=None, dead_at=None
        )
        if not waiting.exists() and newer.exists():
            with transaction.atomic():
                outbox.send(task=TASK, key=version.pk)


def profile(version_pk: int) -> None:
    """Compute the importance of a version's features: over all its predictions, and by day for 30 days.

    Of all predictions 2,000 are looked at, of each day 200: those whose IDs have the lowest SHA-256, so
    that they stay the same while new ones come in. Stored explanations are used; a day to which nothing
    was added since is left as it is. Replaces what was there in one transaction. Where the model cannot
    be loaded it stays. Harmless to run twice.
    """
    version = ModelVersion.objects.filter(pk=version_pk, state=ModelVersion.State.READY).first()
    if version is None:
        return
    try:
        dictionary = loaded(version).dictionary
    except Refusal as refusal:
        log.warning("profile.refused", version=version_pk, incident=refusal.incident)
        return
    begun = clock.now()
    sample = _draw(version)
    if not sample.every:
        ImportanceProfile.objects.filter(version=version).delete()
        return
    settled = _settled_days(version, sample)
    wanted = dict.fromkeys(sample.every)
    for day in sorted(set(sample.by_day) - settled, reverse=True):
        wanted.update(dict.fromkeys(sample.by_day[day]))
    found = _explain(version, dictionary, list(wanted))
    rows = [_profile(version, found, sample.every, None, begun)]
    rows[0].dependence = _dependence(found, sample.every, dictionary)
    rows += [
        _profile(version, found, pks, day, begun)
        for day, pks in sorted(sample.by_day.items())
        if day not in settled and not found.explained.isdisjoint(pks)
    ]
    with transaction.atomic():
        ImportanceProfile.objects.filter(version=version).exclude(day__in=settled).delete()
        ImportanceProfile.objects.bulk_create(rows)


# -- The sample -------------------------------------------------------------------------------


@dataclass(slots=True)
class _Sample:
    """Primary keys, lowest hash first: of all days, and of each of the last ones (UTC).

    received: day → when the last of its predictions came in.
    """

    every: list[int]
    by_day: dict[date, list[int]]
    received: dict[date, datetime]


class _Lowest:
    """Those with the lowest hashes of any number of keys."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[tuple[int, int]] = []  # the highest of the kept hashes first, as a heap has it

    def add(self, hashed: int, pk: int) -> None:
        if len(self._kept) < self._most:
            heapq.heappush(self._kept, (-hashed, pk))
        elif -hashed > self._kept[0][0]:
            heapq.heapreplace(self._kept, (-hashed, pk))

    def pks(self) -> list[int]:
        return [pk for _, pk in sorted(self._kept, reverse=True)]


def _draw(version: ModelVersion) -> _Sample:
    newest = (
        Prediction.objects.filter(version=version)
        .order_by("-predicted_at", "-id")
        .values_list("predicted_at", flat=True)
        .first()
    )
    every = _Lowest(ALL_MAX)
    by_day: dict[date, _Lowest] = {}
    received: dict[date, datetime] = {}
    first_day = newest.astimezone(UTC).date() - timedelta(days=DAYS - 1) if newest else date.max
    for pk, prediction_id, predicted_at, received_at in _predictions(version):
        hashed = int.from_bytes(hashlib.sha256(prediction_id.encode()).digest()[:8], "big")
        every.add(hashed, pk)
        day = predicted_at.astimezone(UTC).date()
        if day >= first_day:
            by_day.setdefault(day, _Lowest(DAY_MAX)).add(hashed, pk)
            received[day] = max(received.get(day, received_at), received_at)
    return _Sample(every.pks(), {day: lowest.pks() for day, lowest in by_day.items()}, received)


def _predictions(version: ModelVersion) -> Iterator[tuple[int, str, datetime, datetime]]:
    """Every prediction of the version, page by page: an open cursor would stand in the way of writers."""
    last = 0
    while True:
        page = list(
            Prediction.objects.filter(version=version, pk__gt=last)
            .order_by("pk")
            .values_list("pk", "prediction_id", "predicted_at", "received_at")[:_PAGE]
        )
        yield from page
        if len(page) < _PAGE:
            return
        last = page[-1][0]
        outbox.renew(TASK, str(version.pk))


def _settled_days(version: ModelVersion, sample: _Sample) -> set[date]:
    """The days to which nothing was added since they were computed."""
    computed = ImportanceProfile.objects.filter(version=version, day__in=sample.by_day).values_list(
        "day", "computed_at"
    )
    return {day for day, at in computed if day is not None and at > sample.received[day]}


# -- Attributions -----------------------------------------------------------------------------


@dataclass(slots=True)
class _Found:
    """What is known of the sample. attributions: prediction → [x, …] in the order of `names`."""

    names: list[str] = field(default_factory=list)
    space: str = ""
    attributions: dict[int, list[float]] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    values: dict[int, dict[str, Value]] = field(default_factory=dict)

    @property
    def explained(self) -> set[int]:
        """Those that were looked at."""
        return self.attributions.keys() | self.refused

    def take(self, pk: int, space: str, pairs: Sequence[Sequence[Any]]) -> None:
        if not self.names:
            self.names, self.space = [name for name, _ in pairs], space
        known = {name: x for name, x in pairs}  # noqa: C416  pairs may be lists, as JSON has them
        self.attributions[pk] = [float(known.get(name, 0.0)) for name in self.names]


def _explain(version: ModelVersion, dictionary: FeatureDictionary, pks: Sequence[int]) -> _Found:
    """The attributions of as many of these as the time allows, in their order."""
    found = _Found()
    deadline = time.monotonic() + BUDGET_SECONDS
    for start in range(0, len(pks), CHUNK):
        if time.monotonic() > deadline:
            log.info("profile.cut_short", version=version.pk, explained=start, of=len(pks))
            break
        chunk = pks[start : start + CHUNK]
        # Those erased meanwhile are simply gone.
        predictions = Prediction.objects.in_bulk(chunk)
        stored = Explanation.objects.filter(
            prediction__in=predictions, method=Method.SHAP, changes_digest="", model_sha256=version.sha256
        ).exclude(state=State.WANTED)
        known = {row.prediction_id: row for row in stored}
        lacking = [predictions[pk] for pk in chunk if pk in predictions and pk not in known]
        outcomes = explaining.outcomes(version, lacking) if lacking else []
        computed = {prediction.pk: outcome for prediction, outcome in zip(lacking, outcomes, strict=True)}
        for pk, prediction in predictions.items():
            answer = known.get(pk) or computed[pk]
            found.values[pk] = dict(row_of(prediction, dictionary))
            if answer.incident:
                found.refused.add(pk)
            else:
                found.take(pk, answer.space, answer.attributions)
        outbox.renew(TASK, str(version.pk))
    return found


def _profile(
    version: ModelVersion, found: _Found, pks: Iterable[int], day: date | None, begun: datetime
) -> ImportanceProfile:
    pks = [pk for pk in pks if pk in found.explained]
    good = [pk for pk in pks if pk in found.attributions]
    attributions = [found.attributions[pk] for pk in good]
    return ImportanceProfile(
        version=version,
        day=day,
        rows=len(good),
        refused=len(pks) - len(good),
        space=found.space or version.facts.get("space") or "score",
        importance=importance_of(found.names, attributions, version.features) if good else [],
        computed_at=begun,
    )


def _dependence(
    found: _Found, pks: Iterable[int], dictionary: FeatureDictionary
) -> dict[str, list[list[Any]]]:
    """[value, attribution] of up to 500 predictions for the strongest features.

    Without what is held constant, and without what a person could be found by: running text and names.
    """
    good = [pk for pk in pks if pk in found.attributions]
    if not good:
        return {}
    chosen = [good[place] for place in evenly(len(good), POINTS_MAX)]
    kept: dict[str, list[list[Any]]] = {}
    for place in strongest_first([found.attributions[pk] for pk in good]):
        name = found.names[place]
        feature = dictionary.by_name.get(name)
        if feature is None or feature.type == TEXT or feature.findable or feature.constant is not None:
            continue
        kept[name] = [[_storable(found.values[pk].get(name)), found.attributions[pk][place]] for pk in chosen]
        if len(kept) == DEPENDENCE_MAX:
            break
    return kept


def _storable(value: Value) -> Value:
    """The value as any database takes it into JSON: no infinities, no lone surrogates, nothing endless."""
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    if isinstance(value, str):
        return value[:VALUE_MAX].encode("utf-8", "replace").decode()
    return value
