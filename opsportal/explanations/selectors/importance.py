"""What matters to a model version at large: bars, and how they move from day to day.

Pure Python over stored profiles, so that a page is drawn without the numeric stack.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from opsportal.explanations.models import ImportanceProfile, Space
from opsportal.explanations.selectors.reasons import signed
from opsportal.predictions.dictionary import FeatureDictionary
from opsportal.predictions.models import ModelVersion

# Under this likeness the order of the reasons has moved (as Amazon's monitor for attribution drift has it).
MOVED_BELOW = 0.9
# Of fewer predictions the order is chance.
ROWS_MIN = 30
SERIES_MAX = 8
# How wide the longest bar is.
WIDTH = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One feature or group. size: mean |attribution|; mean: with its sign; share: of the sum of all sizes."""

    name: str
    label: str
    is_group: bool
    size: float
    mean: float
    share: float
    rank: int
    width: float

    @property
    def size_text(self) -> str:
        """The mean |attribution| as a number."""
        return f"{self.size:.4g}"

    @property
    def mean_text(self) -> str:
        """The mean attribution with its sign."""
        return signed(self.mean)


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """A profile as bars, the longest first. unit: what sizes are counted in."""

    profile: ImportanceProfile
    bars: tuple[Bar, ...]
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day's order of reasons. likeness: nDCG against the overall order, 0–1; None of too few rows."""

    day: date
    rows: int
    refused: int
    likeness: float | None

    @property
    def has_moved(self) -> bool:
        """Whether the order differs from the overall one by more than chance would make it."""
        return self.likeness is not None and self.likeness < MOVED_BELOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One reason by day. shares: of each day, oldest first. change: places won since the overall order."""

    name: str
    label: str
    overall_share: float
    overall_rank: int
    shares: tuple[float, ...]
    latest_share: float
    latest_rank: int

    @property
    def change(self) -> int:
        """Places won on the latest day against the overall order; negative for lost ones."""
        return self.overall_rank - self.latest_rank

    @property
    def change_words(self) -> str:
        """The same in words."""
        places = abs(self.change)
        if not places:
            return "same place"
        return f"{places} place{'' if places == 1 else 's'} {'up' if self.change > 0 else 'down'}"

    @property
    def trend_words(self) -> str:
        """The line in words, for whoever does not see it."""
        if len(self.shares) < 2:
            return ""
        return f"Share of {self.label}: from {100 * self.shares[0]:.0f} % to {100 * self.shares[-1]:.0f} %"


@dataclass(frozen=True, slots=True, kw_only=True)
class ByDay:
    """How the reasons move. days: oldest first. series: the strongest reasons in the overall order."""

    days: tuple[Day, ...] = ()
    series: tuple[Series, ...] = ()

    @property
    def moved(self) -> tuple[Day, ...]:
        """The days whose order is another one."""
        return tuple(day for day in self.days if day.has_moved)

    @property
    def sentence(self) -> str:
        """Whether the order of the reasons holds, in words."""
        judged = [day for day in self.days if day.likeness is not None]
        if not judged:
            return f"No day has the {ROWS_MIN} predictions that it takes to compare the order of the reasons."
        if not self.moved:
            lowest = math.floor(100 * min(day.likeness or 0.0 for day in judged)) / 100
            return f"The order of the reasons is steady: likeness (nDCG) {lowest:.2f} or more on every day."
        count = len(self.moved)
        return (
            f"The order of the reasons was another one on {count} of {len(judged)} days"
            f" (likeness, nDCG, under {MOVED_BELOW})."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """One displayed reason of a profile."""

    key: str
    name: str
    is_group: bool
    size: float
    mean: float


def profiles_of(version: ModelVersion) -> tuple[ImportanceProfile | None, list[ImportanceProfile]]:
    """The version's overall profile, None before there is one, and those by day, oldest first; one query.

    Those by day come without their (empty) dependence.
    """
    overall = None
    days = []
    for profile in version.profiles.order_by("day"):
        if profile.day is None:
            overall = profile
        else:
            days.append(profile)
    return overall, days


def importance_of(profile: ImportanceProfile, dictionary: FeatureDictionary) -> Importance:
    """The profile as bars: features, and groups in place of their members, the longest first."""
    lines = _lines(profile, dictionary)
    total = math.fsum(line.size for line in lines)
    longest = lines[0].size if lines else 0.0
    bars = tuple(
        Bar(
            name=line.name,
            label=_label(line, dictionary),
            is_group=line.is_group,
            size=line.size,
            mean=line.mean,
            share=line.size / total if total else 0.0,
            rank=rank,
            width=WIDTH * line.size / longest if longest else 0.0,
        )
        for rank, line in enumerate(lines, 1)
    )
    return Importance(profile=profile, bars=bars, unit=unit_of(profile.space))


def by_day(
    overall: ImportanceProfile, days: Sequence[ImportanceProfile], dictionary: FeatureDictionary
) -> ByDay:
    """How the strongest reasons of the overall profile move from day to day. days: oldest first."""
    days = [profile for profile in days if profile.rows]
    if not days:
        return ByDay()
    baseline = {line.key: line for line in _lines(overall, dictionary)}
    per_day = [{line.key: line for line in _lines(profile, dictionary)} for profile in days]
    ranks = [{key: rank for rank, key in enumerate(lines, 1)} for lines in per_day]
    overall_shares, shares = _shares(baseline), [_shares(lines) for lines in per_day]
    series = tuple(
        Series(
            name=line.name,
            label=_label(line, dictionary),
            overall_share=overall_shares[key],
            overall_rank=rank,
            shares=tuple(of_day.get(key, 0.0) for of_day in shares),
            latest_share=shares[-1].get(key, 0.0),
            latest_rank=ranks[-1].get(key, len(ranks[-1]) + 1),
        )
        for rank, (key, line) in enumerate(list(baseline.items())[:SERIES_MAX], 1)
    )
    found = tuple(
        Day(
            day=profile.day,
            rows=profile.rows,
            refused=profile.refused,
            likeness=likeness(
                {key: line.size for key, line in baseline.items()},
                {key: line.size for key, line in lines.items()},
            )
            if profile.rows >= ROWS_MIN
            else None,
        )
        for profile, lines in zip(days, per_day, strict=True)
        if profile.day is not None
    )
    return ByDay(days=found, series=series)


def likeness(baseline: dict[str, float], now: dict[str, float]) -> float:
    """How like the order of `now` is to that of the baseline: nDCG with the baseline's sizes as gains, 0–1.

    1 where the orders are the same. Järvelin and Kekäläinen, ACM TOIS 20 (2002).
    """
    ideal = _discounted(sorted(baseline.values(), reverse=True))
    if not ideal:
        return 1.0
    order = sorted(baseline, key=lambda key: (-now.get(key, 0.0), -baseline[key]))
    return min(1.0, _discounted(baseline[key] for key in order) / ideal)


# -- Parts ------------------------------------------------------------------------------------


def _lines(profile: ImportanceProfile, dictionary: FeatureDictionary) -> list[_Line]:
    """What is displayed, the largest first: groups in place of their members; equal ones in order."""
    found = []
    for name, size, mean, *mark in profile.importance:
        feature = dictionary.by_name.get(name)
        if mark:
            line = _Line(key=f"group {name}", name=name, is_group=True, size=size, mean=mean)
        elif feature is not None and feature.group:
            continue
        else:
            line = _Line(key=f"feature {name}", name=name, is_group=False, size=size, mean=mean)
        found.append(line)
    return sorted(found, key=lambda line: -line.size)


def _label(line: _Line, dictionary: FeatureDictionary) -> str:
    about = (dictionary.group_by_name if line.is_group else dictionary.by_name).get(line.name)
    return about.label if about else line.name


def _shares(lines: dict[str, _Line]) -> dict[str, float]:
    total = math.fsum(line.size for line in lines.values())
    return {key: line.size / total if total else 0.0 for key, line in lines.items()}


def _discounted(gains: Iterable[float]) -> float:
    return math.fsum(gain / math.log2(place + 1) for place, gain in enumerate(gains, 1))


def unit_of(space: str) -> str:
    """What attributions are counted in, in words."""
    return {Space.LOG_ODDS.value: "log-odds", Space.PROBABILITY.value: "probability"}.get(space, "score")
