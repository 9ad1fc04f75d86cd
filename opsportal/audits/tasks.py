"""Workers' half of audits, on the queue `audit`. The first task loads the numeric libraries."""

from celery import shared_task

from opsportal.audits.services import sweeping
from opsportal.events import outbox

LANE = "audits."


@shared_task(name="audits.drain")
def drain() -> None:
    """Run whatever is due for audits."""
    outbox.drain(lane=LANE)


@shared_task(name="audits.sweep")
def sweep() -> None:
    """Bring back reviews that nobody answered in time."""
    sweeping.sweep()


@shared_task(name="audits.export")
def export(key: str) -> None:
    """Write a file of labels that somebody wants."""
    from opsportal.audits import exporting  # noqa: PLC0415  loads pyarrow

    outbox.deliver("audits.export", key, lambda: exporting.export(int(key)))
