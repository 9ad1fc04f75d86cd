"""Guards for pages: who is not signed in goes to the sign-in page, who may not see gets 404."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeAlias, cast
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

from opsportal.core.http import Request

P = ParamSpec("P")
View: TypeAlias = Callable[Concatenate[Request, P], HttpResponseBase]
Guarded: TypeAlias = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def signed_in(view: View[P]) -> Guarded[P]:
    """Let signed-in people through; everybody else goes to the sign-in page and comes back afterwards."""

    @wraps(view)
    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return to_sign_in(request)
        return view(cast(Request, request), *args, **kwargs)

    return guarded


def needs(*capabilities: str) -> Callable[[View[P]], Guarded[P]]:
    """Let people through who have every one of the capabilities; to the others the page does not exist."""

    def guard(view: View[P]) -> Guarded[P]:
        @wraps(view)
        def guarded(request: Request, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if not all(request.user.can(capability) for capability in capabilities):
                raise Http404
            return view(request, *args, **kwargs)

        return signed_in(guarded)

    return guard


def to_sign_in(request: HttpRequest) -> HttpResponse:
    """To the sign-in page; an htmx fragment moves the whole page there instead of swapping a form in."""
    htmx = HtmxDetails(request)
    if htmx:
        # The fragment's own address is no page; this is None when the page is not ours.
        came_from = htmx.current_url_abs_path or "/"
    else:
        # A form that was sent after the session ended cannot be repeated: back to where it came from.
        came_from = request.get_full_path() if request.method == "GET" else request.path
    query = {"next": came_from}
    if getattr(request, "session_ended", False):
        query["ended"] = "1"
    url = f"{reverse('accounts-sign-in')}?{urlencode(query)}"
    return HttpResponseClientRedirect(url) if htmx else redirect(url)
