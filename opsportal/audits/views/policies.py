"""Policies: the list, the form with its forecast, one policy, and drawing now."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from opsportal.accounts.access import needs
from opsportal.audits.forms_policies import DrawForm, PolicyForm
from opsportal.audits.models import Policy, Run
from opsportal.audits.selectors import policies as selectors
from opsportal.audits.selectors.policies import Forecast, PolicyRow
from opsportal.audits.services import policies as services
from opsportal.audits.services.runs import start_run
from opsportal.audits.services.scheduling import latest_span
from opsportal.core import clock
from opsportal.core.errors import Forbidden, NotFound, PortalError
from opsportal.core.http import Request
from opsportal.predictions.models import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class PoliciesPage:
    """The list."""

    rows: list[PolicyRow]
    may_lead: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChooseModelPage:
    """Which model a new policy is about."""

    models: list[Model]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFormPage:
    """The form of a new policy, or of one that is there. forecast: None while there is nothing to say."""

    form: PolicyForm
    model: Model
    policy: Policy | None
    forecast: Forecast | None
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyPage:
    """One policy: what it says, its runs, and the form to draw one now."""

    policy: Policy
    sentences: list[str]
    forecast: Forecast
    size: str
    runs: list[Run]
    next_at: datetime | None
    draw_form: DrawForm
    may_lead: bool


@require_safe
@needs("audits.view")
def policies(request: Request) -> HttpResponse:
    page = PoliciesPage(rows=selectors.policy_rows(), may_lead=request.user.can("audits.lead"))
    return render(request, "audits/policies.html", {"page": page})


@require_http_methods(["GET", "HEAD", "POST"])
@needs("audits.lead")
def new(request: Request) -> HttpResponse:
    """First the model, then its policy; `preview` asks only what it would mean."""
    name = request.POST.get("model") or request.GET.get("model", "")
    if not name:
        found = list(Model.objects.order_by("title"))
        return render(request, "audits/policies_choose.html", {"page": ChooseModelPage(models=found)})
    model = Model.objects.filter(name=name).first()
    if model is None:
        raise NotFound("There is no such model.")
    if request.method != "POST":
        return _form_page(request, PolicyForm(model=model))
    form = PolicyForm(request.POST, model=model)
    return _answer(
        request, form, lambda order: services.create_policy(actor=request.user, model=model, order=order)
    )


@require_http_methods(["GET", "HEAD", "POST"])
@needs("audits.lead")
def edit(request: Request, policy_id: int) -> HttpResponse:
    policy = selectors.policy_of(policy_id)
    if request.method != "POST":
        return _form_page(request, PolicyForm(model=policy.model, policy=policy))
    form = PolicyForm(request.POST, model=policy.model, policy=policy)
    return _answer(
        request, form, lambda order: services.change_policy(actor=request.user, policy=policy, order=order)
    )


@require_safe
@needs("audits.view")
def policy(request: Request, policy_id: int) -> HttpResponse:
    found = selectors.policy_of(policy_id)
    return _policy_page(request, found, DrawForm(initial=_last_days(found)))


@require_POST
@needs("audits.lead")
def draw(request: Request, policy_id: int) -> HttpResponse:
    found = selectors.policy_of(policy_id)
    form = DrawForm(request.POST)
    if not form.is_valid():
        return _policy_page(request, found, form, status=400)
    starts_at, ends_at = form.span()
    run = start_run(actor=request.user, policy=found, starts_at=starts_at, ends_at=ends_at)
    return redirect(run)


@require_POST
@needs("audits.lead")
def pause(request: Request, policy_id: int) -> HttpResponse:
    """Pause, or with `active` go on."""
    found = selectors.policy_of(policy_id)
    active = request.POST.get("active") == "1"
    services.set_active(actor=request.user, policy=found, active=active)
    messages.success(
        request, "The schedule goes on." if active else "Paused: no more runs are drawn by the schedule."
    )
    return redirect(found)


def _answer(request: Request, form: PolicyForm, save: Any) -> HttpResponse:
    """Save and land on the policy; or say what it would mean, or what is wrong. Nothing typed is lost."""
    if "preview" in request.POST:
        return _preview(request, form)
    if not form.is_valid():
        return _form_page(request, form, status=400)
    try:
        saved = save(form.order())
    except Forbidden:
        raise
    except PortalError as error:
        form.show_refusal(error)
        return _form_page(request, form, status=error.status)
    return redirect(saved)


def _preview(request: Request, form: PolicyForm) -> HttpResponse:
    forecast, problem = _forecast(form)
    if request.htmx:
        page = PolicyFormPage(
            form=form, model=form.model, policy=form.policy, forecast=forecast, problem=problem
        )
        return render(request, "audits/policies_forecast.html", {"page": page})
    return _form_page(request, form, forecast=forecast, problem=problem)


def _forecast(form: PolicyForm) -> tuple[Forecast | None, str]:
    """What a form would mean, or the first thing that stands in the way."""
    if not form.is_valid():
        return None, form.first_problem()
    order = replace(form.order(), title=form.cleaned_data["title"])
    draft = services.drafted(form.model, order, form.policy)
    problems = services.problems_of(draft, order.reviewers)
    if problems:
        return None, problems[0].message
    return selectors.forecast(draft), ""


def _form_page(
    request: Request,
    form: PolicyForm,
    *,
    forecast: Forecast | None = None,
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    if forecast is None and form.policy and not form.is_bound:
        forecast = selectors.forecast(form.policy)
    page = PolicyFormPage(form=form, model=form.model, policy=form.policy, forecast=forecast, problem=problem)
    return render(request, "audits/policies_form.html", {"page": page}, status=status)


def _policy_page(request: Request, found: Policy, form: DrawForm, *, status: int = 200) -> HttpResponse:
    page = PolicyPage(
        policy=found,
        sentences=selectors.sentences(found, list(found.reviewers.order_by("username"))),
        forecast=selectors.forecast(found),
        size=selectors.size_in_words(found),
        runs=selectors.runs_of(found),
        next_at=selectors.next_at(found, clock.now()),
        draw_form=form,
        may_lead=request.user.can("audits.lead"),
    )
    return render(request, "audits/policies_policy.html", {"page": page}, status=status)


def _last_days(policy: Policy) -> dict[str, Any]:
    span = latest_span(policy, clock.now())
    return {"first": span.starts_at.date(), "last": (span.ends_at - timedelta(days=1)).date()}
