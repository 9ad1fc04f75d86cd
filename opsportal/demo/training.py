"""The demo's models, trained from its data in two seconds: Titanic, credits, clicks, sentiment of reviews.

Deterministic: fixed seeds, one thread. Only `demo.predictions` imports this module, and only when something
is missing, so that no web process ever loads what it imports.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from opsportal.core import clock
from opsportal.demo.cases import (
    AYOUB,
    POSITIONS,
    VESTROM,
    Case,
    Sentence,
    Values,
    applications,
    dictionary,
    passengers,
    reviews,
    showings,
)
from opsportal.demo.impressions import SURFACES
from opsportal.predictions.dictionary import CATEGORY, FeatureDictionary, Value, read_dictionary
from opsportal.predictions.models import Format

_SEED = 7
_REPEATABLE = {"seed": _SEED, "deterministic": True, "force_row_wise": True, "num_threads": 1, "verbose": -1}
_BACKGROUND_ROWS = 100
_SPREAD = timedelta(days=30)
_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trained version, ready to be registered, and the predictions it has made since.

    content: the model's file. background: rows of what was learnt from, inputs only. predictions: as the API
    takes them, oldest first.
    """

    version: str
    format: str
    content: bytes
    dictionary: dict[str, Any]
    training: dict[str, Any]
    threshold: float | None
    background: list[Values]
    predictions: list[dict[str, Any]]


def train_titanic() -> list[Trained]:
    """Two versions. The older one learnt from a third of the passengers; it predicted every fifteenth, and
    the two that the documentation speaks of, a month before the newer one predicted all 891. About 0.5 s.
    """
    words = read_dictionary(dictionary("titanic"))
    cases = passengers()
    # Fares, ports and families of a few hundred people tell more of chance than of the sinking.
    weights = {"fare": 0.1, "embarked": 0.3, "siblings_spouses": 0.7, "parents_children": 0.7}
    parameters = {
        "objective": "binary",
        "num_iterations": 400,
        "num_leaves": 12,
        "min_data_in_leaf": 20,
        "learning_rate": 0.05,
        "feature_fraction": 0.6,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "cat_smooth": 5.0,
        "cat_l2": 1.0,
        "min_data_per_group": 10,
        "feature_contri": [weights.get(feature.name, 1.0) for feature in words.inputs],
    }
    a_third = [replace(case, trains=case.trains and n % 3 == 0) for n, case in enumerate(cases)]
    everybody = range(len(cases))
    some = [n for n in everybody if n % 15 == 0 or cases[n].values["name"] in (AYOUB, VESTROM)]
    now = clock.this_second()
    found = []
    for version, learnt, numbers, prefix, until in (
        ("2026.1", a_third, some, "titanic-2026.1", now - _SPREAD),
        ("2026.2", cases, everybody, "titanic", now),
    ):
        content, scores = _boost(words, learnt, parameters)
        found.append(
            Trained(
                version=version,
                format=Format.LIGHTGBM,
                content=content,
                dictionary=dictionary("titanic"),
                training={
                    "data": f"{sum(case.trains for case in learnt)} of 891 passengers; 200 others measure",
                    "data period": "April 1912",
                    **_measured(cases, scores),
                    "hyperparameters": {**parameters, **_REPEATABLE},
                },
                threshold=0.5,
                background=_background(words, learnt),
                predictions=[
                    {
                        "prediction_id": f"{prefix}-{n + 1:03}",
                        "predicted_at": until - _ago(n, len(cases)),
                        "score": scores[n],
                        "label": words.outcome_word(scores[n] >= 0.5),
                        "outcome": words.outcome_word(cases[n].true),
                        "customer_id": f"passenger-{n + 1:03}",
                        "features": cases[n].values,
                    }
                    for n in numbers
                ],
            )
        )
    return found


