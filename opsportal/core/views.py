"""Pages of no app: errors, and the two answers for probes."""

import sys
from functools import cache

import structlog
from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from opsportal.core.errors import Forbidden, Invalid, NotFound, Unavailable
from opsportal.core.problems import (
    FAULT_OF_OURS,
    ServerError,
    as_portal_error,
    error_response,
    problem_response,
)

log = structlog.get_logger(__name__)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler400: what could not be read, with 413 where it was only too much."""
    error = as_portal_error(exception) or Invalid("The request cannot be read. Nothing was saved.")
    return error_response(request, error)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler403."""
    return error_response(request, as_portal_error(exception) or Forbidden("You may not do this."))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler404."""
    return error_response(request, NotFound("There is nothing at this address."))


def server_error(request: HttpRequest) -> HttpResponse:
    """handler500: 503 when the database is away, else 500; never the cause."""
    error = as_portal_error(sys.exc_info()[1])
    if error is None:
        error = ServerError(FAULT_OF_OURS)
    return error_response(request, error)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """The form came without the token that proves it was ours. The reason goes to the log only."""
    log.warning("csrf_refused", reason=reason, path=request.path)
    message = (
        "This form is too old, or your browser did not send our cookie, so nothing was saved. "
        "Go back, reload the page and send the form again."
    )
    return error_response(request, Forbidden(message, code="csrf"))


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Alive: this process answers. No word about the database: probes must not restart us for it."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Ready: the database answers and has every migration. Redis does not count: pages work without it."""
    try:
        applied = set(MigrationRecorder(connection).applied_migrations())
    except DatabaseError:
        return problem_response(Unavailable("The database does not answer.", code="database_away"))
    if missing := sorted(_migrations_on_disk() - applied):
        names = ", ".join(f"{app}.{name}" for app, name in missing[:5])
        message = f"{len(missing)} migrations are not applied: {names}."
        return problem_response(Unavailable(message, code="migrations_missing"))
    return JsonResponse({"status": "ready"})


@cache
def _migrations_on_disk() -> frozenset[tuple[str, str]]:
    return frozenset(MigrationLoader(None).disk_migrations)
