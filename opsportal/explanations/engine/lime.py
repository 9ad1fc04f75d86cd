"""LIME as a second opinion: a linear model around one case, bit-identical whenever it is asked for.

Quartile mode for tables, word removal for text. LIME (Ribeiro et al., KDD 2016) is not maintained; what
would go wrong in it is kept away from it here: missing numbers, bins without width, three generators
that have to be seeded, and rules that nobody but a statistician can read.
"""

import hashlib
import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
from lime.discretize import QuartileDiscretizer
from lime.lime_tabular import LimeTabularExplainer
from lime.lime_text import LimeTextExplainer

from opsportal.explanations.engine.contributions import SCORE, Array, Engine, EngineError, Row
from opsportal.explanations.engine.reference import Column, column_of, is_number, level_of, thinned
from opsportal.predictions.dictionary import (
    NUMBER,
    Feature,
    FeatureDictionary,
    Value,
    as_number,
    as_text,
)

SAMPLES = 5_000
# Local R² from which on the fit is fair, and good.
FAIR, GOOD = 0.3, 0.6
# A long text is sampled less often: cells of the matrix of samples × words.
_CELLS_MAX = 2_000_000
# Of a long text, as many words as anybody would read.
_WORDS_MAX = 100
# A value inside a rule; the whole of it stands with the feature.
_VALUE_MAX = 80
_OWN, _OTHER = 0, 1


def explain_lime(
    engine: Engine,
    dictionary: FeatureDictionary,
    background_rows: Sequence[Row],
    row: Row,
    seed_text: str,
    samples: int = SAMPLES,
) -> dict[str, Any]:
    """What LIME says about a row: the same to the last bit for the same arguments, in any process.

    background_rows: reference rows. row: what the model sees. seed_text: the prediction's ID. samples: how
    many rows are scored, fewer for a long text. Returns {"attributions": [[feature or word, push], …] the
    strongest first, positive where it pushes the score up, "detail": {"r2", "samples", "intercept",
    "prediction", "rules", "verdict"}, "engine"}. Features that are held constant or never vary are left
    out. Raises EngineError where there are no reference rows, or where the model cannot read the row.
    """
    seed = seed_of(seed_text)
    text = dictionary.text_feature
    if text is not None and text.name in engine.inputs:
        return _explain_text(engine, text, row, seed, samples)
    return _explain_table(engine, dictionary, thinned(background_rows), row, seed, samples)


def seed_of(text: str) -> int:
    """A seed within 0 … 2³²−1 that depends on nothing but the text."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big")


def verdict_of(r2: float) -> str:
    """How well LIME's linear model fits around the case, in a word: weak, fair or good."""
    return "weak" if r2 < FAIR else "fair" if r2 < GOOD else "good"


# -- Tables -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Coded:
    """A feature as numbers for LIME. reference: shape (n,). own: the row's. choices: for each code the
    values that it may stand for; empty for a number, which stands for itself."""

    column: Column
    reference: Array
    own: float
    choices: tuple[tuple[Value, ...], ...] = ()

    def decode(self, codes: Array, random: np.random.RandomState) -> list[Value]:
        """Values that the codes stand for, those with several drawn at random."""
        if not self.choices:
            numbers: list[Value] = codes.tolist()
            return numbers
        found: list[Value] = [None] * len(codes)
        for code, choices in enumerate(self.choices):
            places = np.flatnonzero(codes == code).tolist()
            picks = random.randint(len(choices), size=len(places)).tolist() if len(choices) > 1 else None
            for number, place in enumerate(places):
                found[place] = choices[picks[number] if picks else 0]
        return found


class _ReferenceQuartiles(QuartileDiscretizer):  # type: ignore[misc]  # lime has no types
    """Quartile bins whose edges and samples are values of the reference rows, so that none is empty.

    LIME's own draws from a truncated normal distribution: integers become fractions, and a bin without
    width yields 0 whatever its value is.
    """

    def __init__(self, data: Array, categorical: Sequence[int], names: Sequence[str], seed: int) -> None:
        super().__init__(data, categorical, names, random_state=seed)
        self._pools: dict[int, list[Array]] = {}
        for place in self.to_discretize:
            column = data[:, place]
            codes = self.lambdas[place](column)
            self._pools[place] = [column[codes == code] for code in range(len(self.mins[place]))]

    def bins(self, data: Array, labels: object) -> list[Array]:
        """For each column its quartiles, each of them a value of the column, and none its highest."""
        found = []
        for place in self.to_discretize:
            distinct = np.unique(data[:, place])
            edges = np.unique(np.percentile(data[:, place], [25, 50, 75], method="inverted_cdf"))
            edges = edges[edges < distinct[-1]]
            found.append(edges if len(edges) else distinct[-2:-1])
        return found

    def edges(self, place: int) -> list[float]:
        """The edges between the bins, ascending."""
        return [float(edge) for edge in self.mins[place][1:]]

    def get_undiscretize_values(self, feature: int, values: npt.NDArray[np.int64]) -> Array:
        """For each bin's number a value out of that bin."""
        found = np.empty(len(values), dtype=np.float64)
        for code, pool in enumerate(self._pools[feature]):
            places = np.flatnonzero(values == code)
            if len(places):
                found[places] = pool[self.random_state.randint(len(pool), size=len(places))]
        return found


