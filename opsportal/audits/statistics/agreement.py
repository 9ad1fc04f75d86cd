"""How far people agree on the same items, beyond chance, with intervals from resampling items."""

from collections.abc import Callable
from dataclasses import dataclass

import krippendorff
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa

from opsportal.audits.statistics.intervals import Bounds, wilson

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]
# The code of "no answer".
MISSING = -1
RESAMPLES = 1000
# With fewer items resampling does not know what else could have happened.
LEAST_ITEMS = 10
# Numbers held at once: 16 MB.
BLOCK = 2_000_000


@dataclass(frozen=True, slots=True)
class Agreed:
    """A measure of agreement; value None: it does not exist (chance alone explains everything)."""

    value: float | None
    bounds: Bounds | None
    items: int


def percent(codes: Codes) -> Agreed:
    """Share of items, labelled by several, on which all of them say the same; Wilson interval.

    codes: ints, shape (people, items), MISSING for none.
    """
    counts = _counts(codes)
    shared = counts[counts.sum(axis=1) >= 2]
    if not len(shared):
        return Agreed(None, None, 0)
    agreed = int((shared.max(axis=1) == shared.sum(axis=1)).sum())
    return Agreed(agreed / len(shared), wilson(agreed, len(shared)), len(shared))


def krippendorff_alpha(codes: Codes, *, seed: int = 0) -> Agreed:
    """Krippendorff's alpha for nominal labels: any number of people, with gaps; 1 agreement, 0 chance.

    codes: ints, shape (people, items), MISSING for none. The value is the library's. Interval: 2.5–97.5 % of
    1,000 resamples of the items (seeded). Value None where all labels are one, or no item has two.
    Krippendorff, Content Analysis, 4th ed. 2019, §12.3; Hayes & Krippendorff, Communication Methods and
    Measures 1, 2007 (bootstrap).
    """
    counts = _counts(codes)
    shared = counts[counts.sum(axis=1) >= 2]
    if not len(shared) or np.count_nonzero(shared.sum(axis=0)) < 2:
        return Agreed(None, None, len(shared))
    data = np.where(codes == MISSING, np.nan, codes.astype(np.float64))
    value = float(krippendorff.alpha(reliability_data=data, level_of_measurement="nominal"))
    return Agreed(value, _bootstrapped(_alphas, shared, seed), len(shared))


def fleiss(codes: Codes, *, seed: int = 0) -> tuple[Agreed, int]:
    """Fleiss' kappa over the items that most often the same number of people labelled; and that number.

    codes: ints, shape (people, items), MISSING for none. It needs equally many labels of each item, so those
    with another number are left out. Interval as for krippendorff_alpha. Fleiss, Psychological Bulletin 76,
    1971.
    """
    counts = _counts(codes)
    raters = counts.sum(axis=1)
    several = raters[raters >= 2]
    if not several.size:
        return Agreed(None, None, 0), 0
    usual = int(np.bincount(several.astype(np.int64)).argmax())
    equal = counts[raters == usual]
    if np.count_nonzero(equal.sum(axis=0)) < 2:
        return Agreed(None, None, len(equal)), usual
    value = float(fleiss_kappa(equal, method="fleiss"))
    return Agreed(value, _bootstrapped(_fleisses, equal, seed), len(equal)), usual


def cohen(first: Codes, second: Codes, *, seed: int = 0) -> Agreed:
    """Cohen's kappa of two people over the items both labelled; interval from resampling them.

    first, second: ints, shape (items,), MISSING for none. Value None where both gave one label only. Cohen,
    Educational and Psychological Measurement 20, 1960.
    """
    both = (first != MISSING) & (second != MISSING)
    one, other = first[both], second[both]
    if np.unique(np.concatenate([one, other])).size < 2:
        return Agreed(None, None, int(one.size))
    size = int(max(one.max(), other.max())) + 1
    table = np.bincount(one * size + other, minlength=size * size)
    value = float(cohen_kappa_score(one, other))
    bounds = None
    if one.size >= LEAST_ITEMS:
        drawn = np.random.default_rng(seed).multinomial(one.size, table / one.size, size=RESAMPLES)
        bounds = _middle(_kappas(drawn.reshape(-1, size, size).astype(np.float64)))
    return Agreed(value, bounds, int(one.size))


