"""Send a single prediction to the audit: somebody doubts it and wants people to judge."""

from dataclasses import dataclass
from typing import Any

from django.db import transaction

from opsportal.accounts.models import User
from opsportal.audits.decisions import Decisions
from opsportal.audits.models import Item, Policy, Run, Stream
from opsportal.audits.services.closing import hold_off_closing
from opsportal.audits.services.filling import NewItem, fill
from opsportal.audits.services.runs import start_chosen_run
from opsportal.core import clock
from opsportal.core.errors import Conflict, Forbidden, Invalid, NotFound
from opsportal.events import services as events
from opsportal.predictions.models import Model, Prediction
from opsportal.predictions.selectors import suppressed_among

# As the column that keeps it.
REASON_MAX = 300


@dataclass(frozen=True, slots=True)
class Referral:
    """Where the prediction is now. again: somebody had sent it before, and it is still waiting there."""

    run: Run
    again: bool


def refer(*, actor: User, prediction: Prediction, reason: str) -> Referral:
    """Put a prediction into the model's open run of what colleagues sent in, one a month, made on demand.

    Locks the model, so that two people at once make one run. Raises Forbidden, NotFound (its customer has
    opted out), Invalid (no reason) and Conflict (the model decides nothing that could be right or wrong).
    """
    if not actor.can("audits.refer"):
        raise Forbidden("You may not send predictions to the audit.")
    reason = reason.strip()
    if not reason:
        raise Invalid.at("reason", "required", "Say what is doubtful about it.")
    if len(reason) > REASON_MAX or "\0" in reason:
        raise Invalid.at("reason", "too_long", f"Use at most {REASON_MAX} characters.")
    if prediction.customer_key and suppressed_among([prediction.customer_key]):
        raise NotFound("There is no prediction with this ID.")
    version = prediction.version
    predicted = Decisions(version).predicted(prediction.label, prediction.score)
    if not predicted:
        raise Conflict(
            f"{version.model.title} only ranks: it decides nothing that could be right or wrong.",
            code="decides_nothing",
        )
    with transaction.atomic():
        model = Model.objects.select_for_update().get(pk=version.model_id)
        waiting = (
            Item.objects.filter(
                prediction_id=prediction.prediction_id, stream=Stream.REFERRED, run__state=Run.State.OPEN
            )
            .select_related("run")
            .first()
        )
        if waiting:
            return Referral(waiting.run, again=True)
        item = NewItem(
            prediction_id=prediction.prediction_id,
            version_id=prediction.version_id,
            predicted_at=prediction.predicted_at,
            score=prediction.score,
            predicted=predicted,
            product_id=prediction.product_id,
            customer_key=prediction.customer_key,
            surface=prediction.surface,
            text=prediction.text,
            features=prediction.features,
            stream=Stream.REFERRED,
            why=reason,
        )
        run = _open_run(model)
        if run is None:
            run = _start(actor, model, prediction, predicted, item)
        else:
            fill(run, [item])
        events.record(
            actor=actor,
            verb="prediction.referred",
            subject_type="prediction",
            subject_id=prediction.prediction_id,
            summary=f"Sent prediction {prediction.prediction_id} to the audit",
            reason=reason,
            after={"run": run.pk},
        )
    return Referral(run, again=False)


def _open_run(model: Model) -> Run | None:
    """This month's run that takes what colleagues send in, held open until the transaction ends."""
    month = clock.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    runs = Run.objects.filter(model=model, kind=Run.Kind.REFERRED, created_at__gte=month)
    found = runs.filter(state=Run.State.OPEN).order_by("-id").first()
    if found is None:
        return None
    hold_off_closing(found.pk)
    # It may have been closed before that.
    return runs.filter(pk=found.pk, state=Run.State.OPEN).first()


def _start(actor: User, model: Model, prediction: Prediction, predicted: str, item: NewItem) -> Run:
    policy = Policy.objects.filter(model=model).order_by("-id").first()
    labels: list[dict[str, Any]] = policy.labels if policy else []
    guidelines = policy.guidelines if policy else ""
    if predicted not in {label.get("value") for label in labels}:
        dictionary = prediction.version.features
        values = dict.fromkeys([dictionary.positive, dictionary.negative, predicted])
        labels = [
            {"value": value, "title": value.capitalize(), "key": str(number), "guideline": ""}
            for number, value in enumerate(filter(None, values), start=1)
        ]
    return start_chosen_run(
        actor=actor,
        kind=Run.Kind.REFERRED,
        model=model,
        title=f"Sent in, {clock.now():%B %Y}: {model.title}"[:150],
        labels=labels,
        guidelines=guidelines,
        items=[item],
        blind=True,
    )
