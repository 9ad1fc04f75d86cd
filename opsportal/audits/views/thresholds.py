"""Thresholds: the list, the search for one, and the page on which it is published and undone."""

from dataclasses import dataclass

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseStopPolling

from opsportal.accounts.access import needs
from opsportal.audits.forms_thresholds import DecisionForm, ReasonForm, ThresholdForm
from opsportal.audits.models import Run, Threshold
from opsportal.audits.selectors import thresholds as selectors
from opsportal.audits.selectors.thresholds import ThresholdDetails, ThresholdRow
from opsportal.audits.services import thresholds as services
from opsportal.core.errors import Conflict, Forbidden, Invalid, PortalError
from opsportal.core.http import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdsPage:
    """The list."""

    rows: list[ThresholdRow]
    may_lead: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewThresholdPage:
    """The form, once a run is chosen. runs: to choose from before."""

    run: Run | None
    runs: list[Run]
    form: ThresholdForm | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdPage:
    """One threshold. Each form is None for whom it is not meant. poll_url: where the stepper asks again."""

    one: Threshold
    details: ThresholdDetails
    ask: ReasonForm | None
    decide: DecisionForm | None
    undo: ReasonForm | None
    poll_url: str

    @property
    def is_computing(self) -> bool:
        """Whether a worker still looks for it."""
        return self.one.state == Threshold.State.COMPUTING

    @property
    def is_unverified(self) -> bool:
        """Whether it decides, or is about to, on the word of one run."""
        return self.one.state in (Threshold.State.WAITING, Threshold.State.PUBLISHED) and (
            not self.one.verification
        )

    @property
    def is_broken(self) -> bool:
        """Whether a later run breaks its promise."""
        return self.details.verdict.kind == "failed"


@require_safe
@needs("audits.view")
def thresholds(request: Request) -> HttpResponse:
    page = ThresholdsPage(rows=selectors.threshold_rows(), may_lead=request.user.can("audits.lead"))
    return render(request, "audits/thresholds.html", {"page": page})


@require_http_methods(["GET", "HEAD", "POST"])
@needs("audits.lead")
def new(request: Request) -> HttpResponse:
    """Choose a closed run (`?run=`), then the promise; a worker looks for the threshold."""
    runs = selectors.runs_to_learn_from()
    wanted = request.GET.get("run", "")
    if not wanted:
        return _new(request, NewThresholdPage(run=None, runs=runs, form=None))
    run = next((run for run in runs if str(run.pk) == wanted), None)
    if run is None:
        raise Http404
    versions = selectors.versions_of(run)
    if not versions:
        raise Http404
    form = ThresholdForm(request.POST if request.method == "POST" else None, versions=versions)
    if request.method != "POST" or not form.is_valid():
        status = 400 if request.method == "POST" else 200
        return _new(request, NewThresholdPage(run=run, runs=[], form=form), status)
    try:
        row = services.propose_threshold(
            actor=request.user,
            run=run,
            version=form.cleaned_data["version"],
            label=form.cleaned_data["label"],
            goal=Threshold.Goal(form.cleaned_data["goal"]),
            target=form.cleaned_data["target"],
        )
    except (Invalid, Conflict) as error:
        _show_error(form, error)
        return _new(request, NewThresholdPage(run=run, runs=[], form=form), error.status)
    return redirect(row)


@require_safe
@needs("audits.view")
def threshold(request: Request, threshold_id: int) -> HttpResponse:
    return _page(request, _found(threshold_id))


@require_POST
@needs("audits.lead")
def ask(request: Request, threshold_id: int) -> HttpResponse:
    """Ask for it to be published."""
    row, form = _found(threshold_id), ReasonForm(request.POST)
    if not form.is_valid():
        return _page(request, row, ask=form, status=400)
    try:
        services.ask_to_publish(actor=request.user, threshold=row, reason=form.cleaned_data["reason"])
    except (Conflict, Invalid) as error:
        messages.error(request, error.message)
    return redirect(row)


@require_POST
@needs("audits.approve")
def decide(request: Request, threshold_id: int) -> HttpResponse:
    """The second person publishes or rejects it."""
    row, form = _found(threshold_id), DecisionForm(request.POST)
    if not form.is_valid():
        return _page(request, row, decide=form, status=400)
    reason = form.cleaned_data["reason"]
    try:
        if form.cleaned_data["verdict"] == "approve":
            services.approve_threshold(actor=request.user, threshold=row, reason=reason)
        else:
            services.reject_threshold(actor=request.user, threshold=row, reason=reason)
    except (Conflict, Forbidden, Invalid) as error:
        messages.error(request, error.message)
    return redirect(row)


@require_POST
@needs("audits.view")
def undo(request: Request, threshold_id: int) -> HttpResponse:
    """Take it back; a lead or an approver."""
    if not _may_undo(request):
        raise Http404
    row, form = _found(threshold_id), ReasonForm(request.POST)
    if not form.is_valid():
        return _page(request, row, undo=form, status=400)
    try:
        services.undo_threshold(actor=request.user, threshold=row, reason=form.cleaned_data["reason"])
    except (Conflict, Invalid) as error:
        messages.error(request, error.message)
    return redirect(row)


@require_safe
@needs("audits.view")
def delivery(request: Request, threshold_id: int) -> HttpResponse:
    """The stepper alone, as htmx asks for it until nothing will change any more."""
    row = _found(threshold_id)
    if not request.htmx:
        return redirect(row)
    state = selectors.delivery(row)
    context = {"delivery": state, "poll_url": request.path}
    # 286 tells htmx to stop asking.
    status = HttpResponseStopPolling.status_code if state.finished else 200
    return render(request, "audits/threshold_delivery.html", context, status=status)


def _found(threshold_id: int) -> Threshold:
    row = selectors.threshold_of(threshold_id)
    if row is None:
        raise Http404
    return row


def _may_undo(request: Request) -> bool:
    return request.user.can("audits.lead") or request.user.can("audits.approve")


def _page(
    request: Request,
    row: Threshold,
    *,
    ask: ReasonForm | None = None,
    decide: DecisionForm | None = None,
    undo: ReasonForm | None = None,
    status: int = 200,
) -> HttpResponse:
    """The page; a form that was refused stands in for the empty one."""
    state = Threshold.State(row.state)
    may_ask = state == Threshold.State.PROPOSED and request.user.can("audits.lead")
    may_undo = state == Threshold.State.PUBLISHED and _may_undo(request)
    page = ThresholdPage(
        one=row,
        details=selectors.threshold_details(row),
        ask=(ask or ReasonForm()) if may_ask else None,
        decide=(decide or DecisionForm()) if selectors.may_decide(request.user, row) else None,
        undo=(undo or ReasonForm()) if may_undo else None,
        poll_url=reverse("audits-threshold-delivery", args=[row.pk]),
    )
    return render(request, "audits/threshold.html", {"page": page}, status=status)


def _new(request: Request, page: NewThresholdPage, status: int = 200) -> HttpResponse:
    return render(request, "audits/threshold_new.html", {"page": page}, status=status)


def _show_error(form: ThresholdForm, error: PortalError) -> None:
    """The refusal at its field, or above the form."""
    for problem in error.errors:
        form.add_error(problem.path if problem.path in form.fields else None, problem.message)
    if not error.errors:
        form.add_error(None, error.message)
