"""The desired state of the serving store, key by key."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from opsportal.overrides.models import Block, Boost, OptOut
from opsportal.predictions.selectors import batches


def desired_products(keys: Sequence[str]) -> dict[str, str]:
    """The rules of each product that has any: `rule;rule…`, blocks first, then the later approved boosts.

    Ids rise in the order of application, and an undo that opens a rule again keeps its place.
    A rule is `b,surface,start,end,override` or `f,surface,factor,start,end,override`; times are
    epoch seconds, 0 where there is none. Rules whose end has passed stay until they are tidied
    away, so that the answer depends on rows alone, never on the clock. Two queries per 900 keys.
    """
    rules: defaultdict[str, list[str]] = defaultdict(list)
    for batch in batches(keys):
        blocks = Block.objects.filter(product_id__in=batch, closed_at=None).order_by("-id")
        for product, surface, start, end, pk in blocks.values_list(
            "product_id", "surface_id", "starts_at", "ends_at", "id"
        ):
            rules[product].append(block_text(surface, start, end, pk))
        boosts = Boost.objects.filter(product_id__in=batch, closed_at=None).order_by("-id")
        for product, surface, factor, start, end, pk in boosts.values_list(
            "product_id", "surface_id", "factor", "starts_at", "ends_at", "id"
        ):
            rules[product].append(boost_text(surface, factor, start, end, pk))
    return {product: ";".join(found) for product, found in rules.items()}


def desired_customers(keys: Sequence[str]) -> dict[str, str]:
    """What each customer (by key) who opted out objects to, comma-separated. One query per 900 keys."""
    return {
        opt_out.customer_key: ",".join(opt_out.purposes)
        for batch in batches(keys)
        for opt_out in OptOut.objects.filter(customer_key__in=batch, closed_at=None).only(
            "customer_key", "personalisation", "training", "sharing"
        )
    }


def block_text(surface: str, start: datetime, end: datetime | None, pk: int) -> str:
    """A block as the store holds it."""
    return f"b,{surface},{_epoch(start)},{_epoch(end)},{pk}"


def boost_text(surface: str, factor: float, start: datetime, end: datetime | None, pk: int) -> str:
    """A boost as the store holds it."""
    return f"f,{surface},{factor!r},{_epoch(start)},{_epoch(end)},{pk}"


def _epoch(moment: datetime | None) -> int:
    return int(moment.timestamp()) if moment else 0
