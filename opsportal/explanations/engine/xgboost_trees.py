"""XGBoost models, explained by the library's own contributions: the same numbers as shap's TreeExplainer."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from opsportal.explanations.engine.columns import (
    Column,
    categorical,
    coded,
    match_inputs,
    matrix,
    numeric,
)
from opsportal.explanations.engine.contributions import (
    LOG_ODDS,
    SCORE,
    Array,
    Contributions,
    EngineError,
    Row,
)
from opsportal.predictions.dictionary import Feature, FeatureDictionary

try:
    import xgboost
except ImportError as error:
    raise EngineError(
        "XGBoost is not installed here. Install the portal with its extra: pip install opsportal[xgboost]."
    ) from error

# Objectives whose output is a sigmoid of the sum, and those whose output is the sum itself.
_LOGISTIC = {"binary:logistic", "reg:logistic"}
_PLAIN = {
    "binary:logitraw", "reg:squarederror", "reg:linear", "reg:absoluteerror", "reg:pseudohubererror",
    "reg:squaredlogerror", "reg:quantileerror", "rank:ndcg", "rank:map", "rank:pairwise",
}  # fmt: skip
# The library refuses infinities; to any threshold of a tree these are as far away.
_FLOAT32 = float(np.finfo(np.float32).max)


class XGBoostTrees:
    """An XGBoost UBJ or JSON model. Computes in float32.

    Where training stopped early, the trees up to the best iteration count, as in XGBoost's scikit-learn
    interface.
    """

    single_precision = True

    def __init__(self, content: bytes, dictionary: FeatureDictionary) -> None:
        """Load the model. Raises EngineError for a file that is damaged or does not fit the dictionary."""
        self._booster = xgboost.Booster({"nthread": 0})
        try:
            self._booster.load_model(bytearray(content))
            learner = json.loads(self._booster.save_config())["learner"]
        except (xgboost.core.XGBoostError, ValueError, KeyError) as error:
            raise EngineError(f"XGBoost cannot read the file: {_reason(error)}") from error
        self.space = _space(learner)
        names = self._booster.feature_names
        count = self._booster.num_features()
        features = match_inputs(
            names or [f"column {place}" for place in range(count)], dictionary, nameless=not names
        )
        self.inputs = tuple(feature.name for feature in features)
        self._types = self._booster.feature_types or ["float"] * count
        self._columns = _columns(features, self._types, _categories(self._booster, self._types))
        best = self._booster.attr("best_iteration")
        self.trees = int(best) + 1 if best is not None else self._booster.num_boosted_rounds()
        self._range = (0, self.trees if best is not None else 0)
        self.name = f"xgboost {xgboost.__version__} pred_contribs"

    def explain(self, rows: Sequence[Row]) -> Contributions:
        """Attributions of every row."""
        values = self._matrix(rows)
        contributions = self._predict(values, pred_contribs=True)
        return Contributions(
            base=contributions[:, -1],
            values=contributions[:, :-1],
            margin=self._predict(values, output_margin=True),
            scores=self._predict(values),
        )

    def score(self, rows: Sequence[Row]) -> Array:
        """The model's probability of every row, or its score: shape (n,)."""
        return self._predict(self._matrix(rows))

    def _matrix(self, rows: Sequence[Row]) -> "xgboost.DMatrix":
        values = np.clip(matrix(self._columns, rows), -_FLOAT32, _FLOAT32)
        return xgboost.DMatrix(
            values,
            feature_names=self._booster.feature_names,
            feature_types=self._types,
            enable_categorical=True,
            # Waking more threads for one row takes longer than the row.
            nthread=1 if len(rows) == 1 else None,
        )

    def _predict(self, values: "xgboost.DMatrix", **how: bool) -> Array:
        found = self._booster.predict(values, iteration_range=self._range, **how)
        return np.asarray(found, dtype=np.float64)


def _space(learner: dict[str, Any]) -> str:
    objective = str(learner["objective"]["name"])
    parameters = learner["learner_model_param"]
    classes = max(int(parameters.get("num_class", 0)), int(parameters.get("num_target", 1)))
    if classes > 1 or objective.startswith("multi:"):
        raise EngineError(
            f"The model tells {classes} classes apart. Only models with two classes, rankers and "
            "regressors can be explained."
        )
    if objective in _LOGISTIC:
        return LOG_ODDS
    if objective in _PLAIN:
        return SCORE
    raise EngineError(
        f"The objective “{objective}” turns the sum of the trees into what is neither a probability nor "
        "the sum itself. Such a model cannot be explained here."
    )


def _categories(booster: "xgboost.Booster", types: Sequence[str]) -> dict[int, list[Any]]:
    """The categories that the file keeps from training, by column; none where it was older than XGBoost 3.1
    or trained on codes."""
    if "c" not in types or not hasattr(booster, "get_categories"):
        return {}
    kept = booster.get_categories(export_to_arrow=True).to_arrow()
    return {place: values.to_pylist() for place, (_, values) in enumerate(kept) if values is not None}


def _columns(features: Sequence[Feature], types: Sequence[str], kept: dict[int, list[Any]]) -> list[Column]:
    """Each feature's column. A category never seen is a code that no tree knows, which is not "missing"."""
    columns = []
    for place, (feature, kind) in enumerate(zip(features, types, strict=True)):
        if kind != "c":
            columns.append(numeric(feature))
        elif kept.get(place):
            columns.append(coded(feature.name, kept[place], unseen=float(len(kept[place]))))
        else:
            columns.append(categorical(feature, unseen=float(len(feature.categories))))
    return columns


def _reason(error: Exception) -> str:
    """The library's message without its place in the source and its stack trace."""
    line = str(error).strip().splitlines()[0]
    return line.partition("Check failed:")[2].strip() or line
