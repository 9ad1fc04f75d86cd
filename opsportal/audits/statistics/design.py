"""Spread a sample over strata so that every prediction keeps a chance, and the labels say the most."""

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

How = Literal["proportional", "neyman", "boost"]
# Below this chance of an error a stratum's spread is not believed: scores are too sure of themselves.
LEAST_ERROR = 0.01


class ImpossibleAllocation(ValueError):
    """There is no such sample; the message is a sentence for the person who asked for it."""


def allocate(
    frames: ArrayLike,
    n: int,
    *,
    how: How,
    spreads: ArrayLike | None = None,
    boosts: ArrayLike | None = None,
    core_share: float = 0.3,
    minimum: int = 2,
) -> NDArray[np.int64]:
    """Allocation of `n` items over strata; ints, shape (k,), sum exactly n, none above its frame.

    frames: shape (k,), ints ≥ 0. spreads (for neyman): shape (k,), ≥ 0, standard deviations in one unit; the
    part beyond the core goes in proportion to frame × spread. boosts (for boost): shape (k,), ≥ 0, how many
    times as likely an item of the stratum is to be drawn; in proportion to frame × boost. core_share: 0–1,
    the share of n that is spread in proportion to the frames whatever the rest does. minimum: of each
    stratum that has any, at least so many (all of them, if it has fewer) and never none.

    What a full stratum cannot take goes to the others by the same rule. Whole numbers by largest remainder;
    ties go to the lower index, so the same input gives the same sample. Raises ImpossibleAllocation.
    Cochran, Sampling Techniques, 3rd ed. 1977, §5.5 (Neyman) and §5.8 (caps).
    """
    sizes = np.asarray(frames, dtype=np.int64)
    if sizes.ndim != 1 or bool((sizes < 0).any()):
        raise ValueError("Frames must be one row of counts.")
    if not 0 <= core_share <= 1:
        raise ValueError("The core share must be from 0 to 1.")
    total = int(sizes.sum())
    if total == 0:
        if n == 0:
            return np.zeros_like(sizes)
        raise ImpossibleAllocation("There is nothing to draw from.")
    if n > total:
        raise ImpossibleAllocation(f"There are only {total:,} predictions to draw {n:,} from.")
    lower = np.minimum(sizes, max(minimum, 1))
    if n < lower.sum():
        raise ImpossibleAllocation(
            f"{np.count_nonzero(sizes):,} strata with at least {max(minimum, 1):,} items each need "
            f"{int(lower.sum()):,} items, and the sample has {n:,}. "
            "Take fewer strata, a smaller minimum or a larger sample."
        )
    weights = sizes * _per_item(how, sizes.size, spreads, boosts)
    if not bool((weights > 0).any()):
        weights = sizes.astype(np.float64)
    # Whatever weighs nothing still takes what the others have no room for.
    weights = np.where(sizes > 0, np.maximum(weights, 1e-9 * weights.max() * sizes / total), 0.0)
    core = core_share * n * sizes / total
    shares = _filled(core, weights, lower, sizes, n)
    return _whole(shares, lower, sizes, n)


def stated_spreads(stated_error_sums: ArrayLike, frames: ArrayLike) -> NDArray[np.float64]:
    """Standard deviation √(e(1 − e)) of being wrong in each stratum, as the scores themselves state e.

    stated_error_sums: shape (k,), Σ of the stated chances of an error. frames: shape (k,). e is kept within
    0.01–0.5, since a score that claims to be certain would leave its stratum without labels. Shape (k,).
    """
    sizes = np.asarray(frames, dtype=np.float64)
    sums = np.asarray(stated_error_sums, dtype=np.float64)
    means = np.divide(sums, sizes, out=np.full(sizes.shape, 0.5), where=sizes > 0)
    means = np.clip(means, LEAST_ERROR, 0.5)
    return np.asarray(np.sqrt(means * (1 - means)), dtype=np.float64)


def _per_item(
    how: How, count: int, spreads: ArrayLike | None, boosts: ArrayLike | None
) -> NDArray[np.float64]:
    """What one item of each stratum weighs; shape (count,)."""
    given = {"proportional": None, "neyman": spreads, "boost": boosts}[how]
    if how == "proportional":
        return np.ones(count)
    if given is None:
        raise ValueError(f"The allocation {how} needs its weights.")
    weights = np.asarray(given, dtype=np.float64)
    if weights.shape != (count,) or not bool(np.isfinite(weights).all()) or bool((weights < 0).any()):
        raise ValueError("Each stratum needs one finite weight that is not negative.")
    return weights


def _filled(
    core: NDArray[np.float64],
    weights: NDArray[np.float64],
    lower: NDArray[np.int64],
    upper: NDArray[np.int64],
    n: int,
) -> NDArray[np.float64]:
    """Real-valued shares within [lower, upper] that sum to n: core + level × weights at the right level.

    Where the minima alone eat into the core, the core shrinks until they fit. The sum rises with the level,
    so halving finds it.
    """

    def at(level: float) -> NDArray[np.float64]:
        if level < 0:  # −1: no core at all; 0: the whole core
            return np.clip(core * (1 + level), lower, upper)
        return np.clip(core + level * weights, lower, upper)

    low, high = -1.0, 1.0
    while at(high).sum() < n:
        high *= 2
        if not math.isfinite(high):  # pragma: no cover  n ≤ the sum of upper
            return upper.astype(np.float64)
    for _ in range(200):
        middle = (low + high) / 2
        if at(middle).sum() < n:
            low = middle
        else:
            high = middle
    return at(high)


def _whole(
    shares: NDArray[np.float64], lower: NDArray[np.int64], upper: NDArray[np.int64], n: int
) -> NDArray[np.int64]:
    """Whole numbers next to the shares by largest remainder, within the bounds; sum n."""
    # Halving leaves errors in the last digits: 3.9999999999 is 4.
    near = np.round(shares, 9)
    counts = np.clip(np.floor(near).astype(np.int64), lower, upper)
    remainders = near - counts
    missing = n - int(counts.sum())
    for index in np.argsort(-remainders, kind="stable"):
        if missing <= 0:
            break
        if counts[index] < upper[index]:
            counts[index] += 1
            missing -= 1
    for index in np.argsort(remainders, kind="stable"):
        if missing >= 0:
            break
        if counts[index] > lower[index]:
            counts[index] -= 1
            missing += 1
    if missing:  # pragma: no cover  rounding moves each stratum by less than one
        raise ImpossibleAllocation("The sample cannot be spread over these strata.")
    return counts
