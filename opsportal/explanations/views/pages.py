"""The page of one prediction: what was decided, why, and what may be told."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from opsportal.accounts.access import needs
from opsportal.core.errors import Invalid
from opsportal.core.http import Request
from opsportal.explanations.models import Explanation, Method, State
from opsportal.explanations.selectors.pages import PredictionPage, prediction_page
from opsportal.explanations.selectors.reasons import Reason, reasons_of
from opsportal.explanations.services import asking, telling
from opsportal.predictions.models import Prediction
from opsportal.predictions.selectors import prediction_by_id

# A page asks again by itself so often (a little over a second each), then it says that it has given up.
TRIES = 30
ALL_REASONS = "*"


@require_safe
@needs("predictions.view")
def prediction(request: Request, prediction_id: str) -> HttpResponse:
    found = prediction_by_id(prediction_id)
    explanation = asking.want_explanation(actor=request.user, prediction=found)
    # Recorded before anything is shown, and before the wait: who looked, looked.
    asking.note_viewed(
        actor=request.user, predictions=[found], how=f"Looked at prediction {found.prediction_id}"
    )
    page = _page(request, found, asking.wait_for(explanation))
    return render(request, "explanations/prediction.html", {"page": page})


@require_safe
@needs("predictions.view")
def progress(request: Request, prediction_id: str) -> HttpResponse:
    """The part of the page that waits for a worker: asks again by itself until there is an answer."""
    found = prediction_by_id(prediction_id)
    explanation = asking.wait_for(asking.want_explanation(actor=request.user, prediction=found))
    if explanation.settled:
        asking.note_viewed(
            actor=request.user,
            predictions=[found],
            how=f"Saw the explanation of prediction {found.prediction_id}",
        )
    page = _page(request, found, explanation, tries=_tries(request))
    return render(request, "explanations/_explanation.html", {"page": page})


@require_POST
@needs("predictions.view", "predictions.write")
def again(request: Request, prediction_id: str) -> HttpResponse:
    """Compute a refused explanation anew."""
    found = prediction_by_id(prediction_id)
    asking.want_again(
        actor=request.user, explanation=asking.want_explanation(actor=request.user, prediction=found)
    )
    return redirect(found)


@require_POST
@needs("predictions.view")
def copied(request: Request, prediction_id: str) -> HttpResponse:
    """Record which approved sentences somebody took along; `*` stands for all of them."""
    found = prediction_by_id(prediction_id)
    wanted = request.POST.get("reason", "")
    told = [reason.name for reason in _told(found) if wanted in {ALL_REASONS, reason.name}]
    if not told:
        raise Invalid.at("reason", "not_told", "This may not be told to the customer.")
    telling.note_told(actor=request.user, prediction=found, reasons=told, how=telling.COPIED)
    if request.htmx:
        return HttpResponse(status=204)
    messages.success(request, "Recorded that you told the customer this.")
    return redirect(f"{found.get_absolute_url()}#tell")


def _told(prediction: Prediction) -> tuple[Reason, ...]:
    explanation = Explanation.objects.filter(
        prediction=prediction, method=Method.SHAP, changes_digest="", state=State.READY
    ).first()
    if explanation is None:
        return ()
    return reasons_of(explanation, prediction.version.features, prediction.values).for_customer.told


def _page(request: Request, found: Prediction, explanation: Explanation, *, tries: int = 0) -> PredictionPage:
    return prediction_page(found, explanation, user=request.user, tries=tries)


def _tries(request: Request) -> int:
    text = request.GET.get("tries", "")
    return min(int(text), TRIES) + 1 if text.isascii() and text.isdigit() and len(text) < 4 else 1
