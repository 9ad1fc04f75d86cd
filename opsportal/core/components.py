"""What components in templates/components take: lines of a timeline, steps of a stepper."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a timeline."""

    kind: str
    actor: str
    text: str
    at: datetime
    detail: str = ""
    url: str = ""
    diff: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a stepper. state: done, now, todo, waiting or failed."""

    label: str
    state: str
    detail: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far a revision has come. `finished`: nothing will change any more, so nobody need ask again."""

    steps: list[Step]
    finished: bool
    # What to worry about, in a sentence; and what a screen reader should say now.
    warning: str
    announcement: str
