"""Workers' half of audits, on the queue `audit`. The first task loads the numeric libraries."""

from celery import shared_task

from opsportal.audits.services import applying, erasing, previewing, scheduling, sweeping
from opsportal.events import outbox

LANE = "audits."
DRAW_SECONDS = 3_600


# It may have to draw, which takes its time.
@shared_task(name="audits.drain", time_limit=DRAW_SECONDS, soft_time_limit=DRAW_SECONDS)
def drain() -> None:
    """Run whatever is due for audits."""
    outbox.drain(lane=LANE)


@shared_task(name="audits.tick")
def tick() -> None:
    """Start the runs of periods that have ended."""
    scheduling.start_due_runs()


# A million rows take seconds, a hundred million minutes; the lease is renewed throughout.
@shared_task(name="audits.draw", time_limit=DRAW_SECONDS, soft_time_limit=DRAW_SECONDS)
def draw(key: str) -> None:
    """Draw a run, or take the next step of it."""
    from opsportal.audits.drawing import steps  # noqa: PLC0415  loads pyarrow

    outbox.deliver("audits.draw", key, lambda: steps.draw(int(key)))


@shared_task(name="audits.count_file", time_limit=DRAW_SECONDS, soft_time_limit=DRAW_SECONDS)
def count_file(key: str) -> None:
    """Count one of the files that a run is drawn from."""
    from opsportal.audits.drawing import steps  # noqa: PLC0415  loads pyarrow

    outbox.deliver("audits.count_file", key, lambda: steps.count_file(int(key)))


@shared_task(name="audits.draw_file", time_limit=DRAW_SECONDS, soft_time_limit=DRAW_SECONDS)
def draw_file(key: str) -> None:
    """Choose the candidates of one of these files."""
    from opsportal.audits.drawing import steps  # noqa: PLC0415  loads pyarrow

    outbox.deliver("audits.draw_file", key, lambda: steps.draw_file(int(key)))


@shared_task(name="audits.sweep")
def sweep() -> None:
    """Bring back reviews that nobody answered in time."""
    sweeping.sweep()


@shared_task(name="audits.export")
def export(key: str) -> None:
    """Write a file of labels that somebody wants."""
    from opsportal.audits import exporting  # noqa: PLC0415  loads pyarrow

    outbox.deliver("audits.export", key, lambda: exporting.export(int(key)))


@shared_task(name="audits.estimate")
def estimate(key: str) -> None:
    """Compute the figures of a closed run."""
    from opsportal.audits.estimating import results  # noqa: PLC0415  loads scipy and statsmodels

    outbox.deliver("audits.estimate", key, lambda: results.estimate(int(key)))


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


@shared_task(name="audits.erase")
def erase(key: str) -> None:
    """Erase what is here of customers who opted out."""
    outbox.deliver("audits.erase", key, lambda: erasing.erase_suppressed(key))


@shared_task(name="audits.tidy")
def tidy() -> None:
    """Blank what has been kept long enough."""
    erasing.tidy()


@shared_task(name="audits.threshold")
def threshold(key: str) -> None:
    """Look for the threshold that keeps a promise."""
    from opsportal.audits import thresholding  # noqa: PLC0415  loads scipy

    outbox.deliver("audits.threshold", key, lambda: thresholding.compute(int(key)))


@shared_task(name="audits.verify")
def verify(key: str) -> None:
    """Hold thresholds against a run that was closed since."""
    from opsportal.audits import thresholding  # noqa: PLC0415  loads scipy

    outbox.deliver("audits.verify", key, lambda: thresholding.verify(int(key)))


@shared_task(name="audits.suspect")
def suspect(key: str) -> None:
    """Choose what is most likely wrong, for a targeted run."""
    from opsportal.audits import suspecting  # noqa: PLC0415  loads scikit-learn

    outbox.deliver("audits.suspect", key, lambda: suspecting.rank(int(key)))
