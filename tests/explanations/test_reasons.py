"""Reasons: grouped, in points, in words, and always adding up."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsportal.explanations.models import Explanation, Space
from opsportal.explanations.selectors.reasons import (
    LEVELS,
    NO_WORDING,
    NOT_RELEASED,
    TOGETHER,
    Reasons,
    points_per_unit,
    reasons_of,
    sentences_for_customer,
    sigmoid,
    signed_points,
)
from opsportal.predictions.dictionary import Value, read_dictionary

DICTIONARY = read_dictionary(
    {
        "features": [
            {
                "name": "sex",
                "label": "Sex",
                "type": "category",
                "categories": ["female", "male"],
                "tellable": True,
                "up": "being {value} speaks for survival",
                "down": "being {value} speaks against survival",
            },
            {
                "name": "age",
                "label": "Age",
                "suffix": " years",
                "low": 0,
                "high": 80,
                "tellable": True,
                "up": "an age of {value} speaks for survival",
            },
            {"name": "deck_a", "type": "flag", "group": "deck", "level": "A deck"},
            {"name": "deck_b", "type": "flag", "group": "deck", "level": "B deck"},
            {"name": "fare", "label": "Fare", "prefix": "£", "group": "class"},
            {"name": "pclass", "label": "Class", "group": "class"},
            {"name": "position", "label": "Position", "constant": 1},
            {"name": "note", "type": "category", "categories": ["x"], "withheld": "It is a fraud signal."},
        ],
        "groups": [
            {"name": "deck", "label": "Deck", "tellable": True, "up": "the {value} was near the boats"},
            {"name": "class", "label": "Ticket", "down": "a cheap ticket"},
        ],
    }
)
VALUES: dict[str, Value] = {
    "sex": "female",
    "age": 15,
    "deck_a": False,
    "deck_b": True,
    "fare": "00701",
    "pclass": 3,
    "position": 4,
    "note": "y",
}


def _explained(base: float = -0.5, space: str = Space.LOG_ODDS, /, **attributions: float) -> Explanation:
    margin = base + math.fsum(attributions.values())
    return Explanation(
        space=space,
        base_value=base,
        margin=margin,
        residual=0.0,
        attributions=[[name, x] for name, x in attributions.items()],
    )


def _reasons(**attributions: float) -> Reasons:
    return reasons_of(_explained(**attributions), DICTIONARY, VALUES)


def test_reasons__one_hot_columns__are_one_reason_with_the_active_level() -> None:
    deck = _reasons(deck_a=0.25, deck_b=0.5).all

    assert [(reason.name, reason.label, reason.value, reason.attribution) for reason in deck] == [
        ("deck", "Deck", "B deck", 0.75)
    ]
    assert deck[0].kind == LEVELS
    assert deck[0].words == "the B deck was near the boats"
    assert [member.attribution for member in deck[0].members] == [0.25, 0.5]


def test_reasons__correlated_features__are_summed_and_list_their_members_as_stored() -> None:
    (ticket,) = _reasons(fare=-1.5, pclass=0.5).all

    assert (ticket.kind, ticket.attribution, ticket.direction) == (TOGETHER, -1.0, "down")
    assert ticket.value == "Fare £00701, Class 3"
    assert [(member.label, member.value) for member in ticket.members] == [
        ("Fare", "£00701"),
        ("Class", "3"),
    ]


def test_reasons__named_counts__are_no_levels() -> None:
    family = {"label": "Relatives", "group": "family", "high": 8}
    dictionary = read_dictionary(
        {
            "features": [
                {"name": "sibsp", "level": "siblings", **family},
                {"name": "parch", "level": "parents", **family},
            ],
            "groups": [{"name": "family", "label": "Family"}],
        }
    )

    (reason,) = reasons_of(_explained(sibsp=0.5, parch=0.25), dictionary, {"sibsp": 0, "parch": 1}).all

    assert (reason.kind, reason.value) == (TOGETHER, "Relatives 0, Relatives 1")


def test_reasons__several__come_strongest_first_with_the_rest_summed() -> None:
    reasons = _reasons(age=0.25, sex=2.0, pclass=-1.0)

    assert [reason.name for reason in reasons.all] == ["sex", "class", "age"]
    rest = reasons.rest(1)
    assert rest is not None
    assert (rest.label, rest.attribution) == ("2 other reasons", -0.75)
    assert reasons.rest(3) is None
    assert reasons.three_words == "sex, age up; ticket down"


def test_reasons__a_constant__shows_what_the_model_got_and_what_was_logged() -> None:
    (position,) = _reasons(position=0.5).all

    assert position.value == "1"
    assert position.badges == ("held constant, logged as 4",)


def test_reasons__odd_values__carry_badges_in_words() -> None:
    values: dict[str, Value] = VALUES | {"age": None, "sex": "unknown"}
    reasons = reasons_of(_explained(age=1.0, sex=0.5), DICTIONARY, values)

    assert [(reason.value, reason.badges) for reason in reasons.all] == [
        ("not provided", ("missing",)),
        ("unknown", ("never seen",)),
    ]


def test_word_a_reason__category_and_whole_number__reads_like_speech() -> None:
    dictionary = read_dictionary(
        {
            "features": [
                {
                    "name": "pclass",
                    "type": "category",
                    "categories": {"3": "third class"},
                    "up": "travelling in {value}",
                },
                {"name": "age", "suffix": " years", "up": "an age of {value}"},
                {"name": "fare", "prefix": "£", "up": "a fare of {value}"},
            ]
        }
    )
    values: dict[str, Value] = {"pclass": 3, "age": 13.0, "fare": "00701.0"}

    reasons = reasons_of(_explained(pclass=3.0, age=2.0, fare=1.0), dictionary, values)

    assert [(reason.value, reason.words) for reason in reasons.all] == [
        ("3 – third class", "travelling in third class"),
        ("13.0 years", "an age of 13 years"),
        ("£00701.0", "a fare of £00701.0"),
    ]


def test_tell_the_customer__only_released_and_worded_reasons__and_how_many_are_not() -> None:
    reasons = _reasons(sex=2.0, age=-1.0, note=0.75, pclass=-0.5, deck_b=0.25)

    assert sentences_for_customer(reasons) == [
        "Being female speaks for survival.",
        "The B deck was near the boats.",
        "3 further reasons may not be told to the customer.",
    ]
    assert [(reason.name, reason.withheld) for reason in reasons.for_customer.untold] == [
        ("age", NO_WORDING),
        ("note", "It is a fraud signal."),
        ("class", NOT_RELEASED),
    ]


def test_reasons__without_effect__are_neither_told_nor_counted() -> None:
    reasons = _reasons(sex=0.0, note=0.0)

    assert sentences_for_customer(reasons) == []
    assert reasons.three_words == ""
    assert [reason.pushed for reason in reasons.all] == ["had no effect", "had no effect"]


def test_reasons__of_a_ranker__have_no_points() -> None:
    explained = _explained(2.0, Space.SCORE, age=-1.25)

    reasons = reasons_of(explained, DICTIONARY, VALUES)

    assert (reasons.base_percent, reasons.margin_percent) == (None, None)
    assert (reasons.all[0].points, reasons.all[0].effect) == (None, "−1.25")


def test_reasons__of_a_forest__are_points_as_they_are() -> None:
    explained = _explained(0.5, Space.PROBABILITY, age=0.25, sex=-0.125)

    reasons = reasons_of(explained, DICTIONARY, VALUES)

    assert [reason.points for reason in reasons.all] == [25.0, -12.5]
    assert (reasons.base_percent, reasons.margin_percent) == (50.0, 62.5)
    assert not reasons.rescaled


def test_reasons__without_numbers__are_refused() -> None:
    with pytest.raises(ValueError, match="no numbers"):
        reasons_of(Explanation(), DICTIONARY, VALUES)


@pytest.mark.parametrize(
    ("points", "text"),
    [(27.44, "+27.4"), (-3.06, "−3.1"), (0.0, "0.0"), (0.04, "+0.04"), (-0.001, "−0.00"), (0.05, "+0.1")],
)
def test_write_points__any_size__keeps_the_direction(points: float, text: str) -> None:
    assert signed_points(points) == text


ATTRIBUTIONS = st.dictionaries(
    st.sampled_from([feature.name for feature in DICTIONARY.features]),
    st.floats(-5, 5, allow_nan=False),
    min_size=1,
)


@given(base=st.floats(-6, 6), attributions=ATTRIBUTIONS)
def test_group__any_attributions__keeps_their_sum(base: float, attributions: dict[str, float]) -> None:
    reasons = reasons_of(_explained(base, **attributions), DICTIONARY, VALUES)

    assert math.fsum(reason.attribution for reason in reasons.all) == pytest.approx(
        math.fsum(attributions.values()), abs=1e-12
    )
    top, rest = reasons.top(2), reasons.rest(2)
    assert math.fsum([*(r.attribution for r in top), rest.attribution if rest else 0.0]) == pytest.approx(
        reasons.margin - reasons.base, abs=1e-12
    )


@given(base=st.floats(-6, 6), attributions=ATTRIBUTIONS)
def test_points__any_attributions__lead_from_the_base_to_the_final_chance(
    base: float, attributions: dict[str, float]
) -> None:
    reasons = reasons_of(_explained(base, **attributions), DICTIONARY, VALUES)

    assert reasons.base_percent is not None
    assert reasons.margin_percent is not None
    assert math.fsum(reason.points or 0 for reason in reasons.all) == pytest.approx(
        reasons.margin_percent - reasons.base_percent, abs=1e-6
    )
    for reason in reasons.all:
        assert (reason.points or 0) * reason.attribution >= 0


@given(middle=st.floats(-20, 20), distance=st.floats(-1e-5, 1e-5))
def test_points__base_next_to_margin__use_the_slope(middle: float, distance: float) -> None:
    scale = points_per_unit(Space.LOG_ODDS, middle - distance / 2, middle + distance / 2)

    slope = 100 * sigmoid(middle) * (1 - sigmoid(middle))
    assert scale == pytest.approx(slope, rel=1e-3, abs=1e-6)
