"""Take in predictions as a system logs them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from opsportal.accounts.models import User
from opsportal.core.errors import Conflict, Forbidden, Invalid, Problem, TooLarge
from opsportal.events import services as events
from opsportal.predictions.intake import Checked, Intake
from opsportal.predictions.models import Model, ModelVersion
from opsportal.predictions.services.storing import Result, store

BATCH_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one prediction; prediction_id is empty where none could be read."""

    prediction_id: str
    result: Result
    errors: list[Problem] = field(default_factory=list)


def take_in(
    *, actor: User | None, model: str, version: str, predictions: Sequence[Mapping[str, Any]]
) -> list[Outcome]:
    """Save the predictions that are new and sound; what became of each, in their order.

    Each stands for itself: a bad one is refused with its problems, the others are saved. Repeats are
    harmless, also while the first try is still under way. One transaction, one event with numbers
    where anything was saved. Raises Forbidden, Invalid for a version that is not there, Conflict for
    one that is still being checked, and TooLarge beyond 1,000.
    """
    require_writer(actor)
    if len(predictions) > BATCH_MAX:
        message = f"{len(predictions):,} predictions are more than the {BATCH_MAX:,} of one request."
        raise TooLarge.at("predictions", "too_many", message)
    found = version_to_fill(model, version)
    intake = Intake(found.features)
    checked = [intake.check(raw) for raw in predictions]
    sound = [row for row in checked if isinstance(row, Checked)]
    with transaction.atomic():
        results = store(found.pk, sound)
        counts = Counter(results)
        if counts[Result.CREATED]:
            bad = len(checked) - len(sound)
            events.record(
                actor=actor,
                verb="predictions.taken_in",
                subject_type="model_version",
                subject_id=found.pk,
                summary=f"Took in {_predictions(counts[Result.CREATED])} of {found}",
                after={**as_numbers(counts), Result.REFUSED.value: bad},
            )
    left = iter(results)
    return [
        Outcome(row.prediction_id, next(left))
        if isinstance(row, Checked)
        else Outcome(_id_of(raw), Result.REFUSED, row)
        for raw, row in zip(predictions, checked, strict=True)
    ]


def require_writer(actor: User | None) -> None:
    """Raise Forbidden unless the person may log predictions; None is the system itself."""
    if actor is not None and not actor.can("predictions.write"):
        raise Forbidden("You may not log predictions.")


def version_to_fill(model: str, version: str) -> ModelVersion:
    """The version of this name that predictions can be logged for. Raises Invalid, Conflict."""
    versions = ModelVersion.objects.select_related("model").filter(model__name=model, version=version)
    found = versions.exclude(state=ModelVersion.State.REFUSED).first()
    if found is None:
        if not Model.objects.filter(name=model).exists():
            raise Invalid.at("model", "unknown", "There is no model of this name.")
        raise Invalid.at("version", "unknown", "There is no such version of this model that was accepted.")
    if found.state == ModelVersion.State.CHECKING:
        raise Conflict("This version is still being checked. Try again in a moment.", code="checking")
    return found


def as_numbers(counts: Mapping[Result, int]) -> dict[str, int]:
    """How many of each result, as events and answers say it; of those refused the caller knows."""
    said = (Result.CREATED, Result.EXISTS, Result.CONFLICT, Result.SUPPRESSED)
    return {result.value: counts.get(result, 0) for result in said}


def _predictions(number: int) -> str:
    return f"{number:,} prediction" if number == 1 else f"{number:,} predictions"


def _id_of(raw: Mapping[str, Any]) -> str:
    """The ID of a bad prediction, as far as it can be repeated."""
    prediction_id = raw.get("prediction_id")
    return prediction_id[:128] if isinstance(prediction_id, str) else ""
