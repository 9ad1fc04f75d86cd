"""Logged values as the matrix of numbers that a booster reads, one column at a time."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from opsportal.explanations.engine.contributions import Array, EngineError, Row
from opsportal.predictions.dictionary import (
    CATEGORY,
    Feature,
    FeatureDictionary,
    Value,
    as_number,
    as_text,
)

NAMED_MAX = 10


@dataclass(frozen=True, slots=True)
class Column:
    """How one feature's values become numbers.

    codes: category → code, for a categorical column; None for a plain number. unseen: the code of a
    category that is not among them. Missing is always not-a-number.
    """

    name: str
    codes: Mapping[str, float] | None = None
    numbers: Mapping[float, float] = field(default_factory=dict)
    unseen: float = math.nan

    def encode(self, values: Iterable[Value]) -> list[float]:
        """One number for each value."""
        if self.codes is None:
            return [as_number(value) for value in values]
        return [self._code(value) for value in values]

    def _code(self, value: Value) -> float:
        if value is None or self.codes is None:
            return math.nan
        code = self.codes.get(as_text(value))
        if code is None and self.numbers:
            # 3, 3.0 and "3" are the same category where categories are numbers.
            code = self.numbers.get(as_number(value))
        return self.unseen if code is None else code


def coded(name: str, categories: Sequence[Value], *, unseen: float = math.nan) -> Column:
    """A categorical column whose categories are numbered in this order, from 0."""
    codes = {as_text(category): float(code) for code, category in enumerate(categories)}
    # True is no 1 here: only numbers are known by their value.
    numbers = {
        float(category): float(code)
        for code, category in enumerate(categories)
        if isinstance(category, int | float) and not isinstance(category, bool)
    }
    return Column(name, codes, numbers, unseen)


def numeric(feature: Feature) -> Column:
    """A column that the model reads as a plain number.

    Where the dictionary calls it a category and its categories are words, training numbered them, and
    their order in the dictionary says how; categories that are numbers stand for themselves.
    """
    if feature.type == CATEGORY and any(math.isnan(as_number(text)) for text in feature.categories):
        return coded(feature.name, feature.categories)
    return Column(feature.name)


def categorical(feature: Feature, *, unseen: float = math.nan) -> Column:
    """A categorical column of a model that kept no categories: its codes are the dictionary's business.

    Categories that are whole numbers are the codes themselves; others are numbered in their order.
    """
    if not feature.categories or all(text.isdecimal() for text in feature.categories):
        return Column(feature.name)
    return coded(feature.name, feature.categories, unseen=unseen)


def matrix(columns: Sequence[Column], rows: Sequence[Row]) -> Array:
    """The rows as numbers: shape (rows, columns), float64."""
    found = np.empty((len(rows), len(columns)), dtype=np.float64)
    for position, column in enumerate(columns):
        found[:, position] = column.encode([row.get(column.name) for row in rows])
    return found


def match_inputs(
    model_names: Sequence[str], dictionary: FeatureDictionary, *, nameless: bool = False
) -> list[Feature]:
    """The dictionary's features in the order of the model's. Raises EngineError with a sentence for each gap.

    nameless: the model was trained without names, so the order of the dictionary's inputs is its order.
    A space in a name is an underscore to some libraries, and to this comparison.
    """
    if nameless:
        return _by_position(len(model_names), dictionary)
    inputs = {_plain(feature.name): feature for feature in dictionary.inputs}
    context = {_plain(feature.name) for feature in dictionary.features if not feature.input}
    missing = [name for name in model_names if _plain(name) not in inputs]
    seen = {_plain(name) for name in model_names}
    extra = [feature.name for key, feature in inputs.items() if key not in seen]
    sentences = [
        f"The model sees “{name}”, but the dictionary calls it no input; take “input”: false away."
        if _plain(name) in context
        else f"The model needs the feature “{name}”, which the dictionary does not name."
        for name in missing[:NAMED_MAX]
    ]
    sentences += [
        f"The dictionary has the input “{name}”, which the model does not see; write “input”: false there."
        for name in extra[:NAMED_MAX]
    ]
    if (more := max(len(missing) - NAMED_MAX, 0) + max(len(extra) - NAMED_MAX, 0)) > 0:
        sentences.append(f"{more:,} more features differ.")
    if sentences:
        raise EngineError(*sentences)
    return [inputs[_plain(name)] for name in model_names]


def _by_position(count: int, dictionary: FeatureDictionary) -> list[Feature]:
    if len(dictionary.inputs) != count:
        raise EngineError(
            f"The model was trained on {count:,} columns without names, and the dictionary has "
            f"{len(dictionary.inputs):,} inputs; it must list exactly the model's columns, in their order."
        )
    return list(dictionary.inputs)


def _plain(name: str) -> str:
    return name.replace(" ", "_")
