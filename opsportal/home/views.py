"""Pages that gather what needs a person now."""

import json
from collections.abc import Iterator
from typing import Any

from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from opsportal.accounts.access import needs, signed_in
from opsportal.core.http import Request
from opsportal.core.pagination import keyset_page
from opsportal.core.spreadsheets import csv_response
from opsportal.events.models import Event
from opsportal.home.forms import SearchForm, TrailForm
from opsportal.home.selectors import audited, meanings, today, trail
from opsportal.overrides import services
from opsportal.overrides.models import Submission
from opsportal.overrides.selectors.lists import ListedSubmission, listed_submissions

EVENTS_PER_PAGE = 50
EXPORT_MAX = 100_000
_EXPORT_COLUMNS = ("number", "at", "who", "verb", "about", "summary", "reason", "before", "after", "hash")


@require_safe
@signed_in
def home(request: Request) -> HttpResponse:
    user = request.user
    if not user.roles:
        return render(request, "home/no_role.html", {"administrators": today.administrators()})
    if today.nothing_yet():
        return render(request, "home/nothing_yet.html")
    waiting = today.waiting_for(user)
    context = {
        "waiting": listed_submissions(list(waiting[: today.CARD_ROWS])),
        "mine": listed_submissions(today.unfinished_of(user)),
        "days": today.coming_up(),
        "due": today.opt_outs_due(user),
        "numbers": today.numbers(),
        "audited": audited.audited(user),
        "recent": trail.entries(trail.recent_events(user)),
    }
    return render(request, "home/home.html", context)


@sensitive_post_parameters("q")
@require_http_methods(["GET", "HEAD", "POST"])
@needs("overrides.view")
def search(request: Request) -> HttpResponse:
    """POST, since customer IDs stay out of addresses; ?product= shows a product so that it can be shared."""
    if request.method == "POST":
        return _search_any(request)
    product_id = request.GET.get("product", "").strip()
    context: dict[str, Any] = {"text": product_id}
    if product_id:
        found = meanings.Meanings(
            product_id,
            product=meanings.product_facts(product_id),
            similar=meanings.similar_products(product_id),
        )
        context |= {"found": found, "nothing": not found.known}
    return render(request, "home/search.html", context)


@require_safe
@needs("activity.view")
def activity(request: Request) -> HttpResponse:
    form = TrailForm(request.GET)
    filters = form.filters()
    page = keyset_page(
        trail.trail(user=request.user, **filters),
        order=["-sequence"],
        cursor=request.GET.get("cursor"),
        size=EVENTS_PER_PAGE,
    )
    context = {
        "form": form,
        "chips": [{"label": words, "url": _without(request, name)} for name, words in form.words().items()],
        "clear_url": request.path,
        "entries": trail.entries(page.results),
        "page": page,
        "export_query": _without(request, "cursor").removeprefix("?"),
        "only_newest": "text" in filters and trail.searches_only_the_newest(),
    }
    return render(request, "home/activity.html", context)


@require_safe
@needs("activity.view")
def activity_export(request: Request) -> HttpResponseBase:
    """The newest 100,000 events that match, as CSV."""
    filters = TrailForm(request.GET).filters()
    events = trail.trail(user=request.user, **filters).order_by("-sequence")[:EXPORT_MAX]
    return csv_response("activity", _EXPORT_COLUMNS, _export_rows(events.iterator(chunk_size=1_000)))


def _search_any(request: Request) -> HttpResponse:
    form = SearchForm(request.POST)
    if not form.is_valid():
        return render(request, "home/search.html", {"form": form, "text": ""}, status=400)
    text = form.cleaned_data["q"]
    found = meanings.meanings(text, user=request.user)
    if found.exact and (target := found.submission or found.override or found.run):
        return redirect(target)
    if found.prediction and found.only_prediction:
        return redirect(found.prediction)
    customer = None
    # A text that means something else is looked up as a customer only when the person asks for it.
    if found.may_be_customer and (form.cleaned_data["customer"] or not found.known):
        customer = services.look_up_customer(actor=request.user, customer_id=text)
    context = {
        "text": text,
        "found": found,
        "customer": customer,
        "nothing": not found.known and customer is None,
        "submission": _listed(found.submission),
        "unfinished": _listed(customer.unfinished if customer else None),
    }
    return render(request, "home/search.html", context)


def _listed(submission: Submission | None) -> ListedSubmission | None:
    return listed_submissions([submission])[0] if submission else None


def _without(request: Request, name: str) -> str:
    query = request.GET.copy()
    query.pop(name, None)
    query.pop("cursor", None)
    return f"?{query.urlencode()}"


def _export_rows(events: Iterator[Event]) -> Iterator[list[object]]:
    for event in events:
        about = trail.subject_of(event) or f"{event.subject_type} {event.subject_id}"
        yield [
            event.sequence,
            event.at,
            event.actor_name,
            event.verb,
            about,
            event.summary,
            event.reason,
            _json(event.before),
            _json(event.after),
            event.hash,
        ]


def _json(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)
