"""Keep the smallest hashes of each stratum out of any number of rows, in memory for a few times as many."""

import numpy as np
from numpy.typing import NDArray

# Little: the sooner the limits are tight, the fewer rows have to be looked at more closely.
_SLACK = 20_000
_MOST = np.uint64(2**64 - 1)


class Best:
    """The `n` rows of each stratum with the smallest hashes, whatever order the rows come in.

    wanted: shape (strata,), how many of each; None keeps every row. At most twice the wanted rows and
    20,000 more are held, 20 bytes each.
    """

    def __init__(self, wanted: NDArray[np.int64] | None) -> None:
        self._wanted = wanted
        self._limits = None if wanted is None else np.where(wanted > 0, _MOST, 0).astype(np.uint64)
        self._room = 0 if wanted is None else 2 * int(wanted.sum()) + _SLACK
        self._held = 0
        self._hashes: list[NDArray[np.uint64]] = []
        self._strata: list[NDArray[np.int32]] = []
        self._rows: list[NDArray[np.int64]] = []

    def candidates(self, hashes: NDArray[np.uint64], strata: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which of these rows could still be among the best; strata −1 never is."""
        there = strata >= 0
        if self._limits is None or self._wanted is None:
            return there
        return there & (hashes <= self._limits[strata]) & (self._wanted[strata] > 0)

    def add(self, hashes: NDArray[np.uint64], strata: NDArray[np.int32], rows: NDArray[np.int64]) -> None:
        """Take in rows by their numbers."""
        self._hashes.append(hashes)
        self._strata.append(strata)
        self._rows.append(rows)
        self._held += len(hashes)
        if self._wanted is not None and self._held > self._room:
            self._prune(self._wanted)

    def result(
        self, wanted: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.uint64], NDArray[np.int32], NDArray[np.int64]]:
        """Hashes, strata and rows of the best, by stratum and hash. wanted: where none was given before."""
        self._prune(self._wanted if wanted is None else wanted)
        return self._hashes[0], self._strata[0], self._rows[0]

    def _prune(self, wanted: NDArray[np.int64] | None) -> None:
        hashes = np.concatenate([np.empty(0, np.uint64), *self._hashes])
        strata = np.concatenate([np.empty(0, np.int32), *self._strata])
        rows = np.concatenate([np.empty(0, np.int64), *self._rows])
        order = np.lexsort((rows, hashes, strata))
        hashes, strata, rows = hashes[order], strata[order], rows[order]
        if wanted is not None:
            starts = np.searchsorted(strata, np.arange(len(wanted)), side="left")
            kept = np.arange(len(strata)) - starts[strata] < wanted[strata]
            hashes, strata, rows = hashes[kept], strata[kept], rows[kept]
            if self._limits is not None:
                counts = np.bincount(strata, minlength=len(wanted))
                ends = np.cumsum(counts)
                full = (counts == wanted) & (wanted > 0)
                self._limits[full] = hashes[ends[full] - 1]
        self._hashes, self._strata, self._rows, self._held = [hashes], [strata], [rows], len(hashes)
