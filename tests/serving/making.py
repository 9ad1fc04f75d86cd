"""Overrides as they stand once applied: row, revision and change in one transaction."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.events import services as events
from opsportal.events.models import Change
from opsportal.overrides.models import Block, Boost, Channel, Kind, OptOut, Submission, Surface
from opsportal.predictions.pseudonyms import customer_key


def make_surfaces(*slugs: str) -> None:
    """Surfaces of these slugs."""
    for slug in slugs:
        Surface.objects.get_or_create(slug=slug, defaults={"name": slug.capitalize()})


def block(
    *products: str, surface: str = "*", starts: datetime | None = None, ends: datetime | None = None
) -> list[Block]:
    """Block products, in one revision."""
    make_surfaces(surface)
    with transaction.atomic():
        number = events.lock_head().revision + 1
        submission = _submission(Kind.BLOCK)
        rows = Block.objects.bulk_create(
            Block(
                submission=submission,
                revision=number,
                created_at=clock.now(),
                product_id=product,
                surface_id=surface,
                starts_at=starts or clock.this_second(),
                ends_at=ends,
                reason_code="safety",
            )
            for product in products
        )
        events.allocate_revision(kind=Change.Kind.PRODUCT, keys=products)
    return rows


def boost(
    *products: str,
    factor: float = 2.0,
    surface: str = "*",
    starts: datetime | None = None,
    ends: datetime | None = None,
) -> list[Boost]:
    """Boost products, in one revision, for a day by default."""
    starts = starts or clock.this_second()
    make_surfaces(surface)
    with transaction.atomic():
        number = events.lock_head().revision + 1
        submission = _submission(Kind.BOOST)
        rows = Boost.objects.bulk_create(
            Boost(
                submission=submission,
                revision=number,
                created_at=clock.now(),
                product_id=product,
                surface_id=surface,
                starts_at=starts,
                ends_at=ends or starts + timedelta(days=1),
                reason_code="campaign",
                factor=factor,
            )
            for product in products
        )
        events.allocate_revision(kind=Change.Kind.PRODUCT, keys=products)
    return rows


def unblock(*products: str) -> None:
    """Withdraw every open block of these products, in one revision."""
    with transaction.atomic():
        events.lock_head()
        Block.objects.filter(product_id__in=products, closed_at=None).update(closed_at=clock.now())
        events.allocate_revision(kind=Change.Kind.PRODUCT, keys=products)


def opt_out(customer_id: str, *, purposes: Sequence[str] = ("personalisation",)) -> OptOut:
    """Record a customer's opt-out."""
    key = customer_key(customer_id)
    with transaction.atomic():
        number = events.lock_head().revision + 1
        row = OptOut.objects.create(
            submission=_submission(Kind.OPT_OUT),
            revision=number,
            created_at=clock.now(),
            customer_key=key,
            personalisation="personalisation" in purposes,
            training="training" in purposes,
            sharing="sharing" in purposes,
            channel=Channel.PHONE,
            received_at=clock.now(),
            due_on=clock.now().date(),
        )
        events.allocate_revision(kind=Change.Kind.CUSTOMER, keys=[key])
    return row


def _submission(kind: Kind) -> Submission:
    # A transactional test leaves no rows behind, those of migrations included.
    make_surfaces("*")
    author, _ = User.objects.get_or_create(username="author")
    return Submission.objects.create(
        kind=kind, source="form", author=author, reason_code="other", reason="Test.", created_at=clock.now()
    )