def positive(codes: Codes, label: int) -> Agreed:
    """Positive agreement on a label: of the pairs of answers with it, how many have it twice, 2a/(2a+b+c).

    codes: ints, shape (people, items). Over all pairs of people on an item. Interval: resampled items. It
    does not collapse where the label is rare, as kappa does: Cicchetti & Feinstein, Journal of Clinical
    Epidemiology 43, 1990; Fleiss, Statistical Methods for Rates and Proportions, 1981, §13.1.
    """
    counts = _counts(codes, least=label + 1)
    shared = counts[counts.sum(axis=1) >= 2]
    with_label = shared[:, label]
    twice = with_label * (with_label - 1)
    either = with_label * (shared.sum(axis=1) - 1)
    if not either.sum():
        return Agreed(None, None, 0)
    items = int((with_label > 0).sum())
    bounds = _bootstrapped(_positives, np.stack([twice, either], axis=1), 0)
    return Agreed(float(twice.sum() / either.sum()), bounds, items)


def _counts(codes: Codes, least: int = 1) -> Floats:
    """How often each item got each label; shape (items, labels)."""
    labels = max(int(codes.max(initial=MISSING)) + 1, least)
    return np.stack([(codes == label).sum(axis=0) for label in range(labels)], axis=1).astype(np.float64)


def _bootstrapped(measure: Callable[[Floats, Floats], Floats], items: Floats, seed: int) -> Bounds | None:
    """Bounds of a measure over resamples of the items, in blocks of bounded size; items: one row each."""
    count = len(items)
    if count < LEAST_ITEMS:
        return None
    generator = np.random.default_rng(seed)
    block = max(min(BLOCK // count, RESAMPLES), 1)
    values = []
    for begin in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - begin)
        places = generator.integers(0, count, size=(size, count)) + count * np.arange(size)[:, None]
        weights = np.bincount(places.ravel(), minlength=size * count).reshape(size, count)
        values.append(measure(items, weights.astype(np.float64)))
    return _middle(np.concatenate(values))


def _middle(values: Floats) -> Bounds | None:
    """2.5 % and 97.5 % of those values that exist; None where hardly any does."""
    known = values[np.isfinite(values)]
    if known.size < RESAMPLES / 2:
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def _alphas(counts: Floats, weights: Floats) -> Floats:
    """Alpha of each resample; counts (items, labels), weights (r, items) → (r,)."""
    raters = counts.sum(axis=1)
    apart = (raters**2 - (counts**2).sum(axis=1)) / (raters - 1)
    total, labels = weights @ raters, weights @ counts
    expected = (total**2 - (labels**2).sum(axis=1)) / (total - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(1 - (weights @ apart) / expected)


def _fleisses(counts: Floats, weights: Floats) -> Floats:
    """Fleiss' kappa of each resample; shapes as for _alphas."""
    raters = counts.sum(axis=1)
    together = ((counts**2).sum(axis=1) - raters) / (raters * (raters - 1))
    observed = (weights @ together) / weights.sum(axis=1)
    shares = (weights @ counts) / (weights @ raters)[:, None]
    expected = (shares**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((observed - expected) / (1 - expected))


def _positives(pairs: Floats, weights: Floats) -> Floats:
    """Positive agreement of each resample; pairs (items, 2): with the label twice, and at all."""
    with np.errstate(invalid="ignore", divide="ignore"):
        twice, either = (weights @ pairs).T
        return np.asarray(twice / either)


def _kappas(tables: Floats) -> Floats:
    """Kappa of each table; shape (r, k, k) → (r,)."""
    n = tables.sum(axis=(1, 2))
    observed = np.trace(tables, axis1=1, axis2=2) / n
    expected = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1) / n**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((observed - expected) / (1 - expected))
