"""What is said of LIME's opinion on SHAP's reasons."""

import json
from typing import Any

import pytest
from django.template.loader import render_to_string

from opsportal.explanations.models import Explanation, Incident, Method, Space, State
from opsportal.explanations.selectors import second_opinion as selector
from opsportal.explanations.selectors.second_opinion import second_opinion
from opsportal.predictions.dictionary import FeatureDictionary, Value, read_dictionary
from opsportal.predictions.models import Prediction
from tests.explanations.making import AYOUB, explained, make_prediction, make_version

NAMES = ["a", "b", "c", "d", "e", "f", "g"]
LETTERS = read_dictionary(
    {"features": [{"name": name, "label": name.upper(), "type": "number"} for name in NAMES]}
)
VALUES: dict[str, Value] = dict.fromkeys(NAMES, 1)
TEXT = read_dictionary({"features": [{"name": "comment", "label": "Comment", "type": "text"}]})


def shap(*xs: float, names: list[str] = NAMES, space: str = Space.LOG_ODDS, **more: Any) -> Explanation:
    """SHAP's explanation with these attributions."""
    return Explanation(
        method=Method.SHAP,
        state=State.READY,
        space=space,
        base_value=0.0,
        margin=sum(xs),
        attributions=[list(pair) for pair in zip(names, xs, strict=False)],
        **more,
    )


def lime(
    *pushes: float, names: list[str] = NAMES, r2: float = 0.41, verdict: str = "fair", **more: Any
) -> Explanation:
    """LIME's explanation with these pushes."""
    rules = [[name, f"{name} at most 3", push] for name, push in zip(names, pushes, strict=False)]
    return Explanation(
        method=Method.LIME,
        state=State.READY,
        space=Space.LOG_ODDS,
        engine="lime",
        attributions=[list(pair) for pair in zip(names, pushes, strict=False)],
        detail={"r2": r2, "samples": 5000, "rules": rules, "verdict": verdict},
        **more,
    )


def test_compare__the_same_order_and_direction__confirms() -> None:
    found = second_opinion(
        shap(7, -6, 5, -4, 3, -2, 1), lime(0.7, -0.6, 0.5, -0.4, 0.3, -0.2, 0.1), LETTERS, VALUES
    )

    assert found.verdict == selector.CONFIRMS
    assert found.sentence == (
        "LIME agrees on 5 of the 5 strongest reasons; the direction agrees on 5 of 5; fit fair (R² 0.41)."
    )


def test_compare__four_shared_reasons__are_counted_with_their_directions() -> None:
    found = second_opinion(
        shap(7, -6, 5, -4, 3, -2, 1), lime(0.7, -0.6, 0.5, 0.4, 0.1, -0.2, 0.01), LETTERS, VALUES
    )

    assert (found.shared, found.compared, found.same_direction) == (4, 5, 3)
    assert found.verdict == selector.PARTLY
    assert found.sentence == (
        "LIME agrees on 4 of the 5 strongest reasons; the direction agrees on 3 of 4; fit fair (R² 0.41)."
    )


def test_compare__every_direction_reversed__differs() -> None:
    found = second_opinion(shap(7, -6, 5, -4, 3, -2, 1), lime(-7, 6, -5, 4, -3, 2, -1), LETTERS, VALUES)

    assert found.verdict == selector.DIFFERS
    assert {row.agreement for row in found.rows} == {"SHAP up, LIME down", "SHAP down, LIME up"}


@pytest.mark.parametrize(
    ("r2", "verdict", "shown"),
    [
        (0.2999, selector.INCONCLUSIVE, "0.29"),
        (0.3, selector.CONFIRMS, "0.30"),
        (0.29, selector.INCONCLUSIVE, "0.29"),
    ],
)
def test_compare__a_poor_fit__is_inconclusive_whatever_the_reasons(
    r2: float, verdict: str, shown: str
) -> None:
    found = second_opinion(
        shap(7, -6, 5, -4, 3, -2, 1), lime(7, -6, 5, -4, 3, -2, 1, r2=r2, verdict="weak"), LETTERS, VALUES
    )

    assert found.verdict == verdict
    assert f"R² {shown}" in found.sentence


def test_compare__few_reasons__asks_for_the_stronger_half() -> None:
    found = second_opinion(shap(3, 2, 1, names=["a", "b", "c"]), lime(1, 3, 2), LETTERS, VALUES)

    assert found.compared == 2, "of three reasons any two share one"
    assert found.shared == 1


