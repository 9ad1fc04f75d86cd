"""Find predictions, newest first, by what is known of them. Each way begins at an index."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Q, QuerySet

from opsportal.core.errors import NotFound
from opsportal.predictions.models import ModelVersion, Prediction
from opsportal.predictions.words import words_of

# The order of every list of predictions, for core.pagination.keyset_page.
NEWEST_FIRST = ("-predicted_at", "-id")
_NEWEST_SEEN = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUp:
    """What predictions are looked for by; empty means any. All that is given must hold.

    customer_key: a pseudonym, never an ID. model, version: their names. words: each must stand in a
    value that the dictionary calls findable. since is included, until is not.
    """

    prediction_id: str = ""
    customer_key: str = ""
    product_id: str = ""
    model: str = ""
    version: str = ""
    surface: str = ""
    words: str = ""
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_narrow(self) -> bool:
        """Whether it asks for a case, a person or a product, rather than for what is newest."""
        return bool(self.prediction_id or self.customer_key or self.product_id or self.words)


def find_predictions(wanted: LookUp) -> QuerySet[Prediction]:
    """The predictions that match, newest first, with their versions and models; read them by pages."""
    found = Prediction.objects.select_related("version__model").order_by(*NEWEST_FIRST)
    if wanted.model or wanted.version:
        found = _of_versions(found, wanted)
    if wanted.prediction_id:
        found = found.filter(prediction_id=wanted.prediction_id)
    if wanted.customer_key:
        found = found.filter(_same_customer(wanted.customer_key))
    if wanted.product_id:
        found = found.filter(~Q(product_id=""), product_id=wanted.product_id)
    if wanted.surface:
        found = found.filter(surface=wanted.surface)
    if wanted.since:
        found = found.filter(predicted_at__gte=wanted.since)
    if wanted.until:
        found = found.filter(predicted_at__lt=wanted.until)
    if wanted.words:
        words = words_of(wanted.words)
        for word in words:
            found = found.filter(words__word=word)
        if not words:
            return found.none()
    return found


def prediction_by_id(prediction_id: str) -> Prediction:
    """The prediction with its version and model. Raises NotFound."""
    try:
        return Prediction.objects.select_related("version__model").get(prediction_id=prediction_id)
    except Prediction.DoesNotExist:
        raise NotFound("There is no prediction with this ID.") from None


def earlier_of_same_customer(prediction: Prediction, limit: int) -> list[Prediction]:
    """Earlier predictions of the same model for the same customer and product, newest first.

    Those of other versions included. Empty where the customer is not known.
    """
    if not prediction.customer_key:
        return []
    same_moment = Q(predicted_at=prediction.predicted_at, pk__lt=prediction.pk)
    earlier = Prediction.objects.filter(
        _same_customer(prediction.customer_key),
        Q(predicted_at__lt=prediction.predicted_at) | same_moment,
        predicted_at__lte=prediction.predicted_at,
        product_id=prediction.product_id,
        version__model=prediction.version.model_id,
    )
    return list(earlier.select_related("version__model").order_by(*NEWEST_FIRST)[:limit])


def _same_customer(key: str) -> Q:
    # The first half is implied by the second, but it names the condition of the partial index.
    return ~Q(customer_key="") & Q(customer_key=key)


def _of_versions(found: QuerySet[Prediction], wanted: LookUp) -> QuerySet[Prediction]:
    versions = ModelVersion.objects.all()
    if wanted.model:
        versions = versions.filter(model__name=wanted.model)
    if wanted.version:
        versions = versions.filter(version=wanted.version)
    pks = list(versions.values_list("pk", flat=True))
    if not wanted.is_narrow and (len(pks) == 1 or not _common(wanted, pks)):
        return found.filter(version=pks[0]) if len(pks) == 1 else found.filter(version__in=pks)
    # Without the versions' index, which no database may begin at: a version has a million predictions, a
    # customer a few; and several versions would have to be sorted, while the newest of all are in order.
    return found.alias(of_version=F("version") + 0).filter(of_version__in=pks)


def _common(wanted: LookUp, versions: list[int]) -> bool:
    """Whether a page of these versions is soon found among the newest predictions of all."""
    newest = Prediction.objects.order_by(*NEWEST_FIRST)
    if wanted.until:
        newest = newest.filter(predicted_at__lt=wanted.until)
    seen = newest.values_list("version", flat=True)[:_NEWEST_SEEN]
    return sum(pk in versions for pk in seen) >= _NEWEST_SEEN // 10
