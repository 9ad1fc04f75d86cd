"""A letter to the customer: to print, or as PDF."""

from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_http_methods

from opsportal.accounts.access import needs
from opsportal.core import clock
from opsportal.core.http import Request
from opsportal.explanations import letter_pdf
from opsportal.explanations.forms_letter import LetterForm
from opsportal.explanations.models import Explanation, State
from opsportal.explanations.selectors.letters import Letter, looked_lately, tellable, write_letter
from opsportal.explanations.selectors.reasons import Reasons, reasons_of
from opsportal.explanations.services import asking, telling
from opsportal.predictions.models import Prediction
from opsportal.predictions.selectors import prediction_by_id

PDF, PRINT = "pdf", "print"


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterPage:
    """The form and the letter as it would be printed.

    letter: None while the explanation is computed or where it was refused. lacking: characters that the
    PDF cannot print. prints: the browser is to open its print dialog. untold: how many reasons must stay
    inside, in words.
    """

    prediction: Prediction
    subject: str
    form: LetterForm
    letter: Letter | None
    lacking: list[str]
    prints: bool
    untold: str
    explanation: Explanation

    @property
    def is_computing(self) -> bool:
        return self.explanation.state == State.WANTED


@require_http_methods(["GET", "HEAD", "POST"])
@needs("predictions.view")
def letter(request: Request, prediction_id: str) -> HttpResponse:
    prediction = prediction_by_id(prediction_id)
    explanation = asking.wait_for(asking.want_explanation(actor=request.user, prediction=prediction))
    if request.method != "POST" and request.htmx and not explanation.settled:
        # Nothing to show yet, so nothing was looked at either.
        return HttpResponse(status=204)
    dictionary, values = prediction.version.features, prediction.values
    reasons = reasons_of(explanation, dictionary, values) if explanation.state == State.READY else None
    posted = request.POST if request.method == "POST" else None
    form = LetterForm(
        posted, tellable=tellable(reasons) if reasons else (), signature=request.user.get_full_name()
    )
    is_valid = form.is_valid() or not form.is_bound
    how = request.POST.get("how", "")
    written = None
    if reasons is not None:
        written = write_letter(
            prediction,
            dictionary,
            reasons,
            chosen=form.chosen(),
            with_score=form.says_score(),
            to=form.addressee(),
            today=timezone.localtime(clock.now()).date(),
        )
    if written is not None and is_valid and how in {PDF, PRINT}:
        telling.note_told(
            actor=request.user,
            prediction=prediction,
            reasons=form.chosen(),
            how=telling.LETTER if how == PDF else telling.PRINTED,
        )
        if how == PDF:
            return _download(prediction, written)
    if not (request.htmx and looked_lately(request.user, prediction)):
        # The letter follows what is typed; that is one look, not one for every letter.
        asking.note_viewed(
            actor=request.user,
            predictions=[prediction],
            how=f"Looked at prediction {prediction_id} to write to the customer",
        )
    page = LetterPage(
        prediction=prediction,
        subject=dictionary.subject_of(values),
        form=form,
        letter=written,
        lacking=letter_pdf.lacking(written.text) if written else [],
        prints=how == PRINT and is_valid and written is not None,
        untold=_untold(reasons),
        explanation=explanation,
    )
    return render(request, "explanations/letter.html", {"page": page}, status=200 if is_valid else 400)


def _untold(reasons: Reasons | None) -> str:
    return reasons.for_customer.untold_words if reasons else ""


def _download(prediction: Prediction, written: Letter) -> HttpResponse:
    name = f"letter-{prediction.prediction_id}.pdf"
    response = HttpResponse(letter_pdf.letter_pdf(written), content_type="application/pdf")
    response["Content-Disposition"] = content_disposition_header(True, name) or "attachment"
    return response
