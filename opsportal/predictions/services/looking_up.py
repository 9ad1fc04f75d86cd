"""Look predictions up, which leaves a trace: they are personal data."""

from collections.abc import Iterable

from django.db import transaction

from opsportal.accounts.models import User
from opsportal.core.errors import Forbidden, Invalid
from opsportal.core.pagination import Page, keyset_page
from opsportal.events import services as events
from opsportal.predictions.models import Prediction
from opsportal.predictions.pseudonyms import shown_customer
from opsportal.predictions.selectors import NEWEST_FIRST, LookUp, find_predictions, prediction_by_id

# An event names so many of the predictions that were shown.
_NAMED_MAX = 200


def note_viewed(*, actor: User, predictions: Iterable[Prediction], how: str) -> None:
    """Record who looks at whose prediction, before anything of it is shown. One event for the whole list.

    how: the words of the event, e.g. "Looked at prediction titanic-690". Never a customer's ID.
    """
    pks = [prediction.pk for prediction in predictions]
    with transaction.atomic():
        events.record(
            actor=actor,
            verb="prediction.looked_up",
            subject_type="prediction",
            subject_id=pks[0] if len(pks) == 1 else "several",
            summary=how,
            after={"predictions": pks[:_NAMED_MAX]} if len(pks) != 1 else None,
        )


def look_at(*, actor: User, prediction_id: str) -> Prediction:
    """One prediction with its version and model; who looked is recorded. Raises Forbidden, NotFound."""
    _require_reader(actor)
    found = prediction_by_id(prediction_id)
    note_viewed(actor=actor, predictions=[found], how=f"Looked at prediction {prediction_id}")
    return found


def look_up(*, actor: User, wanted: LookUp, cursor: str | None, size: int) -> Page[Prediction]:
    """A page of the predictions that match, newest first; who looked for what is recorded, found or not.

    Raises Forbidden, and Invalid for a look-up by nothing but a time or a surface.
    """
    _require_reader(actor)
    if not (wanted.is_narrow or wanted.model):
        message = "Say which prediction, customer, product, name or model to look for."
        raise Invalid(message, code="too_wide")
    page = keyset_page(find_predictions(wanted), order=NEWEST_FIRST, cursor=cursor, size=size)
    note_viewed(actor=actor, predictions=page.results, how=f"Looked up predictions by {said(wanted)}")
    return page


def said(wanted: LookUp) -> str:
    """What was looked for, in words for an event: no names of people, and customers by their short keys."""
    parts = [
        f"ID {wanted.prediction_id}" if wanted.prediction_id else "",
        f"customer {shown_customer(wanted.customer_key)}" if wanted.customer_key else "",
        f"product {wanted.product_id}" if wanted.product_id else "",
        "name" if wanted.words else "",
        f"model {wanted.model}" if wanted.model else "",
        f"version {wanted.version}" if wanted.version else "",
        f"surface {wanted.surface}" if wanted.surface else "",
        f"since {wanted.since:%Y-%m-%d %H:%M}" if wanted.since else "",
        f"until {wanted.until:%Y-%m-%d %H:%M}" if wanted.until else "",
    ]
    return ", ".join(part for part in parts if part) or "nothing"


def _require_reader(actor: User) -> None:
    if not actor.can("predictions.view"):
        raise Forbidden("You may not look predictions up.")
