"""What Celery does for the store. A tick that fails is simply followed by the next."""

from celery import shared_task

from opsportal.serving import services
from opsportal.serving.services import StoreOfAnotherDatabase
from opsportal.serving.store import StoreDown

# Noted on the serving page by the service; nothing a worker could do about it.
_EXPECTED = (StoreDown, StoreOfAnotherDatabase)


@shared_task(name="serving.project", throws=_EXPECTED)
def project() -> None:
    """Push what the store lacks."""
    services.project()


@shared_task(name="serving.heartbeat", throws=_EXPECTED)
def heartbeat() -> None:
    """Tell readers that the publisher is alive."""
    services.heartbeat()


@shared_task(name="serving.check", throws=_EXPECTED)
def check() -> None:
    """Compare the store's numbers with what was pushed."""
    services.check()


@shared_task(name="serving.compare", throws=_EXPECTED)
def compare() -> None:
    """Compare every entry of the store with the database, and repair."""
    services.compare(repair=True)
