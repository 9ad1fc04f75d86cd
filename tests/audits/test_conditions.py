"""Conditions: what is refused and where, how they read, what they match, and that no pattern is evil."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsportal.audits import conditions
from opsportal.audits.conditions import from_rows, parse, rows_of, value_from_text, value_text
from opsportal.core.errors import Invalid
from opsportal.predictions.dictionary import FeatureDictionary, read_dictionary

DICTIONARY: FeatureDictionary = read_dictionary(
    {
        "features": [
            {"name": "review", "label": "Review", "type": "text"},
            {"name": "age", "label": "Age", "suffix": " years"},
            {"name": "port", "label": "Port", "type": "category", "categories": {"S": "Southampton"}},
            {"name": "alone", "label": "Travels alone", "type": "flag"},
        ]
    }
)


@dataclass
class Row:
    text: str = ""
    score: float = 0.5
    product_id: str = ""
    surface: str = ""
    features: str = "{}"


def row(**values: Any) -> Row:
    own = {name: values.pop(name) for name in ("text", "score", "product_id", "surface") if name in values}
    return Row(**own, features=json.dumps(values))


def holds(condition: Any, predicted: str = "positive", **values: Any) -> bool:
    return parse(condition, DICTIONARY).matches(row(**values), predicted)


def words(condition: Any) -> str:
    return parse(condition, DICTIONARY).words


def refusals(condition: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as refused:
        parse(condition, DICTIONARY)
    return {problem.path: problem.message for problem in refused.value.errors}


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        (
            {"field": "text", "is": "matches", "value": "not (so )?good"},
            {"text": "NOT good"},
            {"text": "good"},
        ),
        (
            {"field": "text", "is": "matches", "value": "Not", "case_sensitive": True},
            {"text": "Not good"},
            {"text": "not good"},
        ),
        ({"field": "text", "is": "not_matches", "value": "good"}, {"text": "bad"}, {"text": "so Good"}),
        (
            {"field": "text", "is": "contains", "value": "not good"},
            {"text": "Not, good!"},
            {"text": "knot good"},
        ),
        ({"field": "text", "is": "contains", "value": "schön"}, {"text": "Wie SCHÖN."}, {"text": "schöner"}),
        ({"field": "text", "is": "missing"}, {}, {"text": "x"}),
        ({"field": "text_length", "is": "below", "value": 3}, {"text": "ab"}, {"text": "abc"}),
        ({"field": "score", "is": "above", "value": 0.5}, {"score": 0.51}, {"score": 0.5}),
        ({"field": "score", "is": "between", "value": [0.4, 0.6]}, {"score": 0.6}, {"score": 0.61}),
        ({"field": "surface", "is": "equals", "value": "app"}, {"surface": "app"}, {"surface": "App"}),
        ({"field": "surface", "is": "not_equals", "value": "app"}, {}, {"surface": "app"}),
        (
            {"field": "product_id", "is": "one_of", "value": ["1", "2"]},
            {"product_id": "2"},
            {"product_id": "3"},
        ),
        ({"field": "feature:age", "is": "above", "value": 30}, {"age": 30.5}, {"age": None}),
        ({"field": "feature:age", "is": "equals", "value": 30}, {"age": "30.0"}, {"age": 31}),
        ({"field": "feature:age", "is": "missing"}, {"age": None}, {"age": 0}),
        ({"field": "feature:port", "is": "present"}, {"port": "S"}, {}),
        ({"field": "feature:port", "is": "matches", "value": "^s$"}, {"port": "S"}, {"port": "SS"}),
        ({"field": "feature:alone", "is": "equals", "value": True}, {"alone": True}, {"alone": False}),
        # The text stands among the features where it was not logged apart.
        ({"field": "text", "is": "contains", "value": "good"}, {"review": "good"}, {"review": "bad"}),
        ({"field": "feature:review", "is": "contains", "value": "good"}, {"text": "good"}, {"text": "bad"}),
    ],
)
def test_match__every_operator__as_it_says(condition: Any, yes: Any, no: Any) -> None:
    assert holds(condition, **yes)
    assert not holds(condition, **no)


def test_match__and_within_or__binds_as_nested() -> None:
    bad_app = [
        {"field": "text", "is": "contains", "value": "bad"},
        {"field": "surface", "is": "equals", "value": "app"},
    ]
    condition = {"any": [{"all": bad_app}, {"field": "predicted", "is": "equals", "value": "negative"}]}

    assert holds(condition, text="bad", surface="app")
    assert not holds(condition, text="bad", surface="web")
    assert holds(condition, predicted="negative", text="fine")
    assert words(condition) == (
        "(the text contains the words “bad” and the surface is “app”) or the model’s decision is “negative”"
    )


@pytest.mark.parametrize(
    ("condition", "sentence"),
    [
        (
            {"field": "feature:age", "is": "between", "value": [20, 30.5]},
            "“Age” is between 20 years and 30.5 years",
        ),
        (
            {"field": "feature:port", "is": "one_of", "value": ["S", "C"]},
            "“Port” is one of “S – Southampton”, “C”",
        ),
        ({"field": "feature:alone", "is": "not_equals", "value": True}, "“Travels alone” is not yes"),
        ({"field": "text", "is": "matches", "value": "a+"}, "the text matches /a+/i"),
        (
            {"field": "text_length", "is": "above", "value": 40},
            "the length of the text is above 40 characters",
        ),
        ({"field": "feature:age", "is": "missing"}, "“Age” is missing"),
        ({"all": [{"any": [{"field": "score", "is": "below", "value": 0.4}]}]}, "the score is below 0.4"),
    ],
)
def test_words__labels_of_the_dictionary__plain_english(condition: Any, sentence: str) -> None:
    assert words(condition) == sentence


@pytest.mark.parametrize(
    ("condition", "path", "sentence"),
    [
        (None, "condition", "A condition is a JSON object."),
        ({"all": []}, "condition.all", "This must be a list of conditions with at least one."),
        ({"all": [{"field": "nope"}]}, "condition.all[0].field", "Choose a field of the model."),
        ({"field": ["text"]}, "condition.field", "Choose a field of the model."),
        ({"field": "feature:nope", "is": "missing"}, "condition.field", "Choose a field of the model."),
        (
            {"field": "score", "is": {}},
            "condition.is",
            "The score can be asked: is above, is below, is between.",
        ),
        ({"field": "score", "is": "above", "value": "1"}, "condition.value", "This must be a number."),
        (
            {"field": "score", "is": "above", "value": 10**400},
            "condition.value",
            "This must be a finite number.",
        ),
        ({"field": "score", "is": "above", "value": True}, "condition.value", "This must be a number."),
        (
            {"field": "score", "is": "between", "value": [2, 1]},
            "condition.value",
            "The lowest value is above the highest.",
        ),
        ({"field": "surface", "is": "one_of", "value": []}, "condition.value", "Give at least one value."),
        (
            {"field": "feature:alone", "is": "equals", "value": "yes"},
            "condition.value",
            "This must be yes or no.",
        ),
        ({"field": "text", "is": "contains", "value": "!?"}, "condition.value", "Give at least one word."),
        (
            {"field": "text", "is": "contains", "value": "a\ud800"},
            "condition.value",
            "Text must not contain NUL or half a surrogate pair.",
        ),
        ({"field": "text", "is": "missing", "odd": 1}, "condition.odd", "There is no such field here."),
        (
            {"field": "text", "is": "matches", "value": "a", "case_sensitive": "no"},
            "condition.case_sensitive",
            "This must be true or false.",
        ),
    ],
)
def test_read__something_wrong__says_where(condition: Any, path: str, sentence: str) -> None:
    assert refusals(condition) == {path: sentence}


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("(?=a)b", "Patterns cannot look ahead or behind (?=, ?!, ?<). Use two conditions with AND instead."),
        (
            "(?<!a)b",
            "Patterns cannot look ahead or behind (?=, ?!, ?<). Use two conditions with AND instead.",
        ),
        (r"(a)\1", r"Patterns cannot refer back to a group (\1)."),
        ("a{1001}", "A repetition count in this pattern is too large: at most 1,000 in all."),
        ("((a{100}){100}){100}", "A repetition count in this pattern is too large: at most 1,000 in all."),
        (r"(\pL{1,300}){3}", conditions._TOO_LARGE),
        ("(.{30}x){10}", conditions._TOO_LARGE),
        ("[a", "A “[” in this pattern is never closed."),
        ("(a", "A “(” in this pattern is never closed."),
        ("a)", "A “)” in this pattern was never opened."),
        ("*", "There is nothing that “*” could repeat."),
        ("a\\", "The pattern ends in a backslash."),
        (r"\y", r"The pattern has an escape that means nothing here: “\y”."),
        (".*", "This pattern fits every text."),
        ("", "Give a text."),
        ("a" * 301, "A pattern has at most 300 characters."),
    ],
)
def test_pattern__not_of_re2_or_too_large__a_sentence(pattern: str, sentence: str) -> None:
    assert refusals({"field": "text", "is": "matches", "value": pattern}) == {"condition.value": sentence}


def test_size__deep_or_wide__refused() -> None:
    leaf: Any = {"field": "text", "is": "missing"}
    deep = leaf
    for _ in range(1_000):
        deep = {"all": [deep]}

    assert refusals(deep) == {"condition.all[0].all[0].all[0].all[0]": "Conditions nest at most 4 deep."}
    assert refusals({"all": [leaf] * 100_000}) == {
        "condition.all[20]": "A condition has at most 20 comparisons."
    }


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(x+x+)+y", "(a?){50}a{50}b"])
def test_match__evil_pattern__text_of_any_length_is_cut(pattern: str) -> None:
    """RE2 goes over the text once; program and text are bounded, and so is what a match can take."""
    program = conditions.compiled(pattern, case_sensitive=False)

    assert program._regexp.ProgramSize() <= conditions.PROGRAM_MAX
    assert not holds({"field": "text", "is": "matches", "value": "b$"}, text="a" * 20_000 + "b")
    assert holds({"field": "text", "is": "matches", "value": "b$"}, text="a" * 19_999 + "b")
    # A backtracking engine would take 2^10000 steps over this and never come back.
    assert not holds({"field": "text", "is": "matches", "value": "(a+)+!"}, text="a" * 10_000)


_leaves = st.one_of(
    st.builds(
        lambda v: {"field": "text", "is": "contains", "value": v}, st.sampled_from(["good", "not bad"])
    ),
    st.builds(lambda v: {"field": "score", "is": "below", "value": v}, st.sampled_from([0.2, 0.5, 0.8])),
    st.builds(lambda v: {"field": "surface", "is": "equals", "value": v}, st.sampled_from(["app", "web"])),
    st.just({"field": "feature:age", "is": "missing"}),
)
_trees = st.recursive(
    _leaves,
    lambda parts: st.builds(
        lambda word, some: {word: some},
        st.sampled_from(["all", "any"]),
        st.lists(parts, min_size=1, max_size=2),
    ),
    max_leaves=5,
)
_rows = st.builds(
    row,
    text=st.sampled_from(["", "good", "not bad", "not good"]),
    score=st.sampled_from([0.1, 0.4, 0.9]),
    surface=st.sampled_from(["", "app", "web"]),
    age=st.sampled_from([None, 3]),
)


@given(_trees, st.lists(_rows, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_rows_of_a_form__any_tree__mean_the_same(tree: Any, cases: list[Row]) -> None:
    try:
        condition = parse(tree, DICTIONARY)
    except Invalid:
        return
    rows = rows_of(condition.root, most=20)
    assert parse(condition.json, DICTIONARY).root == condition.root
    if rows is None:
        return

    again = from_rows([(begins, conditions._json_of(comparison)) for begins, comparison in rows])
    for case in cases:
        assert parse(again, DICTIONARY).matches(case, "positive") == condition.matches(case, "positive")


@pytest.mark.parametrize(
    ("operator", "kind", "typed", "value", "shown"),
    [
        ("above", "number", "2.5", 2.5, "2.5"),
        ("between", "score", "2 to 5", [2, 5], "2 | 5"),
        ("between", "score", "2 | 5", [2, 5], "2 | 5"),
        ("one_of", "category", "S | C", ["S", "C"], "S | C"),
        ("equals", "flag", "Yes", True, "true"),
        ("above", "number", "many", "many", "many"),
        ("above", "number", "1,000", "1,000", "1,000"),
        ("missing", "text", "ignored", None, ""),
    ],
)
def test_value__typed_and_shown__goes_both_ways(
    operator: str, kind: str, typed: str, value: Any, shown: str
) -> None:
    assert value_from_text(typed, operator, kind) == value
    stored = tuple(value) if isinstance(value, list) else value
    assert value_text(conditions.Comparison("score", operator, stored)) == shown
