"""Linear models and texts: exact, and every word where it stands in the text as it was logged."""

from typing import Any

import numpy as np
import pytest
import shap
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import ComplementNB, MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from opsportal.explanations.engine.contributions import Engine
from opsportal.explanations.engine.loading import load
from opsportal.predictions.dictionary import read_dictionary
from tests.explanations import training
from tests.explanations.training import EXPLAINED, TEXT_DICTIONARY, TEXTS


def dense(matrix: Any) -> "np.ndarray[Any, Any]":
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=float)


def summed(columns: "np.ndarray[Any, Any]", names: Any) -> "np.ndarray[Any, Any]":
    """Numbers of columns such as `plan__plan_gold`, summed by feature."""
    found = np.zeros((len(columns), len(training.NAMES)))
    for place, name in enumerate(names):
        feature = next(feature for feature in training.NAMES if feature in name.partition("__")[2])
        found[:, training.NAMES.index(feature)] += columns[:, place]
    return found


def test_explain__linear_with_background__equals_shap() -> None:
    trained = training.train_linear()
    before, estimator = trained.model[0], trained.model[1]
    background = trained.rows[300:400]

    engine = trained.engine(background=background)
    found = engine.explain(trained.explained)

    masker = shap.maskers.Independent(dense(before.transform(trained.frame[300:400])), max_samples=1_000)
    explainer = shap.LinearExplainer(estimator, masker)
    matrix = dense(before.transform(trained.frame[:EXPLAINED]))
    theirs = summed(explainer.shap_values(matrix), before.get_feature_names_out())
    assert engine.name.endswith("from the mean of 100 reference rows")
    assert np.abs(found.values - theirs).max() <= 1e-9
    assert found.base[0] == pytest.approx(explainer.expected_value, abs=1e-9)
    assert np.abs(found.residual).max() <= 1e-9
    assert np.abs(found.scores - trained.model.predict_proba(trained.frame[:EXPLAINED])[:, 1]).max() <= 1e-12


def test_explain__linear_without_background__starts_from_zero_and_says_so() -> None:
    trained = training.train_linear()

    engine = trained.engine()
    found = engine.explain(trained.explained)

    assert engine.name.endswith("from zero")
    assert found.base[0] == trained.model[1].intercept_[0]
    assert np.abs(found.residual).max() <= 1e-9


def test_explain__linear_regression__is_a_plain_score() -> None:
    table, happened = training.frame()
    numbers = table[["age", "class"]].astype(float)
    model = make_pipeline(StandardScaler(), Ridge()).fit(numbers, happened)

    engine = load(
        format="skops",
        content=skops.io.dumps(model),
        dictionary=read_dictionary({"features": [{"name": "age"}, {"name": "class"}], "link": "identity"}),
        background=[],
        trusted=[],
    )
    found = engine.explain(training.logged(numbers[:EXPLAINED]))

    assert engine.space == "score"
    assert np.abs(found.scores - model.predict(numbers[:EXPLAINED])).max() <= 1e-12
    assert np.abs(found.residual).max() <= 1e-9


@pytest.mark.parametrize("analyzer", ["word", "char", "char_wb"])
def test_explain__text__equals_shap_with_no_words_behind_it(analyzer: str) -> None:
    trained = training.train_text(analyzer=analyzer, ngram_range=(1, 3))
    vectorizer, estimator = trained.model[0], trained.model[1]

    found = trained.engine().explain(trained.rows)

    matrix = dense(vectorizer.transform(TEXTS))
    nothing = shap.maskers.Independent(np.zeros((1, matrix.shape[1])))
    theirs = shap.LinearExplainer(estimator, nothing).shap_values(matrix)
    assert np.abs(found.values[:, 0] - theirs.sum(axis=1)).max() <= 1e-9
    assert np.abs(found.residual).max() <= 1e-9
    assert np.abs(found.scores - trained.model.predict_proba(TEXTS)[:, 1]).max() <= 1e-12


@pytest.mark.parametrize("estimator", [MultinomialNB(), ComplementNB()])
def test_explain__naive_bayes_of_words__is_linear_in_them(estimator: Any) -> None:
    model = make_pipeline(TfidfVectorizer(), estimator).fit(TEXTS, [1, 0] * 4)

    engine = text_engine(model)
    found = engine.explain([{"message": text} for text in TEXTS])

    assert engine.space == "log_odds"
    assert np.abs(found.residual).max() <= 1e-9
    assert np.abs(1 / (1 + np.exp(-found.margin)) - model.predict_proba(TEXTS)[:, 1]).max() <= 1e-9
    assert found.details[0]["words"]


