"""Counterfactuals: they turn the decision, with few changes, of what may be changed, to what occurs."""

import itertools
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsportal.explanations.engine.contributions import Array, Contributions, Engine, Row
from opsportal.explanations.engine.counterfactuals import find
from opsportal.explanations.engine.loading import load
from opsportal.predictions.dictionary import FeatureDictionary, Value, as_number, read_dictionary
from tests.explanations.making import (
    AYOUB,
    EXPECTED,
    TITANIC,
    TITANIC_BACKGROUND,
    TITANIC_DICTIONARY,
    VESTROM,
)

DICTIONARY = read_dictionary(TITANIC_DICTIONARY)
ROWS: list[Row] = [DICTIONARY.as_seen(json.loads(line)) for line in TITANIC_BACKGROUND.splitlines()]
CHANGEABLE = {"pclass", "fare", "sibsp", "parch", "embarked"}
MOST_ROWS = 5_000


class Rule:
    """A model that is one function of the row; counts what it is asked."""

    name, space, single_precision = "rule", "log_odds", False

    def __init__(self, dictionary: FeatureDictionary, score: Callable[[Row], float]) -> None:
        self.inputs = tuple(feature.name for feature in dictionary.inputs)
        self._score = score
        self.asked = 0

    def score(self, rows: Sequence[Row]) -> Array:
        self.asked += len(rows)
        return np.array([self._score(row) for row in rows], dtype=np.float64)

    def explain(self, rows: Sequence[Row]) -> Contributions:
        raise NotImplementedError


@pytest.fixture(scope="module")
def titanic() -> Engine:
    return load(format="lightgbm", content=TITANIC, dictionary=DICTIONARY, background=ROWS, trusted=())


def described(*features: dict[str, Any], **more: Any) -> FeatureDictionary:
    return read_dictionary({"features": [{"changeable": True, **feature} for feature in features], **more})


def changes(found: dict[str, Any]) -> list[dict[str, Value]]:
    return [answer["changes"] for answer in found["found"]]


# -- What must hold of every answer -----------------------------------------------------------


def passengers() -> st.SearchStrategy[dict[str, Value]]:
    """Passengers whose values occur, some of them missing."""
    columns = {feature.name: [row[feature.name] for row in ROWS] for feature in DICTIONARY.inputs}
    return st.fixed_dictionaries(
        {name: st.sampled_from([*dict.fromkeys(values), None]) for name, values in columns.items()}
    )


@settings(max_examples=60, deadline=None)
@given(row=passengers(), threshold=st.sampled_from([0.2, 0.35, 0.5, 0.65, 0.8]))
def test_find__any_passenger__turns_the_decision_with_few_allowed_changes(
    titanic: Engine, row: dict[str, Value], threshold: float
) -> None:
    was_positive = bool(titanic.score([row])[0] >= threshold)

    found = find(titanic, DICTIONARY, ROWS, row, threshold)

    assert found["target"] == ("negative" if was_positive else "positive")
    assert found["tried"] <= MOST_ROWS
    assert len(found["found"]) <= 5
    assert bool(found["found"]) != bool(found["reason"])
    ranks = []
    for answer in found["found"]:
        again = float(titanic.score([{**row, **answer["changes"]}])[0])
        assert again == answer["score"]
        assert (again >= threshold) != was_positive
        assert 1 <= len(answer["changes"]) <= 3
        assert answer["changes"].keys() <= CHANGEABLE
        for name, value in answer["changes"].items():
            assert not DICTIONARY.by_name[name].badges(value), "in range, and seen in training"
            assert value != row[name]
        ranks.append((len(answer["changes"]), answer["distance"]))
    assert ranks == sorted(ranks), "the fewest changes first, then the nearest"
    for one, other in itertools.permutations(changes(found), 2):
        assert not one.keys() >= other.keys(), "nobody is told to change more than they must"


