"""Trees of four libraries: the same numbers as shap's, to the last digit that can be asked for."""

from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import shap
import xgboost

from opsportal.explanations.engine.contributions import Engine, EngineError
from opsportal.explanations.engine.loading import load
from opsportal.predictions.dictionary import read_dictionary
from tests.explanations import training
from tests.explanations.training import DICTIONARY, EXPLAINED, PLANS, Trained

HOSTILE: list[Any] = [
    "<script>alert(1)</script>", "</script>", "a\u2028b", "x" * 10_000, "00701", "nan", "-inf", "1e999",
    float("inf"), 10**400, -1.5, True, None, "", "platinum", "٣",
]  # fmt: skip


def sure(array: Any) -> "np.ndarray[Any, Any]":
    return np.asarray(array, dtype=float)


def test_explain__lightgbm_with_categories_and_gaps__equals_shap() -> None:
    trained = training.train_lightgbm()
    frame = trained.frame[:EXPLAINED]

    found = trained.engine().explain(trained.explained)

    theirs = shap.TreeExplainer(trained.model).shap_values(frame)
    assert np.abs(found.values - theirs).max() <= 1e-9
    assert np.abs(found.residual).max() <= 1e-9
    assert np.abs(found.scores - trained.model.predict(frame)).max() <= 1e-12
    assert np.abs(found.margin - trained.model.predict(frame, raw_score=True)).max() <= 1e-12


def test_explain__lightgbm_of_numbers__equals_what_shap_computes_without_lightgbm() -> None:
    table, happened = training.frame()
    numbers = table[["amount", "age", "class"]].astype(float)
    booster = lightgbm.train(
        {"objective": "binary", "num_leaves": 8, "verbosity": -1}, lightgbm.Dataset(numbers, happened), 25
    )
    dictionary = read_dictionary({"features": [{"name": name} for name in numbers]})
    engine = load(
        format="lightgbm",
        content=booster.model_to_string().encode(),
        dictionary=dictionary,
        background=[],
        trusted=[],
    )
    explainer = shap.TreeExplainer(booster)
    # Otherwise shap hands the work back to LightGBM.
    explainer.model.model_type = "internal"

    found = engine.explain(training.logged(numbers[:EXPLAINED]))

    theirs = explainer.shap_values(numbers[:EXPLAINED].to_numpy(), check_additivity=False)
    assert np.abs(found.values - theirs).max() <= 1e-9


