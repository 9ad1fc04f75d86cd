"""Files of labels that a worker writes, because a web process cannot: Parquet. Each is kept for an hour."""

from datetime import timedelta

from django.db import transaction

from opsportal.accounts.models import User
from opsportal.audits.models import Export, Run
from opsportal.core import clock
from opsportal.core.errors import Conflict, Forbidden
from opsportal.events import outbox
from opsportal.events import services as events
from opsportal.predictions.models import Suppression

EXPORT_TASK = "audits.export"
PARQUET = "parquet"
KEPT_FOR = timedelta(hours=1)
# A message that failed eight times is given up; whoever asks again after this sends another one.
FORGOTTEN_AFTER = timedelta(minutes=1)


def want_export(*, actor: User, run: Run, format: str = PARQUET) -> Export:
    """The file of a closed run's labels: one that is there and still fit to be given away, else one that is
    being written from now on.

    Not fit is what is older than an hour or was written before somebody opted out. Any number at once is
    one. Raises Forbidden, Conflict (not closed).
    """
    require_closed(run, actor)
    forget_old()
    with transaction.atomic():
        found, created = Export.objects.select_for_update(of=("self",)).get_or_create(
            run=run, format=format, defaults={"wanted_by": actor, "wanted_at": clock.now()}
        )
        if not created and is_fit(found):
            return found
        is_new = created or found.state != Export.State.WANTED
        if is_new or found.wanted_at < clock.now() - FORGOTTEN_AFTER:
            found.state, found.content, found.rows = Export.State.WANTED, b"", 0
            found.wanted_by, found.wanted_at, found.made_at = actor, clock.now(), None
            found.save()
            if not outbox.is_waiting(task=EXPORT_TASK, key=found.pk):
                outbox.send(task=EXPORT_TASK, key=found.pk)
        if is_new:
            note_export(actor=actor, run=run, format=format)
    return found


def is_fit(export: Export) -> bool:
    """Whether the file may be given away: written within the hour, and nobody has opted out since."""
    made_at = export.made_at
    return (
        export.state == Export.State.READY
        and made_at is not None
        and made_at > clock.now() - KEPT_FOR
        and not Suppression.objects.filter(since__gte=made_at).exists()
    )


def forget_old() -> None:
    """Delete files that are older than an hour."""
    Export.objects.filter(made_at__lt=clock.now() - KEPT_FOR).delete()


def require_closed(run: Run, actor: User) -> None:
    """Raise unless this person may take the labels of the run along, and it is closed."""
    if not actor.can("audits.export"):
        raise Forbidden("You may not take labels along.")
    if run.state != Run.State.CLOSED:
        raise Conflict("Labels can be taken along once the run is closed.", code="not_closed")


def note_export(*, actor: User, run: Run, format: str) -> None:
    """Record who took the labels of a run along, and how. Opens its own transaction where there is none."""
    with transaction.atomic():
        events.record(
            actor=actor,
            verb="labels.exported",
            subject_type="run",
            subject_id=run.pk,
            summary=f"Took the labels of “{run.title}” along as {format}",
            after={"format": format},
        )
