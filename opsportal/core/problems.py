"""One shape for every error: problem+json under /api/, a page elsewhere."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.core.exceptions import (
    BadRequest,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import render
from django.template import loader
from rest_framework import exceptions as drf
from rest_framework.response import Response

from opsportal.core.errors import (
    Forbidden,
    Invalid,
    NotFound,
    PortalError,
    Problem,
    TooLarge,
    Unavailable,
)
from opsportal.core.http import is_api

CONTENT_TYPE = "application/problem+json"
NOTHING_SAVED = "Nothing was saved."
FAULT_OF_OURS = "The fault is on our side and has been noted. Try again in a moment."


class ServerError(PortalError):
    """A fault of ours. The cause stands in the log, never in the answer."""

    status = 500
    code = "server_error"
    title = "Something went wrong on our side"


class MethodNotAllowed(PortalError):
    """The address exists, but not for this verb."""

    status = 405
    code = "method_not_allowed"
    title = "This does not work here"


class OtherRefusal(PortalError):
    """A refusal of the framework that has no class of its own; carries its own status."""

    code = "refused"
    title = "The request was refused"

    def __init__(self, message: str, *, status: int, code: str, headers: Mapping[str, str]) -> None:
        super().__init__(message, code=code, headers=headers)
        self.status = status  # type: ignore[misc]  # the one class whose status is not a constant


def problem_body(error: PortalError) -> dict[str, Any]:
    """The body of RFC 9457 with our two additions: a stable `code` and one entry per wrong place."""
    return {
        "type": f"urn:opsportal:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": error.message,
        "errors": [
            {"path": problem.path, "code": problem.code, "message": problem.message}
            for problem in error.errors
        ],
    }


def problem_response(error: PortalError) -> JsonResponse:
    """The answer of a view that is not DRF's."""
    return JsonResponse(
        problem_body(error), status=error.status, content_type=CONTENT_TYPE, headers=error.headers
    )


def error_response(request: HttpRequest, error: PortalError) -> HttpResponse:
    """The error as the asker expects it: problem+json under /api/, a page in words elsewhere."""
    if is_api(request):
        return problem_response(error)
    context = {"error": error, "status": error.status, "title": error.title, "detail": error.message}
    template = f"errors/{error.status}.html" if error.status in {403, 404} else "errors/error.html"
    if error.status >= 500 or not hasattr(request, "user"):
        # What is broken may be what the frame of the page needs, so this page stands alone.
        page = loader.render_to_string("errors/bare.html", context)
        response = HttpResponse(page, status=error.status)
    else:
        response = render(request, template, context, status=error.status)
    for name, value in error.headers.items():
        response[name] = value
    return response


def as_portal_error(exc: BaseException | None) -> PortalError | None:
    """The refusal that stands behind an exception of Django or the database; None for a fault of ours."""
    match exc:
        case PortalError():
            return exc
        case Http404():
            return NotFound("There is nothing at this address.")
        case PermissionDenied():
            return Forbidden("You may not do this.")
        case RequestDataTooBig():
            return TooLarge("The request is larger than this page accepts. " + NOTHING_SAVED)
        case TooManyFieldsSent() | TooManyFilesSent():
            return TooLarge("The request has more fields than this page accepts. " + NOTHING_SAVED)
        case UnreadablePostError():
            return Invalid(
                "The request broke off before it was complete. " + NOTHING_SAVED, code="incomplete"
            )
        case SuspiciousOperation() | BadRequest() | MultiPartParserError():
            return Invalid("The request cannot be read. " + NOTHING_SAVED, code="unreadable")
        case OperationalError() | InterfaceError():
            return Unavailable(
                "The database does not answer right now. Nothing was saved; try again in a moment.",
                headers={"Retry-After": "5"},
            )
    return None


def drf_exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Every exception of an API view as problem+json; faults of ours go on to Django's handler500."""
    error = from_drf(exc) if isinstance(exc, drf.APIException) else as_portal_error(exc)
    if error is None:
        return None
    return Response(
        problem_body(error), status=error.status, headers=error.headers, content_type=CONTENT_TYPE
    )


def from_drf(exc: drf.APIException) -> PortalError:
    """DRF's exception in our words, with the headers that belong to it."""
    headers: dict[str, str] = {}
    if authenticate := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = str(authenticate)
    if wait := getattr(exc, "wait", None):
        headers["Retry-After"] = str(int(wait))
    if isinstance(exc, drf.ValidationError):
        problems = list(_problems("", exc.detail))
        message = "The input is not valid."
        if len(problems) == 1:
            message = problems[0].message
        return Invalid(message, errors=problems)
    if isinstance(exc, drf.NotFound):
        return NotFound("There is nothing at this address.")
    detail = exc.detail
    code = getattr(detail, "code", exc.default_code)
    return OtherRefusal(str(detail), status=exc.status_code, code=str(code), headers=headers)


def _problems(path: str, detail: Any) -> Iterator[Problem]:
    """Walk DRF's nested details: lists of dicts are items, lists of strings several faults of one place."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            if isinstance(name, int):
                yield from _problems(f"{path}[{name}]", inner)
            elif name == "non_field_errors":
                yield from _problems(path, inner)
            else:
                yield from _problems(f"{path}.{name}" if path else str(name), inner)
    elif isinstance(detail, list):
        for number, inner in enumerate(detail):
            nested = isinstance(inner, Mapping | list)
            yield from _problems(f"{path}[{number}]" if nested else path, inner)
    else:
        yield Problem(path, str(getattr(detail, "code", "invalid")), str(detail))
