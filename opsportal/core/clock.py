"""The one clock of the portal; tests travel with time-machine."""

from datetime import datetime

from django.utils import timezone


def now() -> datetime:
    """The current moment, aware, in UTC, with microseconds."""
    return timezone.now()


def floor_second(moment: datetime) -> datetime:
    """The moment without its fraction: windows are stored and published in whole seconds."""
    return moment.replace(microsecond=0)


def this_second() -> datetime:
    """The current moment in whole seconds, rounded down."""
    return floor_second(now())
