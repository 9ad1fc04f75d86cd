"""LIME: the same answer for ever, rules that people can read, and nothing that makes it stumble."""

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsportal.explanations.engine.contributions import Array, Contributions, Engine, EngineError, Row
from opsportal.explanations.engine.lime import explain_lime, seed_of, verdict_of
from opsportal.explanations.engine.loading import load
from opsportal.predictions.dictionary import FeatureDictionary, Value, as_number, read_dictionary
from tests.explanations.making import (
    AYOUB,
    EXPECTED,
    MORAN,
    NEVER_SEEN,
    TITANIC,
    TITANIC_BACKGROUND,
    TITANIC_DICTIONARY,
)

DICTIONARY = read_dictionary(TITANIC_DICTIONARY)
ROWS: list[Row] = [DICTIONARY.as_seen(json.loads(line)) for line in TITANIC_BACKGROUND.splitlines()]

_FRESH = """
import json, sys
from tests.explanations.making import AYOUB, TITANIC, TITANIC_BACKGROUND, TITANIC_DICTIONARY
from opsportal.explanations.engine.lime import explain_lime
from opsportal.explanations.engine.loading import load
from opsportal.predictions.dictionary import read_dictionary
dictionary = read_dictionary(TITANIC_DICTIONARY)
rows = [dictionary.as_seen(json.loads(line)) for line in TITANIC_BACKGROUND.splitlines()]
engine = load(format="lightgbm", content=TITANIC, dictionary=dictionary, background=rows, trusted=())
print(json.dumps(explain_lime(engine, dictionary, rows, dictionary.as_seen(AYOUB), "titanic-1", samples=500)))
"""


class Sums:
    """A model that can be calculated in the head: the sum of its numbers, each with its weight."""

    name, space, single_precision = "sums", "score", False

    def __init__(self, dictionary: FeatureDictionary, **weights: float) -> None:
        self.inputs = tuple(feature.name for feature in dictionary.inputs)
        self._weights = weights
        self.seen: list[Row] = []

    def score(self, rows: Sequence[Row]) -> Array:
        self.seen = list(rows)
        return np.array(
            [
                sum(
                    weight * (0.0 if math.isnan(number := as_number(row[name])) else number)
                    for name, weight in self._weights.items()
                )
                for row in rows
            ]
        )

    def explain(self, rows: Sequence[Row]) -> Contributions:
        raise NotImplementedError


class Moods:
    """A text model: each `good` speaks for it, each `bad` against it."""

    name, space, single_precision = "moods", "log_odds", False
    inputs: tuple[str, ...] = ("comment",)

    def score(self, rows: Sequence[Row]) -> Array:
        texts = [str(row["comment"]).lower() for row in rows]
        return np.array([1 / (1 + math.exp(text.count("bad") - text.count("good"))) for text in texts])

    def explain(self, rows: Sequence[Row]) -> Contributions:
        raise NotImplementedError


COMMENTS = read_dictionary({"features": [{"name": "comment", "label": "Comment", "type": "text"}]})


@pytest.fixture(scope="module")
def titanic() -> Engine:
    return load(format="lightgbm", content=TITANIC, dictionary=DICTIONARY, background=ROWS, trusted=())


def numbers(*features: dict[str, object]) -> FeatureDictionary:
    return read_dictionary({"link": "identity", "features": list(features)})


# -- The same again ---------------------------------------------------------------------------


def test_explain__twice_in_one_process__is_the_same_to_the_last_bit(titanic: Engine) -> None:
    row = DICTIONARY.as_seen(AYOUB)

    one = explain_lime(titanic, DICTIONARY, ROWS, row, "titanic-1")
    np.random.seed(1)  # whatever others do with the generator of all
    other = explain_lime(titanic, DICTIONARY, ROWS, row, "titanic-1")

    assert json.dumps(one) == json.dumps(other)
    assert one["detail"]["samples"] == 5_000