def _explain_table(
    engine: Engine, dictionary: FeatureDictionary, rows: Sequence[Row], row: Row, seed: int, samples: int
) -> dict[str, Any]:
    if not rows:
        raise EngineError("LIME needs reference rows, and none were registered with this model version.")
    coded = [
        found
        for feature in dictionary.inputs
        if feature.constant is None and feature.name in engine.inputs
        if (found := _code(column_of(rows, feature), row.get(feature.name))) is not None
    ]
    if not coded:
        return _nothing_varies(engine, row)
    is_class = engine.space != SCORE
    names = [item.column.feature.name for item in coded]
    reference = np.column_stack([item.reference for item in coded])
    categorical = [place for place, item in enumerate(coded) if item.choices]
    discretizer = _ReferenceQuartiles(reference, categorical, names, seed)
    # It also scales the columns, which overflows for enormous numbers, and then does not use it.
    with np.errstate(over="ignore", invalid="ignore"):
        explainer = LimeTabularExplainer(
            reference,
            mode="classification" if is_class else "regression",
            feature_names=names,
            categorical_features=categorical,
            feature_selection="none",
            discretizer=discretizer,
            random_state=seed,
        )
    # Three generators draw; one that is forgotten makes every answer another one.
    explainer.random_state = np.random.RandomState(seed)
    explainer.base.random_state = np.random.RandomState(seed)
    explainer.discretizer.random_state = np.random.RandomState(seed)
    random = np.random.RandomState(seed)
    fixed = dict(row)
    seen: list[Array] = []

    def predict(codes: Array) -> Array:
        columns = [item.decode(codes[:, place], random) for place, item in enumerate(coded)]
        neighbours = [
            {**fixed, **dict(zip(names, values, strict=True))} for values in zip(*columns, strict=True)
        ]
        # The first is the case itself: as it was logged, not as it was encoded.
        neighbours[0] = fixed
        seen.append(_scores(engine, neighbours))
        return _as_classes(seen[-1]) if is_class else seen[-1]

    found = explainer.explain_instance(
        np.array([item.own for item in coded]), predict, num_features=len(coded), num_samples=samples
    )
    weights = {int(place): float(weight) for place, weight in found.as_map()[1]}
    order = sorted(weights, key=lambda place: (-abs(weights[place]), place))
    rules = [[names[place], _rule(coded[place], discretizer, place), weights[place]] for place in order]
    return {
        "attributions": [[names[place], weights[place]] for place in order],
        "detail": _detail(found, seen[-1], rules),
        "engine": _engine_name(engine, "quartiles"),
    }


def _code(column: Column, value: Value) -> _Coded | None:
    """The feature as numbers; None where it does not vary, so that there is nothing to learn of it."""
    feature = column.feature
    if is_number(feature, value):
        if len(column.sorted_numbers) < 2:
            return None
        return _Coded(column, _numbers_everywhere(column), as_number(value))
    own = level_of(feature, value)
    if feature.type == NUMBER:
        return _own_or_other(column, [is_number(feature, other) for other in column.values], value)
    if own not in column.value_of_level:
        return _own_or_other(column, [True] * len(column.values), value)
    if len(column.value_of_level) < 2:
        return None
    places = {level: place for place, level in enumerate(column.value_of_level)}
    codes = np.array([places[level] for level in column.levels], dtype=np.float64)
    return _Coded(
        column, codes, float(places[own]), tuple((other,) for other in column.value_of_level.values())
    )


def _numbers_everywhere(column: Column) -> Array:
    """The reference numbers with others of them, in turn, where one is missing: LIME fails at a NaN."""
    numbers = np.array([as_number(value) for value in column.values], dtype=np.float64)
    gaps = ~np.isfinite(numbers)
    numbers[gaps] = np.resize(column.numbers, int(gaps.sum()))
    return numbers


def _own_or_other(column: Column, is_other: Sequence[bool], value: Value) -> _Coded | None:
    """Two levels: the row's own value (a missing number, a category never seen) against all others.

    As often as the reference has the row's; where it never does, half and half, or LIME could not tell
    what difference the value makes.
    """
    others = tuple(
        other for other, differs in zip(column.values, is_other, strict=True) if differs and other is not None
    )
    if not others:
        return None
    if all(is_other):
        codes = np.arange(len(column.values)) % 2
    else:
        codes = np.where(is_other, _OTHER, _OWN)
    return _Coded(column, codes.astype(np.float64), float(_OWN), ((value,), others))


