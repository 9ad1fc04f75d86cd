"""LightGBM models, explained by the library's own contributions: the same numbers as shap's TreeExplainer."""

import re
from collections.abc import Sequence
from typing import Any

import lightgbm
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
from opsportal.explanations.engine.lightgbm_text import head, read_whole
from opsportal.predictions.dictionary import Feature, FeatureDictionary, Value, as_text

# Objectives whose output is a sigmoid of the sum, and those whose output is the sum itself.
_LOGISTIC = {"binary", "cross_entropy", "xentropy"}
_PLAIN = {
    "", "custom", "none", "regression", "regression_l2", "regression_l1", "huber", "fair", "quantile", "mape",
    "lambdarank", "rank_xendcg",
}  # fmt: skip
_ALL_TREES = -1  # also where the file knows a best iteration: it holds exactly the trees that predict


class LightGBMTrees:
    """A LightGBM text model. Computes in float64; one thread for one row, all of them for many."""

    single_precision = False

    def __init__(self, content: bytes, dictionary: FeatureDictionary) -> None:
        """Load the model. Raises EngineError for a file that is damaged or does not fit the dictionary."""
        text = read_whole(content)
        try:
            self._booster = lightgbm.Booster(model_str=text)
        except (lightgbm.basic.LightGBMError, ValueError, TypeError) as error:
            raise EngineError(f"LightGBM cannot read the file: {error}.") from error
        told = head(text)
        # What one unit of the trees' sum is worth in log-odds.
        self._scale = 1.0
        self.space = self._find_space(told)
        names = self._booster.feature_name()
        nameless = all(name == f"Column_{place}" for place, name in enumerate(names))
        features = match_inputs(names, dictionary, nameless=nameless and names[0] not in dictionary.by_name)
        self.inputs = tuple(feature.name for feature in features)
        self._columns = _columns(features, _categorical_columns(text, told), self._booster.pandas_categorical)
        self.trees = self._booster.num_trees()
        if "average_output" in told:
            # A random forest's output is the mean of its trees; contributions and raw scores are their sum.
            self._scale /= self.trees
        self.name = f"lightgbm {lightgbm.__version__} pred_contrib"

    def _find_space(self, told: dict[str, str]) -> str:
        if self._booster.num_model_per_iteration() != 1:
            count = self._booster.num_model_per_iteration()
            raise EngineError(
                f"The model tells {count} classes apart. Only models with two classes, rankers and "
                "regressors can be explained."
            )
        words = told.get("objective", "").split()
        objective = words[0] if words else ""
        if objective in _LOGISTIC:
            for word in words:
                if word.startswith("sigmoid:"):
                    self._scale = float(word.removeprefix("sigmoid:"))
            return LOG_ODDS
        if objective not in _PLAIN or "sqrt" in words:
            raise EngineError(
                f"The objective “{' '.join(words)}” turns the sum of the trees into what is neither "
                "a probability nor the sum itself. Such a model cannot be explained here."
            )
        return SCORE

    def explain(self, rows: Sequence[Row]) -> Contributions:
        """Attributions of every row."""
        values = matrix(self._columns, rows)
        contributions = self._predict(values, pred_contrib=True) * self._scale
        margin = self._predict(values, raw_score=True) * self._scale
        return Contributions(
            base=contributions[:, -1],
            values=contributions[:, :-1],
            margin=margin,
            scores=self._scores(margin),
        )

    def score(self, rows: Sequence[Row]) -> Array:
        """The model's probability of every row, or its score: shape (n,)."""
        return self._scores(self._predict(matrix(self._columns, rows), raw_score=True) * self._scale)

    def _scores(self, margin: Array) -> Array:
        if self.space == SCORE:
            return margin
        with np.errstate(over="ignore"):
            return 1.0 / (1.0 + np.exp(-margin))

    def _predict(self, values: Array, **how: Any) -> Array:
        # Waking more threads for one row takes longer than the row.
        if len(values) == 1:
            how["num_threads"] = 1
        found = self._booster.predict(values, num_iteration=_ALL_TREES, **how)
        return np.asarray(found, dtype=np.float64)


def _categorical_columns(text: str, told: dict[str, str]) -> list[int]:
    """Places of the columns that were categorical in training."""
    parameter = re.search(r"^\[categorical_feature: ([\d,]*)\]$", text, flags=re.MULTILINE)
    if parameter is not None and parameter[1]:
        return sorted(int(place) for place in parameter[1].split(","))
    # Older files say it only by the list of codes, `0:2:1`, where numbers have a range, `[0:1]`.
    ranges = told.get("feature_infos", "").split()
    return [place for place, words in enumerate(ranges) if words != "none" and not words.startswith("[")]


def _columns(
    features: Sequence[Feature], places: Sequence[int], kept: list[list[Value]] | None
) -> list[Column]:
    """Each feature's column: with the categories that the file keeps from training, else the dictionary's."""
    columns = [
        categorical(feature) if place in places else numeric(feature)
        for place, feature in enumerate(features)
    ]
    for place, categories in _places_of(kept or [], places, features):
        columns[place] = coded(features[place].name, categories)
    return columns


def _places_of(
    kept: list[list[Value]], places: Sequence[int], features: Sequence[Feature]
) -> list[tuple[int, list[Value]]]:
    """Which column each kept list belongs to: they stand in the order of the columns, but unnamed."""
    if len(kept) == len(places):
        return list(zip(places, kept, strict=True))
    if len(kept) > len(places):
        raise EngineError("The file keeps more lists of categories than it has categorical columns.")
    found, rest = [], iter(places)
    for categories in kept:
        wanted = {as_text(category) for category in categories}
        place = next((place for place in rest if set(features[place].categories) == wanted), None)
        if place is None:
            raise EngineError(
                "Some categorical columns were trained as pandas categories and others as codes, and the "
                "file does not say which: list every feature's categories in the dictionary as in training."
            )
        found.append((place, categories))
    return found
