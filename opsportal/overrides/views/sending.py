"""What happens to a draft right after somebody made it."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from opsportal.core.errors import Conflict, Invalid
from opsportal.core.http import Request
from opsportal.overrides import services
from opsportal.overrides.models import Action, Kind, State, Submission
from opsportal.overrides.selectors.wording import items_of, title
from opsportal.overrides.views.kinds import PAGES


def send_or_show(request: Request, submission: Submission) -> HttpResponse:
    """Carry out a draft of one plain item at once; of any other show first what it would do."""
    is_plain = submission.rows_total == 1 and submission.risk.get("items") == 1
    if is_plain and not submission.needs_approval:
        return send(request, submission.pk, submission.version)
    return redirect(submission)


def send(request: Request, submission_id: int, version: int) -> HttpResponse:
    """Carry out a draft, or leave it waiting for a second person, and go to its page."""
    try:
        submission = services.submit(actor=request.user, submission_id=submission_id, version=version)
    except (Conflict, Invalid) as error:
        messages.error(request, error.message)
        return redirect("overrides-submission", submission_id)
    say_what_happened(request, submission)
    return redirect(submission)


def say_what_happened(request: Request, submission: Submission) -> None:
    """A toast: what was done with its Undo, or who has to act now."""
    if submission.state == State.WAITING:
        messages.info(request, "It now waits for a second person.")
    elif submission.state == State.APPLYING:
        messages.info(request, "It is being carried out.")
    elif submission.state == State.APPLIED and submission.revision_id:
        undo = reverse("overrides-submission-undo", args=[submission.pk])
        pages = PAGES[Kind(submission.kind)]
        may_undo = submission.action != Action.RESTORE and pages.allows_undo_of(
            request.user, submission.action
        )
        messages.success(
            request, f"{title(submission, items_of(submission))}.", extra_tags=undo if may_undo else ""
        )
    elif submission.state == State.APPLIED:
        messages.info(request, "Nothing had to change: it was so already.")
