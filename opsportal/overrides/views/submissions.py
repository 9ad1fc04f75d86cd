"""Submissions: their list, the page of one, and everything that can be done there."""

from collections.abc import Callable
from dataclasses import dataclass

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh, HttpResponseStopPolling

from opsportal.accounts.access import needs
from opsportal.core.components import Delivery, Entry
from opsportal.core.errors import Conflict, Invalid
from opsportal.core.http import Request
from opsportal.overrides import services
from opsportal.overrides.forms import (
    EDIT_FORMS,
    CancelForm,
    DecisionForm,
    DropForm,
    IntentForm,
    SubmissionFilterForm,
    VersionForm,
    initial_from,
    show_refusal,
)
from opsportal.overrides.models import Action, Approval, Kind, Source, State, Submission, Triage
from opsportal.overrides.selectors import details, lists
from opsportal.overrides.selectors.phases import (
    AnyOverride,
    Badge,
    phase_badge,
    submission_badge,
    unpublished,
)
from opsportal.overrides.selectors.wording import (
    approval_command,
    count_of,
    items_of,
    short_command,
    shown_target,
    title,
)
from opsportal.overrides.views.kinds import PAGES, KindPages
from opsportal.overrides.views.listing import Chip, chips
from opsportal.overrides.views.sending import say_what_happened, send

BEFORE_EFFECT = {State.DRAFT, State.WAITING, State.FAILED}
AT_WORK = {State.CHECKING, State.APPLYING}
# Taking back looks different from adding.
_ICONS: dict[str, str] = {Action.EXTEND: "extend", Action.WITHDRAW: "withdraw", Action.RESTORE: "undo"}


@dataclass(frozen=True, slots=True)
class SubmissionsPage:
    """The list of submissions. `next`: the cursor of the next page, or None."""

    filter_form: SubmissionFilterForm
    chips: list[Chip]
    rows: list[lists.ListedSubmission]
    next: str | None
    summary: str
    export_url: str


@dataclass(frozen=True, slots=True)
class Made:
    """An override that the submission opened, changed or closed."""

    row: AnyOverride
    shown: str
    badge: Badge


@dataclass(frozen=True, slots=True, kw_only=True)
class May:
    """What the person may do with the submission now; its page shows nothing else."""

    apply: bool
    edit: bool
    drop: bool
    cancel: bool
    decide: bool
    retry: bool
    undo: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionPage:
    """One submission.

    title: the sentence above. items: how many rows take effect. bad_rows: how many a file still has that
    cannot be used (it goes live whole or not at all). consequences: what it will do, in numbers. command,
    approval: the words of the main buttons. groups: the triage list. made: the first overrides it made or
    changed.
    """

    submission: Submission
    pages: KindPages
    title: str
    badge: Badge
    items: int
    bad_rows: int
    consequences: str
    command: str
    approval: str
    icon: str
    look: str
    may: May
    groups: list[details.TriageGroup]
    is_group_page: bool
    delivery: Delivery
    votes: list[Approval]
    made: list[Made]
    made_url: str
    undone_by: Submission | None
    timeline: list[Entry]
    edit_form: IntentForm | None
    decision_form: DecisionForm | None


@require_safe
@needs("overrides.view")
def submissions(request: Request) -> HttpResponse:
    form = SubmissionFilterForm(request.GET)
    found = lists.submissions_page(form.filters(), user=request.user, cursor=request.GET.get("cursor"))
    page = SubmissionsPage(
        filter_form=form,
        chips=chips(request, form),
        rows=lists.listed_submissions(found.results),
        next=found.next,
        summary=count_of(len(found.results), "submission") + (" on this page" if found.next else ""),
        export_url=f"{reverse('overrides-submissions-export')}?{request.GET.urlencode()}",
    )
    return render(request, "overrides/submissions.html", {"page": page})


@require_safe
@needs("overrides.view")
def submission(request: Request, pk: int) -> HttpResponse:
    return _page(request, _visible(request, pk))


@require_POST
@needs("overrides.view")
def apply(request: Request, pk: int) -> HttpResponse:
    _visible(request, pk)
    form = VersionForm(request.POST)
    if not form.is_valid():
        return _look_again(request, pk)
    return send(request, pk, form.cleaned_data["version"])


@require_POST
@needs("overrides.approve")
def approve(request: Request, pk: int) -> HttpResponse:
    return _decide(request, pk, approves=True)


@require_POST
@needs("overrides.approve")
def reject(request: Request, pk: int) -> HttpResponse:
    return _decide(request, pk, approves=False)


