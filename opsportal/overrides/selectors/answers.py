"""What the REST API answers: the rows a caller may see, and what became of each item of a submission."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from opsportal.accounts.models import User
from opsportal.core.errors import NotFound
from opsportal.core.pagination import Page, keyset_page
from opsportal.overrides.models import Kind, Submission, SubmissionItem
from opsportal.overrides.selectors.lists import Filters, matching, may_list, visible_submissions
from opsportal.overrides.selectors.phases import AnyOverride, phase, unpublished
from opsportal.overrides.selectors.triage import MODELS, counts
from opsportal.predictions.pseudonyms import customer_key
from opsportal.predictions.selectors import batches

NEWEST = ["-id"]
SMALLEST_TOO_LARGE_ID = 2**63


@dataclass(frozen=True, slots=True)
class Outcome:
    """One item of a submission. `id` is the product ID, or the customer's key; empty if it could not be used.

    row: its position in the request, from 1. override_id: the block, boost or opt-out it made,
    changed or withdrew; None where it did nothing yet.
    """

    row: int
    id: str
    triage: str
    note: str
    override_id: int | None


def overrides_answer(
    kind: str,
    filters: Filters,
    *,
    user: User,
    product_id: str = "",
    customer_id: str = "",
    cursor: str | None = None,
    size: int,
) -> Page[Any]:
    """One page of the overrides that match, newest first, each with its `state`; two queries.

    product_id and customer_id match exactly. Raises Invalid for a foreign cursor.
    """
    rows = matching(kind, filters, user=user)
    if product_id:
        rows = rows.filter(product_id=product_id)
    if customer_id:
        rows = rows.filter(customer_key=customer_key(customer_id))
    page: Page[Any] = keyset_page(rows, order=NEWEST, cursor=cursor, size=size)
    with_states(page.results)
    return page


def override_answer(kind: str, override_id: int, *, user: User) -> AnyOverride:
    """One override with its `state`. Raises NotFound, also when the person may not see this kind."""
    rows = MODELS[kind]._default_manager
    found = None
    if may_list(user, kind) and override_id < SMALLEST_TOO_LARGE_ID:
        found = rows.filter(pk=override_id).first()
    if found is None:
        raise NotFound(f"There is no such {Kind(kind).label.lower()}.")
    with_states([found])
    return found


def with_states(rows: Sequence[AnyOverride]) -> None:
    """Set `state` on each row: scheduled, publishing, live or ended. One query."""
    pending = unpublished(row.revision for row in rows)
    for row in rows:
        row.state = phase(row, unpublished=pending).value  # type: ignore[union-attr]  # told, never stored


def submissions_answer(filters: Filters, *, user: User, cursor: str | None, size: int) -> Page[Submission]:
    """One page of submissions, newest first. Raises Invalid for a foreign cursor."""
    rows = visible_submissions(user)
    if filters.kind:
        rows = rows.filter(kind=filters.kind)
    if filters.state:
        rows = rows.filter(state=filters.state)
    if filters.mine:
        rows = rows.filter(author=user)
    return keyset_page(rows, order=NEWEST, cursor=cursor, size=size)


def submission_answer(submission_id: int, *, user: User) -> dict[str, Any]:
    """A submission with `triage` counts, `approvals` and `undone_by`, by name; four queries.

    Raises NotFound, also when the person may not see it.
    """
    found = visible_submission(submission_id, user=user)
    fields = {field.attname: getattr(found, field.attname) for field in Submission._meta.concrete_fields}
    return {
        **fields,
        "author": found.author,
        "revision": found.revision,
        "triage": counts(found),
        "approvals": list(found.approvals.select_related("approver").order_by("at", "id")),
        "undone_by": Submission.objects.filter(undoes=found).values_list("id", flat=True).first(),
    }


def visible_submission(submission_id: int, *, user: User) -> Submission:
    """The submission. Raises NotFound, also when the person may not see it."""
    found = None
    if submission_id < SMALLEST_TOO_LARGE_ID:
        found = visible_submissions(user).filter(pk=submission_id).first()
    if found is None:
        raise NotFound("There is no such submission.")
    return found


def items_answer(
    submission: Submission, *, triage: str = "", cursor: str | None, size: int
) -> Page[SubmissionItem]:
    """One page of a submission's items in the order they came in. Raises Invalid for a foreign cursor."""
    items = submission.items.filter(triage=triage) if triage else submission.items.all()
    return keyset_page(items, order=["row"], cursor=cursor, size=size)


def outcomes(submission: Submission, items: Sequence[SubmissionItem] | None = None) -> list[Outcome]:
    """What became of these items, or of all of them; one query per 900, and one for the items."""
    rows = list(submission.items.order_by("row")) if items is None else items
    made = _overrides_of(submission, [item.target for item in rows if item.target])
    return [
        Outcome(
            item.row,
            item.target,
            item.triage,
            item.note,
            item.override_id or made.get(item.target),
        )
        for item in rows
    ]


def _overrides_of(submission: Submission, targets: Sequence[str]) -> dict[str, int]:
    """Target → the override that the submission made, or the opt-out that it widened."""
    if submission.revision_id is None:
        return {}
    column = "customer_key" if submission.kind == Kind.OPT_OUT else "product_id"
    rows = MODELS[submission.kind]._default_manager
    found: dict[str, int] = {}
    for batch in batches(targets):
        mine = Q(submission=submission, **{f"{column}__in": batch})
        if submission.kind == Kind.OPT_OUT:
            mine |= Q(closed_at=None, customer_key__in=batch)
        found.update(rows.filter(mine).values_list(column, "id"))
    return found
