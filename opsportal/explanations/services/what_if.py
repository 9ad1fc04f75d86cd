"""Ask what the model would say of other values."""

from collections.abc import Mapping
from datetime import timedelta

from django.db import transaction

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.core.errors import TooManyRequests
from opsportal.events import services as events
from opsportal.explanations.models import Explanation, Method
from opsportal.explanations.services import asking
from opsportal.predictions.dictionary import Value
from opsportal.predictions.models import Prediction

# Enough to try things out with a customer on the phone, too few to read the model out.
PER_MINUTE = 30
_MINUTE = timedelta(minutes=1)


def ask_what_if(*, actor: User, prediction: Prediction, changes: Mapping[str, Value]) -> Explanation:
    """The prediction explained with some values changed; computed once, whoever asks again.

    changes: at least one, already checked against the dictionary. The event names the features, not the
    values. Raises TooManyRequests above 30 new what-ifs of one person in a minute.
    """
    found = Explanation.objects.filter(
        prediction=prediction, method=Method.SHAP, changes_digest=asking.changes_digest(changes)
    ).first()
    if found is None:
        _check_pace(actor)
    with transaction.atomic():
        explanation = asking.want_explanation(actor=actor, prediction=prediction, changes=changes)
        events.record(
            actor=actor,
            verb="prediction.what_if",
            subject_type="prediction",
            subject_id=prediction.pk,
            summary=f"Asked what the model would say of prediction {prediction.prediction_id} with "
            f"{len(changes)} value{'' if len(changes) == 1 else 's'} changed",
            after={"explanation": explanation.pk, "features": list(changes)},
        )
    return explanation


def _check_pace(actor: User) -> None:
    recent = Explanation.objects.filter(wanted_by=actor, wanted_at__gt=clock.now() - _MINUTE).exclude(
        changes_digest=""
    )
    if recent.count() >= PER_MINUTE:
        raise TooManyRequests(
            f"That was the {PER_MINUTE}th what-if within a minute. Wait a moment, then go on; "
            "nothing you typed is lost.",
            headers={"Retry-After": "60"},
        )
