"""The last resort: shap's model-agnostic explainers, which only ask the model for scores."""

import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import shap
import sklearn

from opsportal.explanations.engine.contributions import Array, Contributions, EngineError, Row
from opsportal.explanations.engine.preparation import Table, unreadable

BACKGROUND_MAX = 100
# Up to here every combination of features is asked for: 2⁸ × 100 rows.
EXACT_MAX = 8
PERMUTATIONS = 10


class Agnostic:
    """Any model that predicts, explained against reference rows.

    Exactly up to 8 inputs, by 10 permutations beyond, seeded from the row: the same row, the same answer.
    """

    single_precision = False

    def __init__(
        self, table: Table, predict: Callable[[Any], Array], space: str, background: Sequence[Row]
    ) -> None:
        """Draw at most 100 reference rows. Raises EngineError where there are none."""
        if not len(background):
            raise EngineError(
                "Nothing but its predictions is known of such a model, so it is explained against rows of "
                "its training data, and none came with it. Give 100 to 2,000 of them with the model's file."
            )
        every = np.linspace(0, len(background) - 1, min(len(background), BACKGROUND_MAX)).astype(int)
        self._background = [background[place] for place in every.tolist()]
        self._table = table
        self._predict = predict
        self.space = space
        self.inputs = tuple(feature.name for feature in table.features)
        self._exact = len(self.inputs) <= EXACT_MAX
        how = "exact" if self._exact else f"{PERMUTATIONS} permutations"
        self.name = (
            f"shap {shap.__version__} {how} on {len(self._background)} rows, "
            f"scikit-learn {sklearn.__version__}"
        )

    def explain(self, rows: Sequence[Row]) -> Contributions:
        """Attributions of every row, a second or so each. Raises EngineError for unreadable values."""
        scores = self.score(rows)
        found = [self._explain_one(row) for row in rows]
        return Contributions(
            base=np.array([base for base, _ in found]),
            values=np.array([values for _, values in found]).reshape(len(rows), len(self.inputs)),
            margin=scores,
            scores=scores,
        )

    def score(self, rows: Sequence[Row]) -> Array:
        """The model's probability of every row, or its score: shape (n,)."""
        return self._ask(self._table.build(rows))

    def _explain_one(self, row: Row) -> tuple[float, Array]:
        # To shap a case is the numbers of rows in this table; values keep their type and spelling.
        sources = [*self._background, row]
        reference = np.tile(np.arange(len(self._background), dtype=np.float64)[:, None], len(self.inputs))
        own = np.full((1, len(self.inputs)), float(len(self._background)))

        def ask(places: Array) -> Array:
            mixed = [
                {name: sources[int(place)].get(name) for name, place in zip(self.inputs, line, strict=True)}
                for line in places
            ]
            return self._ask(self._table.build(mixed))

        masker = shap.maskers.Independent(reference, max_samples=len(reference))
        if self._exact:
            found = shap.explainers.Exact(ask, masker)(own, silent=True)
        else:
            # shap seeds the global generator; whoever else draws from it goes on where they were.
            state = np.random.get_state()
            try:
                seed = zlib.crc32(json.dumps(row, sort_keys=True).encode())
                explainer = shap.explainers.Permutation(ask, masker, seed=seed)
                found = explainer(own, max_evals=PERMUTATIONS * (2 * len(self.inputs) + 1), silent=True)
            finally:
                np.random.set_state(state)
        return float(np.ravel(found.base_values)[0]), np.asarray(found.values, dtype=np.float64)[0]

    def _ask(self, table: Any) -> Array:
        try:
            return self._predict(table)
        except ValueError as error:
            raise unreadable(error) from error
