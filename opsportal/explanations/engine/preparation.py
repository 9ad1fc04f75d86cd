"""What stands in front of a scikit-learn estimator: values in, a matrix out, and which column is whose."""

import copy
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse
from sklearn.base import OneToOneFeatureMixin
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.feature_selection import SelectorMixin
from sklearn.pipeline import FeatureUnion, Pipeline

from opsportal.explanations.engine.columns import match_inputs, numeric
from opsportal.explanations.engine.contributions import Array, EngineError, Row
from opsportal.explanations.engine.words import share_among_words
from opsportal.predictions.dictionary import TEXT, FeatureDictionary, Value, as_number, as_text

Ints = npt.NDArray[np.int64]
NOBODY = -1
# Private-use characters around a column's number: no category and no library writes them.
_MARK = re.compile("\ue000(\\d+)\ue001")


class Untraceable(Exception):
    """Some column in front of the estimator mixes several features, or does not say whose it is."""


@dataclass(frozen=True, slots=True)
class Origins:
    """Whose each column is. source: the feature's place. maker: the vectorizer's place, and term: its column
    there; both −1 for what is no word."""

    source: Ints
    maker: Ints
    term: Ints

    def pick(self, places: Any) -> "Origins":
        """Those of the columns at these places."""
        return Origins(self.source[places], self.maker[places], self.term[places])

    @property
    def count(self) -> int:
        """How many columns there are."""
        return len(self.source)


def _joined(parts: Sequence[Origins]) -> Origins:
    return Origins(
        np.concatenate([part.source for part in parts]),
        np.concatenate([part.maker for part in parts]),
        np.concatenate([part.term for part in parts]),
    )


class Table:
    """Logged values as the table that the model was trained on: a frame, a matrix, or a list of texts."""

    def __init__(self, model: Any, dictionary: FeatureDictionary) -> None:
        """Match the dictionary to the model's columns. Raises EngineError with a sentence for each gap."""
        names = getattr(model, "feature_names_in_", None)
        count = getattr(model, "n_features_in_", None)
        self._named = names is not None
        self._is_text = names is None and _first(model, CountVectorizer, HashingVectorizer) is not None
        if self._is_text:
            count = 1
        if names is not None:
            columns = [str(name) for name in names]
        elif count is not None:
            columns = [f"column {place}" for place in range(count)]
        else:
            raise EngineError("The model does not say how many features it sees; it was never trained.")
        self.features = match_inputs(columns, dictionary, nameless=names is None)
        self._names = columns
        self.known: dict[int, npt.NDArray[Any]] = {}

    def build(self, rows: Sequence[Row]) -> Any:
        """The rows as the model takes them."""
        columns = [self._column(place, rows) for place in range(len(self.features))]
        if self._is_text:
            return columns[0]
        if self._named:
            return pd.DataFrame(dict(zip(self._names, columns, strict=True)))
        if all(isinstance(column, np.ndarray) and column.dtype == np.float64 for column in columns):
            return np.column_stack(columns)
        return np.column_stack([np.asarray(column, dtype=object) for column in columns])

    def _column(self, place: int, rows: Sequence[Row]) -> Any:
        feature = self.features[place]
        values = [row.get(feature.name) for row in rows]
        if feature.type == TEXT:
            return ["" if value is None else as_text(value) for value in values]
        if place in self.known:
            return _as_trained(values, self.known[place])
        return np.array(numeric(feature).encode(values), dtype=np.float64)


def _as_trained(values: Sequence[Value], categories: npt.NDArray[Any]) -> Any:
    """Each value spelled as the encoder's category that it is; one that it never saw stays what it is."""
    if categories.dtype.kind in "iufb":
        return np.array([as_number(value) for value in values], dtype=np.float64)
    known = {as_text(_plain(category)): category for category in categories}
    missing = next((category for category in categories if _is_missing(category)), math.nan)
    found = np.empty(len(values), dtype=object)
    found[:] = [missing if value is None else known.get(as_text(value), value) for value in values]
    return found


def _plain(category: Any) -> Any:
    return category.item() if isinstance(category, np.generic) else category


def _is_missing(category: Any) -> bool:
    return category is None or (isinstance(category, float) and math.isnan(category))


