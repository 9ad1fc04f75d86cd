"""Send a prediction to the audit, from the page that explains it."""

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from opsportal.accounts.access import needs
from opsportal.audits.forms_runs import ReferForm
from opsportal.audits.services.referring import refer
from opsportal.core.errors import Conflict
from opsportal.core.http import Request
from opsportal.predictions.models import Prediction
from opsportal.predictions.selectors import prediction_by_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferPage:
    """The form. refused: why this prediction cannot be audited, a sentence."""

    prediction: Prediction
    form: ReferForm
    refused: str


@require_http_methods(["GET", "HEAD", "POST"])
@needs("audits.refer", "predictions.view")
def send_in(request: Request, prediction_id: str) -> HttpResponse:
    prediction = prediction_by_id(prediction_id)
    if request.method != "POST":
        return _page(request, prediction, ReferForm())
    form = ReferForm(request.POST)
    if not form.is_valid():
        return _page(request, prediction, form, status=400)
    try:
        sent = refer(actor=request.user, prediction=prediction, reason=form.cleaned_data["reason"])
    except Conflict as error:
        return _page(request, prediction, form, refused=error.message, status=error.status)
    if sent.again:
        messages.info(request, f"It is waiting in “{sent.run.title}” already.")
    else:
        messages.success(request, f"Sent to “{sent.run.title}”. People will judge it there.")
    return redirect(prediction)


def _page(
    request: Request, prediction: Prediction, form: ReferForm, *, refused: str = "", status: int = 200
) -> HttpResponse:
    page = ReferPage(prediction=prediction, form=form, refused=refused)
    return render(request, "audits/refer.html", {"page": page}, status=status)
