"""The form for new overrides, the same for every kind but for its fields."""

from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import render

from opsportal.core.errors import Forbidden, PortalError
from opsportal.core.http import Request
from opsportal.overrides import services
from opsportal.overrides.forms import NEW_FORMS, IntentForm, show_refusal
from opsportal.overrides.models import Kind
from opsportal.overrides.views.kinds import PAGES, KindPages
from opsportal.overrides.views.sending import send_or_show

PREFILLED_MAX = 2_000


@dataclass(frozen=True, slots=True)
class NewPage:
    """The form for a new block, boost or opt-out."""

    pages: KindPages
    form: IntentForm


def new_overrides(request: Request, kind: Kind) -> HttpResponse:
    """Show the form; or draft what it asks for, and carry that out when it is one plain item."""
    form_class = NEW_FORMS[kind]
    if request.method != "POST":
        # Another page may name products; a customer is never named in an address.
        product = request.GET.get("product_ids", "")[:PREFILLED_MAX]
        return _page(request, kind, form_class(initial={"product_ids": product} if product else {}))
    form = form_class(request.POST)
    if not form.is_valid():
        return _page(request, kind, form, status=400)
    texts = form.cleaned_data["customer_ids" if kind == Kind.OPT_OUT else "product_ids"]
    try:
        submission = services.draft_targets(actor=request.user, intent=form.intent(), texts=texts)
    except Forbidden:
        raise
    except PortalError as error:
        show_refusal(form, error)
        return _page(request, kind, form, status=error.status)
    return send_or_show(request, submission)


def _page(request: Request, kind: Kind, form: IntentForm, *, status: int = 200) -> HttpResponse:
    return render(request, "overrides/new.html", {"page": NewPage(PAGES[kind], form)}, status=status)