def test_compare__a_group__counts_as_one_reason_with_its_sum() -> None:
    dictionary = read_dictionary(
        {
            "features": [
                {"name": "a", "label": "A", "group": "both"},
                {"name": "b", "label": "B", "group": "both"},
                {"name": "c", "label": "C"},
            ],
            "groups": [{"name": "both", "label": "A and B"}],
        }
    )

    found = second_opinion(shap(2, -1, 0.5), lime(0.25, -0.125, -0.5), dictionary, VALUES)

    rows = {row.label: row for row in found.rows}
    assert list(rows) == ["A and B", "C"]
    assert rows["A and B"].lime == "+12.5"
    assert rows["A and B"].rule == "a at most 3; b at most 3"
    assert (rows["A and B"].shap_rank, rows["A and B"].lime_rank) == (1, 2)


def test_compare__what_lime_cannot_see__is_named_and_not_held_against_it() -> None:
    found = second_opinion(
        shap(9, 1, 0.5, names=["position", "a", "b"]),
        lime(1, 0.5),
        read_dictionary(
            {
                "features": [
                    {"name": "position", "label": "Position", "constant": 1},
                    {"name": "a"},
                    {"name": "b"},
                ]
            }
        ),
        VALUES,
    )

    assert found.unseen == ("Position",)
    assert found.unseen_words == "LIME cannot judge what does not vary: Position."
    assert found.verdict == selector.CONFIRMS


def test_compare__a_ranker__has_no_points() -> None:
    found = second_opinion(shap(2, -1, names=["a", "b"], space=Space.SCORE), lime(1.5, -0.5), LETTERS, VALUES)

    assert not found.in_points
    assert [row.lime for row in found.rows] == ["+1.5", "−0.5"]


def test_compare__nothing_pushes__is_said() -> None:
    found = second_opinion(shap(0, 0), lime(), LETTERS, VALUES)

    assert found.verdict == selector.INCONCLUSIVE
    assert found.sentence == "Neither of the two finds anything that pushed the score."


def test_compare__a_text__by_word_whatever_its_case() -> None:
    text = "Good plot, good cast, bad end"
    spans = [[0, 4, 1.0], [11, 15, 1.0], [22, 25, -2.5], [22, 29, -1.0]]
    words = ["Good", "good", "bad", "end", "plot"]

    found = second_opinion(
        shap(-1.5, names=["comment"], detail={"words": spans}, prediction=Prediction(text=text)),
        lime(0.1, 0.2, -0.4, -0.1, 0.01, names=words),
        TEXT,
        {},
    )

    rows = {row.label: row for row in found.rows}
    assert list(rows) == ["bad", "good", "end", "plot"]
    assert rows["good"].lime == "+30.0"
    assert (rows["bad"].shap_rank, rows["good"].shap_rank) == (1, 2)
    assert found.verdict == selector.CONFIRMS


def test_compare__one_is_being_computed__waits() -> None:
    found = second_opinion(shap(1), Explanation(method=Method.LIME), LETTERS, VALUES)

    assert found.is_waiting


@pytest.mark.parametrize("refused", ["shap", "lime"])
def test_compare__one_was_refused__says_which_and_why(refused: str) -> None:
    bad = Explanation(
        state=State.REFUSED,
        incident=Incident.SCORE,
        incident_detail="The model gives 0.5 now; 0.6 was logged.",
    )

    found = second_opinion(
        bad if refused == "shap" else shap(1), bad if refused == "lime" else lime(1), LETTERS, VALUES
    )

    assert found.verdict == selector.REFUSED
    assert found.sentence.startswith(refused.upper())
    assert "0.6 was logged" in found.sentence


@pytest.mark.django_db
def test_compare__miss_ayoub__is_told_in_words_with_both_tables() -> None:
    prediction = make_prediction(make_version())
    dictionary: FeatureDictionary = prediction.version.features

    found = second_opinion(
        explained(prediction), explained(prediction, method=Method.LIME), dictionary, prediction.values
    )
    page = render_to_string("explanations/_second_opinion.html", {"opinion": found})

    assert found.verdict in {selector.CONFIRMS, selector.PARTLY}
    assert found.sentence in page
    assert "Sex is female" in page
    assert "Fare at most £7.8542" in page
    assert page.index("agrees on") < page.index("<details"), "the verdict comes first"


@pytest.mark.django_db
def test_render__hostile_values__are_text() -> None:
    label = "<script>alert(1)</script>\u2028"
    dictionary = read_dictionary(
        {"features": [{"name": "a", "label": label, "type": "category"}, {"name": "b"}]}
    )
    opinion = second_opinion(
        shap(2, 1), lime(0.2, 0.1, names=["a", "b"]), dictionary, {**AYOUB, "a": "</script><img src=x>"}
    )

    page = render_to_string("explanations/_second_opinion.html", {"opinion": opinion})

    assert "<script" not in page
    assert "<img" not in page
    assert json.dumps(label)[1:9] not in page
