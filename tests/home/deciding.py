"""Submit as the pages do, and read pages as people do."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from html import unescape
from typing import Any

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.overrides import services
from opsportal.overrides.models import Kind, Purpose, Submission
from opsportal.overrides.services import Intent


def block(actor: User, *products: str, **fields: Any) -> Submission:
    """Block the products; applied, or waiting if the risk asks for it."""
    return _request(actor, Intent(**{**_BLOCK, **fields}), products)


def boost(actor: User, *products: str, ends: datetime | None = None, **fields: Any) -> Submission:
    """Boost the products ×2 for two days, or as the fields say."""
    ends = ends or clock.this_second() + timedelta(days=2)
    return _request(actor, Intent(**{**_BOOST, "ends_at": ends, **fields}), products)


def opt_out(actor: User, *customers: str, **fields: Any) -> Submission:
    """Record the customers' opt-out."""
    return _request(actor, Intent(**{**_OPT_OUT, **fields}), customers)


def draft(actor: User, *products: str) -> Submission:
    """A block that nobody has carried out."""
    return services.draft_targets(actor=actor, intent=Intent(**_BLOCK), texts=products)


def draft_opt_out(actor: User, customer: str, **fields: Any) -> Submission:
    """An opt-out that nobody has carried out."""
    return services.draft_targets(actor=actor, intent=Intent(**{**_OPT_OUT, **fields}), texts=[customer])


def words(response: Any) -> str:
    """What the page's main part says, without tags and line breaks."""
    text = response.content.decode()
    main = re.search(r"<main.*?</main>", text, re.DOTALL)
    assert main, "the page has no main part"
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", main[0]))).replace(" ,", ",")


def _request(actor: User, intent: Intent, texts: Sequence[str]) -> Submission:
    return services.request_targets(actor=actor, intent=intent, texts=texts)


_BLOCK: dict[str, Any] = {"kind": Kind.BLOCK, "reason_code": "safety", "reason": "Recall of the week."}
_BOOST: dict[str, Any] = {
    "kind": Kind.BOOST,
    "reason_code": "campaign",
    "reason": "Autumn sale.",
    "factor": 2,
}
_OPT_OUT: dict[str, Any] = {
    "kind": Kind.OPT_OUT,
    "reason_code": "privacy",
    "reason": "Asked on the phone.",
    "purposes": (Purpose.PERSONALISATION.value,),
    "channel": "phone",
}
