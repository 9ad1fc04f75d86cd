"""Closed runs with labels to learn thresholds and likely errors from."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from opsportal.accounts.models import User
from opsportal.accounts.permissions import Role
from opsportal.audits.models import Item, Run, Stratum, Threshold
from opsportal.predictions.models import ModelVersion
from tests.audits.making import make_items, make_run
from tests.conftest import make_person
from tests.explanations.making import NOON, make_version

YES, NO = "survived", "did not survive"


def version_of(model: str = "survival", version: str = "1") -> ModelVersion:
    """The Titanic's version, made where missing."""
    found = ModelVersion.objects.filter(model__name=model, version=version).first()
    return found or make_version(model=model, version=version)


def closed_run(
    n: int = 400,
    *,
    truth: Callable[[float], str] = lambda score: YES if score >= 0.5 else NO,
    strata: Sequence[tuple[int, int]] = (),
    closed_at: datetime = NOON,
    **more: Any,
) -> Run:
    """A closed sample of `n` items whose scores go evenly from 0 to 1, all settled as `truth` says.

    strata: (frame, n) each, over the scores in their order; one of 10 × n predictions unless given.
    """
    run = make_run(state=Run.State.CLOSED, closed_at=closed_at, **more)
    version = version_of()
    start = 0
    for frame, count in strata or [(10 * n, n)]:
        scores = [(start + place + 0.5) / n for place in range(count)]
        predicted = [YES if score >= 0.5 else NO for score in scores]
        make_items(run, count, frame=frame, score=scores, predicted=predicted, version=version)
        start += count
    items = list(Item.objects.filter(run=run))
    for item in items:
        item.label, item.state = truth(item.score), Item.State.SETTLED
        item.provenance, item.settled_at = "human", NOON
    Item.objects.bulk_update(items, ["label", "state", "provenance", "settled_at"], batch_size=200)
    Run.objects.filter(pk=run.pk).update(settled=len(items))
    run.refresh_from_db()
    return run


def later(days: int = 7) -> datetime:
    """So long after other runs were closed."""
    return NOON + timedelta(days=days)


def lead(name: str = "leo") -> User:
    """An audit lead who may not approve."""
    return User.objects.filter(username=name).first() or make_person(name, Role.AUDIT_LEAD)


def make_threshold(run: Run | None = None, **more: Any) -> Threshold:
    """A proposed threshold of 0.5 for precision of at least 90 %, by leo; `more` are fields."""
    given: dict[str, Any] = {
        "version": version_of(),
        "label": YES,
        "goal": Threshold.Goal.PRECISION,
        "target": 0.9,
        "state": Threshold.State.PROPOSED,
        "value": 0.5,
        "created_at": NOON,
    }
    made = {**given, **more}
    made.setdefault("author", lead())
    return Threshold.objects.create(run=run or closed_run(40), **made)


def strata_of(run: Run) -> list[Stratum]:
    """In their order."""
    return list(Stratum.objects.filter(run=run).order_by("number"))
