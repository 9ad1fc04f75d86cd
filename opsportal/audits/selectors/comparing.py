"""Two runs beside each other: how far their error rates lie apart."""

import math
from dataclasses import dataclass

from opsportal.audits.figures import Figure
from opsportal.audits.models import Run
from opsportal.audits.selectors.plotting import (
    LOWER,
    SPACE,
    UPPER,
    Scale,
    Shown,
    ends_of,
    points_text,
    scale_of,
    show,
)
from opsportal.audits.selectors.trends import rates_of
from opsportal.core.errors import Invalid

NEWCOMBE = "Difference of two rates, its interval from the distances to each one's bounds, squared and added"
NEWCOMBE_SOURCE = (
    "Newcombe, Statistics in Medicine 17, 1998, p. 873, method 10; Zou and Donner, Statistics in Medicine "
    "27, 2008, p. 1693"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two runs: how far their error rates lie apart. difference: second − first, in shares."""

    first: Shown
    second: Shown
    scale: Scale
    difference: Figure
    text: str
    interval: str
    sentence: str
    note: str


def comparison_of(first: Run, second: Run) -> Comparison:
    """How the second run's error rate differs from the first's. Raises Invalid where one has no rate."""
    rates = dict(rates_of(Run.objects.filter(pk__in=[first.pk, second.pk])))
    figures = {run.pk: figure for run, figure in rates.items()}
    one, other = figures[first.pk], figures[second.pk]
    for run, figure in ((first, one), (second, other)):
        if None in ends_of(figure):
            raise Invalid.at("second", "no_rate", f"“{run.title}” has no error rate: {figure.sentence}")
    scale = scale_of([one, other])
    difference = difference_of(one, other)
    low, high = difference.low or 0.0, difference.high or 0.0
    return Comparison(
        first=show(one, scale, label=first.title),
        second=show(other, scale, label=second.title),
        scale=scale,
        difference=difference,
        text=f"{points_text(difference.value or 0.0, 2)} points",
        interval=f"{points_text(low, 2)} to {points_text(high, 2)} points",
        sentence=_compared(difference, first, second),
        note=_overlap(first, second),
    )


def difference_of(first: Figure, second: Figure) -> Figure:
    """Second − first with its 95 % interval, from the two intervals alone; both need both ends.

    L = d − √((p₂ − l₂)² + (u₁ − p₁)²), U = d + √((u₂ − p₂)² + (p₁ − l₁)²): Newcombe, Statistics in
    Medicine 17, 1998, method 10, for any two independent intervals as in Zou and Donner, Statistics in
    Medicine 27, 2008. A one-sided bound is made two-sided before.
    """
    p1, l1, u1 = _two_sided(first)
    p2, l2, u2 = _two_sided(second)
    d = p2 - p1
    return Figure(
        name="difference",
        value=d,
        low=max(-1.0, d - math.hypot(p2 - l2, u1 - p1)),
        high=min(1.0, d + math.hypot(u2 - p2, p1 - l1)),
        n=first.n + second.n,
        formula=NEWCOMBE,
        source=NEWCOMBE_SOURCE,
    )


def _two_sided(figure: Figure) -> tuple[float, float, float]:
    """Estimate and 95 % two-sided bounds. Of nothing found in n the one-sided bound is 1 − 0.05^(1/n), the
    two-sided one 1 − 0.025^(1/n)."""
    low, high = ends_of(figure)
    value = figure.value or 0.0
    if low is None or high is None:
        raise ValueError("there is no interval")
    stretch = math.log(0.025) / math.log(0.05)
    if figure.kind == UPPER:
        high = 1 - (1 - high) ** stretch
    elif figure.kind == LOWER:
        value = 1.0 if figure.value is None else figure.value
        low = low**stretch
    return value, low, high


def _compared(difference: Figure, first: Run, second: Run) -> str:
    value, low, high = difference.value or 0.0, difference.low or 0.0, difference.high or 0.0
    names = f"“{second.title}” and “{first.title}”"
    if low > 0 or high < 0:
        more = "more" if value > 0 else "fewer"
        nearest, farthest = sorted((abs(low), abs(high)))
        return (
            f"“{second.title}” has {more} errors than “{first.title}”: by {100 * abs(value):.2f} percentage "
            f"points, and between {100 * nearest:.2f} and {100 * farthest:.2f} with 95{SPACE}% confidence."
        )
    return (
        f"The labels do not tell {names} apart: anything from {100 * abs(low):.2f} points fewer to "
        f"{100 * high:.2f} points more errors fits them."
    )


def _overlap(first: Run, second: Run) -> str:
    """What to know where the two are not independent."""
    if first.model_id != second.model_id:
        return "The two runs are about different models, so they need not be about the same cases."
    if (
        first.starts_at
        and first.ends_at
        and second.starts_at
        and second.ends_at
        and first.starts_at < second.ends_at
        and second.starts_at < first.ends_at
    ):
        return "Their periods overlap; each drew its own sample, so the interval holds."
    return ""