def test_explain__in_a_fresh_process__is_the_same_to_the_last_bit(titanic: Engine) -> None:
    here = explain_lime(titanic, DICTIONARY, ROWS, DICTIONARY.as_seen(AYOUB), "titanic-1", samples=500)

    root = Path(__file__).parent.parent.parent
    there = subprocess.run(
        [sys.executable, "-c", f"import django; django.setup()\n{_FRESH}"],
        cwd=root,
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONHASHSEED": "77", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(there.stdout) == here
    assert there.stdout.strip() == json.dumps(here)


def test_explain__another_prediction_of_the_same_values__draws_other_samples(titanic: Engine) -> None:
    row = DICTIONARY.as_seen(AYOUB)

    one = explain_lime(titanic, DICTIONARY, ROWS, row, "titanic-1", samples=500)
    other = explain_lime(titanic, DICTIONARY, ROWS, row, "titanic-2", samples=500)

    assert one["attributions"] != other["attributions"]


def test_seed__any_id__is_of_its_sha256_alone() -> None:
    # As any tool computes it: SHA-256 of “a” begins with ca978112.
    assert seed_of("a") == 0xCA978112


# -- What it says -----------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(len(EXPECTED)))
def test_explain__clear_cases__pushes_the_way_shap_does(titanic: Engine, place: int) -> None:
    case = EXPECTED[place]

    found = explain_lime(titanic, DICTIONARY, ROWS, DICTIONARY.as_seen(case["values"]), f"case-{place}")

    pushes = dict(found["attributions"])
    clear = {name: x for name, x in case["attributions"] if abs(x) > 0.6}
    assert clear, "the case has a reason that stands out"
    assert {name: pushes[name] > 0 for name in clear} == {name: x > 0 for name, x in clear.items()}


def test_explain__a_sum__finds_the_weights_and_ranks_by_strength() -> None:
    dictionary = numbers({"name": "a"}, {"name": "b"}, {"name": "c"}, {"name": "d"})
    rows = [{"a": n % 2, "b": n // 2 % 2, "c": n // 4 % 2, "d": 5} for n in range(64)]
    model = Sums(dictionary, a=1.0, b=-3.0, c=0.0)

    found = explain_lime(model, dictionary, rows, {"a": 1, "b": 1, "c": 1, "d": 5}, "p")

    names = [name for name, _ in found["attributions"]]
    pushes = dict(found["attributions"])
    assert names == ["b", "a", "c"], "d never varies"
    assert pushes == pytest.approx({"a": 1.0, "b": -3.0, "c": 0.0}, abs=0.01)
    assert found["detail"]["r2"] == pytest.approx(1.0, abs=1e-4)
    assert found["detail"]["verdict"] == "good"
    assert found["detail"]["prediction"] == pytest.approx(-2.0, abs=0.01)


def test_explain__a_constant_of_the_dictionary__is_left_out_and_stays_constant() -> None:
    dictionary = numbers({"name": "a"}, {"name": "position", "constant": 1})
    rows = [dictionary.as_seen({"a": n, "position": n}) for n in range(20)]
    model = Sums(dictionary, a=1.0, position=100.0)

    found = explain_lime(model, dictionary, rows, dictionary.as_seen({"a": 3, "position": 9}), "p")

    assert [name for name, _ in found["attributions"]] == ["a"]
    assert {row["position"] for row in model.seen} == {1}


def test_explain__integers__are_sampled_from_what_occurs() -> None:
    dictionary = numbers({"name": "a"})
    rows = [{"a": n} for n in (3, 3, 3, 3, 5, 8, 13)]
    model = Sums(dictionary, a=1.0)

    explain_lime(model, dictionary, rows, {"a": 4}, "p", samples=300)

    assert {row["a"] for row in model.seen} == {4, 3.0, 5.0, 8.0, 13.0}


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (1, "Age at most 10 years"),
        (15, "Age above 10 years and at most 20 years"),
        (20.0, "Age above 10 years and at most 20 years"),
        (500, "Age above 30 years"),
        ("12", "Age above 10 years and at most 20 years"),
        (None, "Age not provided"),
        ("old", "Age is old years"),
    ],
)
def test_explain__a_number__names_its_range_in_words(value: Value, rule: str) -> None:
    dictionary = numbers({"name": "age", "label": "Age", "suffix": " years"})
    rows = [{"age": number} for number in (10, 20, 30, 40)]

    found = explain_lime(Sums(dictionary, age=1.0), dictionary, rows, {"age": value}, "p", samples=100)

    assert [rule for _, rule, _ in found["detail"]["rules"]] == [rule]


def test_explain__measured_numbers__names_edges_as_short_as_they_still_divide() -> None:
    dictionary = numbers({"name": "x", "label": "Ratio"})
    rows = [{"x": n / 7} for n in range(1, 5)]

    found = explain_lime(Sums(dictionary, x=1.0), dictionary, rows, {"x": 0.15}, "p", samples=100)

    assert found["detail"]["rules"][0][1] == "Ratio above 0.1429 and at most 0.2857"


def test_explain__categories_and_flags__are_named_as_the_dictionary_names_them() -> None:
    dictionary = numbers(
        {"name": "class", "label": "Class", "type": "category", "categories": {"1": "first", "3": "third"}},
        {"name": "member", "label": "Member", "type": "flag"},
    )
    rows: list[Row] = [{"class": "1", "member": True}, {"class": "3", "member": False}] * 5

    found = explain_lime(
        Sums(dictionary, member=1.0), dictionary, rows, {"class": 3, "member": 1}, "p", samples=100
    )

    rules = {name: rule for name, rule, _ in found["detail"]["rules"]}
    assert rules == {"class": "Class is 3 – third", "member": "Member is yes"}
    assert dict(found["attributions"])["member"] > 0.9


def test_explain__a_model_that_says_one_thing__fits_nothing() -> None:
    dictionary = numbers({"name": "a"}, {"name": "b"})
    rows = [{"a": n, "b": -n} for n in range(20)]

    found = explain_lime(Sums(dictionary), dictionary, rows, {"a": 3, "b": 4}, "p", samples=100)

    assert (found["detail"]["r2"], found["detail"]["verdict"]) == (0.0, "weak")


@pytest.mark.parametrize(("r2", "word"), [(0.29, "weak"), (0.3, "fair"), (0.59, "fair"), (0.6, "good")])
def test_verdict__limits__stand_where_they_should(r2: float, word: str) -> None:
    assert verdict_of(r2) == word


# -- What makes LIME stumble ------------------------------------------------------------------


def test_explain__a_missing_number__is_a_level_of_its_own(titanic: Engine) -> None:
    row = DICTIONARY.as_seen(MORAN)

    found = explain_lime(titanic, DICTIONARY, ROWS, row, "moran")

    rules = {name: rule for name, rule, _ in found["detail"]["rules"]}
    assert rules["age"] == "Age not provided"
    assert math.isfinite(found["detail"]["r2"])


def test_explain__a_missing_number_that_is_never_missing_elsewhere__shows_its_effect() -> None:
    dictionary = numbers({"name": "a"})
    rows = [{"a": n} for n in range(10, 20)]

    found = explain_lime(Sums(dictionary, a=1.0), dictionary, rows, {"a": None}, "p")

    assert found["attributions"][0][1] == pytest.approx(-14.5, abs=0.5)


def test_explain__a_category_never_seen__shows_its_effect(titanic: Engine) -> None:
    found = explain_lime(titanic, DICTIONARY, ROWS, DICTIONARY.as_seen(NEVER_SEEN), "p")

    rules = {name: rule for name, rule, _ in found["detail"]["rules"]}
    assert rules["embarked"] == "Port of embarkation is Atlantis"
    assert dict(found["attributions"])["embarked"] != 0


def test_explain__no_reference_rows__is_refused_in_words(titanic: Engine) -> None:
    with pytest.raises(EngineError, match="reference rows"):
        explain_lime(titanic, DICTIONARY, [], DICTIONARY.as_seen(AYOUB), "p")


def test_explain__reference_rows_all_alike__has_nothing_to_say(titanic: Engine) -> None:
    row = DICTIONARY.as_seen(AYOUB)

    found = explain_lime(titanic, DICTIONARY, [row] * 10, row, "p")

    assert found["attributions"] == []
    assert found["detail"]["verdict"] == "weak"


def test_explain__a_model_without_an_answer__is_refused_in_words() -> None:
    dictionary = numbers({"name": "a"})
    rows = [{"a": n} for n in range(10)]

    with pytest.raises(EngineError, match="no number"):
        explain_lime(Sums(dictionary, a=math.inf), dictionary, rows, {"a": 3}, "p", samples=50)


HOSTILE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=20),
    st.sampled_from(["</script>", "\u2028", "1e999", "-inf", "x" * 10_000, "\ud800"]),
)


