"""Intervals for one proportion and for the difference of two that hold where samples are small."""

import math

from scipy import optimize, special, stats

Bounds = tuple[float, float]


def normal_quantile(confidence: float) -> float:
    """z for a two-sided interval: 1.96 at 0.95. Raises ValueError outside (0, 1)."""
    if not 0 < confidence < 1:
        raise ValueError("A confidence lies between 0 and 1.")
    return float(special.ndtri(0.5 + confidence / 2))


def wilson(hits: float, n: float, confidence: float = 0.95) -> Bounds:
    """Score interval for a proportion, (low, high) within [0, 1], always around hits / n.

    hits: 0–n; n > 0. Both may be fractions: an effective size after weighting or with the finite population
    correction. Wilson, JASA 22, 1927; Brown, Cai & DasGupta, Statistical Science 16, 2001, §3.
    """
    if not 0 <= hits <= n or n <= 0:
        raise ValueError("There must be from 0 to n hits, and an n.")
    z = normal_quantile(confidence)
    share = hits / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = (centre - spread) / (1 + z * z / n), (centre + spread) / (1 + z * z / n)
    # At the ends rounding could leave the last digit on the wrong side.
    return (0.0 if hits == 0 else min(max(low, 0.0), share)), (
        1.0 if hits == n else max(min(high, 1.0), share)
    )


def clopper_pearson(hits: int, n: int, confidence: float = 0.95) -> Bounds:
    """Exact interval for a proportion: never covers less than promised. (low, high) within [0, 1].

    hits: 0–n; n ≥ 1. Clopper & Pearson, Biometrika 26, 1934.
    """
    tail = (1 - confidence) / 2
    return lower_bound(hits, n, 1 - tail), upper_bound(hits, n, 1 - tail)


def lower_bound(hits: int, n: int, confidence: float = 0.95) -> float:
    """Exact one-sided lower bound of a proportion, for promises ("at least …"). 0 for no hits."""
    _check(hits, n)
    return 0.0 if hits == 0 else float(stats.beta.ppf(1 - confidence, hits, n - hits + 1))


def upper_bound(hits: int, n: int, confidence: float = 0.95) -> float:
    """Exact one-sided upper bound of a proportion. 1 where all are hits.

    For no hits it is 1 − (1 − confidence)^(1/n), about 3/n at 95 %: Hanley & Lippman-Hand, JAMA 249, 1983.
    """
    _check(hits, n)
    return 1.0 if hits == n else float(stats.beta.ppf(confidence, hits + 1, n - hits))


def newcombe(hits: float, n: float, other_hits: float, other_n: float, confidence: float = 0.95) -> Bounds:
    """Interval for hits/n − other_hits/other_n of two independent samples, within [−1, 1].

    Arguments as for wilson. Newcombe, Statistics in Medicine 17, 1998, p. 873, method 10. Where the two
    share items the true interval is narrower, since shared items vary together.
    """
    share, other = hits / n, other_hits / other_n
    low, high = wilson(hits, n, confidence)
    other_low, other_high = wilson(other_hits, other_n, confidence)
    return difference(share, (low, high), other, (other_low, other_high))


def difference(share: float, bounds: Bounds, other: float, other_bounds: Bounds) -> Bounds:
    """Interval for share − other from an interval of each, for estimates that are independent.

    The square-and-add rule that turns two Wilson intervals into Newcombe's (and any two good ones into one
    for their difference): Zou & Donner, Statistics in Medicine 27, 2008.
    """
    down = math.hypot(share - bounds[0], other_bounds[1] - other)
    up = math.hypot(bounds[1] - share, other - other_bounds[0])
    return max(share - other - down, -1.0), min(share - other + up, 1.0)


def equivalent_size(share: float, bounds: Bounds, frame: int, confidence: float = 0.95) -> float | None:
    """How many items of a uniform sample give a Wilson interval as wide as `bounds`; None if none is.

    share: the estimate, 0 < share < 1. frame: the population, whose finite correction is taken into account,
    so a uniform sample of n from it has the equivalent size n.
    """
    width = bounds[1] - bounds[0]
    if width <= 0:
        return float(frame)

    def excess(log_size: float) -> float:
        low, high = wilson(share * math.exp(log_size), math.exp(log_size), confidence)
        return high - low - width

    smallest, largest = math.log(1e-3), math.log(1e15)
    if excess(smallest) < 0 or excess(largest) > 0:
        return None
    size = math.exp(optimize.brentq(excess, smallest, largest))
    return float(size / (1 + size / frame))


def _check(hits: int, n: int) -> None:
    if not 0 <= hits <= n or n < 1:
        raise ValueError("There must be from 0 to n hits, and an n.")
