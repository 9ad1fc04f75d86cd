"""Let the score help: what it says about every prediction, put right by what people say about a few."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opsportal.audits.statistics.estimators import Estimated
from opsportal.audits.statistics.intervals import equivalent_size, wilson

# Below these the normal interval is too often too short; see tests/benchmarks/audit_estimates.py.
LEAST_LABELS = 200
LEAST_OF_EACH = 30
LEAST_PER_STRATUM = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Powered:
    """The estimate, and how much of the score's word was taken: 0 (none) to 1."""

    estimated: Estimated
    tuning: float


def powered_rate(
    frames: ArrayLike,
    stated_sums: ArrayLike,
    strata: ArrayLike,
    errors: ArrayLike,
    stated: ArrayLike,
    *,
    confidence: float = 0.95,
) -> Powered | None:
    """Share of errors by the difference estimator within strata; None where its interval would not hold.

    frames: shape (k,), ints. stated_sums: shape (k,), Σ over the frame of the chance of an error that the
    score states. strata: shape (m,), the stratum 0…k − 1 of each labelled item; errors: shape (m,), 0 or 1;
    stated: shape (m,), 0–1, what the score stated of it.

    Σ W_h [ē_h + λ (frame mean of stated − sample mean of stated)]: unbiased whatever the scores are worth.
    λ makes the estimated variance least and is kept within 0–1 (tuned prediction-powered inference, PPI++:
    Angelopoulos, Duchi & Zrnic, arXiv 2311.01453, 2023; the difference and regression estimators of Cochran
    1977, §7.3–7.10). The interval is Wilson's on the effective size, with the finite population correction.

    None with fewer than 200 labels, 30 errors or 30 right ones, or 10 labels in any stratum.
    """
    sizes = np.asarray(frames, dtype=np.float64)
    sums = np.asarray(stated_sums, dtype=np.float64)
    where = np.asarray(strata, dtype=np.int64)
    wrong, said = np.asarray(errors, dtype=np.float64), np.asarray(stated, dtype=np.float64)
    counts = np.bincount(where, minlength=sizes.size)
    if (
        wrong.size < LEAST_LABELS
        or not LEAST_OF_EACH <= wrong.sum() <= wrong.size - LEAST_OF_EACH
        or bool((counts[sizes > 0] < LEAST_PER_STRATUM).any())
    ):
        return None
    kept = sizes > 0
    weights = sizes[kept] / sizes.sum()
    scales = weights**2 * (1 - counts[kept] / sizes[kept]) / counts[kept]

    def moment(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
        centred = _centred(first, where, counts) * _centred(second, where, counts)
        within = np.bincount(where, weights=centred, minlength=sizes.size)[kept] / (counts[kept] - 1)
        return float(scales @ within)

    spread = moment(said, said)
    tuning = min(max(moment(wrong, said) / spread, 0.0), 1.0) if spread > 0 else 0.0
    rest = wrong - tuning * said
    means = np.bincount(where, weights=rest, minlength=sizes.size)[kept] / counts[kept]
    value = float(weights @ (means + tuning * sums[kept] / sizes[kept]))
    variance = moment(rest, rest)
    if not 0 < value < 1 or variance <= 0:
        return None
    effective = value * (1 - value) / variance
    low, high = wilson(value * effective, effective, confidence)
    estimated = Estimated(
        value=value,
        low=low,
        high=high,
        kind="two_sided",
        n=int(wrong.size),
        n_effective=equivalent_size(value, (low, high), round(float(sizes.sum())), confidence),
    )
    return Powered(estimated=estimated, tuning=tuning)


def is_tighter(powered: Estimated, plain: Estimated) -> bool:
    """Whether the interval is narrower by at least a twentieth: less is noise in its own width."""
    return powered.high - powered.low < 0.95 * (plain.high - plain.low) and math.isfinite(powered.value)


def _centred(
    values: NDArray[np.float64], where: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Distance of each value to the mean of its stratum."""
    means = np.bincount(where, weights=values, minlength=counts.size) / np.maximum(counts, 1)
    return np.asarray(values - means[where], dtype=np.float64)