@require_POST
@needs("overrides.view")
def edit(request: Request, pk: int) -> HttpResponse:
    found = _visible(request, pk)
    version = VersionForm(request.POST)
    if not version.is_valid():
        return _look_again(request, pk)
    form = EDIT_FORMS[Kind(found.kind)](request.POST, initial=initial_from(found))
    if not form.is_valid():
        return _page(request, found, edit_form=form, status=400)
    try:
        services.edit(
            actor=request.user,
            submission_id=pk,
            version=version.cleaned_data["version"],
            intent=form.intent(source=Source(found.source)),
        )
    except (Conflict, Invalid) as error:
        show_refusal(form, error)
        return _page(request, _visible(request, pk), edit_form=form, status=error.status)
    messages.success(request, "Saved. What each row would do was found out anew.")
    return redirect("overrides-submission", pk)


@require_POST
@needs("overrides.view")
def drop(request: Request, pk: int) -> HttpResponse:
    """Leave out the rows that were named, or every row that cannot be used."""
    _visible(request, pk)
    form = DropForm(request.POST)
    if not form.is_valid():
        return _look_again(request, pk)
    rows: list[int] | None = None if form.cleaned_data["invalid"] else form.cleaned_data["rows"]
    if rows == []:
        messages.warning(request, "Tick at least one row.")
        return redirect("overrides-submission", pk)
    version = form.cleaned_data["version"]
    return _try(
        request,
        pk,
        lambda: services.drop_items(actor=request.user, submission_id=pk, version=version, rows=rows),
    )


@require_POST
@needs("overrides.view")
def cancel(request: Request, pk: int) -> HttpResponse:
    _visible(request, pk)
    form = CancelForm(request.POST)
    reason = form.cleaned_data["reason"] if form.is_valid() else ""
    return _try(request, pk, lambda: services.cancel(actor=request.user, submission_id=pk, reason=reason))


@require_POST
@needs("overrides.view")
def retry(request: Request, pk: int) -> HttpResponse:
    _visible(request, pk)
    return _try(request, pk, lambda: services.retry(actor=request.user, submission_id=pk))


@require_POST
@needs("overrides.view")
def undo(request: Request, pk: int) -> HttpResponse:
    """Put back what it changed: at once, or after a second person's approval where that is needed."""
    _visible(request, pk)
    form = CancelForm(request.POST)
    reason = form.cleaned_data["reason"] if form.is_valid() else ""
    try:
        draft = services.draft_undo(actor=request.user, submission_id=pk, reason=reason)
    except (Conflict, Invalid) as error:
        messages.error(request, error.message)
        return redirect("overrides-submission", pk)
    if draft.needs_approval:
        return redirect(draft)
    return send(request, draft.pk, draft.version)


@require_safe
@needs("overrides.view")
def delivery(request: Request, pk: int) -> HttpResponse:
    """The stepper alone, as htmx asks for it twice a second until nothing will change any more."""
    found = _visible(request, pk)
    if not request.htmx:
        return redirect(found)
    state = details.delivery(found)
    context = {
        "submission": found,
        "delivery": state,
        "badge": submission_badge(found),
        "poll_url": request.path,
        "is_fragment": True,
        "pages": PAGES[Kind(found.kind)],
        "made": _made(found) if state.finished else [],
        "made_url": _made_url(found),
        "items": items_of(found),
    }
    # 286 tells htmx to stop asking.
    status = HttpResponseStopPolling.status_code if state.finished else 200
    return render(request, "overrides/delivery.html", context, status=status)


@require_safe
@needs("overrides.view")
def progress(request: Request, pk: int) -> HttpResponse:
    """How far the check of a file, or its effect, has come; the whole page anew once it is done."""
    found = _visible(request, pk)
    if not request.htmx:
        return redirect(found)
    if found.state not in AT_WORK:
        return HttpResponseClientRefresh()
    return render(request, "overrides/progress.html", {"submission": found})


def _visible(request: Request, pk: int) -> Submission:
    found = lists.visible_submissions(request.user).filter(pk=pk).first()
    if found is None:
        raise Http404
    return found


def _try(request: Request, pk: int, change: Callable[[], Submission]) -> HttpResponse:
    """Do it, or say why not; then the submission as it is now."""
    try:
        change()
    except (Conflict, Invalid) as error:
        messages.error(request, error.message)
    return redirect("overrides-submission", pk)


def _look_again(request: Request, pk: int) -> HttpResponse:
    messages.error(request, "The form was incomplete, so nothing was changed. Look at the submission again.")
    return redirect("overrides-submission", pk)