def train_credit() -> list[Trained]:
    """A random forest on 700 of the 1,000 applications; all of them predicted. About a second."""
    words = read_dictionary(dictionary("credit"))
    cases = applications()
    parameters = {"n_estimators": 80, "max_depth": 7, "min_samples_leaf": 8, "max_features": 0.4}
    levels = [feature for feature in words.inputs if feature.type == CATEGORY]
    encoder = OneHotEncoder(
        categories=[list(feature.categories) for feature in levels],
        handle_unknown="ignore",
        sparse_output=False,
    )
    columns = ColumnTransformer(
        [("levels", encoder, [feature.name for feature in levels])],
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    forest = RandomForestClassifier(**parameters, random_state=_SEED, n_jobs=1)
    model = Pipeline([("columns", columns), ("forest", forest)])
    frame = _frame(words, [case.values for case in cases])
    model.fit(frame[[case.trains for case in cases]], [case.true for case in cases if case.trains])
    scores = [float(score) for score in model.predict_proba(frame)[:, 1]]
    threshold = 0.65
    return [
        Trained(
            version="2026.1",
            format=Format.SKOPS,
            content=skops.io.dumps(model),
            dictionary=dictionary("credit"),
            training={
                "data": "seven of every ten applications; the other 300 measure",
                "data period": "1973 to 1975",
                **_measured(cases, scores),
                "hyperparameters": {"model": "random forest", **parameters, "random_state": _SEED},
            },
            threshold=threshold,
            background=_background(words, cases),
            predictions=[
                {
                    "prediction_id": f"credit-{n + 1:04}",
                    "predicted_at": clock.this_second() - _ago(n, len(cases)),
                    "score": scores[n],
                    "label": "granted" if scores[n] >= threshold else "declined",
                    "outcome": words.outcome_word(case.true),
                    "customer_id": f"customer-{n + 1:04}",
                    "features": case.values,
                }
                for n, case in enumerate(cases)
            ],
        )
    ]


def train_clicks() -> list[Trained]:
    """Which product of the home page is clicked, learnt from five days of the log. About 0.3 s.

    The place on the page is learnt with everything else and held constant in the scores.
    """
    words = read_dictionary(dictionary("clicks"))
    cases = showings()
    parameters = {
        "objective": "binary",
        "num_iterations": 40,
        "num_leaves": 4,
        "min_data_in_leaf": 40,
        "learning_rate": 0.05,
        "lambda_l2": 5.0,
        "cat_smooth": 20.0,
        "cat_l2": 20.0,
        "max_cat_threshold": 8,
        "min_data_per_group": 40,
    }
    content, scores = _boost(words, cases, parameters)
    # Moved as the impressions are, so that the week ends yesterday.
    last_day = max(case.at.date() for case in cases)
    shift = clock.now().date() - timedelta(days=1) - last_day
    surfaces = {POSITIONS[position]: slug for position, (slug, _) in SURFACES.items()}
    return [
        Trained(
            version="2026.1",
            format=Format.LIGHTGBM,
            content=content,
            dictionary=dictionary("clicks"),
            training={
                "data": "the log's first five days; the last two measure",
                "data period": "24 to 28 November 2019",
                **_measured(cases, scores),
                "note": "So few clicks teach little: on new days it is no better than chance.",
                "hyperparameters": {**parameters, **_REPEATABLE},
            },
            threshold=None,
            background=_background(words, cases),
            predictions=[
                {
                    "prediction_id": f"click-{n + 1:04}",
                    "predicted_at": case.at + shift,
                    "score": scores[n],
                    "outcome": words.outcome_word(case.true),
                    "product_id": case.values["product"],
                    "surface": surfaces[str(case.values["position"])],
                    "features": case.values,
                }
                for n, case in enumerate(cases)
            ],
        )
    ]


def train_reviews() -> list[Trained]:
    """Two versions that find negative sentences by their words, learnt from every other review. About 0.4 s.

    The first one predicted the week before the last two, the second one everything since; each sentence is
    predicted once, and what the 20 people said of it is not logged: finding out is what audits are for.
    """
    words = read_dictionary(dictionary("reviews"))
    cases = reviews()
    learnt = [case for case in cases if case.trains]
    new = _in_weeks([case for case in cases if not case.trains])
    since = _monday(clock.now()) - 2 * _WEEK
    found = []
    for version, terms, strength in (
        ("2026.1", {"min_df": 2}, {"C": 10.0}),
        (
            "2026.2",
            {"min_df": 2, "ngram_range": (1, 2), "sublinear_tf": True, "token_pattern": r"(?u)\b\w[\w']*\b"},
            {"C": 4.0, "class_weight": "balanced"},
        ),
    ):
        model = Pipeline([("words", TfidfVectorizer(**terms)), ("line", LogisticRegression(**strength))])
        model.fit([case.values["sentence"] for case in learnt], [case.true for case in learnt])
        scores = [float(score) for score in model.predict_proba([c.values["sentence"] for c in cases])[:, 1]]
        score_of = {case.sentence_id: score for case, score in zip(cases, scores, strict=True)}
        found.append(
            Trained(
                version=version,
                format=Format.SKOPS,
                content=skops.io.dumps(model),
                dictionary=dictionary("reviews"),
                training={
                    "data": f"{len(learnt):,} sentences, those of every other review; the others measure",
                    "data period": "2002 to 2004",
                    **_measured(cases, scores),
                    "hyperparameters": {"model": "TF-IDF, logistic regression", **terms, **strength},
                },
                threshold=0.5,
                background=_background(words, cases),
                predictions=[
                    {
                        "prediction_id": case.sentence_id,
                        "predicted_at": at,
                        "score": score_of[case.sentence_id],
                        "label": words.outcome_word(score_of[case.sentence_id] >= 0.5),
                        "customer_id": f"reviewer-{case.review:03}",
                        "surface": _surface(case),
                        "features": {**case.values, "sentence": None},
                        "text": case.values["sentence"],
                    }
                    for at, case in new
                    if (at < since) == (version == "2026.1")
                ],
            )
        )
    return found


def _in_weeks(cases: Sequence[Sentence]) -> list[tuple[datetime, Sentence]]:
    """When each sentence came in, oldest first: in the last three weeks and what there is of this one.

    Reviews come whole and in an order by chance, since the file has them product by product.
    """
    by_review: dict[int, list[Sentence]] = {}
    for case in cases:
        by_review.setdefault(case.review, []).append(case)
    shuffled = sorted(by_review, key=lambda review: _chance("order", review))
    now = clock.this_second()
    monday = _monday(now)
    found: list[tuple[datetime, Sentence]] = []
    for begins, ends, first, last in (
        (monday - 3 * _WEEK, monday - 2 * _WEEK, 0.0, 0.25),
        (monday - 2 * _WEEK, monday - _WEEK, 0.25, 0.65),
        (monday - _WEEK, monday, 0.65, 0.92),
        (monday, now, 0.92, 1.0),
    ):
        part = shuffled[round(first * len(shuffled)) : round(last * len(shuffled))]
        for number, review in enumerate(part):
            at = begins + (ends - begins) * number / len(part)
            found += [(at.replace(microsecond=0), case) for case in by_review[review]]
    return found


def _monday(moment: datetime) -> datetime:
    """When the week of a moment began (UTC), as periods of audits do."""
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def _surface(case: Sentence) -> str:
    return "app" if _chance("surface", case.review) % 5 < 2 else "shop"


def _chance(what: str, number: int) -> int:
    """A number that looks like chance and is the same every time."""
    return int.from_bytes(hashlib.blake2b(f"{what} {number}".encode(), digest_size=8).digest(), "big")


def _boost(
    words: FeatureDictionary, cases: Sequence[Case], parameters: Mapping[str, Any]
) -> tuple[bytes, list[float]]:
    """Train a LightGBM model; its file, and the scores of all cases as that file gives them when serving."""
    learnt = [case for case in cases if case.trains]
    data = lightgbm.Dataset(_frame(words, [case.values for case in learnt]), [case.true for case in learnt])
    booster = lightgbm.train({**parameters, **_REPEATABLE}, data)
    content = booster.model_to_string()
    served = _frame(words, [words.as_seen(case.values) for case in cases])
    scores = lightgbm.Booster(model_str=content).predict(served, num_threads=1)
    return content.encode(), [float(score) for score in np.asarray(scores)]


def _frame(words: FeatureDictionary, rows: Sequence[Mapping[str, Value]]) -> pd.DataFrame:
    """The inputs as columns: categories by the dictionary's lists, everything else as numbers."""
    columns: dict[str, Any] = {}
    for feature in words.inputs:
        values = [row[feature.name] for row in rows]
        columns[feature.name] = (
            pd.Categorical(values, categories=list(feature.categories))
            if feature.type == CATEGORY
            else np.array(values, dtype=float)
        )
    return pd.DataFrame(columns)


def _measured(cases: Sequence[Case], scores: Iterable[float]) -> dict[str, Any]:
    """What the version's page says of every training alike."""
    kept = [(case.true, score) for case, score in zip(cases, scores, strict=True) if not case.trains]
    return {
        "auc": round(float(roc_auc_score(*zip(*kept, strict=True))), 3),
        "commit": f"demo/training.py, SHA-256 {hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]}",
    }


def _background(words: FeatureDictionary, cases: Sequence[Case]) -> list[Values]:
    """A sample of what was learnt from, the same every time."""
    learnt = [case.values for case in cases if case.trains]
    chosen = np.random.default_rng(_SEED).choice(len(learnt), _BACKGROUND_ROWS, replace=False)
    return [{feature.name: learnt[n][feature.name] for feature in words.inputs} for n in sorted(chosen)]


def _ago(number: int, count: int) -> timedelta:
    """How long ago case `number` of `count` was, spread evenly over the last month; whole seconds."""
    return timedelta(seconds=int(_SPREAD.total_seconds() * (count - number - 0.5) / count))
