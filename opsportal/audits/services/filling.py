"""Put items into a run, with one review for every look that each of them needs."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F

from opsportal.audits.models import Item, Review, Run, Stratum, Stream

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

    The order in which people get them is by chance. Counters of the run rise with them.
    """
    added = needed = 0
    batch: list[NewItem] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            new, reviews = _add(run, batch, priority)
            added, needed, batch = added + new, needed + reviews, []
    new, reviews = _add(run, batch, priority)
    added, needed = added + new, needed + reviews
    Run.objects.filter(pk=run.pk).update(
        items=F("items") + added, reviews_needed=F("reviews_needed") + needed
    )
    return added


def _add(run: Run, batch: list[NewItem], priority: int) -> tuple[int, int]:
    there = set(
        Item.objects.filter(run=run, prediction_id__in=[item.prediction_id for item in batch]).values_list(
            "prediction_id", flat=True
        )
    )
    new = [
        item
        for item in {item.prediction_id: item for item in batch}.values()
        if item.prediction_id not in there
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
    return len(rows), len(reviews)
