"""Work on predictions that nobody waits for."""

from celery import shared_task

from opsportal.events import outbox
from opsportal.predictions import services


@shared_task(name="predictions.erase")
def erase(key: str) -> None:
    """Erase the predictions of customers who opted out."""
    outbox.deliver("predictions.erase", key, lambda: services.erase_suppressed(key))


@shared_task(name="predictions.tidy")
def tidy() -> None:
    """Delete predictions that have been kept long enough."""
    services.tidy()
