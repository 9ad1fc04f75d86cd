"""Which customers opted out of profiling."""

from collections.abc import Iterable

from opsportal.predictions.models import Suppression
from opsportal.predictions.selectors.products import batches


def suppressed_among(customer_keys: Iterable[str]) -> set[str]:
    """Those of the pseudonyms whose customers opted out; one query per 900."""
    found: set[str] = set()
    for batch in batches(customer_keys):
        found.update(Suppression.objects.filter(pk__in=batch).values_list("pk", flat=True))
    return found
