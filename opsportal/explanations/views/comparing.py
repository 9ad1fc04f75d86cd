"""Two predictions side by side: what makes the difference."""

from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from opsportal.accounts.access import needs
from opsportal.core.http import Request
from opsportal.explanations.forms_compare import CompareForm
from opsportal.explanations.models import Explanation, State
from opsportal.explanations.selectors import comparing
from opsportal.explanations.services import asking
from opsportal.predictions.models import Prediction
from opsportal.predictions.selectors import earlier_of_same_customer, prediction_by_id

EARLIER_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparePage:
    """Which other prediction, and once both are explained what differs.

    refused: explanations that failed a check. earlier: of the same customer, to choose from.
    """

    prediction: Prediction
    subject: str
    form: CompareForm
    other: Prediction | None
    other_subject: str
    refused: list[Explanation]
    comparison: comparing.Comparison | None
    earlier: list[Prediction]

    @property
    def is_computing(self) -> bool:
        return self.other is not None and self.comparison is None and not self.refused


@require_safe
@needs("predictions.view")
def compare(request: Request, prediction_id: str) -> HttpResponse:
    prediction = prediction_by_id(prediction_id)
    form = CompareForm(request.GET if "with" in request.GET else None, prediction=prediction)
    other: Prediction | None = form.cleaned_data["other"] if form.is_valid() else None
    if other is None:
        return _page(request, prediction, form, status=400 if form.errors else 200)
    wanted = [
        asking.want_explanation(actor=request.user, prediction=prediction),
        asking.want_explanation(actor=request.user, prediction=other),
    ]
    # One patience for both: they stand in the same queue.
    asking.wait_for(wanted[1])
    asking.wait_for(wanted[0], seconds=asking.PATIENCE_SECONDS / 4)
    if request.htmx and not all(found.settled for found in wanted):
        # Nothing to show yet, so nothing was looked at either.
        return HttpResponse(status=204)
    return _page(request, prediction, form, other=other, explanations=wanted)


def _page(
    request: Request,
    prediction: Prediction,
    form: CompareForm,
    *,
    other: Prediction | None = None,
    explanations: list[Explanation] | None = None,
    status: int = 200,
) -> HttpResponse:
    earlier = earlier_of_same_customer(prediction, EARLIER_SHOWN)
    shown = [prediction, *([other] if other else []), *earlier]
    how = f"Compared prediction {prediction.prediction_id}"
    asking.note_viewed(
        actor=request.user,
        predictions={found.pk: found for found in shown}.values(),
        how=f"{how} with {other.prediction_id}" if other else f"{how}: chose with which",
    )
    dictionary = prediction.version.features
    comparison, other_subject = None, ""
    if other is not None and explanations:
        others = dictionary if other.version_id == prediction.version_id else other.version.features
        other_subject = others.subject_of(other.values)
        if all(found.state == State.READY for found in explanations):
            # What led from the other one, which is the earlier one as a rule, to this one.
            comparison = comparing.compare(
                comparing.side_of(explanations[1], other, others),
                comparing.side_of(explanations[0], prediction, dictionary),
            )
    page = ComparePage(
        prediction=prediction,
        subject=dictionary.subject_of(prediction.values),
        form=form,
        other=other,
        other_subject=other_subject,
        refused=[found for found in explanations or () if found.state == State.REFUSED],
        comparison=comparison,
        earlier=[found for found in earlier if other is None or found.pk != other.pk],
    )
    return render(request, "explanations/compare.html", {"page": page}, status=status)
