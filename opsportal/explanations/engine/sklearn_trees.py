"""scikit-learn's trees, forests and boosted trees, by shap's path-dependent TreeExplainer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import shap
import sklearn
from scipy.sparse import issparse
from sklearn.base import is_classifier

from opsportal.explanations.engine.contributions import (
    LOG_ODDS,
    Array,
    Contributions,
    EngineError,
    Row,
)
from opsportal.explanations.engine.preparation import Preparation, unreadable


class SklearnTrees:
    """Trees behind their transformers. Forests add up to a probability, boosted trees to log-odds."""

    single_precision = False

    def __init__(self, estimator: Any, preparation: Preparation, *, space: str) -> None:
        """Build the explainer. Raises EngineError for trees that shap cannot read."""
        try:
            self._explainer = shap.TreeExplainer(estimator, feature_perturbation="tree_path_dependent")
        except Exception as error:
            raise EngineError(f"shap cannot read the trees: {type(error).__name__}: {error}"[:300]) from error
        self._estimator = estimator
        self._preparation = preparation
        self.space = space
        self.inputs = tuple(feature.name for feature in preparation.table.features)
        self.trees = len(self._explainer.model.values)
        self.name = f"shap {shap.__version__} trees, scikit-learn {sklearn.__version__}"

    def explain(self, rows: Sequence[Row]) -> Contributions:
        """Attributions of every row. Raises EngineError for values that the trees cannot read."""
        matrix = self._matrix(rows)
        margin, scores = self._outputs(matrix)
        # Whether it adds up is judged where explanations are kept, by one rule for every engine.
        by_column = np.asarray(self._explainer.shap_values(matrix, check_additivity=False), dtype=np.float64)
        if by_column.ndim == 3:
            # A classifier's second class.
            by_column = by_column[:, :, -1]
        base = float(np.ravel(self._explainer.expected_value)[-1])
        return Contributions(
            base=np.full(len(rows), base),
            values=self._preparation.per_feature(by_column),
            margin=margin,
            scores=scores,
        )

    def score(self, rows: Sequence[Row]) -> Array:
        """The model's probability of every row, or its score: shape (n,)."""
        return self._outputs(self._matrix(rows))[1]

    def _matrix(self, rows: Sequence[Row]) -> Any:
        matrix = self._preparation.transform(rows)
        return matrix.toarray() if issparse(matrix) else matrix

    def _outputs(self, matrix: Any) -> tuple[Array, Array]:
        """The margin and the score, as the estimator itself computes them."""
        try:
            if not is_classifier(self._estimator):
                margin = scores = self._estimator.predict(matrix)
            else:
                margin = scores = self._estimator.predict_proba(matrix)[:, 1]
                if self.space == LOG_ODDS:
                    margin = self._estimator.decision_function(matrix)
        except ValueError as error:
            raise unreadable(error) from error
        return np.asarray(margin, dtype=np.float64).ravel(), np.asarray(scores, dtype=np.float64).ravel()
