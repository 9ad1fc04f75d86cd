"""Fill in the forms of overrides as a browser sends them, and make what the pages show."""

from datetime import timedelta
from typing import Any

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.events.models import Revision
from opsportal.overrides import services
from opsportal.overrides.models import Action, Kind, Submission
from opsportal.overrides.services import Intent

LOCAL = "%Y-%m-%dT%H:%M"


def in_days(days: float) -> str:
    """So many days from now, as a datetime-local field sends it (the tests' people live in UTC)."""
    return (clock.now() + timedelta(days=days)).strftime(LOCAL)


def block_form(*product_ids: str, **fields: Any) -> dict[str, Any]:
    """The form for new blocks."""
    return {
        "product_ids": "\n".join(product_ids),
        "surface": "*",
        "starts_at": "",
        "ends_at": "",
        "reason_code": "safety",
        "reason": "Recall of batch 77",
        "ticket": "OPS-1",
        **fields,
    }


def boost_form(*product_ids: str, **fields: Any) -> dict[str, Any]:
    """The form for new boosts."""
    return block_form(
        *product_ids, **{"factor": "2", "reason_code": "campaign", "ends_at": in_days(7), **fields}
    )


def opt_out_form(*customer_ids: str, **fields: Any) -> dict[str, Any]:
    """The form for new opt-outs."""
    return {
        "customer_ids": "\n".join(customer_ids),
        "purposes": ["personalisation"],
        "channel": "phone",
        "received_at": "",
        "reason_code": "privacy",
        "reason": "Asked on the phone",
        "ticket": "",
        **fields,
    }


def drafted(actor: User, *ids: str, kind: Kind = Kind.BLOCK, **fields: Any) -> Submission:
    """A draft that adds overrides of these products or customers."""
    if kind == Kind.BOOST:
        fields = {"factor": 2.0, "ends_at": clock.now() + timedelta(days=7), **fields}
    if kind == Kind.OPT_OUT:
        fields = {"purposes": ["personalisation"], "channel": "phone", **fields}
    intent = Intent(kind=kind, reason_code="other", **{"reason": "Because", **fields})
    return services.draft_targets(actor=actor, intent=intent, texts=ids)


def applied(actor: User, *ids: str, kind: Kind = Kind.BLOCK, live: bool = True, **fields: Any) -> Submission:
    """An applied submission; in the store as well unless `live` is false."""
    draft = drafted(actor, *ids, kind=kind, **fields)
    submission = services.submit(actor=actor, submission_id=draft.pk)
    if live:
        make_live()
    return submission


def withdrawn(actor: User, *pks: int, kind: Kind = Kind.BLOCK) -> Submission:
    """The applied withdrawal of these overrides."""
    intent = Intent(kind=kind, action=Action.WITHDRAW, reason_code="other", reason="Not needed any more")
    draft = services.draft_changes(actor=actor, intent=intent, override_ids=pks)
    return services.submit(actor=actor, submission_id=draft.pk)


def make_live() -> None:
    """As if the store had just taken over every revision, 0.4 s after it was saved."""
    for revision in Revision.objects.filter(live_at=None):
        revision.live_at = revision.at + timedelta(milliseconds=400)
        revision.save()
