"""Bodies to ask for overrides with, and how many rows there are of what was saved."""

from datetime import UTC, datetime, timedelta

from opsportal.core import clock
from opsportal.events.models import Change, Event, Head, OutboxMessage, Revision
from opsportal.overrides.models import Approval, Block, Boost, OptOut, Submission, SubmissionItem


def blocks(*product_ids: str, **fields: object) -> dict[str, object]:
    """A body that blocks these products."""
    return {
        "product_ids": list(product_ids),
        "reason_code": "safety",
        "reason": "Recall of the week.",
        **fields,
    }


def boosts(*product_ids: str, **fields: object) -> dict[str, object]:
    """A body that boosts these products for a week."""
    week = {"ends_at": text(clock.now() + timedelta(days=7)), "factor": 2, "reason_code": "campaign"}
    return {**blocks(*product_ids), **week, **fields}


def opt_outs(*customer_ids: str, **fields: object) -> dict[str, object]:
    """A body that records what these customers asked for."""
    return {
        "customer_ids": list(customer_ids),
        "purposes": ["personalisation"],
        "channel": "phone",
        "reason": "Asked on the phone.",
        **fields,
    }


def text(moment: datetime) -> str:
    """The moment as the API writes it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def saved() -> dict[str, int]:
    """How many rows there are of everything that a change may write."""
    models = [
        Submission,
        SubmissionItem,
        Approval,
        Block,
        Boost,
        OptOut,
        Event,
        Revision,
        Change,
        OutboxMessage,
    ]
    head = Head.objects.filter(pk=1).first()
    counts = {model.__name__: model._default_manager.count() for model in models}
    return {**counts, "head": head.revision if head else 0}
