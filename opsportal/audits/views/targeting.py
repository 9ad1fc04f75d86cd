"""Start a targeted run."""

from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from opsportal.accounts.access import needs
from opsportal.audits.forms_targeting import TargetForm
from opsportal.audits.selectors.thresholds import runs_to_learn_from
from opsportal.audits.services.targeting import start_targeted_run
from opsportal.core.errors import Conflict, Invalid
from opsportal.core.http import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPage:
    """The form; None while there is no closed run to learn from."""

    form: TargetForm | None


@require_http_methods(["GET", "HEAD", "POST"])
@needs("audits.lead")
def new(request: Request) -> HttpResponse:
    """Choose a closed run and how many; a worker ranks the log. `?run=` chooses beforehand."""
    runs = runs_to_learn_from()
    if not runs:
        return _page(request, None)
    if request.method != "POST":
        return _page(request, TargetForm(runs=runs, initial={"run": request.GET.get("run", "")}))
    form = TargetForm(request.POST, runs=runs)
    if not form.is_valid():
        return _page(request, form, 400)
    try:
        made = start_targeted_run(
            actor=request.user,
            run=form.cleaned_data["run"],
            suspects=form.cleaned_data["suspects"],
            look=form.cleaned_data["look"],
        )
    except (Invalid, Conflict) as error:
        form.add_error(None, error.message)
        return _page(request, form, error.status)
    return redirect(made)


def _page(request: Request, form: TargetForm | None, status: int = 200) -> HttpResponse:
    return render(request, "audits/target_new.html", {"page": TargetPage(form=form)}, status=status)
