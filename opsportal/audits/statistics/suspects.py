"""Rank decisions by how likely they are wrong, from what people said about others of the same model.

Two voices: the score's own doubt, and the doubt of a model trained on people's labels, which is asked what
they would have said. Confident learning (Northcutt, Jiang & Chuang, JAIR 70, 2021; cleanlab) says how sure
that model must be of each class: it is sure of frequent ones anyhow, so that without it errors in the rare
class are crowded out. On the demo's reviews (500 labels, 28 % wrong) the first hundred hold 43 % errors by
the score alone, 48 % by the plain model, 55 % by the mean of both voices with confident learning; weights
that were learnt from the labels did no better than the mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cleanlab.count import get_confident_thresholds
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import MiniBatchKMeans
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler
from threadpoolctl import threadpool_limits

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FOLDS = 5
# Below, a model trained on the labels would only repeat them.
LABELS_MIN, LABELS_PER_CLASS_MIN = 20, 5
# From so many labels on, trees find what lines cannot.
TREES_FROM = 400
COLUMNS_MAX = 400
SEED = 0


@dataclass(frozen=True, slots=True)
class Case:
    """One decision: what was seen (running text, or values by feature) and what was decided.

    stated_error: chance that the decision is wrong as the score states it, 0–1.
    """

    predicted: str
    stated_error: float
    text: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suspicions:
    """For each case, shape (n,). suspicion: the mean of both voices, 0–1; no calibrated chance.

    suggested: what the model trained on labels would say, empty without one; certainty: of that, 0–1.
    """

    suspicion: Floats
    suggested: list[str]
    certainty: Floats


class Suspector:
    """Learns from labelled cases once, then ranks any number of others.

    labelled: cases with what people settled on. Where there are too few labels, or of one kind only, the
    score's doubt is all there is, and `labels_used` is 0. Cost: seconds for ten thousand texts.
    """

    def __init__(self, labelled: Sequence[Case], labels: Sequence[str]) -> None:
        self.labels_used = 0
        self._model: Any = None
        self._classes: NDArray[np.str_] = np.empty(0, dtype=np.str_)
        self._thresholds: Floats = np.empty(0)
        self.is_text = sum(bool(case.text) for case in labelled) * 2 > len(labelled)
        truth = np.array(labels, dtype=np.str_)
        classes, counts = np.unique(truth, return_counts=True)
        kept = classes[counts >= LABELS_PER_CLASS_MIN]
        usable = np.flatnonzero(np.isin(truth, kept))
        if len(kept) < 2 or len(usable) < LABELS_MIN:
            return
        self._learn([labelled[place] for place in usable], truth[usable])

    def rank(self, cases: Sequence[Case]) -> Suspicions:
        """How suspicious each case is."""
        stated = np.array([case.stated_error for case in cases], dtype=np.float64)
        if self._model is None or not cases:
            return Suspicions(stated, [""] * len(cases), np.zeros(len(cases)))
        with _one_thread():
            chances = np.asarray(self._model.predict_proba(self._inputs(cases)), dtype=np.float64)
        best = chances.argmax(axis=1)
        return Suspicions(
            (stated + self._chance_wrong(cases, chances)) / 2,
            [str(self._classes[place]) for place in best],
            np.asarray(chances[np.arange(len(best)), best], dtype=np.float64),
        )

    def vectors(self, cases: Sequence[Case]) -> Any:
        """What the cases look like: a matrix with a row each, or None where nothing was learnt."""
        return None if self._model is None else self._model[:-1].transform(self._inputs(cases))

    def _learn(self, cases: list[Case], truth: NDArray[np.str_]) -> None:
        self._classes, codes = np.unique(truth, return_inverse=True)
        inputs = np.array(self._inputs(cases), dtype=object)
        folds = StratifiedKFold(min(FOLDS, int(np.bincount(codes).min())), shuffle=True, random_state=SEED)
        with _one_thread():
            out_of_fold = cross_val_predict(
                self._new_model(len(cases)), inputs, codes, cv=folds, method="predict_proba"
            )
            self._model = self._new_model(len(cases)).fit(inputs, codes)
        self._thresholds = self._confident_thresholds(cases, out_of_fold)
        self.labels_used = len(cases)

    def _confident_thresholds(self, cases: list[Case], chances: Floats) -> Floats:
        """How sure the model is, on average, of a class where that is what was decided; shape (classes,).

        A class that was never decided gets the mean of the others.
        """
        places = {str(name): place for place, name in enumerate(self._classes)}
        rows = [row for row, case in enumerate(cases) if case.predicted in places]
        decided = np.array([places[cases[row].predicted] for row in rows], dtype=np.int64)
        found = np.full(len(self._classes), np.nan)
        if rows:
            present = np.unique(decided)
            limits = get_confident_thresholds(decided, chances[rows])
            found[present] = np.asarray(limits, dtype=np.float64)[present]
        return np.where(np.isnan(found), np.nanmean(found) if rows else 0.0, found)

    def _chance_wrong(self, cases: Sequence[Case], chances: Floats) -> Floats:
        """1 − the chance that people would say what was decided, after the thresholds; shape (n,).

        As cleanlab adjusts probabilities: less the threshold of their class, raised by the largest of them,
        scaled to the sum of one. A label that people never used is wrong.
        """
        adjusted = chances - self._thresholds + self._thresholds.max()
        adjusted /= adjusted.sum(axis=1, keepdims=True)
        places = {str(name): place for place, name in enumerate(self._classes)}
        return np.array(
            [
                1 - adjusted[row, places[case.predicted]] if case.predicted in places else 1.0
                for row, case in enumerate(cases)
            ]
        )

    def _inputs(self, cases: Sequence[Case]) -> list[Any]:
        return [case.text for case in cases] if self.is_text else [_plain(case.values) for case in cases]

    def _new_model(self, labels: int) -> Any:
        if self.is_text:
            words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=50_000)
            return make_pipeline(words, LogisticRegression(C=10.0, max_iter=1_000))
        if labels >= TREES_FROM:
            trees = HistGradientBoostingClassifier(max_iter=100, min_samples_leaf=10, random_state=SEED)
            return make_pipeline(_Columns(), trees)
        # Sparse, so that a name with a thousand values costs nothing; scaled, since numbers have any size.
        lines = LogisticRegression(C=1.0, max_iter=1_000)
        return make_pipeline(DictVectorizer(), MaxAbsScaler(), lines)


def spread(suspicion: Floats, vectors: Any, n: int) -> NDArray[np.intp]:
    """Places of n cases, the most suspicious first, but none of √n groups of alike with more than its share.

    suspicion: shape (k,). vectors: matrix of k rows, or None: then simply the most suspicious. A group may
    have twice its even share; what is missing then is filled with the next most suspicious. Without it one
    blunder of the model in a hundred variants fills the whole run. What is not half as suspicious as the n-th
    is never taken for the sake of variety.
    """
    order = np.argsort(-suspicion, kind="stable")
    groups = min(int(np.sqrt(n)), len(order) // 4)
    if vectors is None or groups < 2 or n >= len(order):
        return order[:n]
    means = MiniBatchKMeans(groups, random_state=SEED, n_init=1, max_iter=20, batch_size=1_024)
    with _one_thread():
        group_of = means.fit_predict(vectors)
    most = int(np.ceil(2 * n / groups))
    taken = np.zeros(groups, dtype=np.int64)
    floor = suspicion[order[n - 1]] / 2
    chosen, left = [], []
    for place in order:
        if suspicion[place] >= floor and taken[group_of[place]] < most:
            taken[group_of[place]] += 1
            chosen.append(place)
        else:
            left.append(place)
    return np.array((chosen + left)[:n], dtype=np.intp)


class _Columns(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """Values by feature as columns for trees: numbers as they are, missing ones kept; categories one-hot.

    Of more than COLUMNS_MAX columns those that vary most in the training are kept.
    """

    def __init__(self) -> None:
        self._vectorizer: Any = None
        self._kept: NDArray[np.intp] = np.empty(0, dtype=np.intp)

    def fit(self, rows: Sequence[Mapping[str, Any]], labels: object = None) -> "_Columns":
        """Learn the columns."""
        self._vectorizer = DictVectorizer(sparse=True)
        matrix = self._vectorizer.fit_transform(rows)
        seen = np.asarray((matrix != 0).sum(axis=0)).ravel()
        rarity = np.minimum(seen, matrix.shape[0] - seen)
        numbers = np.array(["=" not in name for name in self._vectorizer.feature_names_])
        order = np.lexsort((-rarity, ~numbers))
        self._kept = np.sort(order[:COLUMNS_MAX])
        return self

    def transform(self, rows: Sequence[Mapping[str, Any]]) -> Floats:
        """The columns; shape (len(rows), columns)."""
        dense = self._vectorizer.transform(rows)[:, self._kept].toarray()
        return np.asarray(dense, dtype=np.float64)


def _one_thread() -> threadpool_limits:
    """Where other processes use the cores, threads that wait for each other took fifty times as long."""
    return threadpool_limits(limits=1)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """What vectorizers take: numbers, texts; a flag or a missing value becomes a category of its own."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if value is None or isinstance(value, bool):
            found[name] = {None: "missing", True: "yes", False: "no"}[value]
        elif isinstance(value, int | float):
            found[name] = float(value)
        else:
            found[name] = str(value)[:100]
    return found