def text_engine(model: Any) -> Engine:
    return load(
        format="skops",
        content=skops.io.dumps(model),
        dictionary=read_dictionary(TEXT_DICTIONARY),
        background=[],
        trusted=["numpy.dtype"],
    )


def test_explain__text__says_where_each_word_stands() -> None:
    trained = training.train_text(ngram_range=(1, 1))
    text = "FREE lunch, or a free prize?"

    words = trained.engine().explain([{"message": text}]).details[0]["words"]

    vectorizer, estimator = trained.model[0], trained.model[1]
    row = vectorizer.transform([text]).toarray()[0]
    of = {
        word: row[place] * estimator.coef_[0][place]
        for word, place in vectorizer.vocabulary_.items()
        if row[place]
    }
    assert [text[start:end] for start, end, _ in words] == ["FREE", "lunch", "free", "prize"]
    assert [share for _, _, share in words] == pytest.approx(
        [of["free"] / 2, of["lunch"], of["free"] / 2, of["prize"]]
    )


def test_explain__text_whose_lower_case_is_longer__keeps_the_logged_places() -> None:
    trained = training.train_text(ngram_range=(1, 1))
    text = "İİİ\u2028 ΣΑΣ Free\tPRIZE"

    words = trained.engine().explain([{"message": text}]).details[0]["words"]

    assert [text[start:end] for start, end, _ in words] == ["Free", "PRIZE"]


def test_explain__text_without_accents__keeps_the_logged_places() -> None:
    trained = training.train_text(ngram_range=(1, 1), strip_accents="unicode")
    text = "\ufb03 ça, c\u0327elik, Çelik"

    words = trained.engine().explain([{"message": text}]).details[0]["words"]

    assert [text[start:end] for start, end, _ in words] == ["c\u0327elik", "Çelik"]


def test_explain__pairs_of_words__are_shared_by_both() -> None:
    trained = training.train_text(ngram_range=(2, 2))

    words = trained.engine().explain([{"message": "a free prize, win cash now"}]).details[0]["words"]

    shares = {start: share for start, _, share in words}
    assert set(shares) == {2, 7, 14, 18, 23}
    assert shares[2] == pytest.approx(shares[7])  # free prize
    assert shares[18] == pytest.approx(shares[14] + shares[23])  # win cash, cash now


@settings(max_examples=30, deadline=None)
@given(st.text(st.sampled_from("fre prizWINcashnow İΣß\n\t,.\u2028é<"), max_size=80))
def test_explain__any_text__gives_all_of_it_to_words(text: str) -> None:
    for analyzer in ("word", "char_wb"):
        engine = training.train_text(analyzer=analyzer, ngram_range=(1, 2)).engine()

        found = engine.explain([{"message": text}])

        words = found.details[0]["words"]
        assert all(0 <= start < end <= len(text) for start, end, _ in words)
        if analyzer == "word":
            assert sum(share for _, _, share in words) == pytest.approx(found.values[0, 0], abs=1e-9)


def test_explain__text_beside_numbers__has_both() -> None:
    table, happened = training.frame()
    table = table[["age", "class"]].astype(float).assign(note=(TEXTS * 100)[: len(table)])
    model = make_pipeline(
        ColumnTransformer(
            [("words", TfidfVectorizer(), "note"), ("numbers", StandardScaler(), ["age", "class"])]
        ),
        LogisticRegression(),
    ).fit(table, happened)
    dictionary = {"features": [{"name": "age"}, {"name": "class"}, {"name": "note", "type": "text"}]}

    engine = load(
        format="skops",
        content=skops.io.dumps(model),
        dictionary=read_dictionary(dictionary),
        background=training.logged(table[:50]),
        trusted=["numpy.dtype"],
    )
    found = engine.explain(training.logged(table[:EXPLAINED]))

    assert engine.inputs == ("age", "class", "note")
    assert np.abs(found.residual).max() <= 1e-9
    words = [sum(share for _, _, share in detail["words"]) for detail in found.details]
    assert np.abs(found.values[:, 2] - words).max() <= 1e-9
    assert found.values[:, 0].std() > 0


def test_explain__empty_and_missing_text__is_the_base_alone() -> None:
    engine = training.train_text().engine()

    found = engine.explain([{"message": ""}, {"message": None}])

    assert found.values.tolist() == [[0.0], [0.0]]
    assert found.details == [{"words": []}, {"words": []}]
