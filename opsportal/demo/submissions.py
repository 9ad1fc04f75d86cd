"""A handful of overrides in every state, made by the demo's people through the same services as the pages."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from django.db import transaction
from django.db.models import Sum

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.demo.impressions import product_id
from opsportal.overrides import services
from opsportal.overrides.models import Action, Boost, Channel, Kind, OptOut, Purpose, ReasonCode, Submission
from opsportal.overrides.services import Intent
from opsportal.predictions.models import Impressions

_EVERY_PURPOSE = tuple(Purpose.values)


def load_submissions() -> None:
    """Submit the demo's overrides unless somebody has submitted anything. One transaction."""
    if Submission.objects.exists():
        return
    with transaction.atomic():
        people = User.objects.in_bulk(["ana", "max", "priya", "lena"], field_name="username")
        _blocks(people["ana"])
        _boosts(people["max"])
        _opt_outs(people["ana"], people["priya"])
        _decisions(ana=people["ana"], max_=people["max"], lena=people["lena"])


def _blocks(ana: User) -> None:
    now = clock.this_second()
    block = Intent(kind=Kind.BLOCK)
    _submit(
        ana,
        replace(
            block,
            reason_code=ReasonCode.SAFETY,
            reason="Recall: the drawstring can come loose.",
            ticket="CS-4121",
        ),
        ["9", "31"],
    )
    _submit(
        ana,
        replace(
            block,
            surface="home-left",
            reason_code=ReasonCode.QUALITY,
            reason="The photo shows another jacket.",
            ticket="CS-4137",
            ends_at=now + timedelta(days=14),
        ),
        ["14"],
    )
    tomorrow = (now + timedelta(days=1)).replace(hour=6, minute=0, second=0)
    _submit(
        ana,
        replace(
            block,
            reason_code=ReasonCode.STOCK,
            reason="The warehouse counts its stock.",
            ticket="WH-88",
            starts_at=tomorrow,
            ends_at=tomorrow + timedelta(hours=12),
        ),
        ["17", "26"],
    )
    # Ends before anybody has signed in.
    _submit(
        ana,
        replace(
            block,
            reason_code=ReasonCode.STOCK,
            reason="Sold out until the delivery.",
            ends_at=now + timedelta(seconds=5),
        ),
        ["5"],
    )


def _boosts(max_: User) -> None:
    now = clock.this_second()
    boost = Intent(kind=Kind.BOOST, reason_code=ReasonCode.CAMPAIGN)
    _submit(
        max_,
        replace(
            boost, factor=1.5, reason="Winter coats week.", ticket="MK-310", ends_at=now + timedelta(days=7)
        ),
        ["2", "7"],
    )
    _submit(
        max_,
        replace(
            boost,
            surface="home-centre",
            factor=2.5,
            reason="The brand booked the centre of the home page.",
            ticket="MK-314",
            starts_at=(now + timedelta(days=2)).replace(hour=8, minute=0, second=0),
            ends_at=(now + timedelta(days=9)).replace(hour=8, minute=0, second=0),
        ),
        ["20"],
    )
    mistaken = _submit(
        max_,
        replace(boost, factor=3.0, reason="Launch of the new line.", ends_at=now + timedelta(days=30)),
        ["11"],
    )
    services.request_changes(
        actor=max_,
        intent=replace(
            boost,
            action=Action.WITHDRAW,
            reason_code=ReasonCode.CORRECTION,
            reason="The launch moves to next month.",
        ),
        override_ids=list(Boost.objects.filter(submission=mistaken).values_list("pk", flat=True)),
    )


def _opt_outs(ana: User, priya: User) -> None:
    now = clock.this_second()
    opt_out = Intent(kind=Kind.OPT_OUT, reason_code=ReasonCode.PRIVACY)
    services.request_targets(
        actor=ana,
        intent=replace(
            opt_out,
            purposes=(Purpose.PERSONALISATION.value,),
            channel=Channel.PHONE,
            reason="Asked on the phone to see no personal recommendations.",
            ticket="CS-4142",
        ),
        texts=["C-10234"],
    )
    letter = services.request_targets(
        actor=priya,
        intent=replace(
            opt_out,
            purposes=_EVERY_PURPOSE,
            channel=Channel.LETTER,
            received_at=now - timedelta(days=4),
            reason="Objection by letter.",
            ticket="DP-77",
        ),
        texts=["C-20871", "C-20872"],
    )
    # Takes a second person, so it waits.
    services.request_changes(
        actor=priya,
        intent=replace(
            opt_out,
            action=Action.WITHDRAW,
            reason="The customer changed their mind in writing.",
            ticket="DP-79",
        ),
        override_ids=list(OptOut.objects.filter(submission=letter).values_list("pk", flat=True)[:1]),
    )


def _decisions(*, ana: User, max_: User, lena: User) -> None:
    """What needs a second person: one approved, one rejected, one waiting."""
    now = clock.this_second()
    popular = _most_shown(12)
    approved = _submit(
        ana,
        Intent(
            kind=Kind.BLOCK,
            surface="home-right",
            reason_code=ReasonCode.LEGAL,
            reason="The licence for these pictures ends.",
            ticket="LG-12",
            starts_at=now + timedelta(days=3),
            ends_at=now + timedelta(days=10),
        ),
        popular[:9],
    )
    boost = Intent(kind=Kind.BOOST, reason_code=ReasonCode.CAMPAIGN, ends_at=now + timedelta(days=5))
    rejected = _submit(
        max_, replace(boost, factor=5.0, reason="Everything on sale, as strong as it goes."), popular
    )
    services.approve(
        actor=lena, submission_id=approved.pk, version=approved.version, comment="Seen the contract."
    )
    services.reject(
        actor=lena,
        submission_id=rejected.pk,
        version=rejected.version,
        comment="Five times is too much for a third of the range. Try 1.3.",
    )
    # Only now: an item that waits in another submission takes no effect in this one.
    _submit(
        max_,
        replace(boost, factor=1.3, reason="Mid-season sale, agreed with merchandising.", ticket="MK-322"),
        popular,
    )


def _submit(actor: User, intent: Intent, items: Sequence[str]) -> Submission:
    return services.request_targets(actor=actor, intent=intent, texts=[product_id(item) for item in items])


def _most_shown(count: int) -> list[str]:
    """The items of the log that were shown most; together enough of the week to need a second person."""
    rows = (
        Impressions.objects.values("product_id").annotate(total=Sum("shown")).order_by("-total", "product_id")
    )
    return [row["product_id"].removeprefix(product_id("")) for row in rows[:count]]
