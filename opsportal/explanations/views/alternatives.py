"""The nearest changes that would turn the decision: a part of the prediction's page, or a page of its own."""

from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from opsportal.accounts.access import needs
from opsportal.core.http import Request
from opsportal.explanations.models import Method
from opsportal.explanations.selectors.alternatives import Alternatives, alternatives_of
from opsportal.explanations.services import asking
from opsportal.predictions.models import Prediction
from opsportal.predictions.selectors import prediction_by_id


@dataclass(frozen=True, slots=True, kw_only=True)
class AlternativesPage:
    """What would turn the decision; still being searched, found, or why there is nothing."""

    prediction: Prediction
    subject: str
    alternatives: Alternatives


@require_safe
@needs("predictions.view")
def alternatives(request: Request, prediction_id: str) -> HttpResponse:
    prediction = prediction_by_id(prediction_id)
    found = asking.want_explanation(actor=request.user, prediction=prediction, method=Method.COUNTERFACTUAL)
    asking.wait_for(found)
    if not request.htmx or found.settled:
        asking.note_viewed(
            actor=request.user,
            predictions=[prediction],
            how=f"Looked at what would turn the decision of prediction {prediction_id}",
        )
    dictionary, values = prediction.version.features, prediction.values
    page = AlternativesPage(
        prediction=prediction,
        subject=dictionary.subject_of(values),
        alternatives=alternatives_of(found, prediction.version, dictionary, values),
    )
    template = "explanations/_alternatives_polled.html" if request.htmx else "explanations/alternatives.html"
    return render(request, template, {"page": page})
