"""Files that are damaged, of another kind or hold what nobody trusts are refused with the reason."""

import json
import pickle
from typing import Any

import lightgbm
import numpy as np
import pytest
import skops.io
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression

from opsportal.explanations.engine.contributions import Engine, EngineError
from opsportal.explanations.engine.loading import load
from opsportal.predictions.dictionary import read_dictionary
from tests.explanations import training
from tests.explanations.making import EXPECTED, TITANIC, TITANIC_DICTIONARY

TWO = {"features": [{"name": "a"}, {"name": "b"}]}


def titanic(content: bytes, dictionary: dict[str, Any] | None = None, format: str = "lightgbm") -> Engine:
    return load(
        format=format,
        content=content,
        dictionary=read_dictionary(dictionary or TITANIC_DICTIONARY),
        background=[],
        trusted=[],
    )


def without(*names: str) -> dict[str, Any]:
    return TITANIC_DICTIONARY | {
        "features": [feature for feature in TITANIC_DICTIONARY["features"] if feature["name"] not in names]
    }


def test_explain__golden_file__says_what_it_always_said() -> None:
    engine = titanic(TITANIC)

    found = engine.explain([read_dictionary(TITANIC_DICTIONARY).as_seen(row["values"]) for row in EXPECTED])

    for place, row in enumerate(EXPECTED):
        assert found.base[place] == pytest.approx(row["base"], abs=1e-12)
        assert found.margin[place] == pytest.approx(row["margin"], abs=1e-12)
        assert found.scores[place] == pytest.approx(row["score"], abs=1e-12)
        assert list(engine.inputs) == [name for name, _ in row["attributions"]]
        assert found.values[place] == pytest.approx([x for _, x in row["attributions"]], abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, TITANIC.index(b"end of trees")))
def test_load__lightgbm_file_cut_anywhere__is_refused(length: int) -> None:
    with pytest.raises(EngineError):
        titanic(TITANIC[:length])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, TITANIC.index(b"end of trees")), min_size=1, max_size=4),
    st.sampled_from(b"0123456789-.= \n9e"),
)
def test_load__lightgbm_file_with_other_bytes__is_refused_or_explains(places: list[int], byte: int) -> None:
    content = bytearray(TITANIC)
    for place in places:
        content[place] = byte

    try:
        engine = titanic(bytes(content))
    except EngineError:
        return
    # LightGBM would have ended this process.
    assert engine.explain([EXPECTED[0]["values"]]).values.shape == (1, 8)


@pytest.mark.parametrize("format", ["lightgbm", "xgboost", "skops"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps({"a": 1}), "pickle"),
        (pickle.dumps(np.arange(3), protocol=2), "pickle"),
        (b"", "empty"),
        (b"\x00" * 200, "."),
        (b"PK\x03\x04 no zip", "."),
        (b'{"learner": {', "."),
        ("tree\nversion=v4\nname=\u2028".encode(), "."),
    ],
)
def test_load__another_file__is_refused_in_words(format: str, content: bytes, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        titanic(content, format=format)


def test_load__xgboost_cut_short__is_refused() -> None:
    content = training.train_xgboost().content

    for length in range(1, len(content), len(content) // 20):
        with pytest.raises(EngineError, match=r"\.$"):
            load(
                format="xgboost",
                content=content[:length],
                dictionary=training.train_xgboost().dictionary,
                background=[],
                trusted=[],
            )


def test_load__dictionary_without_features__names_each() -> None:
    with pytest.raises(EngineError) as refused:
        titanic(TITANIC, without("deck", "age"))

    assert refused.value.sentences == [
        "The model needs the feature “age”, which the dictionary does not name.",
        "The model needs the feature “deck”, which the dictionary does not name.",
    ]


def test_load__dictionary_with_more_inputs__names_each() -> None:
    more = TITANIC_DICTIONARY | {"features": [*TITANIC_DICTIONARY["features"], {"name": "cabin"}]}

    with pytest.raises(EngineError, match="“cabin”, which the model does not see"):
        titanic(TITANIC, more)


def test_load__feature_that_the_dictionary_calls_no_input__says_so() -> None:
    raw = json.loads(json.dumps(TITANIC_DICTIONARY))
    raw["features"][1]["input"] = False

    with pytest.raises(EngineError, match="sees “sex”, but the dictionary calls it no input"):
        titanic(TITANIC, raw)


def test_load__more_than_two_classes__is_refused_by_each_library() -> None:
    random = np.random.default_rng(1)
    table, classes = random.normal(size=(90, 2)), np.repeat([0, 1, 2], 30)
    by_lightgbm = lightgbm.train(
        {"objective": "multiclass", "num_class": 3, "verbosity": -1}, lightgbm.Dataset(table, classes), 2
    )
    by_xgboost = xgboost.train(
        {"objective": "multi:softprob", "num_class": 3}, xgboost.DMatrix(table, classes), 2
    )
    by_sklearn = LogisticRegression().fit(table, classes)

    for format, content in (
        ("lightgbm", by_lightgbm.model_to_string().encode()),
        ("xgboost", bytes(by_xgboost.save_raw("ubj"))),
        ("skops", skops.io.dumps(by_sklearn)),
    ):
        with pytest.raises(EngineError, match="tells 3 classes apart"):
            titanic(content, TWO, format=format)


def test_load__objective_with_another_output__is_refused() -> None:
    random = np.random.default_rng(1)
    table, counts = random.normal(size=(90, 2)), random.poisson(2, 90)
    by_lightgbm = lightgbm.train(
        {"objective": "poisson", "verbosity": -1}, lightgbm.Dataset(table, counts), 2
    )
    by_xgboost = xgboost.train({"objective": "count:poisson"}, xgboost.DMatrix(table, counts), 2)

    for format, content in (
        ("lightgbm", by_lightgbm.model_to_string().encode()),
        ("xgboost", bytes(by_xgboost.save_raw("ubj"))),
    ):
        with pytest.raises(EngineError, match="poisson"):
            titanic(content, TWO, format=format)


def test_load__linear_trees__are_refused() -> None:
    random = np.random.default_rng(1)
    table = random.normal(size=(200, 2))
    booster = lightgbm.train(
        {"objective": "regression", "linear_tree": True, "verbosity": -1},
        lightgbm.Dataset(table, table.sum(axis=1)),
        2,
    )

    with pytest.raises(EngineError, match="linear trees"):
        titanic(booster.model_to_string().encode(), TWO)


def test_load__skops_with_an_untrusted_type__names_it() -> None:
    trained = training.train_forest()

    with pytest.raises(EngineError, match=r"does not trust: sklearn\.tree\._tree\.Tree"):
        load(
            format="skops",
            content=trained.content,
            dictionary=trained.dictionary,
            background=[],
            trusted=["numpy.dtype"],
        )


def test_load__skops_of_what_is_no_model__is_refused() -> None:
    clusters = KMeans(2, n_init=1).fit(np.arange(10.0).reshape(5, 2))

    for content, words in (
        (skops.io.dumps(clusters), "neither a classifier nor a regressor"),
        (skops.io.dumps({"a": [1, 2]}), "which predicts nothing"),
    ):
        with pytest.raises(EngineError, match=words):
            titanic(content, TWO, format="skops")
