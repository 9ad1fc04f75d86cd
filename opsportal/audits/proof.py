"""What labels prove about a share of right answers: exact bounds, plans, and how many more would settle it.

Pure Python: forms and services ask. The same bounds as audits.statistics.intervals has from scipy.
"""

import math

CONFIDENCE = 0.95
_HALVINGS = 60
# Beyond so many nobody labels by hand.
MORE_MAX = 100_000


def lower_bound(hits: int, n: int, confidence: float = CONFIDENCE) -> float:
    """Exact one-sided lower bound of a share, 0–1; 0 where nothing was hit or looked at.

    The p at which as many hits have the chance 1 − confidence: Clopper & Pearson, Biometrika 26, 1934.
    """
    if hits <= 0 or n <= 0:
        return 0.0
    low, high = 0.0, hits / n
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _tail(hits, n, middle) > 1 - confidence:
            high = middle
        else:
            low = middle
    return low


def bound_text(low: float) -> str:
    """A lower bound as it is read, never better than it is: 0.8996 is 89.9 %."""
    return f"{math.floor(low * 1000 + 1e-9) / 10:g}\u00a0%"


def upper_bound(hits: int, n: int, confidence: float = CONFIDENCE) -> float:
    """Exact one-sided upper bound of a share, 0–1; 1 where nothing was looked at."""
    return 1 - lower_bound(n - hits, n, confidence) if n > 0 else 1.0


def proves(hits: int, n: int, *, bar: float, frame: int, confidence: float = CONFIDENCE) -> bool:
    """Whether a random sample of n out of `frame` with these hits proves that a share of `bar` is right.

    Exact for a finite frame (hypergeometric): whoever has looked at all knows. hits ≤ n ≤ frame.
    """
    if n <= 0:
        return False
    missed = _just_missed(bar, frame)
    least, most = max(hits, n - (frame - missed)), min(n, missed)
    every = _log_choices(frame, n)
    chance = sum(
        math.exp(_log_choices(missed, x) + _log_choices(frame - missed, n - x) - every)
        for x in range(least, most + 1)
    )
    return chance <= 1 - confidence


def acceptance_size(*, bar: float, frame: int, confidence: float = CONFIDENCE) -> int:
    """The smallest sample out of `frame` that proves the bar if every one is right; 59 for 95 % of very many.

    Zero-defect plan, as Hanley & Lippman-Hand, JAMA 249, 1983; exact for a finite frame.
    """
    missed, chance = _just_missed(bar, frame), 1.0
    for size in range(1, frame + 1):
        # That one more item out of a frame that misses the bar looks right.
        chance *= (missed - size + 1) / (frame - size + 1)
        if chance <= 1 - confidence:
            return size
    return max(frame, 1)


def more_labels(hits: int, n: int, *, bar: float, confidence: float = CONFIDENCE) -> int | None:
    """How many more labels would lift the lower bound to the bar if the share of hits stays as it is.

    None where no number would (the share itself is not above the bar) or more than MORE_MAX would be needed.
    """
    if lower_bound(hits, n, confidence) >= bar:
        return 0
    share = hits / n if n else 1.0
    if share <= bar:
        return None
    low, high = n + 1, n + MORE_MAX

    def enough(size: int) -> bool:
        return _tail(math.floor(share * size + 1e-9), size, bar) <= 1 - confidence

    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    return low - n


def effective_size(weights_sum: float, weights_square_sum: float) -> float:
    """As many labels of equal weight say as much: (Σw)² / Σw². Kish, Survey Sampling, 1965, §11.7."""
    return weights_sum**2 / weights_square_sum if weights_square_sum > 0 else 0.0


def _just_missed(bar: float, frame: int) -> int:
    """The most items of the frame that can be right while the bar is missed."""
    # Rounding must not make 11 of 0.1 × 100.
    return max(math.ceil(bar * frame - 1e-9) - 1, 0)


def _log_choices(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _tail(hits: int, n: int, p: float) -> float:
    """P(X ≥ hits) for X ~ Binomial(n, p)."""
    if hits <= 0:
        return 1.0
    if p <= 0:
        return 0.0
    if p >= 1:
        return 1.0
    log_p, log_q = math.log(p), math.log1p(-p)
    # From the hits on the terms fall where hits ≥ n × p, which is where the bounds lie.
    total = 0.0
    for x in range(hits, n + 1):
        term = math.exp(_log_choices(n, x) + x * log_p + (n - x) * log_q)
        total += term
        if term < total * 1e-17 and x > n * p:
            break
    return min(total, 1.0)
