"""The overview of audits, the page of one run, its people and its items."""

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh

from opsportal.accounts.access import needs
from opsportal.audits.figures import Results
from opsportal.audits.forms_runs import CancelForm, ItemFilterForm
from opsportal.audits.models import Export, Run
from opsportal.audits.selectors import runs, trends
from opsportal.audits.selectors.labels import titles_of
from opsportal.audits.selectors.results import (
    PeopleView,
    ResultsView,
    for_reader,
    people_view,
    results_of,
    results_view,
)
from opsportal.audits.selectors.thresholds import ThresholdRow, threshold_rows
from opsportal.audits.selectors.waiting import Waiting, waiting_on
from opsportal.audits.services import closing
from opsportal.audits.services.exports import PARQUET, is_fit
from opsportal.core.errors import Conflict, NotFound
from opsportal.core.http import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewPage:
    """What waits for me, every model with its error rate over time, and the newest runs."""

    waiting: Waiting
    cards: list[trends.ModelCard]
    newest: list[Run]
    # Those that rankers read, and those that wait to be.
    thresholds: list[ThresholdRow]
    badges: dict[str, str]
    may_lead: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """One run. progress: None unless it is open; view: None until its figures are there.

    export: the Parquet file that somebody asked for, if any; export_is_fit: whether it can be had.
    """

    run: Run
    badge: str
    plan: runs.Plan
    progress: runs.Progress | None
    view: ResultsView | None
    is_computing: bool
    has_people: bool
    children: list[Run]
    cancel_form: CancelForm
    cancelling: bool
    export: Export | None
    export_is_fit: bool
    may_lead: bool
    may_label: bool
    may_export: bool
    may_see_items: bool

    @property
    def may_cancel(self) -> bool:
        return self.may_lead and self.run.state in closing.CANCELLABLE

    @property
    def polls(self) -> bool:
        """Whether the page changes by itself."""
        return self.is_computing or self.run.state == Run.State.DRAWING


@dataclass(frozen=True, slots=True, kw_only=True)
class PeoplePage:
    """Who labelled how. view: None where there is nothing to show this person."""

    run: Run
    view: PeopleView | None
    only_me: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemsPage:
    """The items of a run. next: the cursor of the next page, or None."""

    run: Run
    form: ItemFilterForm
    rows: list[runs.ItemRow]
    next: str | None
    is_closed: bool
    names_shown: bool


@require_safe
@needs("audits.view")
def overview(request: Request) -> HttpResponse:
    page = OverviewPage(
        waiting=waiting_on(request.user),
        cards=trends.model_cards(),
        newest=trends.newest_runs(),
        thresholds=threshold_rows(current=True),
        badges=runs.BADGES,
        may_lead=request.user.can("audits.lead"),
    )
    return render(request, "audits/overview.html", {"page": page})


@require_safe
@needs("audits.view")
def run(request: Request, run_id: int) -> HttpResponse:
    return render(request, "audits/run.html", {"page": _page(request, runs.run_of(run_id))})


@require_safe
@needs("audits.view")
def progress(request: Request, run_id: int) -> HttpResponse:
    """The part of the page that changes by itself; once the run has come further, the whole page anew."""
    found = runs.run_of(run_id)
    page = _page(request, found)
    was = request.GET.get("was", "")
    if request.htmx and was and was != _step(page):
        return HttpResponseClientRefresh()
    return render(request, "audits/_run_progress.html", {"page": page})


@require_POST
@needs("audits.view", "audits.lead")
def close(request: Request, run_id: int) -> HttpResponse:
    found = runs.run_of(run_id)
    try:
        closing.close_run(actor=request.user, run=found)
    except Conflict as error:
        messages.warning(request, error.message)
    return redirect(found)


@require_POST
@needs("audits.view", "audits.lead")
def cancel(request: Request, run_id: int) -> HttpResponse:
    found = runs.run_of(run_id)
    form = CancelForm(request.POST)
    if not form.is_valid():
        page = _page(request, found, cancel_form=form)
        return render(request, "audits/run.html", {"page": page}, status=400)
    try:
        closing.cancel_run(actor=request.user, run=found, reason=form.cleaned_data["reason"])
    except Conflict as error:
        messages.warning(request, error.message)
    return redirect(found)


@require_safe
@needs("audits.view")
def people(request: Request, run_id: int) -> HttpResponse:
    """Everybody for audit leads, only oneself for whoever labels; others have nothing to see here."""
    leads = request.user.can("audits.lead")
    if not leads and not request.user.can("audits.label"):
        raise NotFound("There is no such page.")
    found = runs.run_of(run_id)
    results = results_of(found) if found.state == Run.State.CLOSED else None
    view = None
    if results is not None:
        only = "" if leads else request.user.get_username()
        view = people_view(results, titles=titles_of(found), only=only)
    page = PeoplePage(run=found, view=view, only_me=not leads)
    return render(request, "audits/people.html", {"page": page})


@require_safe
@needs("audits.view", "predictions.view")
def items(request: Request, run_id: int) -> HttpResponse:
    found = runs.run_of(run_id)
    form = ItemFilterForm(request.GET, run=found)
    rows, cursor = runs.items_page(
        found,
        show=form.given("show"),
        stream=form.given("stream"),
        cursor=request.GET.get("cursor"),
        user=request.user,
    )
    page = ItemsPage(
        run=found,
        form=form,
        rows=rows,
        next=cursor,
        is_closed=found.state == Run.State.CLOSED,
        names_shown=request.user.can("audits.lead"),
    )
    return render(request, "audits/run_items.html", {"page": page})


def _page(request: Request, found: Run, *, cancel_form: CancelForm | None = None) -> RunPage:
    user = request.user
    results: Results | None = None
    if found.state == Run.State.CLOSED and runs.is_estimated(found):
        results = results_of(found)
    export = Export.objects.filter(run=found, format=PARQUET).defer("content").first()
    return RunPage(
        run=found,
        badge=runs.BADGES[found.state],
        plan=runs.plan_view(found),
        progress=runs.progress_of(found, user=user) if found.state == Run.State.OPEN else None,
        view=results_view(found, results) if results else None,
        is_computing=found.state == Run.State.CLOSED and results is None,
        has_people=bool(results and for_reader(results, user).people),
        children=list(Run.objects.filter(parent=found).order_by("-pk")),
        cancel_form=cancel_form or CancelForm(),
        cancelling=cancel_form is not None,
        export=export,
        export_is_fit=export is not None and is_fit(export),
        may_lead=user.can("audits.lead"),
        may_label=user.can("audits.label"),
        may_export=user.can("audits.export"),
        may_see_items=user.can("predictions.view"),
    )


def _step(page: RunPage) -> str:
    """Where the run is: its state, and for a closed one whether its figures are there."""
    return "computing" if page.is_computing else str(page.run.state)
