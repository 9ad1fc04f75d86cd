"""Questions about the products seen and how often they were shown."""

from collections.abc import Collection, Iterable, Iterator
from datetime import timedelta
from itertools import islice
from typing import TypeVar

from django.db.models import QuerySet, Sum

from opsportal.core import clock
from opsportal.predictions.models import Impressions, Product

T = TypeVar("T")
WEEK = timedelta(days=7)
# SQLite takes a bounded number of parameters a statement.
BATCH = 900


def known_products(product_ids: Collection[str]) -> set[str]:
    """Which of these products have been seen; one query per 900."""
    found: set[str] = set()
    for batch in batches(product_ids):
        found.update(Product.objects.filter(pk__in=batch).values_list("pk", flat=True))
    return found


def impressions_of(product_ids: Collection[str], *, surface: str | None = None) -> int:
    """How often these products (distinct) were shown in the last seven days, on one surface or everywhere."""
    rows = _last_week(surface)
    return sum(
        rows.filter(product__in=batch).aggregate(total=Sum("shown"))["total"] or 0
        for batch in batches(product_ids)
    )


def impressions_total(*, surface: str | None = None) -> int:
    """How often any product was shown in the last seven days, on one surface or everywhere."""
    return _last_week(surface).aggregate(total=Sum("shown"))["total"] or 0


def batches(values: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """The values in lists of at most `size`."""
    iterator = iter(values)
    while batch := list(islice(iterator, size)):
        yield batch


def _last_week(surface: str | None) -> QuerySet[Impressions]:
    rows = Impressions.objects.filter(day__gte=(clock.now() - WEEK).date())
    return rows.filter(surface=surface) if surface else rows
