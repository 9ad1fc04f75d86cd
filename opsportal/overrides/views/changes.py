"""Extend or withdraw chosen overrides: from a list, or from the page of one."""

from dataclasses import dataclass

from django.contrib import messages
from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from opsportal.accounts.access import needs
from opsportal.core.errors import Forbidden, PortalError
from opsportal.core.http import Request
from opsportal.overrides import services
from opsportal.overrides.forms import FILTER_FORMS, ChangeForm, ChosenForm, show_refusal
from opsportal.overrides.models import Action, Kind
from opsportal.overrides.selectors import lists
from opsportal.overrides.selectors.wording import count_of
from opsportal.overrides.views.kinds import PAGES, KindPages
from opsportal.overrides.views.sending import send_or_show


@dataclass(frozen=True, slots=True)
class ChangePage:
    """What shall happen to the chosen overrides, and why. `ids` are carried along in the form."""

    pages: KindPages
    action: Action
    form: ChangeForm
    ids: list[int]
    title: str
    back_url: str


@require_POST
@needs("overrides.view")
def bulk(request: Request, kind: Kind) -> HttpResponse:
    """Ask for the reason (and the new end); once given, draft the change and show what it would do."""
    pages = PAGES[kind]
    chosen = ChosenForm(request.POST)
    if not chosen.is_valid():
        return _back(request, pages, "Choose Extend or Withdraw, for rows of this list.")
    action = Action(chosen.cleaned_data["action"])
    if not request.user.can(pages.view) or not pages.allows(request.user, action):
        raise Http404
    ids: list[int] = chosen.cleaned_data["ids"]
    if chosen.cleaned_data["all_matching"]:
        filters = FILTER_FORMS[kind](QueryDict(request.POST.get("query", ""))).filters()
        ids = lists.matching_ids(kind, filters, user=request.user)
    if not ids:
        return _back(request, pages, f"Tick at least one {pages.noun}.")
    if len(ids) > lists.BULK_MAX:
        return _back(request, pages, f"More than {lists.BULK_MAX:,} match. Narrow the list first.")
    if "reason" not in request.POST:
        return _page(request, pages, ChangeForm(kind=kind, action=action), ids)
    form = ChangeForm(request.POST, kind=kind, action=action)
    if not form.is_valid():
        return _page(request, pages, form, ids, status=400)
    try:
        submission = services.draft_changes(actor=request.user, intent=form.intent(), override_ids=ids)
    except Forbidden:
        raise
    except PortalError as error:
        show_refusal(form, error)
        return _page(request, pages, form, ids, status=error.status)
    return send_or_show(request, submission)


def _page(
    request: Request, pages: KindPages, form: ChangeForm, ids: list[int], *, status: int = 200
) -> HttpResponse:
    overrides = count_of(len(ids), pages.noun)
    title = f"Withdraw {overrides}" if form.action == Action.WITHDRAW else f"Change the end of {overrides}"
    page = ChangePage(pages, form.action, form, ids, title, _list_url(request, pages))
    return render(request, "overrides/change.html", {"page": page}, status=status)


def _back(request: Request, pages: KindPages, sentence: str) -> HttpResponse:
    messages.warning(request, sentence)
    return redirect(_list_url(request, pages))


def _list_url(request: Request, pages: KindPages) -> str:
    query = QueryDict(request.POST.get("query", "")).urlencode()
    return f"{pages.list_url}?{query}" if query else pages.list_url
