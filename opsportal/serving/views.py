"""Pages about the serving store, from the database alone: they show also when the store does not answer."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from opsportal.accounts.access import needs
from opsportal.core.errors import NotFound
from opsportal.core.http import Request
from opsportal.serving import selectors, services
from opsportal.serving.forms import RebuildForm


@require_safe
@needs("serving.view")
def serving(request: Request) -> HttpResponse:
    return _page(request, RebuildForm())


@require_safe
@needs("serving.view")
def pill(request: Request) -> HttpResponse:
    return render(request, "components/serving_pill.html")


@require_POST
@needs("serving.operate")
def rebuild(request: Request) -> HttpResponse:
    form = RebuildForm(request.POST)
    if not form.is_valid():
        return _page(request, form, status=400)
    services.want_rebuild(actor=request.user, reason=form.cleaned_data["reason"])
    messages.info(request, "The next push fills the store anew. The rankers keep what they have until then.")
    return redirect("serving")


@require_POST
@needs("serving.operate")
def retry(request: Request, message_id: int) -> HttpResponse:
    try:
        message = services.retry_message(actor=request.user, message_id=message_id)
    except NotFound as error:
        messages.warning(request, error.message)
    else:
        messages.info(request, f"{message.task} is being tried again.")
    return redirect("serving")


def _page(request: Request, form: RebuildForm, status: int = 200) -> HttpResponse:
    context = {"history": selectors.store_history(), "form": form}
    return render(request, "serving/status.html", context, status=status)
