"""Small models of every kind on one invented data set with categories, flags, missing values and a text."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import skops.io
import xgboost
from django.conf import settings
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import AdaBoostClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from opsportal.explanations.engine.contributions import Engine
from opsportal.explanations.engine.loading import load
from opsportal.predictions.dictionary import FeatureDictionary, read_dictionary

ROWS = 600
EXPLAINED = 200
NAMES = ["amount", "age", "plan", "class", "active"]
PLANS = ["basic", "gold", "silver"]
DICTIONARY: dict[str, Any] = {
    "features": [
        {"name": "amount", "suffix": " €"},
        {"name": "age"},
        {"name": "plan", "type": "category", "categories": PLANS},
        {"name": "class", "type": "category", "categories": ["1", "2", "3"]},
        {"name": "active", "type": "flag"},
        {"name": "note", "type": "category", "input": False},
    ]
}


@dataclass(frozen=True)
class Trained:
    """A model in a file, the same model as the library has it, and what it was trained on."""

    format: str
    content: bytes
    model: Any
    frame: pd.DataFrame
    rows: list[dict[str, Any]]
    raw: dict[str, Any]

    @property
    def dictionary(self) -> FeatureDictionary:
        return read_dictionary(self.raw)

    def engine(self, *, background: list[dict[str, Any]] | None = None) -> Engine:
        return load(
            format=self.format,
            content=self.content,
            dictionary=self.dictionary,
            background=background or [],
            trusted=settings.SKOPS_TRUSTED_TYPES,
        )

    @property
    def explained(self) -> list[dict[str, Any]]:
        return self.rows[:EXPLAINED]


def frame() -> tuple[pd.DataFrame, "np.ndarray[Any, Any]"]:
    """600 cases with gaps, and what came of them."""
    random = np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "amount": random.lognormal(3, 1, ROWS).round(2),
            "age": random.integers(18, 90, ROWS).astype(float),
            "plan": random.choice(np.array([*PLANS, None]), ROWS, p=[0.4, 0.2, 0.3, 0.1]),
            "class": random.integers(1, 4, ROWS),
            "active": random.random(ROWS) < 0.6,
        }
    )
    pull = (
        np.log(table["amount"])
        - 3
        + (table["plan"] == "gold") * 1.5
        - (table["class"] - 2) * 0.7
        + table["active"] * 0.5
        - (table["age"] > 60) * 0.8
    )
    happened = (pull + random.normal(0, 0.7, ROWS) > 0).to_numpy().astype(int)
    table.loc[::9, "amount"] = np.nan
    return table, happened


def logged(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as a system logs them: JSON's types, null where a value is missing."""
    return [
        {name: None if pd.isna(value) else value for name, value in row.items()}
        for row in table.astype(object).to_dict("records")
    ]


def as_categories(table: pd.DataFrame) -> pd.DataFrame:
    """For boosters: plans and classes as pandas categories."""
    return table.assign(
        plan=pd.Categorical(table["plan"], categories=PLANS),
        **{"class": pd.Categorical(table["class"], categories=[1, 2, 3])},
    )


@cache
def train_lightgbm(**parameters: Any) -> Trained:
    table, happened = frame()
    categories = as_categories(table)
    given = {"objective": "binary", "num_leaves": 8, "min_data_per_group": 10, "cat_smooth": 2}
    quiet = {"verbosity": -1, "num_threads": 1, "seed": 3, "deterministic": True}
    groups = [ROWS // 6] * 6 if "rank" in parameters.get("objective", "") else None
    booster = lightgbm.train(
        {**given, **quiet, **parameters}, lightgbm.Dataset(categories, happened, group=groups), 25
    )
    return Trained(
        "lightgbm", booster.model_to_string().encode(), booster, categories, logged(table), DICTIONARY
    )


@cache
def train_xgboost(**parameters: Any) -> Trained:
    table, happened = frame()
    categories = as_categories(table)
    given = {"objective": "binary:logistic", "max_depth": 4, "nthread": 1, "seed": 3, "max_cat_to_onehot": 1}
    booster = xgboost.train(
        {**given, **parameters}, xgboost.DMatrix(categories, happened, enable_categorical=True), 25
    )
    return Trained("xgboost", bytes(booster.save_raw("ubj")), booster, categories, logged(table), DICTIONARY)


def prepared(estimator: Any) -> Pipeline:
    """One-hot categories and imputed, scaled numbers in front of an estimator."""
    numbers = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    words = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder(handle_unknown="ignore")
    )
    return make_pipeline(
        ColumnTransformer(
            [
                ("numbers", numbers, ["amount", "age"]),
                ("plan", words, ["plan"]),
                ("class", OneHotEncoder(handle_unknown="ignore"), ["class"]),
            ],
            remainder="passthrough",
        ),
        estimator,
    )


def train_sklearn(model: Any) -> Trained:
    table, happened = frame()
    table["plan"] = table["plan"].astype(object).where(table["plan"].notna(), np.nan)
    model.fit(table, happened)
    return Trained("skops", skops.io.dumps(model), model, table, logged(table), DICTIONARY)


@cache
def train_forest() -> Trained:
    return train_sklearn(prepared(RandomForestClassifier(20, max_depth=6, random_state=3)))


@cache
def train_boosted() -> Trained:
    return train_sklearn(prepared(HistGradientBoostingClassifier(max_iter=15, random_state=3)))


@cache
def train_linear() -> Trained:
    return train_sklearn(prepared(LogisticRegression()))


@cache
def train_unusual() -> Trained:
    """A model of which nothing but its predictions is known."""
    return train_sklearn(prepared(AdaBoostClassifier(n_estimators=5, random_state=3)))


TEXTS = [
    "Free prize waiting, call now to claim your FREE prize",
    "Lunch at noon? Bring the prize book, please",
    "You have won a free holiday, reply WIN now",
    "Can you call me when you are home",
    "Urgent: claim your cash bonus now",
    "The meeting moved to ten, bring the report",
    "Win cash now, free entry, text WIN",
    "Are we still on for lunch with Çelik tomorrow",
]
TEXT_DICTIONARY = {
    "features": [{"name": "message", "type": "text"}, {"name": "sender", "type": "category", "input": False}]
}


@cache
def train_text(**parameters: Any) -> Trained:
    given = {"ngram_range": (1, 2), "sublinear_tf": True, **parameters}
    model = make_pipeline(TfidfVectorizer(**given), LogisticRegression(C=10))
    model.fit(TEXTS, [1, 0] * 4)
    rows: list[dict[str, Any]] = [{"message": text} for text in TEXTS]
    table = pd.DataFrame({"message": TEXTS})
    return Trained("skops", skops.io.dumps(model), model, table, rows, TEXT_DICTIONARY)
