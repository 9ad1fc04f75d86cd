"""What LIME says of the reasons: a part of the prediction's page, or a page of its own."""

from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from opsportal.accounts.access import needs
from opsportal.core.http import Request
from opsportal.explanations.models import Method
from opsportal.explanations.selectors.second_opinion import SecondOpinion, second_opinion
from opsportal.explanations.services import asking
from opsportal.predictions.models import Prediction
from opsportal.predictions.selectors import prediction_by_id


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondOpinionPage:
    """LIME's verdict; still being computed, there, or why there is none."""

    prediction: Prediction
    subject: str
    opinion: SecondOpinion


@require_safe
@needs("predictions.view")
def opinion(request: Request, prediction_id: str) -> HttpResponse:
    prediction = prediction_by_id(prediction_id)
    shap = asking.want_explanation(actor=request.user, prediction=prediction)
    lime = asking.want_explanation(actor=request.user, prediction=prediction, method=Method.LIME)
    asking.wait_for(lime)
    if not request.htmx or lime.settled:
        asking.note_viewed(
            actor=request.user,
            predictions=[prediction],
            how=f"Looked at the second opinion on prediction {prediction_id}",
        )
    dictionary, values = prediction.version.features, prediction.values
    page = SecondOpinionPage(
        prediction=prediction,
        subject=dictionary.subject_of(values),
        opinion=second_opinion(asking.wait_for(shap, seconds=0), lime, dictionary, values),
    )
    template = (
        "explanations/_second_opinion_polled.html" if request.htmx else "explanations/second_opinion.html"
    )
    return render(request, template, {"page": page})
