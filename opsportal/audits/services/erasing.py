"""Erase what audits took from predictions: when a customer opts out, and when it is old."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from opsportal.audits.models import Correction, Export, FrameFile, Item, Review, Run
from opsportal.audits.services.closing import hold_off_closing
from opsportal.audits.services.leasing import lock_person
from opsportal.core import clock
from opsportal.events import outbox
from opsportal.events import services as events
from opsportal.predictions.models import Suppression
from opsportal.predictions.services.suppressing import wait_for_intakes

ERASE_TASK = "audits.erase"
CUSTOMERS_BATCH = 500
ROWS_BATCH = 2_000
EXPORTS_KEPT = timedelta(hours=1)
# What one hourly run blanks at most: it must end before the worker's time is up.
TIDY_MAX = 500_000


def erase_suppressed(key: str) -> int:
    """Delete the items and corrections of all customers who opted out; how many rows.

    With an item go its answers, its reviews and its corrections, and the downloads of its run; `erased`
    of the run counts it, and the other counters fall. Figures that are stored stay: they name nobody.
    What is just being drawn is left out by the drawing itself.

    Reads who has opted out now, so repeats and messages out of order are harmless; `key` is that of the
    message whose lease is prolonged meanwhile. In batches of 500 customers, each with an event that says
    how many and of whom nothing; every 2,000 rows are a transaction.
    """
    with transaction.atomic():
        wait_for_intakes()
    erased = 0
    while customers := list(_customers_to_erase()[:CUSTOMERS_BATCH]):
        items = corrections = 0
        while count := _erase_items(customers):
            items += count
            outbox.renew(ERASE_TASK, key)
        while count := _erase_corrections(customers):
            corrections += count
            outbox.renew(ERASE_TASK, key)
        with transaction.atomic():
            events.record(
                actor=None,
                verb="audits.erased",
                subject_type="run",
                subject_id="several",
                summary=f"Erased items of customers who opted out: {items:,} of {len(customers):,}",
                after={"items": items, "corrections": corrections, "customers": len(customers)},
            )
        erased += items + corrections
    return erased


def tidy() -> int:
    """Blank what people saw of predictions in runs drawn longer ago than AUDIT_RETENTION; how many items.

    Text, values, product and customer go; labels, scores and figures stay. So does the customer of
    corrections that old. Deletes downloads after an hour, and what files gave a run that is no longer
    being drawn. At most half a million items a call, 2,000 a transaction.
    """
    Export.objects.filter(
        Q(made_at__lt=clock.now() - EXPORTS_KEPT) | Q(made_at=None, wanted_at__lt=clock.now() - EXPORTS_KEPT)
    ).delete()
    FrameFile.objects.exclude(run__state=Run.State.DRAWING).exclude(candidates=[]).update(candidates=[])
    oldest = clock.now() - settings.AUDIT_RETENTION
    blanked = 0
    while blanked < TIDY_MAX and (rows := _blank_some(oldest)):
        blanked += rows
    with transaction.atomic():
        Correction.objects.filter(~Q(customer_key=""), made_at__lt=oldest).update(customer_key="")
        if blanked:
            days = settings.AUDIT_RETENTION.days
            events.record(
                actor=None,
                verb="audits.expired",
                subject_type="run",
                subject_id="several",
                summary=f"Erased what {blanked:,} items older than {days:,} days showed",
                after={"items": blanked, "days": days},
            )
    return blanked


def _blank_some(oldest: datetime) -> int:
    """Blank some items of runs that were drawn before then; how many."""
    runs = Run.objects.filter(Q(drawn_at__lt=oldest) | Q(drawn_at=None, created_at__lt=oldest))
    telling = Item.objects.exclude(text="", features="{}", product_id="", customer_key="")
    with transaction.atomic():
        pks = list(telling.filter(run__in=runs).order_by().values_list("pk", flat=True)[:ROWS_BATCH])
        Item.objects.filter(pk__in=pks).update(text="", features="{}", product_id="", customer_key="")
    return len(pks)


def _customers_to_erase() -> QuerySet[Suppression, str]:
    """Those who opted out and of whom something is here; two looks into indexes for each."""
    items = Item.objects.filter(~Q(customer_key=""), customer_key=OuterRef("pk"))
    corrections = Correction.objects.filter(~Q(customer_key=""), customer_key=OuterRef("pk"))
    return (
        Suppression.objects.filter(Exists(items) | Exists(corrections))
        .order_by()
        .values_list("pk", flat=True)
    )


def _erase_items(customers: Sequence[str]) -> int:
    """Delete some items of these customers; how many.

    Locks as answers do: the run against closing, whoever holds a review, the items, and the runs last.
    """
    theirs = Item.objects.filter(~Q(customer_key=""), customer_key__in=customers).order_by("pk")
    with transaction.atomic():
        found = dict(theirs.values_list("pk", "run_id")[:ROWS_BATCH])
        for run_id in sorted(set(found.values())):
            hold_off_closing(run_id)
        reviews = Review.objects.filter(item__in=found)
        holders = reviews.filter(state=Review.State.LEASED).order_by("holder").values_list("holder_id")
        for (person_id,) in holders.distinct():
            lock_person(person_id)
        items = list(Item.objects.select_for_update(of=("self",)).filter(pk__in=found).order_by("pk"))
        falls: dict[int, Counter[str]] = {run_id: Counter() for run_id in found.values()}
        for item in items:
            fall = falls[item.run_id]
            fall["items"] += 1
            fall["settled"] += item.state == Item.State.SETTLED
            fall["to_adjudicate"] += item.state == Item.State.DISPUTED
        looks = reviews.filter(kind=Review.Kind.LABEL).values_list("run_id", "state", "second_look")
        for run_id, state, second_look in looks:
            # A second look that nobody needed any more has been taken off already.
            falls[run_id]["reviews_needed"] += not (second_look and state == Review.State.VOID)
            falls[run_id]["reviews_done"] += state == Review.State.DONE
        Export.objects.filter(run__in=falls).delete()
        Item.objects.filter(pk__in=found).only("pk").delete()
        for run_id in sorted(falls):
            fall = falls[run_id]
            changes = {name: F(name) - count for name, count in fall.items() if count}
            Run.objects.filter(pk=run_id).update(**changes, erased=F("erased") + fall["items"])
    return len(items)


def _erase_corrections(customers: Sequence[str]) -> int:
    """Delete some corrections of these customers that rules made; how many."""
    theirs = Correction.objects.filter(~Q(customer_key=""), customer_key__in=customers)
    with transaction.atomic():
        pks = list(theirs.order_by("pk").values_list("pk", flat=True)[:ROWS_BATCH])
        Correction.objects.filter(pk__in=pks).delete()
    return len(pks)
