"""Reasons as drawings: bars, a walk from base to result, shap's force plot, and marked words. Only numbers
come out; templates draw with them."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opsportal.explanations.selectors.reasons import DOWN, MINUS, TOGETHER, UP, Reason, Reasons

# A bar lies in a box 200 wide, with its zero where both directions fit; a step of the walk in one 1,000 wide.
BAR_WIDTH = 200.0
WALK_WIDTH, WALK_MARGIN = 1000.0, 0.06
# More blocks than this nobody can see in a force plot: the weakest are summed into one.
PLOT_MAX = 30
PLOT_VALUE_MAX = 40
# Marked words come in this many strengths.
STRENGTHS = 4


@dataclass(frozen=True, slots=True)
class Bar:
    """A reason with its bar, which begins at x and is `width` long; all share the `zero`."""

    reason: Reason
    x: float
    width: float
    zero: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of the walk: from x1 to x2 (in the walk's box) and what is written beside it.

    kind: `start`, `end`, `up`, `down` or `none`. total: where the walk stands afterwards, in words.
    """

    label: str
    kind: str
    x1: float
    x2: float
    text: str
    total: str

    @property
    def left(self) -> float:
        """Where the bar begins."""
        return min(self.x1, self.x2)

    @property
    def width(self) -> float:
        """How long the bar is; never too thin to be seen."""
        return max(abs(self.x2 - self.x1), 2.0)


@dataclass(frozen=True, slots=True)
class Walk:
    """The way from the base value to the result, and the same in a sentence for those who do not see it."""

    steps: list[Step]
    words: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text. strength: 0 for none, else 1–4; direction: up, down or none."""

    text: str
    direction: str = ""
    strength: int = 0


def bars(reasons: Reasons) -> list[Bar]:
    """Every reason with its bar; the strongest of both directions fill the box."""
    up = max((reason.attribution for reason in reasons.all), default=0.0)
    down = max((-reason.attribution for reason in reasons.all), default=0.0)
    span = max(up, 0.0) + max(down, 0.0)
    unit = BAR_WIDTH / span if span else 0.0
    zero = round(max(down, 0.0) * unit, 2)
    found = []
    for reason in reasons.all:
        width = round(reason.size * unit, 2)
        found.append(Bar(reason, zero - width if reason.direction == DOWN else zero, width, zero))
    return found


def walk(reasons: Reasons, shown: int) -> Walk:
    """From the base through the strongest reasons, and the others in one, to the result."""
    rest = reasons.rest(shown)
    steps = [*reasons.top(shown), *([rest] if rest else [])]
    base = reasons.base_percent if reasons.base_percent is not None else reasons.base
    final = reasons.margin_percent if reasons.margin_percent is not None else reasons.margin
    totals = [base]
    for reason in steps:
        totals.append(totals[-1] + (reason.points if reason.points is not None else reason.attribution))
    low, high = min(totals), max(totals)
    if reasons.in_points:
        # A step is never shown larger than it is: at least ten points fill the box.
        low, high = min(low, (low + high) / 2 - 5), max(high, (low + high) / 2 + 5)
    margin = WALK_MARGIN * ((high - low) or 1.0)
    low, high = low - margin, high + margin
    unit = WALK_WIDTH / (high - low)

    def place(value: float) -> float:
        return round((value - low) * unit, 2)

    lines = [
        Step(label="Start", kind="start", x1=place(base), x2=place(base), text="", total=level(reasons, base))
    ]
    for reason, before, after in zip(steps, totals, totals[1:], strict=False):
        lines.append(
            Step(
                label=reason.label,
                kind=reason.direction,
                x1=place(before),
                x2=place(after),
                text=reason.effect,
                total=level(reasons, after),
            )
        )
    lines.append(
        Step(
            label="Result", kind="end", x1=place(final), x2=place(final), text="", total=level(reasons, final)
        )
    )
    moves = ", ".join(f"{reason.label} {reason.effect}" for reason in steps)
    return Walk(lines, f"From {lines[0].total} to {lines[-1].total}: {moves}.")


def level(reasons: Reasons, value: float) -> str:
    """A base, total or result with its unit: `36.8 %`, or a plain score with four digits."""
    return f"{value:.1f}\N{NO-BREAK SPACE}%" if reasons.in_points else f"{value:.4g}"


def force_plot(reasons: Reasons, outcome: str) -> dict[str, Any]:
    """What shap's force plot is drawn from, as JSON: effects in points, or in the score itself.

    Values are the text that the table shows; static/js/force_plot.js keeps shap from rewriting them.
    """
    weakest = reasons.rest(PLOT_MAX)
    drawn = [*reasons.top(PLOT_MAX), *([weakest] if weakest else [])]
    return {
        "base": reasons.base_percent if reasons.base_percent is not None else reasons.base,
        "outcome": f"{outcome}, %" if reasons.in_points else outcome,
        "isChance": reasons.in_points,
        "features": [
            {
                "name": reason.label,
                "value": shortened(_beside(reason)),
                "effect": reason.points if reason.points is not None else reason.attribution,
            }
            for reason in drawn
            if reason.attribution
        ],
    }


def _beside(reason: Reason) -> str:
    """What a block of the plot is labelled with beside the reason's name."""
    if reason.kind == TOGETHER:
        return ", ".join(member.value for member in reason.members)
    return reason.value


def shortened(text: str) -> str:
    """At most 40 characters of a text, with an ellipsis where there are more."""
    return text if len(text) <= PLOT_VALUE_MAX else f"{text[: PLOT_VALUE_MAX - 1]}…"


def marked_text(text: str, words: Sequence[tuple[int, int, float]]) -> list[Piece]:
    """The text in pieces, each with the direction and strength of the words on it.

    words: (start, end, attribution) by character; they may overlap, then their effects add up there.
    """
    places = [(max(0, start), min(len(text), end), x) for start, end, x in words]
    cuts = sorted(
        {0, len(text), *(place for start, end, _ in places if start < end for place in (start, end))}
    )
    effects = [0.0] * len(cuts)
    position = {cut: number for number, cut in enumerate(cuts)}
    for start, end, x in places:
        if start < end:
            for number in range(position[start], position[end]):
                effects[number] += x
    largest = max(map(abs, effects), default=0.0)
    pieces = []
    for number, (start, end) in enumerate(itertools.pairwise(cuts)):
        x = effects[number]
        if not x or not text[start:end].strip():
            pieces.append(Piece(text[start:end]))
        else:
            strength = max(1, math.ceil(STRENGTHS * abs(x) / largest))
            pieces.append(Piece(text[start:end], UP if x > 0 else DOWN, strength))
    return pieces


def exact(number: float) -> str:
    """A number with every digit it has, and its sign."""
    sign = "+" if number > 0 else MINUS if number < 0 else ""
    return f"{sign}{abs(number)!r}"
