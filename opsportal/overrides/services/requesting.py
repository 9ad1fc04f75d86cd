"""One call for machines: draft, refuse what is wrong, and send on its way, all in one transaction."""

from collections.abc import Callable, Sequence

from django.db import transaction

from opsportal.accounts.models import User
from opsportal.core.errors import Conflict, Invalid, Problem
from opsportal.events import services as events
from opsportal.overrides.models import Submission, Triage
from opsportal.overrides.selectors.triage import effective_items
from opsportal.overrides.services.applying import apply_locked
from opsportal.overrides.services.deciding import submit
from opsportal.overrides.services.drafting import (
    draft_changes,
    draft_targets,
    draft_undo,
    lock_submission,
)
from opsportal.overrides.services.intent import Intent

PROBLEMS_SHOWN = 100


def request_targets(
    *,
    actor: User,
    intent: Intent,
    texts: Sequence[str],
    idempotency_key: str | None = None,
    request_digest: str = "",
) -> Submission:
    """Add overrides in one step: applied at once, or waiting for a second person.

    All or nothing: an ID that cannot be used refuses the whole request with its path. A repeat with
    the same idempotency key and content returns the first submission. Raises Invalid, Forbidden,
    Conflict (the key was used for other content, or all of it waits in another submission already).
    """
    path = "customer_ids" if intent.kind == "opt_out" else "product_ids"

    def open_draft() -> Submission:
        submission = draft_targets(actor=actor, intent=intent, texts=texts)
        _refuse_invalid(submission, path)
        return submission

    return _once(actor, idempotency_key, request_digest, open_draft)


def request_changes(
    *,
    actor: User,
    intent: Intent,
    override_ids: Sequence[int],
    idempotency_key: str | None = None,
    request_digest: str = "",
) -> Submission:
    """Extend or withdraw overrides in one step; see `request_targets`."""

    def open_draft() -> Submission:
        submission = draft_changes(actor=actor, intent=intent, override_ids=override_ids)
        _refuse_invalid(submission, "ids")
        return submission

    return _once(actor, idempotency_key, request_digest, open_draft)


def request_undo(*, actor: User, submission_id: int, reason: str = "") -> Submission:
    """Undo a submission in one step: at once, or waiting for a second person where that is risky.

    Locks the undone submission, then the head. Raises NotFound, Forbidden, Conflict.
    """
    with transaction.atomic():
        lock_submission(submission_id)
        events.lock_head()
        draft = draft_undo(actor=actor, submission_id=submission_id, reason=reason)
        return submit(actor=actor, submission_id=draft.pk)


def _once(actor: User, key: str | None, digest: str, open_draft: Callable[[], Submission]) -> Submission:
    if found := _earlier(actor, key, digest):
        return found
    with transaction.atomic():
        # Before the first event: whoever applies takes the head before the chain. It also lets a
        # repeat that came at the same time see what the first one saved.
        events.lock_head()
        if found := _earlier(actor, key, digest):
            return found
        submission = open_draft()
        submission.idempotency_key, submission.request_digest = key, digest
        submission.save(update_fields=["idempotency_key", "request_digest"])
        if effective_items(submission).exists():
            return submit(actor=actor, submission_id=submission.pk)
        if waits := submission.items.filter(triage=Triage.PENDING).order_by("row").first():
            # Not done, and left to a submission that may yet be rejected: that is no success.
            raise Conflict(f"Nothing was saved. {waits.note}", code="pending")
        # What was asked for holds already: a repeat is not an error.
        apply_locked(submission)
        return submission


def _earlier(actor: User, key: str | None, digest: str) -> Submission | None:
    if key is None:
        return None
    found = Submission.objects.filter(author=actor, idempotency_key=key).first()
    if found and found.request_digest != digest:
        raise Conflict("This Idempotency-Key was used for another request.", code="idempotency_key_reused")
    return found


def _refuse_invalid(submission: Submission, path: str) -> None:
    bad = submission.items.filter(triage=Triage.INVALID).order_by("row")
    problems = [Problem(f"{path}[{item.row - 1}]", "invalid", item.note) for item in bad[:PROBLEMS_SHOWN]]
    if problems:
        total = bad.count()
        raise Invalid(
            f"{total:,} ID{'s' if total > 1 else ''} cannot be used. Nothing was saved.",
            code="invalid_ids",
            errors=problems,
        )
