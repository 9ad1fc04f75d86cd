"""The lists of blocks, boosts, opt-outs and submissions: filters, order, pages, hints.

Every list answers from indexes at a million rows: keyset pages instead of offsets, and no count goes
beyond BULK_MAX rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Sum

from opsportal.accounts.models import User
from opsportal.client import engine
from opsportal.core import clock
from opsportal.core.pagination import Page, keyset_page
from opsportal.events.models import Change, Revision
from opsportal.overrides.models import Block, Boost, Kind, OptOut, State, Submission, SubmissionItem
from opsportal.overrides.selectors.desired import desired_products
from opsportal.overrides.selectors.phases import (
    AnyOverride,
    Badge,
    opt_out_clock,
    phase_badge,
    submission_badge,
    unpublished,
)
from opsportal.overrides.selectors.triage import MODELS
from opsportal.overrides.selectors.wording import items_of, shown_target, title

PAGE_SIZE = 50
# One bulk change, and the highest number that a list counts to.
BULK_MAX = 5_000
# Up to so many rows are sorted for one page.
FEW_ROWS = 20_000
ENDING_WITHIN = timedelta(days=3)
DUE_WITHIN = timedelta(days=3)

NOT_ENDED = ""
STATES = {
    NOT_ENDED: "Not ended",
    "live": "Live",
    "scheduled": "Scheduled",
    "publishing": "Publishing",
    "ending": "Ends within 3 days",
    "ended": "Ended",
    "all": "All",
}
OPT_OUT_STATES = {
    NOT_ENDED: "In force",
    "publishing": "Publishing",
    "due": "Due within 3 days",
    "ended": "Withdrawn",
    "all": "All",
}
SUBMISSION_STATES = {
    "": "All",
    "for_me": "Waiting for my approval",
    **{state.value: state.label for state in State},
}
# What ?sort= may say, and the columns behind it; the last one is unique.
NEWEST = ("-id",)
_PRODUCT_ORDERS: dict[str, tuple[str, ...]] = {
    "product_id": ("product_id", "-id"),
    "-product_id": ("-product_id", "id"),
    "ends_at": ("ends_at", "id"),
    "-ends_at": ("-ends_at", "-id"),
}
_OPT_OUT_ORDERS: dict[str, tuple[str, ...]] = {"due_on": ("due_on", "id"), "-due_on": ("-due_on", "-id")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a list is narrowed to; the names are those of the query parameters. Empty means any."""

    q: str = ""
    state: str = NOT_ENDED
    surface: str = ""
    reason_code: str = ""
    kind: str = ""
    purpose: str = ""
    channel: str = ""
    mine: bool = False
    submission: int | None = None
    sort: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of a list with what is told beside it."""

    row: AnyOverride
    badge: Badge
    # Why a boost has no effect, or what a block beats; empty for nothing.
    hint: str
    ends_soon: bool
    # The product's ID, or the customer's short key; and for an opt-out how its 15 business days stand.
    shown: str
    clock: str


@dataclass(frozen=True, slots=True)
class ListedSubmission:
    """A row of the list of submissions."""

    row: Submission
    badge: Badge
    title: str


@dataclass(frozen=True, slots=True)
class Tally:
    """How many rows match: exact, or at least so many when `more`."""

    number: int
    more: bool

    def __str__(self) -> str:
        return f"more than {self.number:,}" if self.more else f"{self.number:,}"


def may_list(user: User, kind: str) -> bool:
    """Whether the person may see overrides of this kind: opt-outs are not for everybody."""
    return user.can("optouts.view" if kind == Kind.OPT_OUT else "overrides.view")


def visible_submissions(user: User) -> QuerySet[Submission]:
    """The submissions a person may see, with what every page about them shows."""
    rows = Submission.objects.select_related("author", "decided_by", "surface", "revision")
    if not user.can("overrides.view"):
        return rows.none()
    return rows if user.can("optouts.view") else rows.exclude(kind=Kind.OPT_OUT)


def matching(kind: str, filters: Filters, *, user: User) -> QuerySet[Any]:
    """The overrides of one kind that match, unordered."""
    # The three models share no manager that knows all their columns.
    rows: QuerySet[Any] = MODELS[kind]._default_manager.all()
    if filters.mine:
        rows = rows.filter(_made_by(user))
    if filters.submission is not None:
        rows = rows.filter(submission=filters.submission)
    if kind == Kind.OPT_OUT:
        return _matching_opt_outs(rows, filters)
    if filters.q:
        rows = rows.filter(starts_with("product_id", filters.q))
    if filters.surface:
        rows = rows.filter(surface=filters.surface)
    if filters.reason_code:
        rows = rows.filter(reason_code=filters.reason_code)
    if order_of(kind, filters)[0].removeprefix("-") == "ends_at":
        rows = rows.filter(ends_at__isnull=False)
    return rows.filter(_in_state(filters.state, Change.Kind.PRODUCT, "product_id"))


def order_of(kind: str, filters: Filters) -> tuple[str, ...]:
    """The columns that the list is ordered by, by ?sort= or else the newest first.

    By end only where an index serves it: among rows that have not ended.
    """
    orders = _OPT_OUT_ORDERS if kind == Kind.OPT_OUT else _PRODUCT_ORDERS
    order = orders.get(filters.sort, NEWEST)
    if filters.state in {"ended", "all"} and order[0].removeprefix("-") in {"ends_at", "due_on"}:
        return NEWEST
    return order


def overrides_page(kind: str, filters: Filters, *, user: User, cursor: str | None) -> Page[Any]:
    """One page of the list; a handful of queries, whatever its size. Raises Invalid for a foreign cursor."""
    related = ["submission__author", "submission__revision" if kind == Kind.OPT_OUT else "surface"]
    return keyset_page(
        matching(kind, filters, user=user).select_related(*related),
        order=order_of(kind, filters),
        cursor=cursor,
        size=PAGE_SIZE,
    )


def listed(rows: Sequence[AnyOverride]) -> list[Listed]:
    """The rows with their badges and hints: one query for the revisions, two for the rules beside."""
    now = clock.now()
    waiting = unpublished(row.revision for row in rows)
    hints = conflict_hints(rows)
    return [
        Listed(
            row,
            phase_badge(row, unpublished=waiting, now=now),
            hints.get(row.pk, ""),
            _ends_soon(row),
            shown_target(row.kind, row.customer_key if isinstance(row, OptOut) else row.product_id),
            opt_out_clock(row) if isinstance(row, OptOut) and row.closed_at is None else "",
        )
        for row in rows
    ]


def tally(kind: str, filters: Filters, *, user: User) -> Tally:
    """How many overrides match, counted to BULK_MAX at most."""
    number = matching(kind, filters, user=user).order_by()[: BULK_MAX + 1].count()
    return Tally(min(number, BULK_MAX), number > BULK_MAX)


def matching_ids(kind: str, filters: Filters, *, user: User) -> list[int]:
    """The ids of the overrides that match and have not ended: one more than BULK_MAX at most."""
    rows = matching(kind, filters, user=user).filter(closed_at=None).order_by(*order_of(kind, filters))
    return list(rows.values_list("id", flat=True)[: BULK_MAX + 1])


def conflict_hints(rows: Iterable[AnyOverride]) -> dict[int, str]:
    """For boosts that something beats, and blocks that beat something, a few words; by the engine's rules."""
    open_rules = [row for row in rows if isinstance(row, Block | Boost) and row.closed_at is None]
    if not open_rules:
        return {}
    rules = desired_products(sorted({row.product_id for row in open_rules}))
    return {row.pk: _hint(row, rules.get(row.product_id, "")) for row in open_rules}


