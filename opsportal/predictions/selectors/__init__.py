"""Questions about products and predictions. They change nothing; a look at a prediction is recorded by
services.looking_up."""

from opsportal.predictions.selectors.finding import (
    NEWEST_FIRST,
    LookUp,
    earlier_of_same_customer,
    find_predictions,
    prediction_by_id,
)
from opsportal.predictions.selectors.products import (
    batches,
    impressions_of,
    impressions_total,
    known_products,
)
from opsportal.predictions.selectors.suppressed import suppressed_among

__all__ = [
    "NEWEST_FIRST",
    "LookUp",
    "batches",
    "earlier_of_same_customer",
    "find_predictions",
    "impressions_of",
    "impressions_total",
    "known_products",
    "prediction_by_id",
    "suppressed_among",
]
