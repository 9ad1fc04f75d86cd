"""Delete predictions with everything that hangs on them: when a customer opts out, and when they are old."""

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from opsportal.core import clock
from opsportal.events import outbox
from opsportal.events import services as events
from opsportal.predictions.models import ModelVersion, Prediction, PredictionImport, Suppression
from opsportal.predictions.services.suppressing import ERASE_TASK, wait_for_intakes

PROFILE_TASK = "explanations.profile"
CUSTOMERS_BATCH = 500
ROWS_BATCH = 2_000
# What one hourly run deletes at most: it must end before the worker's time is up.
TIDY_MAX = 500_000


def erase_suppressed(key: str) -> int:
    """Delete the predictions of all customers who opted out, their words and explanations; how many.

    Reads who has opted out now, so repeats and messages out of order are harmless; `key` is that of
    the message whose lease is prolonged meanwhile. In batches of 500 customers, each with an event
    that says how many and of whom nothing; every 2,000 rows are a transaction.
    """
    with transaction.atomic():
        wait_for_intakes()
    erased = 0
    while customers := list(_customers_to_erase()[:CUSTOMERS_BATCH]):
        about_them = Prediction.objects.filter(~Q(customer_key=""), customer_key__in=customers)
        versions = list(about_them.order_by().values_list("version", flat=True).distinct())
        count = 0
        while rows := _delete_some(about_them):
            count += rows
            outbox.renew(ERASE_TASK, key)
        with transaction.atomic():
            let_go_of_logged_rows(ModelVersion.objects.filter(pk__in=versions))
            for version in versions:
                # Its dependence holds sampled values.
                outbox.send(task=PROFILE_TASK, key=version)
            events.record(
                actor=None,
                verb="predictions.erased",
                subject_type="prediction",
                subject_id="several",
                summary=f"Erased predictions of customers who opted out: {count:,} of {len(customers):,}",
                after={"predictions": count, "customers": len(customers)},
            )
        erased += count
    return erased


def tidy() -> int:
    """Delete predictions older than PREDICTION_RETENTION with all that hangs on them; how many.

    Imports that ended before that time are forgotten, too: their predictions are gone, so the same
    file may come in again. At most half a million predictions a call, 2,000 a transaction.
    """
    oldest = clock.now() - settings.PREDICTION_RETENTION
    expired = Prediction.objects.filter(predicted_at__lt=oldest).order_by("predicted_at", "pk")
    deleted = 0
    while deleted < TIDY_MAX and (rows := _delete_some(expired)):
        deleted += rows
    with transaction.atomic():
        let_go_of_logged_rows(ModelVersion.objects.filter(background_logged_at__lt=oldest))
        PredictionImport.objects.filter(finished_at__lt=oldest).delete()
        if deleted:
            days = settings.PREDICTION_RETENTION.days
            events.record(
                actor=None,
                verb="predictions.expired",
                subject_type="prediction",
                subject_id="several",
                summary=f"Deleted {deleted:,} predictions older than {days:,} days",
                after={"predictions": deleted, "days": days},
            )
    return deleted


def let_go_of_logged_rows(versions: QuerySet[ModelVersion]) -> None:
    """Drop the reference rows that these versions took from the log; the next question takes others.

    The files go once the transaction has committed. Rows that were registered stay.
    """
    files = [
        (version.background.storage, str(version.background.name))
        for version in versions.filter(background_logged_at__isnull=False).select_for_update()
    ]
    versions.filter(background_logged_at__isnull=False).update(
        background="", background_sha256="", background_logged_at=None
    )

    def delete_files() -> None:
        for storage, name in files:
            storage.delete(name)

    transaction.on_commit(delete_files, robust=True)


def _customers_to_erase() -> QuerySet[Suppression, str]:
    """Those who opted out and about whom there are predictions; one look into an index for each."""
    about_them = Prediction.objects.filter(~Q(customer_key=""), customer_key=OuterRef("pk"))
    return Suppression.objects.filter(Exists(about_them)).order_by().values_list("pk", flat=True)


def _delete_some(predictions: QuerySet[Prediction]) -> int:
    with transaction.atomic():
        pks = list(predictions.values_list("pk", flat=True)[:ROWS_BATCH])
        Prediction.objects.filter(pk__in=pks).only("pk").delete()
    return len(pks)
