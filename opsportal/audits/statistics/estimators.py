"""Rates from a stratified sample, with intervals that hold for few labels and for rare errors.

Every function takes arrays over strata, shape (k,): `frames` (predictions that could be drawn), `labelled`
(those of them with a label, a random subset) and counts among the labelled. Each labelled item stands for
frames / labelled predictions. Strata without labels are left out and have to be named by the caller.

Simulations (tests/benchmarks/audit_estimates.py, and the harder cases of the tests) decided for the score
interval: Wilson's on the effective sample size covers as little as 44 % where most of the frame lies in a
thinly drawn stratum without an error, since what was not seen there has no variance. The score interval asks
for each rate what the strata would have to be like, and so knows it.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from opsportal.audits.statistics.intervals import equivalent_size, normal_quantile

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """A share with its bounds. kind: two_sided; upper (nothing was found: only `high` says anything, and is
    one-sided) or lower (everything was). n: labels; n_effective: as many of a uniform sample say as much.
    """

    value: float
    low: float
    high: float
    kind: str
    n: int
    n_effective: float | None


def rate(
    frames: ArrayLike, labelled: ArrayLike, hits: ArrayLike, *, confidence: float = 0.95
) -> Estimated | None:
    """Share of the frame that are hits, Σ N_h (k_h / m_h) / Σ N_h, and its interval; None without labels.

    frames: ints ≥ labelled; labelled: ints ≥ 0; hits: ints, 0–labelled. The interval holds every rate that a
    score test with the finite population correction does not reject, the strata's rates being those most
    likely under it. With one stratum it is Wilson's; with several, t stands for z. No hit at all: the exact
    one-sided upper bound; nothing else: the lower one. Labels of the whole frame: no uncertainty.

    Cochran, Sampling Techniques, 1977, §5.3 and §5.10; Miettinen & Nurminen, Statistics in Medicine 4, 1985;
    Martín Andrés & Álvarez Hernández, Statistical Methods in Medical Research 20, 2011 (linear combinations).
    """
    sizes, counts, found = _arrays(frames, labelled, hits)
    if not counts.sum():
        return None
    n, total = int(counts.sum()), float(sizes.sum())
    value = float(np.average(found / counts, weights=sizes))
    if bool((counts >= sizes).all()):
        return Estimated(value=value, low=value, high=value, kind="two_sided", n=n, n_effective=total)
    if not found.sum():
        high = none_found(sizes, counts, confidence=confidence)
        return Estimated(
            value=0.0, low=0.0, high=high, kind="upper", n=n, n_effective=_clean_size(high, total)
        )
    if bool((found == counts).all()):
        low = 1 - none_found(sizes, counts, confidence=confidence)
        return Estimated(
            value=1.0, low=low, high=1.0, kind="lower", n=n, n_effective=_clean_size(1 - low, total)
        )
    low, high = _score_bounds(sizes, counts, found, confidence)
    return Estimated(
        value=value,
        low=low,
        high=high,
        kind="two_sided",
        n=n,
        n_effective=equivalent_size(value, (low, high), round(total), confidence),
    )


def ratio(
    frames: ArrayLike,
    labelled: ArrayLike,
    hits: ArrayLike,
    others: ArrayLike,
    *,
    confidence: float = 0.95,
) -> Estimated | None:
    """Share of hits in a part of the frame of unknown size, Â / (Â + B̂); None where the part is empty.

    hits, others: ints, the labelled items of the part that are hits and that are not, hits + others ≤
    labelled (precision: right and wrong among the items with that prediction; recall: found and missed among
    the items with that true label). Â, B̂: their weighted shares. The interval holds each ratio R for which
    (1 − R) A − R B may be zero, from the score intervals of A and B put together by square-and-add with
    their correlation. n: labels in the part.

    Zou & Donner, Statistics in Medicine 27, 2008 (MOVER); Donner & Zou, Statistical Methods in Medical
    Research 21, 2012 (ratios); Cochran 1977, §6.11 for the point estimate.
    """
    sizes, counts, found, rest = _arrays(frames, labelled, hits, others)
    n = int(found.sum() + rest.sum())
    if not n:
        return None
    one_sided = not found.sum() or not rest.sum()
    # One-sided statements put the whole error on one side.
    level = 1 - 2 * (1 - confidence) if one_sided else confidence
    first, second = _bounds(sizes, counts, found, level), _bounds(sizes, counts, rest, level)
    hit, other = (float(np.average(x / counts, weights=sizes)) for x in (found, rest))
    value = hit / (hit + other)
    together = _correlation(sizes, counts, found, rest)
    low = _crossing(hit, other, hit - first[0], second[1] - other, together, -1)
    high = _crossing(hit, other, first[1] - hit, other - second[0], together, 1)
    domain = max(round((hit + other) * float(sizes.sum())), n)
    if not found.sum():
        low, kind, size = 0.0, "upper", _clean_size(high, domain)
    elif not rest.sum():
        high, kind, size = 1.0, "lower", _clean_size(1 - low, domain)
    else:
        kind, size = "two_sided", equivalent_size(value, (low, high), domain, confidence)
    return Estimated(
        value=value, low=min(low, value), high=max(high, value), kind=kind, n=n, n_effective=size
    )


def none_found(frames: ArrayLike, labelled: ArrayLike, *, confidence: float = 0.95) -> float:
    """Exact upper bound for the share of hits when no labelled item of any stratum is one; 0–1.

    The largest Σ K_h / Σ N_h, over all ways to spread hits over the strata, whose chance of not being seen,
    Π C(N_h − K_h, m_h) / C(N_h, m_h), is at least 1 − confidence. With one stratum of a large frame it is
    1 − (1 − confidence)^(1/m), about 3/m at 95 %. Hanley & Lippman-Hand, JAMA 249, 1983; Buonaccorsi,
    American Statistician 41, 1987 (finite populations). The chances are log-concave in K_h (continued by
    the gamma function), so the best spread costs the same per hit wherever there are any.
    """
    sizes, counts = _arrays(frames, labelled)
    room = sizes - counts
    budget = -math.log1p(-confidence)

    def costs(spread: Floats) -> Floats:
        unseen = special.gammaln(sizes - spread + 1) - special.gammaln(room - spread + 1)
        return np.asarray(special.gammaln(sizes + 1) - special.gammaln(room + 1) - unseen)

    def spread_at(price: float) -> Floats:
        low, high = np.zeros_like(sizes), room.copy()
        for _ in range(50):
            middle = (low + high) / 2
            dear = special.digamma(sizes - middle + 1) - special.digamma(room - middle + 1) >= price
            low, high = np.where(dear, low, middle), np.where(dear, middle, high)
        return np.asarray((low + high) / 2)

    # C(6, 3) = 20 costs exactly what 95 % allow, but for the last digit.
    if float(costs(room).sum()) <= budget + 1e-9:
        return float(room.sum() / sizes.sum())
    # Prices of a hit in logarithms: from one nobody would pay to one that fills every stratum.
    price = optimize.brentq(
        lambda log_price: float(costs(spread_at(math.exp(log_price))).sum()) - budget, -60, 10, xtol=1e-10
    )
    # Hits are whole; what is left after the last digit is halving's.
    return float(math.floor(spread_at(math.exp(price)).sum() + 1e-6) / sizes.sum())


def _arrays(*given: ArrayLike) -> list[Floats]:
    """As floats, without strata that have no labels. Raises ValueError for counts that cannot be."""
    arrays = [np.asarray(one, dtype=np.float64) for one in given]
    sizes, counts, *found = arrays
    if any(one.shape != sizes.shape or one.ndim != 1 for one in arrays):
        raise ValueError("All counts must have one number for each stratum.")
    if bool((counts > sizes).any()) or bool((counts < 0).any()):
        raise ValueError("No more items can be labelled than there are.")
    if found and (bool((sum(found) > counts).any()) or any(bool((one < 0).any()) for one in found)):
        raise ValueError("No more hits can be found than were labelled.")
    return [one[counts > 0] for one in arrays]


def _bounds(sizes: Floats, counts: Floats, found: Floats, confidence: float) -> tuple[float, float]:
    """Bounds of a rate at that two-sided confidence; at the ends those of `rate`, at half the error."""
    one_sided = 1 - (1 - confidence) / 2
    if bool((counts >= sizes).all()):
        value = float(np.average(found / counts, weights=sizes))
        return value, value
    if not found.sum():
        return 0.0, none_found(sizes, counts, confidence=one_sided)
    if bool((found == counts).all()):
        return 1 - none_found(sizes, counts, confidence=one_sided), 1.0
    return _score_bounds(sizes, counts, found, confidence)


def _quantile(counts: Floats, confidence: float) -> float:
    """How many standard errors an interval reaches: Wilson's z with one stratum; with several, since their
    variances are estimated, Student's with labels − strata degrees of freedom (Korn & Graubard, Survey
    Methodology 24, 1998), which are taken to be at least half of the labels.
    """
    if counts.size == 1:
        return normal_quantile(confidence)
    labels = float(counts.sum())
    return float(stats.t.ppf(0.5 + confidence / 2, max(labels - counts.size, labels / 2)))


def _score_bounds(sizes: Floats, counts: Floats, found: Floats, confidence: float) -> tuple[float, float]:
    """Where the score statistic is z² on both sides of the estimate; some hits, not all.

    A rate P = Σ W_h p_h is reached most likely by the p_h with k/p − (m − k)/(1 − p) = λ W_h, so λ leads
    along all of them: positive below the estimate, negative above. Effective sizes carry the finite
    population correction 1 / (1 − m/N), and lose one item for each estimated rate but the one that is asked
    for (with one stratum none), as in s² = … / (m − 1).
    """
    z = _quantile(counts, confidence)
    weights = sizes / sizes.sum()
    seen = np.minimum(counts / sizes, 1 - 1e-12)
    effective = np.maximum(counts - 1 + weights, 0.5) / (1 - seen)
    hits = effective * found / counts
    value = float(weights @ (found / counts))

    def at(levels: Floats) -> tuple[Floats, Floats]:
        """The rates that the levels lead to, and by how much each is rejected (negative: it is not)."""
        slope = levels[:, None] * weights
        total = effective + slope
        root = np.sqrt(np.maximum(total * total - 4 * slope * hits, 0.0))
        # The root of slope p² − (m + slope) p + k in [0, 1], in whichever form does not cancel.
        with np.errstate(divide="ignore", invalid="ignore"):
            rates = np.where(total > 0, 2 * hits / (total + root), (total - root) / (2 * slope))
        rates = np.clip(rates, 0.0, 1.0)
        reached = rates @ weights
        variance = (rates * (1 - rates) / effective) @ (weights * weights)
        away = np.abs(reached - value)
        # Where every stratum has only hits or none, the first levels lead nowhere, and nothing varies.
        return reached, np.where(away > 1e-13, away**2 - z * z * variance, -1.0)

    signs = np.array([1.0, -1.0])
    far = np.full(2, float(effective.sum()))
    while bool((outside := at(signs * far)[1] < 0).any()) and float(far.max()) < 1e30:
        far = np.where(outside, far * 4, far)
    near = np.zeros(2)
    for _ in range(60):
        middle = (near + far) / 2
        inside = at(signs * middle)[1] < 0
        near, far = np.where(inside, middle, near), np.where(inside, far, middle)
    low, high = at(signs * far)[0]
    return max(min(float(low), value), 0.0), min(max(float(high), value), 1.0)


def _correlation(sizes: Floats, counts: Floats, found: Floats, rest: Floats) -> float:
    """Correlation of two weighted shares of which an item can count for one only: −1 to 0."""
    weights = (sizes / sizes.sum()) ** 2 * (1 - counts / sizes) / counts
    first, second = found / counts, rest / counts
    shared = float(weights @ (first * second))
    spread = float(weights @ (first * (1 - first))) * float(weights @ (second * (1 - second)))
    return -min(shared / math.sqrt(spread), 1.0) if spread > 0 else 0.0


def _crossing(hit: float, other: float, hit_by: float, other_by: float, together: float, side: int) -> float:
    """The R in [0, 1] where (1 − R) hit − R other is as far from zero as its uncertainty on that side."""

    def excess(share: float) -> float:
        first, second = (1 - share) * hit_by, share * other_by
        spread = math.sqrt(first * first + second * second - 2 * together * first * second)
        return (1 - share) * hit - share * other + side * spread

    if excess(0.0) <= 0:
        return 0.0
    if excess(1.0) >= 0:
        return 1.0
    return float(optimize.brentq(excess, 0.0, 1.0))


def _clean_size(bound: float, frame: float) -> float | None:
    """The uniform sample without a hit that has this upper bound; None where the bound says nothing."""
    if bound >= 1:
        return None
    if bound <= 0:
        return float(frame)
    size = math.log(0.05) / math.log1p(-bound)
    return min(size, float(frame))
