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
    """The trend of one model and, once two runs are chosen, how they differ. model: its title."""

    form: CompareForm
    model: str
    trend: trends.Trend | None
    comparison: Comparison | None
    first: Run | None
    second: Run | None


@require_safe
@needs("audits.view")
def compare(request: Request) -> HttpResponse:
    form = CompareForm(request.GET)
    is_valid = form.is_valid()
    chosen = {
        name: trends.compared_runs().filter(pk=form.cleaned_data[name]).first()
        for name in ("first", "second")
        if form.cleaned_data.get(name)
    }
    first, second = chosen.get("first"), chosen.get("second")
    comparison = None
    if is_valid and first and second:
        try:
            comparison = comparison_of(first, second)
        except Invalid as error:
            form.add_error("second", error.message)
    titles = dict(form.fields["model"].choices)  # type: ignore[attr-defined]  # a field of choices
    shown = second or first
    name = form.cleaned_data.get("model") or (shown.model.name if shown else next(iter(titles), ""))
    page = ComparePage(
        form=form,
        model=titles.get(name, ""),
        trend=trends.trend_over(name) if name else None,
        comparison=comparison,
        first=first,
        second=second,
    )
    return render(request, "audits/compare.html", {"page": page}, status=400 if form.errors else 200)
