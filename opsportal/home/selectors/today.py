"""What needs a person now: submissions, what is about to change, opt-outs to honour, and a few numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import TypeVar

from django.core.cache import cache
from django.db.models import Count, Min, Q, QuerySet
from django.db.models.functions import TruncDate
from django.urls import reverse
from django.utils import timezone

from opsportal.accounts.models import Role, User
from opsportal.audits.models import Run
from opsportal.core import clock
from opsportal.events.models import Head, Revision
from opsportal.overrides.models import (
    EVERYWHERE,
    Action,
    Block,
    Boost,
    Kind,
    OptOut,
    State,
    Submission,
)
from opsportal.overrides.selectors.lists import visible_submissions
from opsportal.overrides.services.applying import due_on

T = TypeVar("T")

AHEAD = timedelta(days=7)
COMING_ROWS = 12
CARD_ROWS = 6
TREND_DAYS = 14
# Enough for a fortnight of a busy portal, and a bound on the cost for one that is busier.
TREND_REVISIONS = 20_000
# The numbers belong to a revision, so one's own change shows at once; ends and starts may lag this much.
NUMBERS_SECONDS = 30
MINE = (State.DRAFT, State.CHECKING, State.WAITING, State.APPLYING, State.FAILED)


@dataclass(frozen=True, slots=True)
class Coming:
    """One or several overrides of a kind that start or end at one moment; `product_id` is of one of them."""

    moment: datetime
    kind: str
    starts: bool
    count: int
    url: str
    product_id: str
    surface: str = ""
    factor: float | None = None

    @property
    def others(self) -> int:
        """How many overrides there are beside the one that is named."""
        return self.count - 1


@dataclass(frozen=True, slots=True)
class Day:
    """What is coming on one day in the person's zone."""

    day: date
    name: str
    items: list[Coming]


@dataclass(frozen=True, slots=True)
class Due:
    """An opt-out that the rankers do not obey yet, and until when they must."""

    due_on: date
    days_left: int
    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Numbers:
    """How many overrides are in effect now, and how many changes there were on each of the last 14 days."""

    blocks: int
    boosts: int
    opt_outs: int
    scheduled: int
    changes: list[int]

    @property
    def changes_total(self) -> int:
        """All changes of the 14 days."""
        return sum(self.changes)

    @property
    def changes_words(self) -> str:
        """What the small chart shows, for those who do not see it."""
        return f"Changes a day for 14 days: {self.changes_total:,} in all, {self.changes[-1]:,} today"


def waiting_for(user: User) -> QuerySet[Submission]:
    """Submissions of others that the person may approve, the longest waiting first."""
    if not user.can("overrides.approve"):
        return Submission.objects.none()
    waiting = visible_submissions(user).filter(state=State.WAITING).exclude(author=user)
    return waiting.order_by("submitted_at", "id")


def unfinished_of(user: User) -> list[Submission]:
    """The person's own submissions that are not carried out yet, failures and drafts first."""
    rank = {State.FAILED: 0, State.DRAFT: 1, State.CHECKING: 2, State.WAITING: 3, State.APPLYING: 4}
    mine = visible_submissions(user).filter(author=user, state__in=MINE).order_by("-id")
    return sorted(mine[:CARD_ROWS], key=lambda submission: rank[State(submission.state)])


def nothing_yet() -> bool:
    """Whether nobody has ever submitted anything, and nothing was audited."""
    return not (Submission.objects.exists() or Run.objects.exists())


def coming_up() -> list[Day]:
    """What starts or ends within seven days, by day in the person's zone; at most 12 moments.

    Cost: reads of the index by end and of the scheduled submissions, kept for 30 s per revision.
    """
    moment = clock.now()
    items = [item for item in _cached("coming", _coming) if item.moment > moment]
    today = timezone.localdate()
    return [
        Day(day, _day_name(day, today), list(group))
        for day, group in groupby(items, key=lambda item: timezone.localtime(item.moment).date())
    ]


def numbers() -> Numbers:
    """Counts of what is in effect; exact to the revision, windows up to 30 s old. Cheap at a million rows."""
    return _cached("numbers", _numbers)


def opt_outs_due(user: User) -> list[Due]:
    """Opt-outs that are asked for but not live yet, the most urgent first; empty without `optouts.view`."""
    if not user.can("optouts.view"):
        return []
    asked = Submission.objects.filter(
        Q(state__in=[State.WAITING, State.APPLYING, State.FAILED])
        | Q(state__in=[State.DRAFT, State.CHECKING], author=user),
        kind=Kind.OPT_OUT,
        action=Action.ADD,
    ).order_by("received_at", "id")[:CARD_ROWS]
    today = timezone.localdate()
    found = []
    for submission in asked:
        due = due_on(submission.received_at or submission.created_at)
        state = submission.get_state_display().lower()
        text = f"Submission #{submission.pk}: {state}"
        found.append(Due(due, (due - today).days, text, submission.get_absolute_url()))
    # Applied, but the store does not have their revision yet.
    saved = OptOut.objects.filter(
        closed_at=None, submission__in=Submission.objects.filter(revision__live_at=None, state=State.APPLIED)
    ).order_by("due_on", "id")[:CARD_ROWS]
    for opt_out in saved:
        text = f"Opt-out {opt_out.pk}: saved, not yet live"
        found.append(Due(opt_out.due_on, (opt_out.due_on - today).days, text, opt_out.get_absolute_url()))
    return sorted(found, key=lambda due: due.due_on)[:CARD_ROWS]


