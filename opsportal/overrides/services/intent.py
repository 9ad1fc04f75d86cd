"""What somebody wants, checked against every rule that does not depend on the items."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.core.errors import Forbidden, Invalid, Problem
from opsportal.overrides.models import (
    BOOST_MAX_DAYS,
    EVERYWHERE,
    FACTOR_MAX,
    FACTOR_MIN,
    Action,
    Channel,
    Kind,
    Purpose,
    ReasonCode,
    Source,
    Surface,
)

REASON_MAX = 2_000
TICKET_MAX = 100
# A year that no plan reaches: beyond it some clients' epoch seconds overflow.
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
CLOCK_TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """The content of a submission without its items. Times are aware; `starts_at` None means at once."""

    kind: Kind
    action: Action = Action.ADD
    source: Source = Source.FORM
    surface: str = EVERYWHERE
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    factor: float | None = None
    purposes: Sequence[str] = ()
    channel: str = ""
    received_at: datetime | None = None
    reason_code: str = ReasonCode.OTHER
    reason: str = ""
    ticket: str = ""


def require_permission(actor: User, kind: str, action: str) -> None:
    """Raise Forbidden unless the person may do this kind of change."""
    if kind == Kind.OPT_OUT:
        capability = "optouts.withdraw" if action == Action.WITHDRAW else "optouts.write"
    else:
        capability = "blocks.write" if kind == Kind.BLOCK else "boosts.write"
    if not actor.can(capability):
        raise Forbidden(f"You may not do this: {capability} is needed.")


def check_intent(intent: Intent) -> None:
    """Raise Invalid with one problem per field that breaks a rule; one query for the surface."""
    problems = [*_reason_problems(intent)]
    if intent.action == Action.ADD:
        if intent.kind == Kind.OPT_OUT:
            problems += _opt_out_problems(intent)
        else:
            problems += _window_problems(intent)
    elif intent.action == Action.EXTEND:
        problems += _end_problems(intent, clock.this_second())
    if intent.kind == Kind.BOOST and intent.action == Action.ADD:
        problems += _factor_problems(intent.factor)
    if problems:
        raise Invalid(problems[0].message, code=problems[0].code, errors=problems)


def _reason_problems(intent: Intent) -> list[Problem]:
    problems = []
    if not intent.reason.strip():
        problems.append(Problem("reason", "required", "Say why, in a few words."))
    elif len(intent.reason) > REASON_MAX:
        problems.append(
            Problem("reason", "too_long", f"The reason is longer than {REASON_MAX:,} characters.")
        )
    if intent.reason_code not in ReasonCode.values:
        problems.append(Problem("reason_code", "unknown", f"Choose one of: {', '.join(ReasonCode.values)}."))
    if len(intent.ticket) > TICKET_MAX:
        problems.append(Problem("ticket", "too_long", f"The ticket is longer than {TICKET_MAX} characters."))
    return problems


def _window_problems(intent: Intent) -> list[Problem]:
    problems = []
    if not Surface.objects.filter(pk=intent.surface).exists():
        known = ", ".join(Surface.objects.values_list("pk", flat=True)[:20])
        problems.append(Problem("surface", "unknown", f"There is no such surface. Known are: {known}."))
    if intent.starts_at and intent.starts_at > LATEST:
        problems.append(Problem("starts_at", "too_late", "The start is too far in the future."))
        return problems
    if intent.starts_at and intent.starts_at < EARLIEST:
        problems.append(Problem("starts_at", "too_early", "The start lies before 2000."))
        return problems
    start = max(intent.starts_at or clock.this_second(), clock.this_second())
    problems += _end_problems(intent, start)
    return problems


def _end_problems(intent: Intent, start: datetime) -> list[Problem]:
    end = intent.ends_at
    if end is None:
        if intent.kind == Kind.BOOST:
            return [Problem("ends_at", "required", "A boost needs an end.")]
        return []
    if end > LATEST:
        return [Problem("ends_at", "too_late", "The end is too far in the future.")]
    if end <= clock.now():
        return [Problem("ends_at", "in_the_past", "The end has passed already.")]
    if end <= start:
        return [Problem("ends_at", "before_start", "The end must come after the start.")]
    if (
        intent.kind == Kind.BOOST
        and intent.action == Action.ADD
        and end > start + timedelta(days=BOOST_MAX_DAYS)
    ):
        return [
            Problem("ends_at", "too_long", f"A boost must end within {BOOST_MAX_DAYS} days of its start.")
        ]
    return []


def _factor_problems(factor: float | None) -> list[Problem]:
    if factor is None:
        return [Problem("factor", "required", "A boost needs a factor.")]
    if not math.isfinite(factor) or not FACTOR_MIN <= factor <= FACTOR_MAX:
        return [
            Problem("factor", "out_of_range", f"The factor must be from {FACTOR_MIN:g} to {FACTOR_MAX:g}.")
        ]
    if factor == 1:
        return [Problem("factor", "no_effect", "A factor of 1 changes nothing.")]
    return []


def _opt_out_problems(intent: Intent) -> list[Problem]:
    problems = []
    if not intent.purposes:
        problems.append(Problem("purposes", "required", "Choose at least one purpose."))
    elif not set(intent.purposes) <= set(Purpose.values):
        problems.append(Problem("purposes", "unknown", f"Purposes are: {', '.join(Purpose.values)}."))
    if intent.channel not in Channel.values:
        problems.append(Problem("channel", "unknown", f"The channel is one of: {', '.join(Channel.values)}."))
    if intent.received_at is not None:
        if intent.received_at > clock.now() + CLOCK_TOLERANCE:
            problems.append(
                Problem("received_at", "in_the_future", "The date of receipt lies in the future.")
            )
        elif intent.received_at < EARLIEST:
            problems.append(Problem("received_at", "too_early", "The date of receipt lies before 2000."))
    return problems
