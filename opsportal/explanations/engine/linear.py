"""Linear models, exactly: coefficient × (value − reference), summed by feature; for texts, by word too."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
import sklearn
from sklearn.naive_bayes import ComplementNB, MultinomialNB

from opsportal.explanations.engine.contributions import (
    LOG_ODDS,
    Array,
    Contributions,
    EngineError,
    Row,
)
from opsportal.explanations.engine.preparation import NOBODY, Preparation, unreadable


class Linear:
    """A linear estimator behind its transformers. The same numbers as shap's LinearExplainer.

    The reference of a word is that it does not occur; of any other column, its mean over the reference
    rows, or 0 where there are none: for a scaled column, that is the mean of training.
    """

    single_precision = False

    def __init__(
        self,
        estimator: Any,
        preparation: Preparation,
        background: Sequence[Row],
        *,
        space: str,
    ) -> None:
        """Take over the coefficients. Raises EngineError for reference rows that the model cannot read."""
        coefficients, intercept = _line(estimator)
        columns = preparation.origins
        if len(coefficients) != columns.count:
            raise EngineError(
                f"The model has {len(coefficients):,} coefficients for {columns.count:,} columns."
            )
        self._estimator = estimator
        self._preparation = preparation
        self._coefficients = coefficients
        self.space = space
        self.inputs = tuple(feature.name for feature in preparation.table.features)
        no_words = columns.maker == NOBODY
        reference = np.zeros(columns.count)
        words = "from zero" if no_words.any() else "from no words"
        if len(background) and no_words.any():
            means = np.asarray(preparation.transform(background).mean(axis=0), dtype=np.float64).ravel()
            reference[no_words] = means[no_words]
            words = f"from the mean of {len(background):,} reference rows"
        at_reference = reference * coefficients
        self._base = intercept + float(at_reference.sum())
        self._at_reference = preparation.per_feature(at_reference[np.newaxis, :])
        self.name = f"scikit-learn {sklearn.__version__} linear, {words}"

    def explain(self, rows: Sequence[Row]) -> Contributions:
        """Attributions of every row, and for texts the words'. Raises EngineError for unreadable values."""
        matrix = self._preparation.transform(rows)
        if scipy.sparse.issparse(matrix):
            by_column = matrix.multiply(self._coefficients[np.newaxis, :]).tocsr()
        else:
            by_column = matrix * self._coefficients
        margin, scores = self._outputs(matrix)
        return Contributions(
            base=np.full(len(rows), self._base),
            values=self._preparation.per_feature(by_column) - self._at_reference,
            margin=margin,
            scores=scores,
            details=self._preparation.words(rows, by_column) if self._preparation.has_words else [],
        )

    def score(self, rows: Sequence[Row]) -> Array:
        """The model's probability of every row, or its score: shape (n,)."""
        return self._outputs(self._preparation.transform(rows))[1]

    def _outputs(self, matrix: Any) -> tuple[Array, Array]:
        """The margin and the score, as the estimator itself computes them."""
        try:
            if self.space == LOG_ODDS:
                scores = self._estimator.predict_proba(matrix)[:, 1]
                if hasattr(self._estimator, "decision_function"):
                    margin = self._estimator.decision_function(matrix)
                else:
                    joint = self._estimator.predict_joint_log_proba(matrix)
                    margin = joint[:, 1] - joint[:, 0]
            else:
                decide = getattr(self._estimator, "decision_function", self._estimator.predict)
                margin = scores = decide(matrix)
        except ValueError as error:
            raise unreadable(error) from error
        return np.asarray(margin, dtype=np.float64).ravel(), np.asarray(scores, dtype=np.float64).ravel()


def _line(estimator: Any) -> tuple[Array, float]:
    """Coefficients and intercept of the second class's score."""
    if isinstance(estimator, MultinomialNB | ComplementNB):
        logs = estimator.feature_log_prob_
        priors = estimator.class_log_prior_ if isinstance(estimator, MultinomialNB) else np.zeros(2)
        return np.asarray(logs[1] - logs[0], dtype=np.float64), float(priors[1] - priors[0])
    coefficients = np.asarray(estimator.coef_, dtype=np.float64).ravel()
    return coefficients, float(np.ravel(estimator.intercept_)[0])
