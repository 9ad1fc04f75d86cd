"""Close a run: from then on nothing about it changes, and a worker computes its figures."""

from django.db import connection, transaction

from opsportal.accounts.models import User
from opsportal.audits.models import Item, Review, Run
from opsportal.core import clock
from opsportal.core.errors import Conflict, Forbidden, Invalid, NotFound
from opsportal.events import outbox
from opsportal.events import services as events

ESTIMATE_TASK = "audits.estimate"
# Any number will do that nothing else locks by; the run's number is the other half of the key.
_CLOSE_LOCK = 0x6F70_7332
CANCELLABLE = (Run.State.DRAWING, Run.State.OPEN, Run.State.FAILED)
# As the column that keeps it.
REASON_MAX = 500


def close_run(*, actor: User, run: Run) -> Run:
    """End the labelling of an open run for good, and have its figures computed; the run as it is then.

    Reviews that are open or in somebody's hands become void, items without a settled label are left
    unlabelled, and answers that come later are refused. Sends "audits.estimate". Waits for answers that
    are being written, then locks the run. Raises Forbidden, NotFound, Conflict (not open).
    """
    if not actor.can("audits.lead"):
        raise Forbidden("Only an audit lead closes a run.")
    with transaction.atomic():
        locked = _locked(run)
        if locked.state != Run.State.OPEN:
            raise Conflict(
                f"“{locked.title}” is {locked.get_state_display().lower()}, not open.", code="not_open"
            )
        unlabelled = _void(locked)
        locked.state = Run.State.CLOSED
        locked.closed_at, locked.closed_by = clock.now(), actor
        locked.to_adjudicate = 0
        locked.save(update_fields=["state", "closed_at", "closed_by", "to_adjudicate"])
        outbox.send(task=ESTIMATE_TASK, key=locked.pk)
        events.record(
            actor=actor,
            verb="run.closed",
            subject_type="run",
            subject_id=locked.pk,
            summary=f"Closed “{locked.title}”: {locked.settled:,} of {locked.items:,} items labelled",
            after={"items": locked.items, "settled": locked.settled, "unlabelled": unlabelled},
        )
    return locked


def cancel_run(*, actor: User, run: Run, reason: str) -> Run:
    """Give up a run that is being drawn, open or failed: nothing more is labelled, and nothing estimated.

    Its items stay, unlabelled or as they are. Locks as close_run. Raises Forbidden, NotFound, Invalid (no
    reason), Conflict.
    """
    if not actor.can("audits.lead"):
        raise Forbidden("Only an audit lead cancels a run.")
    reason = reason.strip()
    if not reason:
        raise Invalid.at("reason", "required", "Say why the run is given up.")
    if len(reason) > REASON_MAX or "\0" in reason:
        raise Invalid.at("reason", "too_long", f"Use at most {REASON_MAX} characters.")
    with transaction.atomic():
        locked = _locked(run)
        if locked.state not in CANCELLABLE:
            raise Conflict(
                f"“{locked.title}” is {locked.get_state_display().lower()} and cannot be cancelled.",
                code="not_open",
            )
        _void(locked)
        locked.state, locked.problem, locked.to_adjudicate = Run.State.CANCELLED, reason, 0
        locked.save(update_fields=["state", "problem", "to_adjudicate"])
        events.record(
            actor=actor,
            verb="run.cancelled",
            subject_type="run",
            subject_id=locked.pk,
            summary=f"Cancelled “{locked.title}” with {locked.settled:,} of {locked.items:,} items labelled",
            reason=reason,
        )
    return locked


def hold_off_closing(run_id: int) -> None:
    """Let nobody close this run before the caller's transaction ends; then ask whether it is open.

    For whoever writes an answer: call it first, before any row is locked, so that an answer and a close
    never wait for each other in a circle. Any number of answers hold it at once. SQLite needs nothing:
    all writing transactions take turns there.
    """
    _lock_answers(run_id, "pg_advisory_xact_lock_shared")


def _locked(run: Run) -> Run:
    _lock_answers(run.pk, "pg_advisory_xact_lock")
    locked = Run.objects.select_for_update(of=("self",)).filter(pk=run.pk).first()
    if locked is None:
        raise NotFound("There is no such run.")
    return locked


def _void(run: Run) -> int:
    """Let nobody label any more; how many items stay without a label."""
    # The token stays, so that a late answer finds out why it is refused.
    Review.objects.filter(run=run, state__in=[Review.State.OPEN, Review.State.LEASED]).update(
        state=Review.State.VOID, leased_until=None
    )
    left = Item.objects.filter(run=run, state__in=[Item.State.OPEN, Item.State.DISPUTED])
    return left.update(state=Item.State.VOID)


def _lock_answers(run_id: int, function: str) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {function}(%s, %s)", [_CLOSE_LOCK, run_id])