@settings(max_examples=30, deadline=None)
@given(row=st.fixed_dictionaries({feature.name: HOSTILE for feature in DICTIONARY.inputs}))
def test_explain__hostile_rows__gives_numbers_and_words(titanic: Engine, row: dict[str, Value]) -> None:
    found = explain_lime(titanic, DICTIONARY, ROWS, row, "hostile", samples=100)

    assert all(math.isfinite(push) for _, push in found["attributions"])
    assert all(rule for _, rule, _ in found["detail"]["rules"])
    json.dumps(found, allow_nan=False)


@settings(max_examples=20, deadline=None)
@given(
    rows=st.lists(st.fixed_dictionaries({"a": HOSTILE, "b": HOSTILE}), min_size=1, max_size=12),
    row=st.fixed_dictionaries({"a": HOSTILE, "b": HOSTILE}),
)
def test_explain__hostile_reference_rows__gives_numbers(rows: list[Row], row: Row) -> None:
    dictionary = numbers({"name": "a"}, {"name": "b", "type": "category"})

    class Safe(Sums):
        def score(self, rows: Sequence[Row]) -> Array:
            scores = [as_number(row["a"]) for row in rows]
            return np.array([0.0 if math.isnan(score) else math.tanh(score) for score in scores])

    found = explain_lime(Safe(dictionary), dictionary, rows, row, "hostile", samples=50)

    assert all(math.isfinite(push) for _, push in found["attributions"])
    json.dumps(found, allow_nan=False)


