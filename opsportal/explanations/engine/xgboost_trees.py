"""XGBoost models, explained by the library's own contributions: the same numbers as shap's TreeExplainer."""

import json
import math
import re
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd

from opsportal.core.errors import Invalid
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
from opsportal.predictions.dictionary import Feature, FeatureDictionary, Value, as_number, as_text
from opsportal.predictions.model_files import sniff

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
_UNSEEN = -2.0
# Of pandas.
_MISSING_CODE = -1


class XGBoostTrees:
    """An XGBoost UBJ or JSON model. Computes in float32.

    Where training stopped early, the trees up to the best iteration count, as in XGBoost's scikit-learn
    interface.
    """

    single_precision = True

    def __init__(self, content: bytes, dictionary: FeatureDictionary) -> None:
        """Load the model. Raises EngineError for a file that is damaged or does not fit the dictionary."""
        try:
            # XGBoost reads past the end of a file that was cut short, which ends the process.
            sniff(BytesIO(content))
        except Invalid as error:
            raise EngineError(error.message) from error
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
        self._kept = _categories(self._booster, self._types)
        self._columns = _columns(features, self._types, self._kept)
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
        codes = np.clip(matrix(self._columns, rows), -_FLOAT32, _FLOAT32)
        places = list(self._kept)
        values = self._with_unseen(codes, rows) if (codes[:, places] == _UNSEEN).any() else codes
        return xgboost.DMatrix(
            values,
            feature_names=self._booster.feature_names,
            feature_types=self._types if values is codes else None,
            enable_categorical=True,
            # Waking more threads for one row takes longer than the row.
            nthread=1 if len(rows) == 1 else None,
        )

    def _with_unseen(self, codes: Array, rows: Sequence[Row]) -> pd.DataFrame:
        """The rows as a frame of pandas categories: what to do with one never seen, XGBoost itself decides.

        From 3.1 on it refuses most of them, and takes some for another one.
        """
        columns: dict[str, Any] = {}
        for place, name in enumerate(self._booster.feature_names or ()):
            column = codes[:, place]
            if place in self._kept:
                kept = list(self._kept[place])
                for number in np.flatnonzero(column == _UNSEEN).tolist():
                    category = _as_category(rows[number].get(self.inputs[place]), kept[0], self.inputs[place])
                    if category not in kept:
                        kept.append(category)
                    column[number] = kept.index(category)
                column = pd.Categorical.from_codes(np.nan_to_num(column, nan=_MISSING_CODE).astype(int), kept)
            columns[name] = column
        return pd.DataFrame(columns)

    def _predict(self, values: "xgboost.DMatrix", **how: bool) -> Array:
        try:
            found = self._booster.predict(values, iteration_range=self._range, **how)
        except xgboost.core.XGBoostError as error:
            raise EngineError(f"The model cannot read the values: {_reason(error)}") from error
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
    """Each feature's column. A category never seen is not a missing one: it has a code that no tree knows."""
    columns = []
    for place, (feature, kind) in enumerate(zip(features, types, strict=True)):
        if kind != "c":
            columns.append(numeric(feature))
        elif kept.get(place):
            columns.append(coded(feature.name, kept[place], unseen=_UNSEEN))
        else:
            columns.append(categorical(feature, unseen=float(len(feature.categories))))
    return columns


def _as_category(value: Value, known: Any, name: str) -> Any:
    """The value in the type of the categories of training."""
    if isinstance(known, str):
        return as_text(value)
    number = as_number(value)
    if not math.isfinite(number):
        raise EngineError(f"The model cannot read the values: the categories of “{name}” are numbers.")
    return type(known)(number)


def _reason(error: Exception) -> str:
    """The library's message without the time, its place in the source and its stack trace."""
    line = re.sub(r"^\[[\d:]+\] \S+: ", "", str(error).strip().splitlines()[0])
    return line.removeprefix("Check failed: ").strip()