class Preparation:
    """The transformers of a pipeline, and which feature each of their columns belongs to."""

    def __init__(self, transformers: Sequence[Any], table: Table) -> None:
        """Follow every column from its feature. Raises Untraceable."""
        self.table = table
        self._transformers = list(transformers)
        self._makers: list[Any] = []
        count = len(table.features)
        nobody = np.full(count, NOBODY)
        origins = Origins(np.arange(count), nobody, nobody)
        for transformer in transformers:
            origins = self._follow(transformer, origins)
        self.origins = origins
        ones = np.ones(origins.count)
        self._sums = scipy.sparse.csr_array(
            (ones, (np.arange(origins.count), origins.source)), shape=(origins.count, count)
        )

    def transform(self, rows: Sequence[Row]) -> Any:
        """What the estimator gets: a matrix, sparse or dense, or a frame. Raises EngineError."""
        found = self.table.build(rows)
        try:
            for transformer in self._transformers:
                if transformer is not None and transformer != "passthrough":
                    found = transformer.transform(found)
        except ValueError as error:
            raise unreadable(error) from error
        return found

    def per_feature(self, contributions: Any) -> Array:
        """Contributions of columns summed by feature: shape (rows, features)."""
        return _dense(contributions @ self._sums)

    @property
    def has_words(self) -> bool:
        """Whether some columns are words of a text."""
        return bool((self.origins.maker != NOBODY).any())

    def words(self, rows: Sequence[Row], contributions: Any) -> list[dict[str, Any]]:
        """For each row its words with their share: {"words": [[start, end, contribution], …]}."""
        table = scipy.sparse.csr_array(contributions)
        found = []
        for number, row in enumerate(rows):
            part = slice(table.indptr[number], table.indptr[number + 1])
            columns, numbers = table.indices[part], table.data[part]
            words: list[list[Any]] = []
            for maker, vectorizer in enumerate(self._makers):
                mine = self.origins.maker[columns] == maker
                if not mine.any():
                    continue
                feature = self.table.features[int(self.origins.source[columns[mine][0]])]
                value = row.get(feature.name)
                terms = dict(
                    zip(self.origins.term[columns[mine]].tolist(), numbers[mine].tolist(), strict=True)
                )
                words += share_among_words(vectorizer, "" if value is None else as_text(value), terms)
            found.append({"words": _merged(words)})
        return found

    def _follow(self, transformer: Any, incoming: Origins) -> Origins:
        if transformer is None or transformer == "passthrough":
            return incoming
        if isinstance(transformer, Pipeline):
            for _, step in transformer.steps:
                incoming = self._follow(step, incoming)
            return incoming
        if isinstance(transformer, ColumnTransformer):
            names = [str(name) for name in getattr(transformer, "feature_names_in_", [])]
            return _joined(
                [
                    self._follow(part, incoming.pick(_places(columns, names, incoming.count)))
                    for _, part, columns in transformer.transformers_
                    if not (isinstance(part, str) and part == "drop")
                ]
                or [incoming.pick([])]
            )
        if isinstance(transformer, FeatureUnion):
            parts = [part for _, part in transformer.transformer_list if part != "drop"]
            return _joined([self._follow(part, incoming) for part in parts])
        return self._follow_one(transformer, incoming)

    def _follow_one(self, transformer: Any, incoming: Origins) -> Origins:
        if isinstance(transformer, CountVectorizer | HashingVectorizer):
            return self._vectorize(transformer, incoming)
        self._learn_categories(transformer, incoming)
        if isinstance(transformer, SelectorMixin):
            return incoming.pick(transformer.get_support())
        if isinstance(transformer, OneToOneFeatureMixin):
            return incoming
        return incoming.pick(_marked_columns(transformer, incoming.count))

    def _vectorize(self, vectorizer: Any, incoming: Origins) -> Origins:
        if incoming.count != 1:
            raise Untraceable
        hashing = isinstance(vectorizer, HashingVectorizer)
        count = vectorizer.n_features if hashing else len(vectorizer.vocabulary_)
        self._makers.append(vectorizer)
        source, maker = int(incoming.source[0]), len(self._makers) - 1
        return Origins(np.full(count, source), np.full(count, maker), np.arange(count))

    def _learn_categories(self, encoder: Any, incoming: Origins) -> None:
        categories = getattr(encoder, "categories_", None)
        if not isinstance(categories, list) or len(categories) != incoming.count:
            return
        for source, known in zip(incoming.source.tolist(), categories, strict=True):
            self.table.known[source] = np.asarray(known)


def unreadable(error: ValueError) -> EngineError:
    """What scikit-learn has against the values, in its words."""
    return EngineError(f"The model cannot read the values: {str(error).strip().splitlines()[0]}")


def _marked_columns(transformer: Any, count: int) -> Ints:
    """Which incoming column each outgoing one was made of, told by the names it would give them."""
    anonymous = copy.copy(transformer)
    vars(anonymous).pop("feature_names_in_", None)
    marks = np.array([f"\ue000{place}\ue001" for place in range(count)], dtype=object)
    try:
        names = anonymous.get_feature_names_out(marks)
    except (AttributeError, ValueError, TypeError) as error:
        raise Untraceable from error
    found = [set(_MARK.findall(str(name))) for name in names]
    if any(len(places) != 1 for places in found):
        raise Untraceable
    return np.array([int(places.pop()) for places in found], dtype=np.int64)


def _places(columns: Any, names: list[str], count: int) -> Any:
    """The places of the columns that a part of a ColumnTransformer takes, however they were given."""
    if isinstance(columns, str):
        return [names.index(columns)]
    if isinstance(columns, int | np.integer):
        return [int(columns)]
    if isinstance(columns, slice):
        if isinstance(columns.start, str) or isinstance(columns.stop, str):
            start = names.index(columns.start) if columns.start is not None else 0
            stop = names.index(columns.stop) + 1 if columns.stop is not None else count
            return list(range(start, stop))
        return columns
    given = list(columns)
    if given and all(isinstance(item, bool | np.bool_) for item in given):
        return np.flatnonzero(given)
    return [names.index(item) if isinstance(item, str) else int(item) for item in given]


def _first(model: Any, *kinds: type) -> Any:
    """The model's first step, if it is of these kinds."""
    while isinstance(model, Pipeline):
        model = model.steps[0][1]
    if isinstance(model, FeatureUnion):
        return _first(model.transformer_list[0][1], *kinds)
    return model if isinstance(model, kinds) else None


def _dense(matrix: Any) -> Array:
    found = matrix.toarray() if scipy.sparse.issparse(matrix) else matrix
    return np.asarray(found, dtype=np.float64)


def _merged(words: list[list[Any]]) -> list[list[Any]]:
    """Shares of the same word summed, in the order of the text."""
    totals: dict[tuple[int, int], float] = {}
    for start, end, share in words:
        totals[start, end] = totals.get((start, end), 0.0) + share
    return [[start, end, share] for (start, end), share in sorted(totals.items())]
