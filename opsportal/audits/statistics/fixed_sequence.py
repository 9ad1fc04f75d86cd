"""Find a threshold that keeps a promise: thresholds tested one after another until the first one fails.

Learn then test with fixed-sequence testing: Angelopoulos, Bates, Candès, Jordan & Lei, arXiv 2110.01052,
2021, §3 and appendix; Bauer, Statistics in Medicine 10, 1991. The grid and its order do not know labels, so
each test may spend the whole error: the chance that the threshold found breaks the promise is at most
1 − confidence.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from opsportal.audits.statistics.intervals import clopper_pearson, wilson

Goal = Literal["precision", "recall"]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

LEVELS = 20
# Bets as shares of the largest that can never go broke; each is one row of the mixture.
_BETS = np.array([0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97])
_LABELS_MAX = 10_000_000


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labelled items of one version. All shape (n,).

    scores; is_label: whether people say it is the label of the promise; weights: how many predictions of
    the frame each stands for (N_h / m_h).
    """

    scores: Floats
    is_label: Flags
    weights: Floats


@dataclass(frozen=True, slots=True)
class Promise:
    """`goal` of a label at least `target`. above: whether scores from the threshold on get the label."""

    goal: Goal
    target: float
    above: bool
    confidence: float = 0.95

    @property
    def allowed(self) -> float:
        """The share of failures that the promise allows."""
        return 1 - self.target

    @property
    def error(self) -> float:
        """The chance that the promise may be broken with."""
        return 1 - self.confidence

    def accepts(self, scores: Floats, threshold: float) -> Flags:
        """Which scores get the label; shape of `scores`."""
        return np.asarray(scores >= threshold if self.above else scores < threshold)

    def cases(self, sample: Labelled, threshold: float) -> tuple[Flags, Flags]:
        """Which items the promise is about, and which of all items are failures; each shape (n,).

        Precision: of what gets the label, what is none. Recall: of what is one, what does not get the label.
        """
        accepted = self.accepts(sample.scores, threshold)
        if self.goal == "precision":
            return accepted, accepted & ~sample.is_label
        return sample.is_label, sample.is_label & ~accepted


@dataclass(frozen=True, slots=True)
class Point:
    """One threshold of the curve. accepted: share of the frame that gets the label; n: cases, failed of them.

    estimate: weighted point estimate of the goal, None without cases; low, high: 95 % two-sided, for this
    threshold alone. p: of the hypothesis that the promise is broken.
    """

    threshold: float
    accepted: float
    n: int
    failed: int
    estimate: float | None
    low: float | None
    high: float | None
    p: float


@dataclass(frozen=True, slots=True)
class Found:
    """What the tests found. tests: places in `curve` in the order of testing, up to the first failure.

    passed: how many of them passed; chosen: place of the last that passed. advice: place of the furthest
    that would pass if it were the only one tested, which promises nothing. exact: whether tests are exact.
    """

    curve: list[Point]
    tests: list[int]
    passed: int
    chosen: int | None
    advice: int | None
    exact: bool


