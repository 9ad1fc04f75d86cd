"""Products, surfaces and a week of real impressions (see data/NOTICE), moved so that it ends yesterday."""

import csv
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path

from django.db import transaction
from django.db.models import Max

from opsportal.core import clock
from opsportal.overrides.models import Surface
from opsportal.predictions.models import Impressions, Product

LOG = Path(__file__).parent / "data" / "open_bandit_men_sample.csv"

# The log was taken at three places side by side on the home page: its column `position`.
SURFACES = {
    "1": ("home-left", "Home page, left"),
    "2": ("home-centre", "Home page, centre"),
    "3": ("home-right", "Home page, right"),
}


def product_id(item: str) -> str:
    """The demo's ID of an item of the log."""
    return f"men-{item}"


def load_impressions() -> None:
    """Load the log, or move it when the week no longer ends yesterday; does nothing otherwise.

    One transaction, about 0.1 s. Only the demo's own products are touched.
    """
    yesterday = clock.now().date() - timedelta(days=1)
    ours = Impressions.objects.filter(product__product_id__startswith=product_id(""))
    if ours.aggregate(last=Max("day"))["last"] == yesterday:
        return
    shown, clicked = _counts(yesterday)
    with transaction.atomic():
        for slug, name in SURFACES.values():
            Surface.objects.get_or_create(slug=slug, defaults={"name": name})
        items = sorted({product for product, _, _ in shown})
        Product.objects.bulk_create(
            [Product(product_id=item, title=f"Men's fashion {item.removeprefix('men-')}") for item in items],
            ignore_conflicts=True,
        )
        ours.delete()
        Impressions.objects.bulk_create(
            Impressions(product_id=product, surface=surface, day=day, shown=count, clicked=clicked[key])
            for key, count in shown.items()
            for product, surface, day in [key]
        )


def _counts(last_day: date) -> tuple[Counter[tuple[str, str, date]], Counter[tuple[str, str, date]]]:
    """How often each (product, surface, day) was shown and clicked."""
    shown: Counter[tuple[str, str, date]] = Counter()
    clicked: Counter[tuple[str, str, date]] = Counter()
    with LOG.open(encoding="utf-8", newline="") as file:
        rows = [
            (
                datetime.fromisoformat(row["timestamp"]).date(),
                row["item_id"],
                row["position"],
                int(row["click"]),
            )
            for row in csv.DictReader(file)
        ]
    shift = last_day - max(day for day, *_ in rows)
    for day, item, position, click in rows:
        key = (product_id(item), SURFACES[position][0], day + shift)
        shown[key] += 1
        clicked[key] += click
    return shown, clicked
