"""What holds for every request and every answer, whatever view is behind."""

from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from csp.utils import build_policy
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.common import CommonMiddleware
from django_structlog.middlewares import RequestMiddleware

from opsportal.core.errors import Invalid, NotFound, PortalError, TooLarge
from opsportal.core.http import is_api, upload_limit
from opsportal.core.problems import (
    CONTENT_TYPE,
    FAULT_OF_OURS,
    NOTHING_SAVED,
    OtherRefusal,
    ServerError,
    as_portal_error,
    error_response,
    problem_response,
)

GetResponse = Callable[[HttpRequest], HttpResponseBase]

PERMISSIONS_POLICY = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer",
        "autoplay",
        "camera",
        "display-capture",
        "encrypted-media",
        "fullscreen",
        "geolocation",
        "gyroscope",
        "magnetometer",
        "microphone",
        "midi",
        "payment",
        "publickey-credentials-get",
        "screen-wake-lock",
        "serial",
        "usb",
        "xr-spatial-tracking",
    )
)


class SecurityHeadersMiddleware:
    """The same protective headers on every answer: pages, API, redirects, errors and static files.

    It stands outermost, so no other middleware can answer past it. django-csp builds the policy, but
    its middleware leaves 404 and 500 out under DEBUG; ours leaves nothing out.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.headers = {
            "Content-Security-Policy": build_policy(config=settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Permissions-Policy": PERMISSIONS_POLICY,
            "Referrer-Policy": settings.SECURE_REFERRER_POLICY,
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        }

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        for name, value in self.headers.items():
            response.headers[name] = value
        found_static = request.path_info.startswith(settings.STATIC_URL) and response.status_code < 400
        if not found_static and "no-store" not in response.headers.get("Cache-Control", ""):
            response.headers["Cache-Control"] = "no-store"
        return response


class CleanInputMiddleware:
    """Refuse what no view should ever see, and turn every error into one of our shapes, under DEBUG too.

    Refused with 400: NUL or bytes that are not UTF-8 in path, query, headers or form fields, and a body
    that cannot be parsed. Refused with 413: a body or a number of fields over the limits. PostgreSQL
    takes no NUL, and Django would silently put replacement characters for bytes it cannot decode.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            _check_envelope(request)
            _check_form(request)
        except Exception as exc:
            error = as_portal_error(exc)
            if error is None:
                raise
            return error_response(request, error)
        return self._in_our_shape(request, self.get_response(request))

    def process_exception(self, request: HttpRequest, exc: Exception) -> HttpResponseBase | None:
        """Refusals that a view let through; faults of ours go on to Django, which logs them."""
        error = as_portal_error(exc)
        return None if error is None else error_response(request, error)

    def _in_our_shape(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Replace what Django answers by itself: HTML under /api/, and its own pages under DEBUG.

        Those need inline script and style, which the policy forbids; the traceback is in the log.
        """
        if response.status_code < 400:
            return response
        if is_api(request) and response.headers.get("Content-Type", "") != CONTENT_TYPE:
            if response.status_code == 404:
                return problem_response(NotFound("There is nothing at this address."))
            if response.status_code == 500:
                return problem_response(ServerError(FAULT_OF_OURS))
            kept = {name: response.headers[name] for name in ("Allow", "Retry-After") if name in response}
            refusal = OtherRefusal(
                "The request was refused.", status=response.status_code, code="refused", headers=kept
            )
            return problem_response(refusal)
        if settings.DEBUG and response.status_code == 404 and request.resolver_match is None:
            return error_response(request, NotFound("There is nothing at this address."))
        if settings.DEBUG and response.status_code == 500:
            return error_response(request, ServerError(FAULT_OF_OURS))
        return response


class SlashMiddleware(CommonMiddleware):
    """Add the slash that an address lacks, for reading only.

    Django would answer a form with a redirect that loses its fields, and with an error under DEBUG.
    """

    def should_redirect_with_slash(self, request: HttpRequest) -> bool:
        """Whether the same address with a slash is meant."""
        return request.method in {"GET", "HEAD"} and super().should_redirect_with_slash(request)


class RequestLogMiddleware(RequestMiddleware):
    """Log requests by their path alone: whoever writes a customer ID into a query leaves it there."""

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        """GET /overrides/blocks/"""
        return f"{request.method} {request.path}"


def _check_envelope(request: HttpRequest) -> None:
    """Path, query and headers, before anything decodes them."""
    # Django has decoded the path and put the percent sign back before the bytes it could not decode.
    _check_bytes(unquote_to_bytes(request.path_info), "The address")
    _check_bytes(unquote_to_bytes(_raw(request.META.get("QUERY_STRING", ""))), "The address")
    for name, value in request.META.items():
        if name.startswith("HTTP_") or name in {"CONTENT_TYPE", "REMOTE_USER"}:
            _check_bytes(_raw(str(value)), "A header of the request")
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not (length.isascii() and length.isdigit()):
        raise Invalid("The length of the request cannot be read. " + NOTHING_SAVED, code="unreadable")
    is_upload = request.content_type == "multipart/form-data"
    limit = upload_limit(request) if is_upload else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    if int(length) > limit:
        raise TooLarge(
            f"The request is larger than the {limit:,} bytes that are accepted here. {NOTHING_SAVED}"
        )


def _check_form(request: HttpRequest) -> None:
    """Form fields and file names, once parsed. The API takes no forms: StrictJSONParser judges its bodies."""
    if request.method != "POST" or is_api(request):
        return
    if request.content_type == "application/x-www-form-urlencoded":
        _check_bytes(unquote_to_bytes(request.body.replace(b"+", b" ")), "The form")
        _ = request.POST
    elif request.content_type == "multipart/form-data":
        fields = [*request.POST.keys(), *(value for _, values in request.POST.lists() for value in values)]
        names = [upload.name or "" for _, uploads in request.FILES.lists() for upload in uploads]
        for text in (*fields, *names):
            # Django has already put U+FFFD for what it could not decode.
            if "\0" in text or "\ufffd" in text:
                raise _unclean("The form")


def _raw(text: str) -> bytes:
    """The bytes that came over the wire: WSGI hands them over as if they were Latin-1."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _check_bytes(content: bytes, where: str) -> None:
    if b"\0" in content:
        raise _unclean(where)
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        raise _unclean(where) from None


def _unclean(where: str) -> PortalError:
    return Invalid(
        f"{where} contains a NUL character or text that is not UTF-8. {NOTHING_SAVED}", code="unclean_text"
    )
