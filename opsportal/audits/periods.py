"""The periods of a schedule: whole days, ISO weeks and months, all in UTC."""

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from opsportal.audits.models.policies import Period

_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)


class Span(NamedTuple):
    """A period: its name (`2026-11-24`, `2026-W47`, `2026-11`), its first moment, the first one after it."""

    name: str
    starts_at: datetime
    ends_at: datetime


def span_at(period: Period, moment: datetime) -> Span:
    """The period that the moment lies in. Raises ValueError for a schedule by hand."""
    day = moment.astimezone(UTC).date()
    match period:
        case Period.DAILY:
            return Span(f"{day:%Y-%m-%d}", _midnight(day), _midnight(day + _DAY))
        case Period.WEEKLY:
            year, week, weekday = day.isocalendar()
            monday = day - (weekday - 1) * _DAY
            return Span(f"{year:04}-W{week:02}", _midnight(monday), _midnight(monday + _WEEK))
        case Period.MONTHLY:
            first = day.replace(day=1)
            following = (first + 31 * _DAY).replace(day=1)
            return Span(f"{day:%Y-%m}", _midnight(first), _midnight(following))
    raise ValueError(f"there are no periods for {period}")


def last_ended(period: Period, moment: datetime) -> Span:
    """The latest period that has ended by the moment; one that ends at it has."""
    return span_at(period, span_at(period, moment).starts_at - timedelta(microseconds=1))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
