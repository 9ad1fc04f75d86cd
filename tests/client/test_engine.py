"""Precedence and windows, by example and by property."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsportal.client import decide, explain, parse_rules, personalize, rank
from opsportal.client.engine import BLOCK, BOOST, EVERYWHERE, Rule

NOW = 1_000

SURFACES = ["home", "search"]
rules = st.builds(
    Rule,
    kind=st.sampled_from([BLOCK, BOOST]),
    surface=st.sampled_from([EVERYWHERE, *SURFACES]),
    factor=st.floats(0.1, 10),
    starts=st.integers(NOW - 3, NOW + 3),
    ends=st.one_of(st.just(0), st.integers(NOW - 3, NOW + 3)),
    override_id=st.integers(1, 10_000),
).map(lambda rule: rule._replace(factor=1.0) if rule.kind == BLOCK else rule)


def written(*rows: Rule) -> str:
    return ";".join(
        f"b,{row.surface},{row.starts},{row.ends},{row.override_id}"
        if row.kind == BLOCK
        else f"f,{row.surface},{row.factor!r},{row.starts},{row.ends},{row.override_id}"
        for row in rows
    )


def outcome(text: str, *, surface: str = "home", now: float = NOW) -> str | float:
    decision = decide(["P1"], surface=surface, now=now, rules={"P1": text})
    return "blocked" if decision.blocked else decision.boosts.get("P1", 1.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 1.0),
        ("b,*,0,0,1", "blocked"),
        ("b,home,0,0,1", "blocked"),
        ("b,search,0,0,1", 1.0),
        ("f,*,2.0,0,0,1", 2.0),
        # A block beats a boost, whatever its scope and place.
        ("f,home,9.0,0,0,2;b,*,0,0,1", "blocked"),
        # The boost of this surface beats the global one, even if that was approved later.
        ("f,*,9.0,0,0,3;f,home,2.0,0,0,1", 2.0),
        # Of two of the same scope the later approved, which is listed first; they do not multiply.
        ("f,home,3.0,0,0,2;f,home,2.0,0,0,1", 3.0),
        ("f,*,3.0,0,0,2;f,*,2.0,0,0,1", 3.0),
        # The window is [start, end).
        ("b,*,1000,0,1", "blocked"),
        ("b,*,1001,0,1", 1.0),
        ("b,*,0,1000,1", 1.0),
        ("b,*,0,1001,1", "blocked"),
        # Factors stay within 0.1 and 10.
        ("f,*,1e9,0,0,1", 10.0),
        ("f,*,0.0001,0,0,1", 0.1),
        ("f,*,-2,0,0,1", 0.1),
    ],
)
def test_decide__precedence_and_windows__as_documented(text: str, expected: str | float) -> None:
    assert outcome(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Kinds of a later version are left out.
        ("z,home,1,2,3;f,*,2.0,0,0,1", 2.0),
        # What was meant as a block blocks, though it cannot be read.
        ("b,home,soon,0,1", "blocked"),
        ("b", "blocked"),
        ("?", "blocked"),
        # An unreadable boost is none.
        ("f,*,much,0,0,1", 1.0),
        ("f,*,nan,0,0,1", 1.0),
        ("f,*,inf,0,0,1", 1.0),
        ("f,*,2.0", 1.0),
        (";;", 1.0),
    ],
)
def test_decide__unreadable_rules__never_raise(text: str, expected: str | float) -> None:
    assert outcome(text) == expected


@given(st.lists(rules, max_size=6), st.sampled_from(SURFACES))
def test_decide__any_rules__matches_the_words(rows: list[Rule], surface: str) -> None:
    active = [
        row
        for row in rows
        if row.surface in {EVERYWHERE, surface} and row.starts <= NOW and (row.ends == 0 or row.ends > NOW)
    ]
    boosts = [row for row in active if row.kind == BOOST]
    specific = [row for row in boosts if row.surface == surface]
    expected: str | float = 1.0
    if any(row.kind == BLOCK for row in active):
        expected = "blocked"
    elif boosts:
        expected = (specific or boosts)[0].factor

    assert outcome(written(*rows), surface=surface) == expected


@given(st.lists(rules, max_size=6), st.sampled_from(SURFACES))
def test_explain__any_rules__agrees_with_decide(rows: list[Rule], surface: str) -> None:
    found = explain(written(*rows), surface=surface, now=NOW)

    assert ("blocked" if found.blocked else found.boost) == outcome(written(*rows), surface=surface)
    assert [verdict.rule for verdict in found.verdicts] == rows
    assert [verdict.rule for verdict in found.verdicts if verdict.wins] in ([], [found.winner])
    assert all(verdict.why for verdict in found.verdicts)
    assert all(verdict.applies for verdict in found.verdicts if verdict.wins)


@given(st.lists(rules, max_size=4))
def test_parse_rules__what_was_written__comes_back(rows: list[Rule]) -> None:
    assert parse_rules(written(*rows)) == rows


@given(st.text())
def test_parse_rules__any_text__never_raises(text: str) -> None:
    for rule in parse_rules(text):
        assert rule.kind in {BLOCK, BOOST}
        assert math.isfinite(rule.factor)


def test_decide__duplicates_and_unknown_products__named_once_in_order() -> None:
    given_rules = {"B": "b,*,0,0,1", "A": "b,*,0,0,2", "F": "f,*,2.0,0,0,3", "gone": ""}

    decision = decide(["X", "A", "F", "B", "A", "gone"], surface="home", now=NOW, rules=given_rules)

    assert decision.blocked == ["A", "B"]
    assert decision.boosts == {"F": 2.0}
    assert decision.personalize is True


@pytest.mark.parametrize(
    ("purposes", "expected"),
    [
        ("", True),
        ("personalisation", False),
        ("training,sharing", True),
        ("personalisation,training,sharing", False),
        # What cannot be read might be a refusal.
        ("?", False),
        ("personalization", False),
    ],
)
def test_personalize__purposes__fails_closed(purposes: str, expected: bool) -> None:
    assert personalize(purposes) is expected


def test_rank__score_times_factor__ties_in_model_order() -> None:
    given_rules = {"slow": "f,*,2.0,0,0,7", "bad": "b,*,0,0,8"}
    items = [("fast", 0.8), ("bad", 0.9), ("slow", 0.4), ("late", 0.1)]

    ranking = rank(items, surface="home", now=NOW, rules=given_rules)

    assert ranking.blocked == ["bad"]
    assert [tuple(item) for item in ranking.items] == [
        ("fast", 0.8, 1, 2, 1.0, None),
        ("slow", 0.4, 2, 3, 2.0, 7),
        ("late", 0.1, 3, 4, 1.0, None),
    ]


def test_rank__limit__counts_what_is_shown() -> None:
    items = [("A", 3.0), ("B", 2.0), ("C", 1.0)]

    ranking = rank(items, surface="home", now=NOW, rules={"A": "b,*,0,0,1"}, limit=1)

    assert [item.product_id for item in ranking.items] == ["B"]


@given(st.lists(st.tuples(st.text(max_size=3), st.floats(0, 1e6)), max_size=20))
def test_rank__any_scores__sorted_and_complete(items: list[tuple[str, float]]) -> None:
    ranking = rank(items, surface="home", now=NOW, rules={})

    assert sorted((item.product_id, item.score) for item in ranking.items) == sorted(items)
    scores = [item.score * item.boost for item in ranking.items]
    assert scores == sorted(scores, reverse=True)
    assert [item.rank for item in ranking.items] == list(range(1, len(items) + 1))
