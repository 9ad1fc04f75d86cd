"""Who says a label more often than others do, with intervals, and how much of that is chance."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from opsportal.audits.statistics.agreement import MISSING
from opsportal.audits.statistics.intervals import Bounds, newcombe, normal_quantile, wilson

STRICT, LENIENT, USUAL = "strict", "lenient", "usual"
# With fewer labels nobody is called strict or lenient.
LEAST_LABELS = 20
# Comparing item by item needs so many items that others labelled too, and so many with different answers.
LEAST_SHARED = 30
LEAST_DIFFERENT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Strictness:
    """One person against the others.

    hits of n labels are the focus. bounds: of their rate; difference, difference_bounds: to the others', by
    items that both labelled (matched, on `shared` items) or between their items. All intervals hold together
    for all people. by_chance: how far chance alone moves such a difference, either way.
    """

    hits: int
    n: int
    bounds: Bounds
    difference: float | None
    difference_bounds: Bounds | None
    by_chance: float | None
    shared: int
    matched: bool
    standing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How much the rates of all people differ. chance_share: of the variance between them, what chance
    explains, 0–1; p: of rates as unequal as these if all people were alike.
    """

    pooled: float
    bounds: Bounds
    n_effective: float
    chance_share: float | None
    p: float | None


def strictness(codes: NDArray[np.int64], focus: int, *, confidence: float = 0.95) -> list[Strictness]:
    """Each person's rate of the focus label against the others'; one for each row, n = 0 without labels.

    codes: ints, shape (people, items), MISSING for none. Where a person shares enough items with others the
    difference is the mean over those items of (their answer − mean of the others' answers), with a t interval
    over items, which are independent where labels are not; else Newcombe's between their labels and all
    others', which is a little wide if some items are shared. Bonferroni over people: with the given
    confidence no interval of any person misses. Strict or lenient: the difference's interval excludes zero.

    Newcombe, Statistics in Medicine 17, 1998; Dunn, JASA 56, 1961 (Bonferroni).
    """
    is_focus = np.where(codes == MISSING, 0.0, codes == focus)
    answered = codes != MISSING
    people = int(answered.any(axis=1).sum())
    each = 1 - (1 - confidence) / max(people, 1)
    everyone, labels = is_focus.sum(axis=0), answered.sum(axis=0)
    return [
        _one(is_focus[row], answered[row], everyone - is_focus[row], labels - answered[row], each)
        for row in range(len(codes))
    ]


def spread(codes: NDArray[np.int64], focus: int, *, confidence: float = 0.95) -> Spread | None:
    """The rate of all labels, and how far chance explains that people's rates differ; None without labels.

    codes: as for strictness. The interval treats items as clusters of labels: Wilson on the labels that
    would say as much if each stood on its own item. chance_share = (people − 1) / χ², at most 1, with χ² =
    Σ (hits − n p)² / (n p (1 − p)): 1 − I² of Higgins & Thompson, Statistics in Medicine 21, 2002. It is None
    with one person, or with one label only.
    """
    answered = codes != MISSING
    total = int(answered.sum())
    if not total:
        return None
    is_focus = (codes == focus) & answered
    pooled = float(is_focus.sum() / total)
    effective = float(total)
    if 0 < pooled < 1:
        residuals = is_focus.sum(axis=0) - pooled * answered.sum(axis=0)
        variance = float((residuals**2).sum()) / total**2
        # Labels of one item say at most as much as those of different ones.
        effective = min(max(pooled * (1 - pooled) / variance, 1.0), total) if variance > 0 else total
    n = answered.sum(axis=1)
    working = n[n > 0]
    chance_share = p = None
    if working.size > 1 and 0 < pooled < 1:
        hits = is_focus.sum(axis=1)[n > 0]
        chi_square = float(((hits - working * pooled) ** 2 / (working * pooled * (1 - pooled))).sum())
        chance_share = min((working.size - 1) / chi_square, 1.0) if chi_square > 0 else 1.0
        p = float(stats.chi2.sf(chi_square, working.size - 1))
    return Spread(
        pooled=pooled,
        bounds=wilson(pooled * effective, effective, confidence),
        n_effective=effective,
        chance_share=chance_share,
        p=p,
    )


def _one(
    is_focus: NDArray[np.float64],
    answered: NDArray[np.bool_],
    others_focus: NDArray[np.float64],
    others: NDArray[np.int64],
    confidence: float,
) -> Strictness:
    n, hits = int(answered.sum()), int(is_focus.sum())
    both = answered & (others > 0)
    shared = int(both.sum())
    bounds = wilson(hits, n, confidence) if n else (0.0, 1.0)
    difference = difference_bounds = by_chance = None
    apart = is_focus[both] - others_focus[both] / others[both]
    matched = bool(shared >= max(LEAST_SHARED, n / 2) and np.count_nonzero(apart) >= LEAST_DIFFERENT)
    other_n, other_hits = int(others.sum()), float(others_focus.sum())
    if matched:
        difference = float(apart.mean())
        quantile = float(stats.t.ppf(0.5 + confidence / 2, shared - 1))
        by_chance = quantile * float(apart.std(ddof=1)) / math.sqrt(shared)
        difference_bounds = (max(difference - by_chance, -1.0), min(difference + by_chance, 1.0))
    elif n and other_n:
        difference = hits / n - other_hits / other_n
        difference_bounds = newcombe(hits, n, other_hits, other_n, confidence)
        pooled = (hits + other_hits) / (n + other_n)
        by_chance = normal_quantile(confidence) * math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / other_n))
    standing = USUAL
    if n >= LEAST_LABELS and difference_bounds is not None:
        if difference_bounds[0] > 0:
            standing = STRICT
        elif difference_bounds[1] < 0:
            standing = LENIENT
    return Strictness(
        hits=hits,
        n=n,
        bounds=bounds,
        difference=difference,
        difference_bounds=difference_bounds,
        by_chance=by_chance,
        shared=shared,
        matched=matched,
        standing=standing,
    )