@pytest.mark.parametrize("place", range(len(EXPECTED)))
def test_find__one_or_two_changes_suffice__finds_as_few_as_any_search(titanic: Engine, place: int) -> None:
    row = DICTIONARY.as_seen(EXPECTED[place]["values"])
    was_positive = bool(titanic.score([row])[0] >= 0.5)
    values = {name: sorted({seen[name] for seen in ROWS if seen[name] is not None}) for name in CHANGEABLE}  # type: ignore[type-var]  # each column is of one type
    fewest = None
    for count in (1, 2):
        tries = [
            dict(zip(names, chosen, strict=True))
            for names in itertools.combinations(values, count)
            for chosen in itertools.product(*(values[name] for name in names))
        ]
        scores = titanic.score([{**row, **tried} for tried in tries])
        if ((scores >= 0.5) != was_positive).any():
            fewest = count
            break

    found = find(titanic, DICTIONARY, ROWS, row, 0.5)

    if fewest is None:
        assert all(len(answer) == 3 for answer in changes(found))
    else:
        assert len(changes(found)[0]) == fewest


def test_find__the_same_again__gives_the_same(titanic: Engine) -> None:
    row = DICTIONARY.as_seen(VESTROM)

    one, other = (find(titanic, DICTIONARY, ROWS, row, 0.5) for _ in range(2))

    assert json.dumps(one) == json.dumps(other)
    assert changes(one)[0].keys() == {"fare"}


# -- Near, few, different ---------------------------------------------------------------------


def test_find__a_number__comes_as_close_as_the_decision_allows() -> None:
    dictionary = described({"name": "income", "low": 0, "high": 100})
    model = Rule(dictionary, lambda row: as_number(row["income"]) / 100)
    rows = [{"income": n} for n in range(101)]

    found = find(model, dictionary, rows, {"income": 20}, 0.5)

    (answer,) = changes(found)
    assert 50 <= as_number(answer["income"]) <= 53
    assert isinstance(answer["income"], int), "integers stay integers"
    assert found["found"][0]["distance"] == pytest.approx((as_number(answer["income"]) - 20) / 50)


def test_find__decimals__are_those_of_the_reference() -> None:
    dictionary = described({"name": "price"})
    model = Rule(dictionary, lambda row: as_number(row["price"]))
    rows = [{"price": n / 100} for n in range(0, 101, 5)]

    found = find(model, dictionary, rows, {"price": 0.1}, 0.47)

    assert changes(found) == [{"price": 0.5}]


def test_find__a_range_seen_in_training__is_kept() -> None:
    dictionary = described({"name": "a", "low": 0, "high": 10})
    model = Rule(dictionary, lambda row: 1.0 if as_number(row["a"]) > 10 else 0.0)
    rows = [{"a": n} for n in range(100)]

    found = find(model, dictionary, rows, {"a": 3}, 0.5)

    assert found["found"] == []
    assert "None of the" in found["reason"]


def test_find__several_ways__names_each_once_and_no_detours() -> None:
    names = ["a", "b", "c", "d"]
    dictionary = described(*({"name": name, "type": "category", "categories": ["x", "y"]} for name in names))

    def score(row: Row) -> float:
        if row["a"] == "y" or (row["b"] == "y" and row["c"] == "y"):
            return 0.9
        return 0.1 + 0.1 * (row["b"] == "y") + 0.1 * (row["c"] == "y")

    found = find(Rule(dictionary, score), dictionary, [], dict.fromkeys(names, "x"), 0.5)

    assert changes(found) == [{"a": "y"}, {"b": "y", "c": "y"}]
    assert [answer["distance"] for answer in found["found"]] == [1.0, 2.0]


def test_find__three_changes_that_bring_nothing_alone__are_found_together() -> None:
    names = ["a", "b", "c", "d"]
    dictionary = described(*({"name": name, "type": "flag"} for name in names))
    model = Rule(dictionary, lambda row: 0.9 if row["a"] and row["b"] and row["c"] else 0.1)

    found = find(model, dictionary, [], dict.fromkeys(names, False), 0.5)

    assert changes(found) == [{"a": True, "b": True, "c": True}]


def test_find__four_changes_needed__finds_none_and_says_so() -> None:
    names = ["a", "b", "c", "d"]
    dictionary = described(*({"name": name, "type": "flag"} for name in names))
    model = Rule(dictionary, lambda row: sum(bool(row[name]) for name in names) / 5)

    found = find(model, dictionary, [], dict.fromkeys(names, False), 0.75)

    assert found["found"] == []
    assert found["reason"] == (
        f"None of the {found['tried']} variants tried, with up to 3 changes each, turns the decision"
        " at 75.0 %; the nearest gives 60.0 %."
    )


