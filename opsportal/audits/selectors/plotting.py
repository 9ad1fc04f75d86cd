"""Intervals placed for SVG of any width: per cent across, so that every row of a table shares one scale."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from opsportal.audits.figures import Figure

MINUS, SPACE = "\u2212", "\u00a0"
NOTHING = "–"
LOWER, UPPER = "lower", "upper"
# About so many steps lie on a scale; few where its column is narrow.
STEPS, FEW_STEPS = 4, 2


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on a scale: its place such as 25.00%, and its words."""

    at: str
    text: str


@dataclass(frozen=True, slots=True)
class Scale:
    """From where to where a row of plots goes. is_share: its numbers are read as per cent."""

    low: float
    high: float
    ticks: list[Tick]
    is_share: bool = True

    def at(self, value: float) -> str:
        """The place of a value, kept within the plot."""
        share = (value - self.low) / (self.high - self.low)
        return f"{100 * min(1.0, max(0.0, share)):.2f}%"

    def length(self, low: float, high: float) -> str:
        """How long the way from low to high is."""
        ends = [min(1.0, max(0.0, (x - self.low) / (self.high - self.low))) for x in (low, high)]
        return f"{100 * (ends[1] - ends[0]):.2f}%"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One interval on a scale. at: the estimate, empty where only a bound is known."""

    at: str
    low: str
    length: str
    reference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A figure as it is read. text: the value, or the bound where that is all; interval: both ends.

    sentence: why there is no number, or what to know about it.
    """

    label: str
    text: str
    interval: str
    plot: Plot | None
    figure: Figure
    flag: str = ""

    @property
    def sentence(self) -> str:
        """Why there is no number, or what to know about it."""
        return self.figure.sentence

    @property
    def words(self) -> str:
        """Value and interval in one line, for screen readers and short sentences."""
        return f"{self.text} ({self.interval})" if self.interval else self.text


@dataclass(frozen=True, slots=True)
class Basis:
    """A formula with where it stands, and which figures it made."""

    formula: str
    source: str
    names: tuple[str, ...]


def show(
    figure: Figure,
    scale: Scale,
    *,
    label: str = "",
    reference: float | None = None,
    flag: str = "",
) -> Shown:
    """The figure on this scale, beside others."""
    low, high = ends_of(figure)
    plot = None
    if low is not None and high is not None:
        one_sided = figure.kind in {LOWER, UPPER}
        plot = Plot(
            at=""
            if figure.value is None or (one_sided and figure.value in {low, high})
            else scale.at(figure.value),
            low=scale.at(low),
            length=scale.length(low, high),
            reference="" if reference is None else scale.at(reference),
        )
    return Shown(
        label=label or figure.name,
        text=value_text(figure, is_share=scale.is_share),
        interval=interval_text(figure, is_share=scale.is_share),
        plot=plot,
        figure=figure,
        flag=flag,
    )


def ends_of(figure: Figure) -> tuple[float | None, float | None]:
    """Both ends of the interval; the open end of a one-sided bound is that of a share."""
    low, high = figure.low, figure.high
    if figure.kind == UPPER and high is not None and low is None:
        low = 0.0
    if figure.kind == LOWER and low is not None and high is None:
        high = 1.0
    return low, high


def value_text(figure: Figure, *, is_share: bool = True) -> str:
    """The value as it is read: 1.3 %, below 1.0 % where only a bound is known, a dash for none."""
    low, high = ends_of(figure)
    digits = _digits(low, high) if is_share else 2
    if figure.kind == UPPER and high is not None and not figure.value:
        return f"below {_number(high, digits, is_share, up=True)}"
    if figure.kind == LOWER and low is not None and figure.value in {None, 1.0}:
        return f"above {_number(low, digits, is_share, up=False)}"
    return NOTHING if figure.value is None else _number(figure.value, digits, is_share)


