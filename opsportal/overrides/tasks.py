"""Work on overrides that a request does not wait for."""

from celery import shared_task

from opsportal.events import outbox
from opsportal.overrides import services


@shared_task(name="overrides.check_file")
def check_file(key: str) -> None:
    """Find out what each row of an uploaded file would do."""
    outbox.deliver("overrides.check_file", key, lambda: services.check_file(int(key)))


@shared_task(name="overrides.apply_approved")
def apply_approved(key: str) -> None:
    """Give effect to a large submission."""
    outbox.deliver("overrides.apply_approved", key, lambda: services.apply_approved(int(key)))


@shared_task(name="overrides.tidy")
def tidy() -> None:
    """Drop rules that ended long ago from the store."""
    services.tidy()
