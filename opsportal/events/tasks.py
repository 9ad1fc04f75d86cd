"""The tick that makes the outbox certain."""

from celery import shared_task

from opsportal.events import outbox


@shared_task(name="events.drain")
def drain() -> None:
    """Run whatever is due."""
    outbox.drain()
