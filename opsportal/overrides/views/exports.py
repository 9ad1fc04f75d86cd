"""Lists as CSV, streamed, and safe to open in a spreadsheet."""

from collections.abc import Iterable, Iterator
from typing import Any

from django.http import Http404, StreamingHttpResponse
from django.views.decorators.http import require_safe

from opsportal.accounts.access import needs
from opsportal.core.http import Request
from opsportal.core.spreadsheets import csv_response
from opsportal.events.models import Revision
from opsportal.overrides.forms import FILTER_FORMS, SubmissionFilterForm
from opsportal.overrides.models import Kind, OptOut, Submission
from opsportal.overrides.selectors import lists
from opsportal.overrides.selectors.phases import AnyOverride, phase_badge, submission_badge
from opsportal.overrides.selectors.wording import items_of, shown_target, title
from opsportal.overrides.views.kinds import PAGES

CHUNK = 2_000
_PRODUCT_COLUMNS = [
    "id", "product_id", "state", "surface", "starts_at", "ends_at", "reason_code",
    "reason", "ticket", "author", "submission", "revision", "created_at", "closed_at",
]  # fmt: skip
_OPT_OUT_COLUMNS = [
    "id", "customer", "state", "personalisation", "training", "sharing", "channel", "received_at", "due_on",
    "reason", "ticket", "author", "submission", "revision", "created_at", "closed_at",
]  # fmt: skip
_SUBMISSION_COLUMNS = [
    "id", "title", "kind", "action", "state", "items", "surface", "starts_at", "ends_at", "reason_code",
    "reason", "ticket", "author", "decided_by", "created_at", "applied_at", "revision",
]  # fmt: skip


@require_safe
@needs("overrides.view")
def overrides(request: Request, kind: Kind) -> StreamingHttpResponse:
    """The blocks, boosts or opt-outs that match the list's filters, in the list's order."""
    pages = PAGES[kind]
    if not request.user.can(pages.view):
        raise Http404
    filters = FILTER_FORMS[kind](request.GET).filters()
    rows = lists.matching(kind, filters, user=request.user).select_related("submission__author")
    rows = rows.order_by(*lists.order_of(kind, filters))
    columns = _OPT_OUT_COLUMNS if kind == Kind.OPT_OUT else _PRODUCT_COLUMNS
    if kind == Kind.BOOST:
        columns = [*columns, "factor"]
    return csv_response(pages.slug, columns, _override_lines(rows.iterator(chunk_size=CHUNK)))


@require_safe
@needs("overrides.view")
def submissions(request: Request) -> StreamingHttpResponse:
    """The submissions that match the list's filters, newest first."""
    filters = SubmissionFilterForm(request.GET).filters()
    rows = lists.matching_submissions(filters, user=request.user).order_by(*lists.NEWEST)
    return csv_response(
        "submissions", _SUBMISSION_COLUMNS, map(_submission_line, rows.iterator(chunk_size=CHUNK))
    )


def _override_lines(rows: Iterable[AnyOverride]) -> Iterator[list[Any]]:
    pending = frozenset(Revision.objects.filter(live_at=None).values_list("number", flat=True))
    for row in rows:
        state = phase_badge(row, unpublished=pending).text.lower()
        intent = row.submission
        who = [intent.reason, intent.ticket, intent.author.get_username(), intent.pk]
        tail = [*who, row.revision, row.created_at, row.closed_at]
        if isinstance(row, OptOut):
            customer = shown_target(Kind.OPT_OUT, row.customer_key)
            purposes = [row.personalisation, row.training, row.sharing]
            yield [row.pk, customer, state, *purposes, row.channel, row.received_at, row.due_on, *tail]
        else:
            window = [row.surface_id, row.starts_at, row.ends_at]
            factor = [] if row.kind == Kind.BLOCK else [getattr(row, "factor", "")]
            yield [row.pk, row.product_id, state, *window, row.reason_code, *tail, *factor]


def _submission_line(row: Submission) -> list[Any]:
    items = items_of(row)
    decided_by = row.decided_by.get_username() if row.decided_by else ""
    what = [row.pk, title(row, items), row.kind, row.action, submission_badge(row).text.lower(), items]
    window = [row.surface_id, row.starts_at, row.ends_at]
    why = [row.reason_code, row.reason, row.ticket, row.author.get_username(), decided_by]
    return [*what, *window, *why, row.created_at, row.applied_at, row.revision_id]