# -- Text -------------------------------------------------------------------------------------


def test_explain__a_text__ranks_its_words_and_is_the_same_again() -> None:
    row = {"comment": "A good plot, but a bad end. Good!"}

    found = explain_lime(Moods(), COMMENTS, [], row, "p", samples=1_000)

    pushes = dict(found["attributions"])
    assert pushes["good"] > 0.05
    assert pushes["bad"] < -0.05
    assert abs(pushes["plot"]) < 0.02
    assert {name: rule for name, rule, _ in found["detail"]["rules"]}["a"] == "contains “a”"
    assert json.dumps(found) == json.dumps(explain_lime(Moods(), COMMENTS, [], row, "p", samples=1_000))


@pytest.mark.parametrize("text", ["", None, "…!?", "\u2028"])
def test_explain__a_text_without_words__has_nothing_to_say(text: Value) -> None:
    found = explain_lime(Moods(), COMMENTS, [], {"comment": text}, "p")

    assert found["attributions"] == []


def test_explain__a_very_long_text__is_sampled_less_and_cut_to_its_strongest_words() -> None:
    text = " ".join(f"w{n}" for n in range(1_900)) + " good"

    found = explain_lime(Moods(), COMMENTS, [], {"comment": text}, "p")

    assert found["detail"]["samples"] < 1_100
    assert len(found["attributions"]) == 100
    assert found["attributions"][0][0] == "good"