@pytest.mark.parametrize(
    ("parameters", "space"),
    [
        ({"objective": "lambdarank"}, "score"),
        ({"objective": "regression"}, "score"),
        ({"objective": "binary", "sigmoid": 2.0}, "log_odds"),
        ({"objective": "cross_entropy"}, "log_odds"),
        ({"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}, "log_odds"),
        ({"objective": "binary", "boosting": "dart"}, "log_odds"),
    ],
)
def test_explain__objective__adds_up_to_the_logged_score(parameters: dict[str, Any], space: str) -> None:
    trained = training.train_lightgbm(**parameters)

    engine = trained.engine()
    found = engine.explain(trained.explained)

    logged = trained.model.predict(trained.frame[:EXPLAINED])
    assert engine.space == space
    assert np.abs(found.residual).max() <= 1e-9
    assert np.abs(found.scores - logged).max() <= 1e-12
    if space == "log_odds":
        assert np.abs(1 / (1 + np.exp(-found.margin)) - logged).max() <= 1e-12


def test_explain__xgboost_with_categories_and_gaps__equals_shap() -> None:
    trained = training.train_xgboost()
    matrix = xgboost.DMatrix(trained.frame[:EXPLAINED], enable_categorical=True)

    engine = trained.engine()
    found = engine.explain(trained.explained)

    theirs = shap.TreeExplainer(trained.model).shap_values(matrix)
    assert engine.single_precision
    assert np.abs(found.values - theirs).max() <= 1e-5
    assert (np.abs(found.residual) <= 1e-4 * np.maximum(1, np.abs(found.margin))).all()
    assert np.abs(found.scores - trained.model.predict(matrix)).max() <= 1e-6


def test_explain__xgboost_as_json__equals_ubj() -> None:
    trained = training.train_xgboost()
    as_json = load(
        format="xgboost",
        content=bytes(trained.model.save_raw("json")),
        dictionary=trained.dictionary,
        background=[],
        trusted=[],
    )

    assert (
        as_json.explain(trained.rows[:5]).values == trained.engine().explain(trained.rows[:5]).values
    ).all()


def test_explain__xgboost_that_stopped_early__uses_the_trees_up_to_the_best() -> None:
    trained = training.train_xgboost()
    booster = trained.model.copy()
    booster.set_attr(best_iteration="9")
    engine = load(
        format="xgboost",
        content=bytes(booster.save_raw("ubj")),
        dictionary=trained.dictionary,
        background=[],
        trusted=[],
    )

    found = engine.explain(trained.explained)

    matrix = xgboost.DMatrix(trained.frame[:EXPLAINED], enable_categorical=True)
    assert np.abs(found.scores - booster.predict(matrix, iteration_range=(0, 10))).max() <= 1e-6
    assert np.abs(found.residual).max() <= 1e-4


@pytest.mark.parametrize(
    ("train", "space"), [(training.train_forest, "probability"), (training.train_boosted, "log_odds")]
)
def test_explain__sklearn_trees_behind_a_pipeline__sums_shap_by_feature(
    train: Callable[[], Trained], space: str
) -> None:
    trained = train()
    before, estimator = trained.model[0], trained.model[1]
    frame = trained.frame[:EXPLAINED]

    engine = trained.engine()
    found = engine.explain(trained.explained)

    matrix = before.transform(frame)
    matrix = matrix.toarray() if hasattr(matrix, "toarray") else matrix
    theirs = sure(shap.TreeExplainer(estimator).shap_values(matrix))
    theirs = theirs[:, :, 1] if theirs.ndim == 3 else theirs
    summed = np.zeros((EXPLAINED, len(training.NAMES)))
    for column, name in enumerate(before.get_feature_names_out()):
        feature = next(feature for feature in training.NAMES if feature in name.partition("__")[2])
        summed[:, training.NAMES.index(feature)] += theirs[:, column]
    assert engine.space == space
    assert list(engine.inputs) == training.NAMES
    assert np.abs(found.values - summed).max() <= 1e-9
    assert np.abs(found.residual).max() <= 1e-9
    assert np.abs(found.scores - trained.model.predict_proba(frame)[:, 1]).max() <= 1e-12


def test_explain__model_of_which_nothing_is_known__adds_up_and_repeats() -> None:
    trained = training.train_unusual()

    engine = trained.engine(background=trained.rows[300:400])
    first = engine.explain(trained.rows[:3])
    again = trained.engine(background=trained.rows[300:400]).explain(trained.rows[:3])

    assert engine.name.startswith("shap ")
    assert np.abs(first.residual).max() <= 1e-9
    assert (first.values == again.values).all()
    assert np.abs(first.scores - trained.model.predict_proba(trained.frame[:3])[:, 1]).max() <= 1e-12


def test_load__model_of_which_nothing_is_known_without_background__asks_for_rows() -> None:
    with pytest.raises(EngineError, match="100 to 2,000"):
        training.train_unusual().engine()


def test_explain__category_never_seen__is_what_lightgbm_makes_of_it() -> None:
    trained = training.train_lightgbm()
    row = {**trained.rows[1], "plan": "platinum"}

    found = trained.engine().explain([row])

    unknown = trained.frame[1:2].assign(plan=pd.Categorical([None], categories=PLANS))
    assert found.scores[0] == pytest.approx(trained.model.predict(unknown)[0], abs=1e-12)


def test_explain__category_never_seen__is_what_xgboost_makes_of_it() -> None:
    trained = training.train_xgboost()
    row = {**trained.rows[1], "plan": "platinum"}

    found = trained.engine().explain([row])

    unknown = trained.frame[1:2].assign(plan=pd.Categorical(["platinum"], categories=[*PLANS, "platinum"]))
    theirs = trained.model.predict(xgboost.DMatrix(unknown, enable_categorical=True))
    assert found.scores[0] == pytest.approx(theirs[0], abs=1e-6)


def test_explain__numbers_as_text__are_the_same_numbers() -> None:
    trained = training.train_lightgbm()
    row = trained.rows[1]
    as_text = {**row, "amount": str(row["amount"]), "age": "41.0", "class": str(row["class"])}

    engine = trained.engine()

    assert engine.score([as_text])[0] == engine.score([{**row, "age": 41}])[0]


@pytest.mark.parametrize(
    "train", [training.train_lightgbm, training.train_xgboost, training.train_forest, training.train_linear]
)
@pytest.mark.parametrize("name", training.NAMES)
def test_explain__hostile_values__add_up_or_are_refused_by_the_library(
    train: Callable[[], Trained], name: str
) -> None:
    trained = train()
    engine = trained.engine()

    refused = []
    for value in HOSTILE:
        try:
            found = engine.explain([{**trained.rows[1], name: value}])
        except EngineError as error:
            refused.append(str(error))
        else:
            assert np.isfinite(found.values).all()
            assert np.abs(found.residual).max() <= 1e-4
    assert all(sentence.startswith("The model cannot read the values: ") for sentence in refused)
    assert len(refused) < len(HOSTILE)
    assert not refused or trained.format != "lightgbm"


def test_explain__names_with_spaces__are_the_dictionarys() -> None:
    table, happened = training.frame()
    numbers = table[["amount", "age"]].rename(columns={"amount": "monthly amount"})
    booster = lightgbm.train({"objective": "binary", "verbosity": -1}, lightgbm.Dataset(numbers, happened), 3)

    engine = _load_numbers(booster, ["age", "monthly amount"])

    assert engine.inputs == ("monthly amount", "age")
    assert engine.score([{"monthly amount": 20.5, "age": 40}])[0] == booster.predict([[20.5, 40]])[0]


def test_explain__model_without_names__takes_the_dictionarys_order() -> None:
    table, happened = training.frame()
    numbers = table[["amount", "age"]].to_numpy(dtype=float)
    booster = lightgbm.train({"objective": "binary", "verbosity": -1}, lightgbm.Dataset(numbers, happened), 3)

    engine = _load_numbers(booster, ["amount", "age"])

    assert engine.inputs == ("amount", "age")
    assert engine.score([{"amount": 20.5, "age": 40}])[0] == booster.predict([[20.5, 40]])[0]


def test_explain__categories_trained_as_codes__are_read_by_the_dictionary() -> None:
    table, happened = training.frame()
    codes = pd.DataFrame({"age": table["age"], "plan": table["plan"].map(PLANS.index, na_action="ignore")})
    booster = lightgbm.train(
        {"objective": "binary", "verbosity": -1, "min_data_per_group": 5},
        lightgbm.Dataset(codes, happened, categorical_feature=["plan"]),
        5,
    )

    engine = load(
        format="lightgbm",
        content=booster.model_to_string().encode(),
        dictionary=read_dictionary({"features": [DICTIONARY["features"][1], DICTIONARY["features"][2]]}),
        background=[],
        trusted=[],
    )

    rows = [{"age": 30, "plan": plan} for plan in [*PLANS, None]]
    theirs = booster.predict(np.array([[30, 0], [30, 1], [30, 2], [30, np.nan]]))
    assert engine.score(rows).tolist() == sure(theirs).tolist()


def _load_numbers(booster: lightgbm.Booster, names: list[str]) -> Engine:
    return load(
        format="lightgbm",
        content=booster.model_to_string().encode(),
        dictionary=read_dictionary({"features": [{"name": name} for name in names]}),
        background=[],
        trusted=[],
    )