def grid_of(scores: ArrayLike, weights: ArrayLike, *, also: Sequence[float] = ()) -> Floats:
    """Up to 19 thresholds between equal shares of the frame, and those in `also`; rising, distinct.

    scores, weights: shape (n,), of every drawn item, labelled or not: the grid must not know labels.
    Rounded to six significant digits, so that a threshold is what it is shown as.
    """
    values, shares = np.asarray(scores, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(shares[order]) / shares.sum()
    places = np.searchsorted(reached, np.arange(1, LEVELS) / LEVELS, side="left")
    levels = values[order][np.minimum(places, len(values) - 1)]
    return np.unique([float(f"{level:.6g}") for level in [*levels, *also]])


def find(
    sample: Labelled, grid: ArrayLike, promise: Promise, *, uniform: bool, frame: Labelled | None = None
) -> Found:
    """The furthest threshold of the grid that keeps the promise, by tests in a fixed order.

    For precision the order goes from few accepted to many, for recall from many to few. It begins where
    there are enough cases for some failures still to pass, which scores alone decide.
    uniform: every item stands for equally many predictions (one stratum): the tests are exact binomial
    tails; otherwise they are bets on weighted failures. frame: drawn items, labelled or not, to state the
    shares accepted by; the labelled ones unless given. Cost: O(len(grid) × n).
    """
    whole = frame or sample
    curve = [_point(sample, whole, float(t), promise, uniform=uniform) for t in np.asarray(grid)]
    # Rising share of accepted; for recall the safe end is the one where nearly all are.
    order = sorted(range(len(curve)), key=lambda place: (curve[place].accepted, place))
    if promise.goal == "recall":
        order.reverse()
    tests: list[int] = []
    passed = 0
    for place in _from_start(order, sample, curve, promise, uniform=uniform):
        tests.append(place)
        if curve[place].p > promise.error:
            break
        passed += 1
    alone = [place for place in order if curve[place].p <= promise.error]
    return Found(
        curve=curve,
        tests=tests,
        passed=passed,
        chosen=tests[passed - 1] if passed else None,
        advice=alone[-1] if alone else None,
        exact=uniform,
    )


def binomial_p(failed: int, n: int, allowed: float) -> float:
    """Chance of so few failures or fewer among n if the promise were just broken; 1 without cases.

    Valid for a uniform sample, drawn with or without replacement: Hoeffding, JASA 58, 1963, theorem 4.
    """
    return float(special.bdtr(failed, n, allowed)) if n else 1.0


def betting_p(failed: ArrayLike, weights: ArrayLike, allowed: float, *, heaviest: float) -> float:
    """As binomial_p for items of unequal weight from a stratified sample; never too small.

    failed, weights: shape (n,), of the cases. heaviest: the largest weight that any item may have.
    The capital of a gambler who stakes a constant share λ on w (allowed − failed) of every item, averaged
    over fixed λ. If the promise is broken its expectation is at most 1: the items of one stratum have one
    mean, and by the inequality of the means the product of (1 − λ w (μ_h − allowed)) is largest where all are
    equal, so 1 / capital is a p-value (Markov). Waudby-Smith & Ramdas, JRSS B 86, 2024, §4 (constant bets).
    """
    fails, masses = np.asarray(failed, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if not fails.size:
        return 1.0
    stakes = _BETS / (heaviest * (1 - allowed))
    capital = np.log1p(-stakes[:, None] * (masses * (fails - allowed))[None, :]).sum(axis=1)
    mixed = float(special.logsumexp(capital) - np.log(len(stakes)))
    return float(min(1.0, np.exp(-mixed)))


def estimate_at(
    sample: Labelled, threshold: float, promise: Promise, *, uniform: bool
) -> tuple[float | None, float | None, float | None, int, int]:
    """(estimate, low, high, cases, failures) of the goal at one threshold that was fixed before these labels.

    Exact (Clopper–Pearson) for a uniform sample, else Wilson on the effective number of cases (Kish).
    """
    relevant, failures = promise.cases(sample, threshold)
    n, failed = int(relevant.sum()), int(failures.sum())
    if not n:
        return None, None, None, 0, 0
    weights = sample.weights[relevant]
    share = float((weights * ~failures[relevant]).sum() / weights.sum())
    if uniform:
        low, high = clopper_pearson(n - failed, n)
    else:
        effective = float(weights.sum() ** 2 / (weights**2).sum())
        low, high = wilson(min(share * effective, effective), effective)
    return share, low, high, n, failed


def labels_needed(point: Point, labelled: int, promise: Promise, *, uniform: bool) -> int | None:
    """About how many more labels of the same design would let this threshold pass if its estimate stayed.

    None where the estimate itself is below the promise, or there are no cases: no number would settle it.
    """
    if point.estimate is None or point.estimate <= promise.target or not point.n:
        return None
    rate = 1 - point.estimate
    low, high = point.n, _LABELS_MAX

    def passes(n: int) -> bool:
        # An unequal sample spends about log(13) more on its mixture of bets.
        error = promise.error if uniform else promise.error / len(_BETS)
        return binomial_p(int(np.ceil(rate * n)), n, promise.allowed) <= error

    if not passes(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle + 1, high)
    return max(1, int(np.ceil((high - point.n) * labelled / point.n)))


def _point(sample: Labelled, whole: Labelled, threshold: float, promise: Promise, *, uniform: bool) -> Point:
    relevant, failures = promise.cases(sample, threshold)
    estimate, low, high, n, failed = estimate_at(sample, threshold, promise, uniform=uniform)
    if uniform:
        p = binomial_p(failed, n, promise.allowed)
    else:
        heaviest = float(sample.weights.max()) if sample.weights.size else 1.0
        p = betting_p(failures[relevant], sample.weights[relevant], promise.allowed, heaviest=heaviest)
    accepted = promise.accepts(whole.scores, threshold)
    share = float((whole.weights * accepted).sum() / whole.weights.sum()) if whole.weights.size else 0.0
    return Point(threshold, share, n, failed, estimate, low, high, p)


def _from_start(
    order: Sequence[int], sample: Labelled, curve: Sequence[Point], promise: Promise, *, uniform: bool
) -> Sequence[int]:
    """The order without the first thresholds that have too few cases to pass; never empty."""
    if promise.goal == "recall":
        # The cases are the same at every threshold.
        return order
    wanted = _enough(promise, len(sample.scores)) * (1.0 if uniform else 1.5)
    for start, place in enumerate(order):
        weights = sample.weights[promise.accepts(sample.scores, curve[place].threshold)]
        effective = float(weights.sum() ** 2 / (weights**2).sum()) if weights.size else 0.0
        if effective >= wanted:
            return order[start:]
    return order[-1:]


def _enough(promise: Promise, labels: int) -> float:
    """How many cases the first test shall have: a label-free rule that trades its power for its reach.

    So many that half of the allowed share may fail and the test still passes, but no more than a quarter of
    all labels, and at least so many that one may fail.
    """

    def fewest(failed: Callable[[int], int]) -> int:
        n = 1
        while binomial_p(failed(n), n, promise.allowed) > promise.error:
            n += max(1, n // 50)
        return n

    comfortable = fewest(lambda n: int(promise.allowed * n / 2))
    return max(fewest(lambda _: 1), min(comfortable, labels / 4))