# -- Text -------------------------------------------------------------------------------------


def _explain_text(engine: Engine, feature: Feature, row: Row, seed: int, samples: int) -> dict[str, Any]:
    value = row.get(feature.name)
    text = "" if value is None else as_text(value)
    explainer = LimeTextExplainer(feature_selection="none", random_state=seed)
    explainer.random_state = np.random.RandomState(seed)
    explainer.base.random_state = np.random.RandomState(seed)
    # As LIME splits them.
    words = Counter(re.findall(r"\w+", text))
    if not words:
        return _nothing_varies(engine, row)
    samples = max(200, min(samples, _CELLS_MAX // len(words)))
    seen: list[Array] = []

    def predict(texts: Sequence[str]) -> Array:
        seen.append(_scores(engine, [{**row, feature.name: text} for text in texts]))
        # LIME for text knows classes only; a ranker's score stands in the place of the second one's.
        return _as_classes(seen[-1])

    found = explainer.explain_instance(text, predict, num_features=len(words), num_samples=samples)
    listed = found.domain_mapper.indexed_string
    ranked = sorted(
        ((str(listed.word(place)), float(weight)) for place, weight in found.as_map()[1]),
        key=lambda pair: (-abs(pair[1]), pair[0]),
    )[:_WORDS_MAX]
    rules = [[word, _word_rule(word, words[word]), weight] for word, weight in ranked]
    return {
        "attributions": [[word, weight] for word, weight in ranked],
        "detail": _detail(found, seen[-1], rules),
        "engine": _engine_name(engine, "words"),
    }


def _word_rule(word: str, times: int) -> str:
    return f"contains “{word}”" + (f", {times} times" if times > 1 else "")


# -- What is common to both -------------------------------------------------------------------


def _scores(engine: Engine, rows: Sequence[Row]) -> Array:
    scores = np.asarray(engine.score(rows), dtype=np.float64)
    if not np.isfinite(scores).all():
        raise EngineError("The model gives no number for some cases that are like this one.")
    return scores


def _as_classes(scores: Array) -> Array:
    """The scores as those of the second of two classes, as LIME wants them."""
    return np.column_stack([1 - scores, scores])


def _detail(found: Any, scores: Array, rules: list[list[Any]]) -> dict[str, Any]:
    # Where the score never moves, a constant fits perfectly and says nothing.
    r2 = float(found.score) if np.ptp(scores) > 0 and math.isfinite(found.score) else 0.0
    return {
        "r2": r2,
        "samples": len(scores),
        "intercept": float(found.intercept[1]),
        "prediction": float(np.asarray(found.local_pred).ravel()[0]),
        "rules": rules,
        "verdict": verdict_of(r2),
    }


def _nothing_varies(engine: Engine, row: Row) -> dict[str, Any]:
    score = float(_scores(engine, [row])[0])
    detail = {"r2": 0.0, "samples": 1, "intercept": score, "prediction": score, "rules": []}
    return {
        "attributions": [],
        "detail": {**detail, "verdict": verdict_of(0.0)},
        "engine": _engine_name(engine, "without anything that varies"),
    }


def _engine_name(engine: Engine, mode: str) -> str:
    return f"lime {version('lime')} {mode}, of {engine.name}"[:100]


# -- Rules in words ---------------------------------------------------------------------------


def _rule(item: _Coded, discretizer: _ReferenceQuartiles, place: int) -> str:
    """What holds of the row, as LIME sees it: `Age at most 16 years`."""
    feature = item.column.feature
    if item.choices:
        value = item.choices[int(item.own)][0]
        if value is None:
            return f"{feature.label} not provided"
        return f"{feature.label} is {_shortened(feature.show(value))}"
    edges = discretizer.edges(place)
    code = bisect_left(edges, item.own)
    sides = []
    if code:
        sides.append(f"above {_edge_words(item, edges[code - 1])}")
    if code < len(edges):
        sides.append(f"at most {_edge_words(item, edges[code])}")
    return f"{feature.label} {' and '.join(sides)}"


def _edge_words(item: _Coded, edge: float) -> str:
    """The edge as it stands in the reference; without a grid, as short as it still divides rightly."""
    column = item.column
    if column.decimals is None:
        shorter = (float(f"{edge:.{digits}g}") for digits in range(4, 18))
        edge = next(number for number in shorter if (item.own <= number) == (item.own <= edge))
    return column.feature.show(int(edge) if edge.is_integer() else edge)


def _shortened(text: str) -> str:
    return text if len(text) <= _VALUE_MAX else f"{text[: _VALUE_MAX - 1]}…"
