"""Put items into a run, with one review for every look that each of them needs."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F

from opsportal.audits.models import Item, Review, Run, Stratum, Stream
from opsportal.predictions.selectors import suppressed_among
from opsportal.predictions.services.suppressing import hold_off_erasing

BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItem:
    """A prediction that becomes an item. features: a JSON object as text. reviews: how many it needs."""

    prediction_id: str
    version_id: int | None
    predicted_at: datetime
    score: float
    predicted: str
    product_id: str = ""
    customer_key: str = ""
    surface: str = ""
    text: str = ""
    features: str = "{}"
    stream: Stream = Stream.SAMPLE
    stratum: Stratum | None = None
    inclusion_probability: float | None = None
    suspicion: float | None = None
    why: str = ""
    gold: str = ""
    reviews: int = 1


def fill(run: Run, items: Iterable[NewItem], *, priority: int = 0) -> int:
    """Add items that the run does not have yet; how many are new. Part of the caller's transaction.

    The order in which people get them is by chance. Counters of the run rise with them. Whose customer
    has opted out since it was drawn counts as erased; erasing waits until the transaction ends.
    """
    hold_off_erasing()
    added = needed = erased = 0
    batch: list[NewItem] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            new, reviews, gone = _add(run, batch, priority)
            added, needed, erased, batch = added + new, needed + reviews, erased + gone, []
    new, reviews, gone = _add(run, batch, priority)
    added, needed, erased = added + new, needed + reviews, erased + gone
    Run.objects.filter(pk=run.pk).update(
        items=F("items") + added,
        reviews_needed=F("reviews_needed") + needed,
        erased=F("erased") + erased,
    )
    return added


def _add(run: Run, batch: list[NewItem], priority: int) -> tuple[int, int, int]:
    """How many items and reviews are new, and how many items were left out for an opt-out."""
    opted_out = suppressed_among({item.customer_key for item in batch if item.customer_key})
    there = set(
        Item.objects.filter(run=run, prediction_id__in=[item.prediction_id for item in batch]).values_list(
            "prediction_id", flat=True
        )
    )
    new = [
        item
        for item in {item.prediction_id: item for item in batch}.values()
        if item.prediction_id not in there and item.customer_key not in opted_out
    ]
    rows = Item.objects.bulk_create(
        Item(
            run=run,
            stratum=item.stratum,
            stream=item.stream,
            inclusion_probability=item.inclusion_probability,
            suspicion=item.suspicion,
            why=item.why,
            prediction_id=item.prediction_id,
            version_id=item.version_id,
            predicted_at=item.predicted_at,
            score=item.score,
            predicted=item.predicted,
            product_id=item.product_id,
            customer_key=item.customer_key,
            surface=item.surface,
            text=item.text,
            features=item.features,
            gold=item.gold,
        )
        for item in new
    )
    reviews = Review.objects.bulk_create(
        Review(run=run, item=row, number=number, priority=priority, shuffle=secrets.randbits(62))
        for row, item in zip(rows, new, strict=True)
        for number in range(1, item.reviews + 1)
    )
    gone = len({item.prediction_id for item in batch if item.customer_key in opted_out})
    return len(rows), len(reviews), gone
