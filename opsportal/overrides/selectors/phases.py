"""Where an override or a submission stands, told from its row and its revision; never stored."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from opsportal.core import clock
from opsportal.core.templatetags.ui import duration
from opsportal.events.models import Revision
from opsportal.overrides.models import Action, Block, Boost, OptOut, State, Submission
from opsportal.overrides.selectors.wording import count_of

AnyOverride = Block | Boost | OptOut


class Phase(StrEnum):
    """The state of an override as people see it; the values are kinds of badge."""

    SCHEDULED = "scheduled"
    PUBLISHING = "publishing"
    LIVE = "live"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Badge:
    """A state as colour and icon (`kind`, of the badge component) with its word."""

    kind: str
    text: str


def unpublished(revisions: Iterable[int]) -> frozenset[int]:
    """Which of these revisions the serving store does not hold yet; one query."""
    return frozenset(
        Revision.objects.filter(number__in=set(revisions), live_at=None).values_list("number", flat=True)
    )


def phase(row: AnyOverride, *, unpublished: frozenset[int], now: datetime | None = None) -> Phase:
    """Ended (withdrawn, or its end has passed), publishing (saved, not yet in the store), scheduled, or live.

    unpublished: the revisions that are not live, from the function of that name.
    """
    now = now or clock.now()
    if row.closed_at is not None:
        return Phase.ENDED
    if not isinstance(row, OptOut) and row.ends_at is not None and row.ends_at <= now:
        return Phase.ENDED
    if row.revision in unpublished:
        return Phase.PUBLISHING
    if not isinstance(row, OptOut) and row.starts_at > now:
        return Phase.SCHEDULED
    return Phase.LIVE


def phase_badge(row: AnyOverride, *, unpublished: frozenset[int], now: datetime | None = None) -> Badge:
    """The phase as a badge; one withdrawn before its end says so."""
    found = phase(row, unpublished=unpublished, now=now)
    if found is Phase.ENDED and row.closed_at is not None and not _ran_out(row):
        return Badge(found.value, "Withdrawn")
    return Badge(found.value, found.value.capitalize())


def submission_badge(submission: Submission, now: datetime | None = None) -> Badge:
    """The state of a submission; an applied one tells its own from its revision (select it) and window."""
    if submission.state != State.APPLIED:
        return Badge(_STATE_KINDS[State(submission.state)], submission.get_state_display())
    if submission.revision is None:
        return Badge("neutral", "Nothing changed")
    now = now or clock.now()
    if submission.revision.live_at is None:
        return Badge("publishing", "Publishing")
    if submission.action in {Action.ADD, Action.EXTEND}:
        if submission.ends_at is not None and submission.ends_at <= now:
            return Badge("ended", "Ended")
        if submission.starts_at is not None and submission.starts_at > now:
            return Badge("scheduled", "Scheduled")
    return Badge("live", "Live")


def opt_out_clock(row: OptOut) -> str:
    """How fast the request was honoured, or how long is left; reads the submission's revision."""
    first = row.submission.revision
    if first is not None and first.live_at is not None:
        return f"honoured after {duration(first.live_at - first.at)}"
    left = (row.due_on - clock.now().date()).days
    if left < 0:
        return f"overdue by {count_of(-left, 'day')}"
    return "due today" if left == 0 else f"{count_of(left, 'day')} left"


def _ran_out(row: AnyOverride) -> bool:
    return not isinstance(row, OptOut) and row.ends_at is not None and row.closed_at == row.ends_at


_STATE_KINDS = {
    State.DRAFT: "neutral",
    State.CHECKING: "publishing",
    State.WAITING: "waiting",
    State.APPLYING: "publishing",
    State.REJECTED: "failed",
    State.CANCELLED: "ended",
    State.FAILED: "failed",
}
