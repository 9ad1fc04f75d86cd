"""Send a draft on its way, and the second person's verdict on it."""

from django.db import transaction

from opsportal.accounts.models import User
from opsportal.accounts.selectors import has_made_key_of
from opsportal.core import clock
from opsportal.core.errors import Conflict, Forbidden, Invalid
from opsportal.events import outbox
from opsportal.events import services as events
from opsportal.overrides.models import Approval, Source, State, Submission, Triage
from opsportal.overrides.selectors.triage import assess, effective_items
from opsportal.overrides.services.applying import APPLY_TASK, apply_locked
from opsportal.overrides.services.drafting import (
    check_version,
    lock_submission,
    require_permission_for,
)

# Up to so many items are applied in the request; more go to a worker.
INLINE_ITEMS = 5_000


def submit(*, actor: User, submission_id: int, version: int | None = None) -> Submission:
    """Carry out a draft at once, or leave it waiting for a second person when its risk asks for one.

    Locks the submission, then the head. Raises NotFound, Forbidden (not the author, or without the
    role by now), Conflict (no longer a draft, changed since `version`, nothing to do) and Invalid
    (a file with bad rows).
    """
    with transaction.atomic():
        submission = lock_submission(submission_id)
        if submission.author_id != actor.pk:
            raise Forbidden("Only its author can carry out a draft.")
        require_permission_for(actor, submission)
        if submission.state != State.DRAFT:
            raise Conflict(
                f"#{submission.pk} is {submission.get_state_display().lower()} already.", code="not_a_draft"
            )
        check_version(submission, version)
        refuse_bad_rows(submission)
        risk = assess(submission)
        if not risk.items:
            raise Conflict("Nothing is left to do in this submission.", code="nothing_to_do")
        submission.needs_approval = bool(risk.reasons)
        submission.risk = risk.as_json()
        submission.submitted_at = clock.now()
        if submission.needs_approval:
            submission.state = State.WAITING
            submission.save()
            events.record(
                actor=actor,
                verb="submission.waiting",
                subject_type="submission",
                subject_id=submission.pk,
                summary=f"Asked for approval of #{submission.pk} ({risk.items:,} items)",
                reason=submission.reason,
                after=submission.risk,
            )
        else:
            _carry_out(actor, submission, risk.items)
    return submission


def approve(*, actor: User, submission_id: int, version: int, comment: str = "") -> Submission:
    """Approve exactly the version that was looked at, and carry it out.

    The author can never do this: checked here, on the approval row, and on the submission row. Nor can
    whoever made a key of the author, when it came by such a key.
    Locks the submission, then the head, so that of two approvals one wins.
    Raises NotFound, Forbidden, Conflict.
    """
    with transaction.atomic():
        submission = _decide(actor, submission_id, version, Approval.Verdict.APPROVED, comment)
        _carry_out(actor, submission, effective_items(submission).count())
    return submission


def reject(*, actor: User, submission_id: int, version: int, comment: str) -> Submission:
    """Turn a waiting submission down, with a reason for its author.

    Locks the submission. Raises NotFound, Forbidden, Conflict, Invalid (no reason).
    """
    if not comment.strip():
        raise Invalid.at("comment", "required", "Say why you reject it, so that its author can mend it.")
    with transaction.atomic():
        submission = _decide(actor, submission_id, version, Approval.Verdict.REJECTED, comment)
        submission.state = State.REJECTED
        submission.save()
    return submission


def refuse_bad_rows(submission: Submission) -> None:
    """Raise Invalid when a file still has rows that cannot be used: a file goes live whole or not at all."""
    if submission.source != Source.CSV:
        return
    bad = submission.items.filter(triage=Triage.INVALID, dropped=False)
    first = bad.order_by("row").first()
    if first:
        raise Invalid.at(
            "file",
            "bad_rows",
            f"{bad.count():,} rows cannot be used (row {first.row}: {first.note}) "
            "Leave them out, or upload the file again.",
        )


def _decide(actor: User, submission_id: int, version: int, verdict: str, comment: str) -> Submission:
    submission = lock_submission(submission_id)
    if not actor.can("overrides.approve"):
        raise Forbidden("You may not approve submissions.")
    if submission.author_id == actor.pk:
        raise Forbidden("A second person has to decide: you cannot approve your own submission.", code="own")
    if submission.source == Source.API and has_made_key_of(maker=actor, owner=submission.author):
        raise Forbidden(
            "A second person has to decide: you have made a key that acts as the author.", code="own"
        )
    if submission.state != State.WAITING:
        raise Conflict(
            f"#{submission.pk} is {submission.get_state_display().lower()}, not waiting.", code="not_waiting"
        )
    check_version(submission, version)
    Approval.objects.create(
        submission=submission,
        author=submission.author,
        approver=actor,
        verdict=verdict,
        comment=comment.strip(),
        version=submission.version,
        at=clock.now(),
    )
    submission.decided_by = actor
    submission.decided_at = clock.now()
    if verdict == Approval.Verdict.APPROVED:
        # Before the first event: everybody takes the head before the chain.
        events.lock_head()
    events.record(
        actor=actor,
        verb=f"submission.{verdict}",
        subject_type="submission",
        subject_id=submission.pk,
        summary=f"{'Approved' if verdict == Approval.Verdict.APPROVED else 'Rejected'} #{submission.pk}",
        reason=comment.strip(),
        after={"version": submission.version},
    )
    return submission


def _carry_out(actor: User, submission: Submission, items: int) -> None:
    if items > INLINE_ITEMS:
        submission.state = State.APPLYING
        submission.save()
        outbox.send(task=APPLY_TASK, key=submission.pk)
    else:
        apply_locked(submission)