def _decide(request: Request, pk: int, *, approves: bool) -> HttpResponse:
    found = _visible(request, pk)
    form = DecisionForm(request.POST)
    if form.is_valid():
        verdict = services.approve if approves else services.reject
        try:
            decided = verdict(actor=request.user, submission_id=pk, **form.cleaned_data)
        except (Conflict, Invalid) as error:
            show_refusal(form, error)
            return _page(request, _visible(request, pk), decision_form=form, status=error.status)
        if approves:
            say_what_happened(request, decided)
        return redirect(decided)
    return _page(request, found, decision_form=form, status=400)


def _page(
    request: Request,
    found: Submission,
    *,
    edit_form: IntentForm | None = None,
    decision_form: DecisionForm | None = None,
    status: int = 200,
) -> HttpResponse:
    tally = details.item_counts(found)
    items = items_of(found) if found.state == State.APPLIED else details.effective_count(tally)
    bad_rows = tally[Triage.INVALID] if found.source == Source.CSV else 0
    undone = details.undone_by(found)
    may = _may(request, found, items=items, bad_rows=bad_rows, is_undone=undone is not None)
    only, after = _group_page(request)
    pages = PAGES[Kind(found.kind)]
    page = SubmissionPage(
        submission=found,
        pages=pages,
        title=title(found, items),
        badge=Badge("ended", "Undone")
        if undone and undone.state == State.APPLIED
        else submission_badge(found),
        items=items,
        bad_rows=bad_rows,
        consequences="" if found.state == State.APPLIED else details.consequences(found, items),
        command=short_command(found, items),
        approval=approval_command(found, items),
        icon=_ICONS.get(found.action, pages.icon),
        look="neutral" if found.action in _ICONS else pages.look,
        may=may,
        groups=details.triage_groups(found, tally=tally, editable=may.drop, only=only, after=after),
        is_group_page=bool(only),
        delivery=details.delivery(found),
        votes=details.votes(found),
        made=_made(found),
        made_url=_made_url(found),
        undone_by=undone,
        timeline=details.entries([found, undone] if undone else [found]),
        edit_form=(edit_form or _edit_form(found)) if may.edit else None,
        decision_form=(decision_form or DecisionForm(initial={"version": found.version}))
        if may.decide
        else None,
    )
    return render(request, "overrides/submission.html", {"page": page}, status=status)


def _may(request: Request, found: Submission, *, items: int, bad_rows: int, is_undone: bool) -> May:
    user = request.user
    is_author = found.author_id == user.pk
    approves = user.can("overrides.approve")
    before_effect = is_author and found.state in BEFORE_EFFECT
    pages = PAGES[Kind(found.kind)]
    # A role may have gone since the draft was made.
    is_allowed = (
        pages.allows_undo_of(user, found.undoes.action) if found.undoes else pages.allows(user, found.action)
    )
    took_effect = found.state == State.APPLIED and found.revision_id is not None
    return May(
        apply=is_author and is_allowed and found.state == State.DRAFT and items > 0 and not bad_rows,
        edit=before_effect and is_allowed and found.action == Action.ADD,
        drop=before_effect and found.action != Action.RESTORE,
        cancel=before_effect or (is_author and found.state == State.CHECKING),
        decide=approves and not is_author and found.state == State.WAITING,
        retry=found.state == State.FAILED and (is_author or approves),
        undo=took_effect
        and found.action != Action.RESTORE
        and not is_undone
        and pages.allows_undo_of(user, found.action),
    )


def _group_page(request: Request) -> tuple[str, int]:
    only, after = request.GET.get("group", ""), request.GET.get("after", "")
    known = only in {*Triage.values, details.DROPPED}
    return only if known else "", int(after) if after.isascii() and after.isdigit() and len(after) < 10 else 0


def _edit_form(found: Submission) -> IntentForm:
    return EDIT_FORMS[Kind(found.kind)](initial=initial_from(found), auto_id="edit_%s")


def _made_url(found: Submission) -> str:
    """The list of what it added; what it changed or closed belongs to other submissions there."""
    if found.action != Action.ADD:
        return ""
    return f"{PAGES[Kind(found.kind)].list_url}?state=all&submission={found.pk}"


def _made(found: Submission) -> list[Made]:
    rows = details.overrides_made(found)
    waiting = unpublished(row.revision for row in rows) if rows else frozenset()
    return [
        Made(row, shown_target(found.kind, details.target_of(row)), phase_badge(row, unpublished=waiting))
        for row in rows
    ]
