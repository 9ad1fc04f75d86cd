"""scikit-learn models in skops files: which of them is explained how."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import skops.io
from sklearn.base import is_classifier, is_regressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, SGDClassifier, SGDRegressor
from sklearn.linear_model._base import LinearClassifierMixin, LinearModel
from sklearn.model_selection._search import BaseSearchCV
from sklearn.naive_bayes import ComplementNB, MultinomialNB
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from skops.io.exceptions import UntrustedTypesFoundException

from opsportal.explanations.engine.agnostic import Agnostic
from opsportal.explanations.engine.contributions import (
    LOG_ODDS,
    PROBABILITY,
    SCORE,
    Array,
    Engine,
    EngineError,
    Row,
)
from opsportal.explanations.engine.linear import Linear
from opsportal.explanations.engine.preparation import Preparation, Table, Untraceable
from opsportal.explanations.engine.sklearn_trees import SklearnTrees
from opsportal.predictions.dictionary import FeatureDictionary

Kind: TypeAlias = Callable[[Any, Preparation, Sequence[Row]], Engine]

_FORESTS = (
    RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor,
    DecisionTreeClassifier, DecisionTreeRegressor,
)  # fmt: skip
_BOOSTED = (
    GradientBoostingClassifier, GradientBoostingRegressor,
    HistGradientBoostingClassifier, HistGradientBoostingRegressor,
)  # fmt: skip
# Losses under which the sum of the trees is the log-odds or the prediction itself.
_SUMMED_LOSSES = {"log_loss", "squared_error", "absolute_error", "huber", "quantile"}


def load_skops(
    content: bytes, dictionary: FeatureDictionary, background: Sequence[Row], trusted: Sequence[str]
) -> Engine:
    """The scikit-learn model in a skops file.

    trusted: types that are allowed beside those skops itself knows. Raises EngineError: untrusted types,
    each by its name; a damaged file; more than two classes; a dictionary that does not fit.
    """
    model = _read(content, trusted)
    while isinstance(model, BaseSearchCV):
        model = model.best_estimator_
    predict, space = _prediction(model)
    table = Table(model, dictionary)
    transformers, estimator = _split(model)
    kind = _kind_of(estimator)
    try:
        # The table learns from it how categories are spelled, also where the rest is of no use.
        preparation = Preparation(transformers, table)
    except Untraceable:
        pass
    else:
        if kind is not None:
            return kind(estimator, preparation, background)
    return Agnostic(table, predict, space, background)


def _read(content: bytes, trusted: Sequence[str]) -> Any:
    try:
        found = skops.io.get_untrusted_types(data=content)
        if strange := sorted(set(found) - set(trusted)):
            raise EngineError(
                f"The file holds types that this portal does not trust: {', '.join(strange)}. Whoever runs "
                "the portal can allow a type that does no harm in SKOPS_TRUSTED_TYPES."
            )
        return skops.io.loads(content, trusted=list(trusted))
    except UntrustedTypesFoundException as error:
        raise EngineError(f"The file holds types that this portal does not trust: {error}") from error
    except EngineError:
        raise
    except Exception as error:
        raise EngineError(f"skops cannot read the file: {type(error).__name__}: {error}"[:300]) from error


def _prediction(model: Any) -> tuple[Callable[[Any], Array], str]:
    """How the model is asked for the logged score, and what that is: a probability or a plain number."""
    if not hasattr(model, "predict"):
        raise EngineError(f"The file holds a {type(model).__name__}, which predicts nothing.")
    if is_classifier(model):
        classes = getattr(model, "classes_", ())
        if len(classes) != 2:
            raise EngineError(
                f"The model tells {len(classes)} classes apart. Only models with two classes, rankers and "
                "regressors can be explained."
            )
        if hasattr(model, "predict_proba"):
            return (lambda table: np.asarray(model.predict_proba(table), dtype=np.float64)[:, 1]), PROBABILITY
        if hasattr(model, "decision_function"):
            return (lambda table: np.asarray(model.decision_function(table), dtype=np.float64)), SCORE
        raise EngineError("The model decides without a score, so there is nothing to explain it by.")
    if not is_regressor(model):
        raise EngineError(f"A {type(model).__name__} is neither a classifier nor a regressor.")
    return (lambda table: _one_number(model.predict(table))), SCORE


def _one_number(found: Any) -> Array:
    numbers = np.asarray(found, dtype=np.float64)
    if numbers.ndim == 2 and numbers.shape[1] == 1:
        numbers = numbers[:, 0]
    if numbers.ndim != 1:
        raise EngineError(
            f"The model predicts {numbers.shape[1]} numbers at once; only one can be explained."
        )
    return numbers


def _split(model: Any) -> tuple[list[Any], Any]:
    """The transformers, and the estimator behind them."""
    transformers: list[Any] = []
    while isinstance(model, Pipeline):
        transformers += [step for _, step in model.steps[:-1]]
        model = model.steps[-1][1]
    while isinstance(model, BaseSearchCV):
        model = model.best_estimator_
    return transformers, model


def _kind_of(estimator: Any) -> Kind | None:
    """The exact way to explain an estimator; None where only the model-agnostic one is left."""
    if isinstance(estimator, LogisticRegression | LogisticRegressionCV | MultinomialNB | ComplementNB) or (
        isinstance(estimator, SGDClassifier) and estimator.loss == "log_loss"
    ):
        return lambda line, preparation, background: Linear(line, preparation, background, space=LOG_ODDS)
    if isinstance(estimator, LinearModel | SGDRegressor) or (
        isinstance(estimator, LinearClassifierMixin) and not hasattr(estimator, "predict_proba")
    ):
        return lambda line, preparation, background: Linear(line, preparation, background, space=SCORE)
    if isinstance(estimator, _FORESTS):
        space = PROBABILITY if is_classifier(estimator) else SCORE
        return lambda trees, preparation, _background: SklearnTrees(trees, preparation, space=space)
    if isinstance(estimator, _BOOSTED) and _is_summed(estimator):
        space = LOG_ODDS if is_classifier(estimator) else SCORE
        return lambda trees, preparation, _background: SklearnTrees(trees, preparation, space=space)
    return None


def _is_summed(estimator: Any) -> bool:
    """Whether shap reads these boosted trees rightly: a plain loss, no categories, no model to start from."""
    is_categorical = getattr(estimator, "is_categorical_", None)
    return (
        estimator.loss in _SUMMED_LOSSES
        and (is_categorical is None or not np.any(is_categorical))
        and getattr(estimator, "init", None) is None
    )