def find_opt_out(customer_key: str) -> OptOut | None:
    """The customer's opt-out in force, or else the last one that was withdrawn."""
    rows = OptOut.objects.filter(customer_key=customer_key)
    return rows.order_by(F("closed_at").desc(nulls_first=True), "-id").first()


def submissions_page(filters: Filters, *, user: User, cursor: str | None) -> Page[Submission]:
    """One page of submissions, newest first. Raises Invalid for a foreign cursor."""
    return keyset_page(matching_submissions(filters, user=user), order=NEWEST, cursor=cursor, size=PAGE_SIZE)


def matching_submissions(filters: Filters, *, user: User) -> QuerySet[Submission]:
    """The submissions a person may see that match. `q` is a number (#12) or a whole product ID."""
    rows = visible_submissions(user)
    if filters.kind:
        rows = rows.filter(kind=filters.kind)
    if filters.mine:
        rows = rows.filter(author=user)
    if filters.state == "for_me":
        rows = rows.filter(state=State.WAITING).exclude(author=user)
    elif filters.state:
        rows = rows.filter(state=filters.state)
    if filters.q:
        touching = SubmissionItem.objects.filter(target=filters.q).values("submission")
        found = Q(pk__in=touching)
        number = filters.q.removeprefix("#")
        if number.isascii() and number.isdigit() and len(number) < 10:
            found |= Q(pk=int(number))
        rows = rows.filter(found)
    return rows