def interval_text(figure: Figure, *, is_share: bool = True, joint: str = "to") -> str:
    """Both ends as they are read: 0.9 to 1.9 %; empty where there are none."""
    low, high = ends_of(figure)
    if low is None or high is None:
        return ""
    if low == high:
        return "exactly"
    digits = _digits(low, high) if is_share else 2
    factor, unit = (100, f"{SPACE}%") if is_share else (1, "")
    text = f"{_signed(low * factor, digits)} {joint} {_signed(high * factor, digits)}{unit}"
    return f"{text}, one-sided" if figure.kind in {LOWER, UPPER} else text


def share_text(share: float, digits: int = 1) -> str:
    """A share of one as per cent."""
    return _number(share, digits, True)


def points_text(points: float, digits: int = 1) -> str:
    """A difference of shares in percentage points, with its sign."""
    text = f"{abs(100 * points):.{digits}f}"
    sign = "" if float(text) == 0 else "+" if points > 0 else MINUS
    return f"{sign}{text}"


def scale_of(figures: Iterable[Figure | None], *, is_share: bool = True, steps: int = STEPS) -> Scale:
    """A scale that holds all of these intervals, with round ends. Shares begin at 0, unless all are high."""
    ends: list[float] = []
    for figure in figures:
        if figure is not None:
            ends += [x for x in (*ends_of(figure), figure.value) if x is not None and math.isfinite(x)]
    if not ends:
        return _scale(0.0, 1.0, is_share, steps)
    low, high = min(ends), max(ends)
    if is_share and low >= 0:
        low = 0.0 if low < 0.5 else low
    elif not is_share:
        low = min(0.0, low)
    return _scale(low, high, is_share, steps)


def bases_of(shown: Sequence[Shown | None]) -> list[Basis]:
    """Each formula once, in the order of the figures that it made."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in shown:
        if one is not None and one.figure.formula:
            names = found.setdefault((one.figure.formula, one.figure.source), [])
            if one.label not in names:
                names.append(one.label)
    return [Basis(formula, source, tuple(names)) for (formula, source), names in found.items()]


def _scale(low: float, high: float, is_share: bool, steps: int) -> Scale:
    step = _step(((high - low) or high or 1.0) / steps)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if first == last:
        last += 1
    bottom, top = first * step, last * step
    if is_share and top > 1 >= high:
        top, last = 1.0, math.floor(1 / step + 1e-9)
    digits = max(0, -math.floor(math.log10(step * (100 if is_share else 1)) + 1e-9))
    scale = Scale(bottom, top, [], is_share)
    for number in range(first, last + 1):
        x = number * step
        text = f"{_signed(100 * x, digits)}{SPACE}%" if is_share else _signed(x, digits)
        scale.ticks.append(Tick(scale.at(x), text))
    if steps == FEW_STEPS and len(scale.ticks) > FEW_STEPS + 1:
        # Both ends say enough where more would run into each other.
        del scale.ticks[1:-1]
    return scale


def _step(rough: float) -> float:
    """The next round step: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def _digits(low: float | None, high: float | None) -> int:
    """As many as the interval's width is worth: a rate that is known to a point needs no hundredths."""
    if low is None or high is None:
        return 1
    width = high - low
    return 2 if 0 < width < 0.01 else 1 if width < 0.3 else 0


def _number(value: float, digits: int, is_share: bool, *, up: bool | None = None) -> str:
    x = value * 100 if is_share else value
    if up is not None:
        # A bound is never shown better than it is.
        scaled = x * 10**digits
        x = (math.ceil(scaled - 1e-9) if up else math.floor(scaled + 1e-9)) / 10**digits
    return _signed(x, digits) + (f"{SPACE}%" if is_share else "")


def _signed(x: float, digits: int) -> str:
    text = f"{abs(x):,.{digits}f}"
    return f"{MINUS}{text}" if x < 0 and float(text.replace(",", "")) else text
