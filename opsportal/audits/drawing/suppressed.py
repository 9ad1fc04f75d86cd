"""Which rows are of customers who had opted out when the run began."""

import array
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from opsportal.predictions.models import Suppression
from opsportal.predictions.pseudonyms import KEY_LENGTH, customer_keys

_HALF = KEY_LENGTH // 2
_NOBODY = "0" * KEY_LENGTH


class Suppressed:
    """Everybody who had opted out by that moment, 8 bytes each.

    The first half of a pseudonym stands for it: that two of a million customers share 64 bits has a chance
    of one in 10⁷. Who opts out later is in the frame, and erased when the run is filled.
    """

    def __init__(self, by: datetime) -> None:
        keys = Suppression.objects.filter(since__lte=by).values_list("pk", flat=True)
        halves = array.array("Q", (_half(key) for key in keys.iterator(chunk_size=10_000)))
        self._halves = np.sort(np.frombuffer(halves, dtype=np.uint64)) if halves else np.empty(0, np.uint64)

    def __bool__(self) -> bool:
        return len(self._halves) > 0

    def among(self, customers: pa.Array | None, *, raw: bool, rows: int) -> NDArray[np.bool_] | None:
        """Which rows are theirs; None for none at all.

        customers: pseudonyms, or raw IDs, which become pseudonyms here and go no further.
        """
        if customers is None or not self:
            return None
        encoded = pc.fill_null(customers, "").dictionary_encode()
        texts = encoded.dictionary.to_pylist()
        if not texts:
            return None
        keys = customer_keys(texts) if raw else [text or _NOBODY for text in texts]
        halves = np.array([_half(key) for key in keys], dtype=np.uint64)
        theirs = np.isin(halves, self._halves) & np.array([bool(text.strip()) for text in texts])
        found: NDArray[np.bool_] = theirs[encoded.indices.to_numpy(zero_copy_only=False)]
        return found if found.any() else None


def _half(key: str) -> int:
    return int(key[:_HALF], 16)
