"""What the model would say of other values."""

from dataclasses import dataclass

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from opsportal.accounts.access import needs
from opsportal.core.errors import TooManyRequests
from opsportal.core.http import Request
from opsportal.explanations.forms_what_if import WhatIfForm
from opsportal.explanations.models import Explanation, State
from opsportal.explanations.selectors import comparing
from opsportal.explanations.selectors import what_if as selectors
from opsportal.explanations.selectors.alternatives import changes_of
from opsportal.explanations.services import asking
from opsportal.explanations.services.what_if import ask_what_if
from opsportal.predictions.dictionary import FeatureDictionary
from opsportal.predictions.models import Prediction
from opsportal.predictions.selectors import prediction_by_id


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIfPage:
    """The form, and once a what-if was asked its answer.

    asked: the what-if of this address. changes: what it changed. refused: an explanation that failed a
    check, the what-if's own or that of the logged values. comparison: None until both are there.
    """

    prediction: Prediction
    subject: str
    form: WhatIfForm
    asked: Explanation | None
    changes: tuple[selectors.Change, ...]
    refused: Explanation | None
    comparison: comparing.Comparison | None
    earlier: list[selectors.EarlierWhatIf]

    @property
    def may_change(self) -> bool:
        """Whether the version has anything to vary."""
        return bool(self.form.fields)

    @property
    def is_computing(self) -> bool:
        return self.asked is not None and self.comparison is None and self.refused is None


@require_http_methods(["GET", "HEAD", "POST"])
@needs("predictions.view")
def what_if(request: Request, prediction_id: str) -> HttpResponse:
    prediction = prediction_by_id(prediction_id)
    dictionary = prediction.version.features
    logged = prediction.values
    things = selectors.changeables(dictionary)
    if request.method == "POST":
        # One of the alternatives that were found, by its place; or the form of this page.
        place = request.POST.get("alternative", "")
        changes = changes_of(prediction, place)
        if place and not changes:
            messages.warning(request, "That alternative is no longer there. Look at the present ones.")
            return redirect("explain-alternatives", prediction_id)
        form = WhatIfForm(None if changes else request.POST, things=things, logged=logged, changed=changes)
        if not changes and not form.is_valid():
            return _page(request, prediction, dictionary, form, status=400)
        try:
            asked = ask_what_if(actor=request.user, prediction=prediction, changes=changes or form.changes())
        except TooManyRequests as error:
            form.add_error(None, error.message)
            response = _page(request, prediction, dictionary, form, status=error.status)
            for name, value in error.headers.items():
                response[name] = value
            return response
        url = reverse("explain-what-if", args=[prediction_id])
        return redirect(f"{url}?changes={asked.pk}")
    found = _asked(request, prediction)
    if found is None:
        return _page(request, prediction, dictionary, WhatIfForm(things=things, logged=logged))
    before = asking.want_explanation(actor=request.user, prediction=prediction)
    # One patience for both: they stand in the same queue.
    asking.wait_for(found)
    asking.wait_for(before, seconds=asking.PATIENCE_SECONDS / 4)
    form = WhatIfForm(things=things, logged=logged, changed=found.changes)
    if request.htmx and not (found.settled and before.settled):
        # Nothing to show yet, so nothing was looked at either.
        return HttpResponse(status=204)
    return _page(request, prediction, dictionary, form, asked=found, before=before)


def _asked(request: Request, prediction: Prediction) -> Explanation | None:
    """The what-if that the address names, if it names one."""
    text = request.GET.get("changes", "")
    if not text:
        return None
    is_number = text.isascii() and text.isdigit() and len(text) <= 18
    found = selectors.what_if(prediction, int(text)) if is_number else None
    if found is None:
        raise Http404
    return found


def _page(
    request: Request,
    prediction: Prediction,
    dictionary: FeatureDictionary,
    form: WhatIfForm,
    *,
    asked: Explanation | None = None,
    before: Explanation | None = None,
    status: int = 200,
) -> HttpResponse:
    asking.note_viewed(
        actor=request.user,
        predictions=[prediction],
        how=f"Looked at prediction {prediction.prediction_id} to ask what the model would say",
    )
    values = prediction.values
    both = [found for found in (asked, before) if found is not None]
    comparison = None
    if asked is not None and before is not None and all(found.state == State.READY for found in both):
        comparison = comparing.compare(
            comparing.side_of(before, prediction, dictionary),
            comparing.side_of(asked, prediction, dictionary),
        )
    page = WhatIfPage(
        prediction=prediction,
        subject=dictionary.subject_of(values),
        form=form,
        asked=asked,
        changes=selectors.changes_in_words(dictionary, values, asked.changes) if asked else (),
        refused=next((found for found in both if found.state == State.REFUSED), None),
        comparison=comparison,
        earlier=selectors.earlier_what_ifs(prediction, dictionary, values),
    )
    return render(request, "explanations/what_if.html", {"page": page}, status=status)
