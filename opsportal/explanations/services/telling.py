"""Remember what a customer was told of a prediction: which reasons, never to whom and never the values."""

from collections.abc import Sequence

from django.db import transaction

from opsportal.accounts.models import User
from opsportal.events import services as events
from opsportal.predictions.models import Prediction

# How it reached the customer, as the trail words it.
COPIED, LETTER, PRINTED = "copied", "letter", "printed"
_WORDS = {
    COPIED: "Copied what the customer may be told of prediction {}",
    LETTER: "Made a letter to the customer about prediction {}",
    PRINTED: "Printed a letter to the customer about prediction {}",
}


def note_told(*, actor: User, prediction: Prediction, reasons: Sequence[str], how: str) -> None:
    """Record which reasons (names of features or groups) leave the house, before they do.

    The sentences themselves hold the customer's values, which have no place in a trail that never
    forgets; the reasons' names and the stored explanation say which sentences they were.
    """
    with transaction.atomic():
        events.record(
            actor=actor,
            verb="prediction.told",
            subject_type="prediction",
            subject_id=prediction.pk,
            summary=_WORDS[how].format(prediction.prediction_id),
            after={"how": how, "reasons": list(reasons)},
        )