def test_find__the_columns_of_one_category__change_together() -> None:
    columns = [{"name": f"deck_{level}", "type": "flag", "group": "deck", "level": level} for level in "ABC"]
    dictionary = described(*columns, groups=[{"name": "deck", "label": "Deck", "changeable": True}])
    model = Rule(dictionary, lambda row: 0.9 if row["deck_C"] and not row["deck_A"] else 0.1)
    row = {"deck_A": True, "deck_B": False, "deck_C": False}

    found = find(model, dictionary, [], row, 0.5)

    assert changes(found) == [{"deck_A": False, "deck_C": True}]
    assert found["found"][0]["distance"] == 1.0


def test_find__a_constant_or_fixed_feature__is_never_touched() -> None:
    dictionary = described(
        {"name": "position", "constant": 1}, {"name": "age", "changeable": False}, {"name": "a"}
    )
    model = Rule(dictionary, lambda row: 0.0 if row["position"] == 1 and row["age"] == 30 else 1.0)
    rows = [{"position": n, "age": n, "a": n} for n in range(50)]

    found = find(model, dictionary, rows, {"position": 1, "age": 30, "a": 7}, 0.5)

    assert found["found"] == []


# -- When there is nothing to find ------------------------------------------------------------


def test_find__a_ranker__has_no_decision_to_turn(titanic: Engine) -> None:
    found = find(titanic, DICTIONARY, ROWS, DICTIONARY.as_seen(AYOUB), None)

    assert (found["found"], found["target"]) == ([], "")
    assert "no threshold" in found["reason"]


def test_find__nothing_may_be_changed__says_so() -> None:
    dictionary = described({"name": "a", "changeable": False})

    found = find(Rule(dictionary, lambda _: 0.1), dictionary, [{"a": 1}, {"a": 2}], {"a": 1}, 0.5)

    assert found["reason"] == "The model's dictionary names nothing that may be changed."


def test_find__no_other_value_is_known__says_so() -> None:
    dictionary = described({"name": "a"})

    found = find(Rule(dictionary, lambda _: 0.1), dictionary, [], {"a": 1}, 0.5)

    assert found["reason"] == "The reference rows hold no other value of anything that may be changed."


# -- Bounds -----------------------------------------------------------------------------------


def test_find__hundreds_of_features__scores_a_bounded_number_of_rows() -> None:
    names = [f"f{n}" for n in range(400)]
    dictionary = described(*({"name": name} for name in names))
    model = Rule(dictionary, lambda row: 0.4 - 1e-6 * sum(as_number(row[name]) for name in names[:9]))
    rows = [{name: (n * 37 + place) % 101 for place, name in enumerate(names)} for n in range(60)]

    found = find(model, dictionary, rows, rows[0], 0.5)

    assert found["found"] == []
    assert model.asked == found["tried"] <= MOST_ROWS


HOSTILE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=20),
    st.sampled_from(["</script>", "\u2028", "1e999", "x" * 10_000]),
)


@settings(max_examples=30, deadline=None)
@given(row=st.fixed_dictionaries({feature.name: HOSTILE for feature in DICTIONARY.inputs}))
def test_find__hostile_rows__gives_finite_answers(titanic: Engine, row: dict[str, Value]) -> None:
    found = find(titanic, DICTIONARY, ROWS, row, 0.5)

    json.dumps(found, allow_nan=False)
    assert all(math.isfinite(answer["distance"]) for answer in found["found"])


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(st.fixed_dictionaries({"a": HOSTILE, "b": HOSTILE}), max_size=10),
    row=st.fixed_dictionaries({"a": HOSTILE, "b": HOSTILE}),
)
def test_find__hostile_reference_rows__gives_finite_answers(rows: list[Row], row: Row) -> None:
    dictionary = described({"name": "a"}, {"name": "b", "type": "category"})
    model = Rule(dictionary, lambda row: 0.9 if as_number(row["a"]) > 0 else 0.1)

    found = find(model, dictionary, rows, row, 0.5)

    json.dumps(found, allow_nan=False)
