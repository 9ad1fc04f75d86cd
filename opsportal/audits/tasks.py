"""Workers' half of audits, on the queue `audit`. The first task loads the numeric libraries."""

from celery import shared_task

from opsportal.audits.services import sweeping
from opsportal.audits.services import applying, previewing
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


@shared_task(name="audits.mine")
def mine(key: str) -> None:
    """Look for what the errors of a closed run have in common."""
    from opsportal.audits import mining  # noqa: PLC0415  loads scikit-learn

    outbox.deliver("audits.mine", key, lambda: mining.mine(int(key)))


@shared_task(name="audits.preview")
def preview(key: str) -> None:
    """Find out what a rule would do."""
    outbox.deliver("audits.preview", key, lambda: previewing.preview(int(key)))


@shared_task(name="audits.apply")
def apply(key: str) -> None:
    """Relabel what a rule is true of."""
    outbox.deliver("audits.apply", key, lambda: applying.apply(int(key)))


@shared_task(name="audits.revert")
def revert(key: str) -> None:
    """Take back what a rule relabelled."""
    outbox.deliver("audits.revert", key, lambda: applying.revert(int(key)))
