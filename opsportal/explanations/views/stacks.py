"""Many predictions side by side: asked for from a look-up, computed by a worker, drawn as one picture."""

from dataclasses import dataclass, replace
from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh

from opsportal.accounts.access import needs
from opsportal.core.errors import Invalid
from opsportal.core.http import Request
from opsportal.explanations.forms import CustomerForm, LookUpForm
from opsportal.explanations.models import Stack
from opsportal.explanations.selectors import stacks
from opsportal.explanations.services import asking
from opsportal.explanations.services.stacking import STACK_MAX, stack_predictions
from opsportal.predictions.models import ModelVersion
from opsportal.predictions.selectors import LookUp
from opsportal.predictions.services.looking_up import said


@dataclass(frozen=True, slots=True, kw_only=True)
class ChooseVersionPage:
    """A look-up that matches several versions, or none, or that cannot be read.

    fields: the look-up as it was sent, but for model and version, to be sent again. versions: with how
    many of the newest matches are of each.
    """

    form: LookUpForm
    fields: list[tuple[str, str]]
    versions: list[tuple[ModelVersion, int]]
    most: int = STACK_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPage:
    """A stack while it is computed, and when it is done.

    plot: what the picture is drawn from; empty without a prediction that has numbers. gone: how many were
    erased since. full: there may have been more matches than a stack holds.
    """

    stack: Stack
    progress: stacks.Progress
    rows: list[stacks.Row]
    plot: dict[str, Any]
    gone: int
    full: bool
    most: int = STACK_MAX

    @property
    def refused(self) -> int:
        return sum(bool(row.refused) for row in self.rows)


@sensitive_post_parameters("customer_id")
@require_POST
@needs("predictions.view")
def together(request: Request) -> HttpResponse:
    """Stack what a look-up finds; asks which version where there are several."""
    by_customer = bool(request.POST.get("customer_id"))
    form: LookUpForm = CustomerForm(request.POST) if by_customer else LookUpForm(request.POST)
    if not form.is_valid():
        return _choose(request, form, [], status=400)
    wanted = form.wanted()
    if not (wanted.is_narrow or wanted.model):
        form.add_error(None, "Say which customer, product, name or model to look for.")
        return _choose(request, form, [], status=400)
    versions = stacks.versions_among(wanted)
    if len(versions) != 1:
        if not versions:
            form.add_error(None, "No prediction matches.")
        return _choose(request, form, versions, status=200 if versions else 400)
    try:
        stack = stack_predictions(
            actor=request.user, wanted=wanted, version=versions[0][0], title=_title(wanted)
        )
    except Invalid as error:
        form.add_error(None, error.message)
        return _choose(request, form, [], status=error.status)
    return redirect(stack)


@require_safe
@needs("predictions.view")
def stack(request: Request, stack_id: int) -> HttpResponse:
    found = stacks.stack_by_pk(stack_id)
    if found is None:
        raise Http404
    predictions = stacks.predictions_of(found)
    progress = stacks.progress_of(found, predictions)
    rows: list[stacks.Row] = []
    if progress.is_complete and request.htmx:
        # The page as a whole: a swapped part would come without the picture's numbers.
        return HttpResponseClientRefresh()
    if progress.is_complete:
        asking.note_viewed(
            actor=request.user,
            predictions=predictions,
            how=f"Looked at {len(predictions)} predictions side by side, stack {found.pk}",
        )
        rows = stacks.rows_of(found, predictions)
    page = StackPage(
        stack=found,
        progress=progress,
        rows=rows,
        plot=stacks.stacked_plot(rows, found.version.features),
        gone=len(found.prediction_pks) - len(predictions),
        full=len(found.prediction_pks) >= STACK_MAX,
    )
    return render(request, "explanations/stack.html", {"page": page})


def _choose(
    request: Request, form: LookUpForm, versions: list[tuple[ModelVersion, int]], *, status: int
) -> HttpResponse:
    fields = [
        (name, request.POST[name])
        for name in form.fields
        if name not in {"model", "version"} and request.POST.get(name)
    ]
    page = ChooseVersionPage(form=form, fields=fields, versions=versions)
    return render(request, "explanations/together.html", {"page": page}, status=status)


def _title(wanted: LookUp) -> str:
    """What was looked for, in words that name no person."""
    words = said(replace(wanted, customer_key=""))
    if wanted.customer_key:
        return "one customer" if words == "nothing" else f"one customer, {words}"
    return words
