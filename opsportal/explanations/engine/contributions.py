"""What every engine answers with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from opsportal.predictions.dictionary import Value

Array = npt.NDArray[np.float64]
LOG_ODDS, PROBABILITY, SCORE = "log_odds", "probability", "score"
# One case: feature name → value, constants already put in (FeatureDictionary.as_seen).
Row = Mapping[str, Value]


class EngineError(Exception):
    """A model that cannot be loaded, or rows that it cannot read: sentences for people, at least one."""

    def __init__(self, *sentences: str) -> None:
        super().__init__(*sentences)
        self.sentences = list(sentences)

    def __str__(self) -> str:
        return " ".join(self.sentences)


@dataclass(frozen=True, slots=True)
class Contributions:
    """Attributions of n rows over k features, in the engine's space.

    base: shape (n,). values: shape (n, k), columns as `Engine.inputs`. margin: shape (n,), the model's own
    output in that space, computed apart from the attributions. scores: shape (n,), the output in the space
    of the logged score. details: for each row what only text has: {"words": [[start, end, attribution], …]}.
    """

    base: Array
    values: Array
    margin: Array
    scores: Array
    details: list[dict[str, Any]] = field(default_factory=list)

    @property
    def residual(self) -> Array:
        """What the attributions do not account for, shape (n,)."""
        total: Array = self.values.sum(axis=1)
        return self.margin - self.base - total


class Engine(Protocol):
    """A loaded model, ready to explain.

    name: library, version and method. space: log_odds, probability or score. inputs: the features that the
    model sees, in its order. single_precision: it computes in float32.
    """

    name: str
    space: str
    inputs: tuple[str, ...]
    single_precision: bool

    def explain(self, rows: Sequence[Row]) -> Contributions:
        """Attributions of every row. Raises EngineError for values the model cannot read."""
        ...

    def score(self, rows: Sequence[Row]) -> Array:
        """The model's output for every row, in the space of the logged score: shape (n,)."""
        ...