def administrators() -> list[str]:
    """The names of those who can give somebody a role."""
    people = User.objects.filter(is_active=True, role_grants__role=Role.ADMINISTRATOR).order_by("username")
    return [person.get_full_name() or person.username for person in people[:5]]


def _cached(name: str, ask: Callable[[], T]) -> T:
    revision = Head.objects.values_list("epoch", "revision").filter(pk=1).first() or (1, 0)
    key = f"home:{name}:{revision[0]}:{revision[1]}"
    found: T | None = cache.get(key)
    if found is None:
        found = ask()
        cache.set(key, found, NUMBERS_SECONDS)
    return found


def _numbers() -> Numbers:
    scheduled = {model: _scheduled_count(model) for model in (Block, Boost)}
    return Numbers(
        blocks=_live(Block, scheduled[Block]),
        boosts=_live(Boost, scheduled[Boost]),
        opt_outs=OptOut.objects.filter(closed_at=None).count(),
        scheduled=sum(scheduled.values()),
        changes=_changes_by_day(),
    )


def _live(model: type[Block] | type[Boost], scheduled: int) -> int:
    """Open rows that have started and not ended, each term read from a partial index."""
    rows = model.objects.filter(closed_at=None)
    return rows.count() - scheduled - rows.filter(ends_at__lte=clock.now()).count()


def _scheduled(model: type[Block] | type[Boost]) -> QuerySet[Submission]:
    """Applied submissions of the kind whose start is still to come: few, however many rows they made."""
    return Submission.objects.filter(state=State.APPLIED, kind=model.kind, starts_at__gt=clock.now())


def _scheduled_count(model: type[Block] | type[Boost]) -> int:
    pks = list(_scheduled(model).values_list("pk", flat=True))
    return model.objects.filter(submission__in=pks, closed_at=None, starts_at__gt=clock.now()).count()


def _changes_by_day() -> list[int]:
    """Revisions of each of the last 14 days (portal's zone), oldest first; looks at 20,000 at most."""
    zone = timezone.get_default_timezone()
    today = timezone.localdate(timezone=zone)
    newest = Revision.objects.order_by("-number").values_list("number", flat=True).first() or 0
    by_day = dict(
        Revision.objects.filter(
            number__gt=newest - TREND_REVISIONS, at__gte=clock.now() - timedelta(days=TREND_DAYS)
        )
        .annotate(day=TruncDate("at", tzinfo=zone))
        .values("day")
        .annotate(changes=Count("number"))
        .values_list("day", "changes")
    )
    days = [today - timedelta(days=back) for back in range(TREND_DAYS - 1, -1, -1)]
    return [by_day.get(day, 0) for day in days]


def _coming() -> list[Coming]:
    items = [item for model in (Block, Boost) for found in (_ends(model), _starts(model)) for item in found]
    return sorted(items, key=lambda item: (item.moment, item.kind))[:COMING_ROWS]


def _ends(model: type[Block] | type[Boost]) -> list[Coming]:
    moment = clock.now()
    groups = (
        model.objects.filter(closed_at=None, ends_at__gt=moment, ends_at__lte=moment + AHEAD)
        .values("ends_at")
        .annotate(rows=Count("id"), sample=Min("id"))
        .order_by("ends_at")
        .values_list("ends_at", "rows", "sample")[:COMING_ROWS]
    )
    return _described(model, [(at, rows, pk) for at, rows, pk in groups if at], starts=False)


def _starts(model: type[Block] | type[Boost]) -> list[Coming]:
    moment = clock.now()
    soon = _scheduled(model).filter(starts_at__lte=moment + AHEAD).order_by("starts_at")
    pks = list(soon.values_list("pk", flat=True)[:COMING_ROWS])
    groups = list(
        model.objects.filter(submission__in=pks, closed_at=None, starts_at__gt=moment)
        .values("starts_at")
        .annotate(rows=Count("id"), sample=Min("id"))
        .order_by("starts_at")
        .values_list("starts_at", "rows", "sample")
    )
    return _described(model, groups, starts=True)


def _described(
    model: type[Block] | type[Boost], groups: Sequence[tuple[datetime, int, int]], *, starts: bool
) -> list[Coming]:
    samples = model.objects.select_related("surface").in_bulk([sample for _, _, sample in groups])
    found = []
    for at, rows, sample in groups:
        row = samples[sample]
        url = row.get_absolute_url() if rows == 1 else _list_url(model, starts=starts)
        single = rows == 1
        found.append(
            Coming(
                moment=at,
                kind=model.kind,
                starts=starts,
                count=rows,
                url=url,
                product_id=row.product_id,
                surface="" if not single or row.surface_id == EVERYWHERE else row.surface.name,
                factor=getattr(row, "factor", None) if single else None,
            )
        )
    return found


def _list_url(model: type[Block] | type[Boost], *, starts: bool) -> str:
    name = "overrides-blocks" if model is Block else "overrides-boosts"
    return f"{reverse(name)}?{'state=scheduled' if starts else 'sort=ends_at'}"


def _day_name(day: date, today: date) -> str:
    match (day - today).days:
        case 0:
            return "Today"
        case 1:
            return "Tomorrow"
    return f"{day:%A} {day.day} {day:%B}"
