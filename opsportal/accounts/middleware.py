"""How long a session lasts, and which zone its person sees times in."""

from collections.abc import Callable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from opsportal.core.clock import now

GetResponse = Callable[[HttpRequest], HttpResponseBase]

SIGNED_IN_AT = "signed_in_at"
SEEN_AT = "seen_at"
# How exactly "idle" is measured; each step is one write to the session.
SEEN_STEP = timedelta(minutes=5)


class SessionAgeMiddleware:
    """End a session after SESSION_IDLE without a page, or SESSION_ABSOLUTE after signing in.

    Fragments that a page fetches by itself do not count as use, or an open page would never go idle.
    The session is written at most every five minutes, so reading pages stays free of writes.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if settings.SESSION_COOKIE_NAME in request.COOKIES and request.user.is_authenticated:
            self._age(request)
        return self.get_response(request)

    def _age(self, request: HttpRequest) -> None:
        moment = now()
        signed_in_at = _moment(request.session.get(SIGNED_IN_AT))
        seen_at = _moment(request.session.get(SEEN_AT))
        if signed_in_at is None or seen_at is None:
            start_session_clock(request)
            return
        too_old = moment - signed_in_at > settings.SESSION_ABSOLUTE
        if too_old or moment - seen_at > settings.SESSION_IDLE:
            logout(request)
            request.session_ended = True  # type: ignore[attr-defined]  # the sign-in page says so
        elif moment - seen_at > SEEN_STEP and not _is_fragment(request):
            request.session[SEEN_AT] = moment.isoformat()


class TimeZoneMiddleware:
    """Show times in the zone the person chose, else in the zone of the portal."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        chosen = ""
        if settings.SESSION_COOKIE_NAME in request.COOKIES and request.user.is_authenticated:
            chosen = request.user.time_zone
        with timezone.override(_zone(chosen)):
            return self.get_response(request)


def start_session_clock(request: HttpRequest) -> None:
    """The session begins now: both limits count from here."""
    moment = now().isoformat()
    request.session[SIGNED_IN_AT] = request.session[SEEN_AT] = moment


def _is_fragment(request: HttpRequest) -> bool:
    return request.method == "GET" and request.headers.get("HX-Request") == "true"


def _moment(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError):
        return None
