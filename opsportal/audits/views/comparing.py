"""Error rates over runs, and two runs beside each other."""

from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from opsportal.accounts.access import needs
from opsportal.audits.forms_runs import CompareForm
from opsportal.audits.models import Run
from opsportal.audits.selectors import trends
from opsportal.audits.selectors.comparing import Comparison, comparison_of
from opsportal.core.errors import Invalid
from opsportal.core.http import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparePage:
    """The trend of one model and, once two runs are chosen, how they differ.

    models: name → title of those to choose from; model: the name of the one shown.
    """

    form: CompareForm
    models: dict[str, str]
    model: str
    trend: trends.Trend | None
    comparison: Comparison | None
    first: Run | None
    second: Run | None


@require_safe
@needs("audits.view")
def compare(request: Request) -> HttpResponse:
    form = CompareForm(
        request.GET if {"first", "second"} <= request.GET.keys() else None,
        initial={name: request.GET.get(name) for name in ("first", "second")},
    )
    chosen = form.cleaned_data if form.is_valid() else {}
    first = trends.compared_runs().filter(pk=chosen["first"]).first() if chosen else None
    second = trends.compared_runs().filter(pk=chosen["second"]).first() if chosen else None
    comparison = None
    if first and second:
        try:
            comparison = comparison_of(first, second)
        except Invalid as error:
            form.add_error("second", error.message)
    models = {model.name: model.title for model in trends.models_compared()}
    asked = request.GET.get("model", "")
    name = asked if asked in models else second.model.name if second else next(iter(models), "")
    page = ComparePage(
        form=form,
        models=models,
        model=name,
        trend=trends.trend_over(name) if name else None,
        comparison=comparison,
        first=first,
        second=second,
    )
    return render(request, "audits/compare.html", {"page": page}, status=400 if form.errors else 200)