def listed_submissions(rows: Sequence[Submission]) -> list[ListedSubmission]:
    """The submissions with their badges and sentences; no query."""
    now = clock.now()
    return [ListedSubmission(row, submission_badge(row, now), title(row, items_of(row))) for row in rows]


def _matching_opt_outs(rows: QuerySet[Any], filters: Filters) -> QuerySet[Any]:
    if filters.purpose:
        rows = rows.filter(**{filters.purpose: True})
    if filters.channel:
        rows = rows.filter(channel=filters.channel)
    if filters.state == "due":
        day = (clock.now() + DUE_WITHIN).date()
        return rows.filter(closed_at=None, due_on__gte=clock.now().date(), due_on__lte=day)
    if filters.state == "ended":
        return rows.filter(closed_at__isnull=False)
    if filters.state == "all":
        return rows
    if filters.state == "publishing":
        return rows.filter(_publishing(Change.Kind.CUSTOMER, "customer_key"), closed_at=None)
    return rows.filter(closed_at=None)


def _in_state(state: str, kind: Change.Kind, key: str) -> Q:
    now = clock.now()
    not_ended = Q(closed_at=None) & (Q(ends_at=None) | Q(ends_at__gt=now))
    match state:
        case "all":
            return Q()
        case "ended":
            return Q(closed_at__isnull=False) | Q(ends_at__lte=now)
        case "publishing":
            return not_ended & _publishing(kind, key)
        case "live":
            return not_ended & Q(starts_at__lte=now) & ~Q(revision__in=_pending_revisions())
        case "scheduled":
            return not_ended & Q(starts_at__gt=now) & ~Q(revision__in=_pending_revisions())
        case "ending":
            return Q(closed_at=None, ends_at__gt=now, ends_at__lte=now + ENDING_WITHIN)
        case _:
            return not_ended


def _publishing(kind: Change.Kind, key: str) -> Q:
    """Rows of a revision that is not live; through the change feed, since it has the index."""
    pending = _pending_revisions()
    if not pending:
        return Q(pk__in=[])
    changed = Change.objects.filter(kind=kind, revision__in=pending).values("key")
    return Q(revision__in=pending, **{f"{key}__in": changed})


def _pending_revisions() -> list[int]:
    """The revisions that are not live yet: none or a few, hundreds only while the store is away."""
    pending = Revision.objects.filter(live_at=None).order_by("number")
    return list(pending.values_list("number", flat=True)[:900])


def _made_by(user: User) -> Q | Exists:
    """Overrides that this person asked for.

    Few are found through their submissions; of many, a page is found sooner by looking at each row's
    submission from the newest row on.
    """
    own = Submission.objects.filter(author=user)
    total = own.aggregate(rows=Sum("rows_total"))["rows"] or 0
    if total <= FEW_ROWS:
        return Q(submission__in=own.values("pk"))
    return Exists(own.filter(pk=OuterRef("submission_id")))


def starts_with(column: str, text: str) -> Q:
    """Rows whose column begins so, in the same letter case."""
    if connection.vendor == "sqlite":
        # LIKE ignores the case there and uses no index; a range in byte order does neither.
        return Q(**{f"{column}__gte": text, f"{column}__lt": text + "\U0010ffff"})
    # Other databases sort by the rules of a language, in which no prefix is a range.
    return Q(**{f"{column}__startswith": text})


def _hint(row: Block | Boost, text: str) -> str:
    now = max(clock.now(), row.starts_at).timestamp()
    letter = engine.BLOCK if isinstance(row, Block) else engine.BOOST
    explanation = engine.explain(text, surface=row.surface_id, now=now)
    mine = next(
        (v for v in explanation.verdicts if v.rule[0] == letter and v.rule.override_id == row.pk), None
    )
    if mine is None or not mine.applies:
        return ""
    if isinstance(row, Block):
        beaten = any(v.applies and v.rule.kind == engine.BOOST for v in explanation.verdicts)
        return "beats a boost" if beaten else ""
    if explanation.blocked:
        return "no effect: blocked"
    return "" if mine.wins else "no effect: another boost wins"


def _ends_soon(row: AnyOverride) -> bool:
    if isinstance(row, OptOut) or row.closed_at is not None or row.ends_at is None:
        return False
    now = clock.now()
    return now < row.ends_at <= now + ENDING_WITHIN
