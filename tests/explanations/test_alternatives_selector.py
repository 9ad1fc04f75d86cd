"""What is said of the changes that would turn a decision."""

from typing import Any

import pytest
from django.template.loader import render_to_string
from django.urls import reverse

from opsportal.explanations.models import Explanation, Incident, Method, State
from opsportal.explanations.selectors.alternatives import CAUTION, alternatives_of, changes_of
from opsportal.predictions.dictionary import read_dictionary
from opsportal.predictions.models import ModelVersion, Prediction
from tests.explanations.making import AYOUB, TITANIC_DICTIONARY, explained, make_prediction, make_version

pytestmark = pytest.mark.django_db


@pytest.fixture
def ayoub() -> Prediction:
    """Miss Ayoub, who survives by the model at any threshold from 0 to 0.87."""
    return make_prediction(make_version(), prediction_id="titanic-690")


def render(prediction: Prediction, alternatives: Any) -> str:
    return render_to_string(
        "explanations/_alternatives.html", {"alternatives": alternatives, "prediction": prediction}
    )


def counterfactual(**detail: Any) -> Explanation:
    return Explanation(method=Method.COUNTERFACTUAL, state=State.READY, detail=detail)


def test_describe__what_the_worker_found__before_after_and_the_decision(ayoub: Prediction) -> None:
    explanation = explained(ayoub, method=Method.COUNTERFACTUAL)

    found = alternatives_of(explanation, ayoub.version, ayoub.version.features, ayoub.values)
    page = render(ayoub, found)

    (alternative,) = found.found
    assert (alternative.place, alternative.decision, found.now) == (0, "did not survive", "survived")
    assert [(change.label, change.before, change.after) for change in alternative.changes] == [
        ("Fare", "£7.2292", "£25.9292")
    ]
    assert f"{100 * alternative.score:.0f}\u00a0%" in page
    assert CAUTION in page
    assert "£25.9292" in page
    assert 'name="alternative" value="0"' in page
    assert 'value="25.9292"' not in page, "no value of the case leaves by the form"
    assert f'action="{reverse("explain-what-if", args=["titanic-690"])}"' in page


def test_describe__a_level_of_several_columns__is_one_change(ayoub: Prediction) -> None:
    columns = [{"name": f"deck_{level}", "type": "flag", "group": "deck", "level": level} for level in "AB"]
    dictionary = read_dictionary(
        {"features": columns, "groups": [{"name": "deck", "label": "Deck", "changeable": True}]}
    )
    explanation = counterfactual(
        found=[{"changes": {"deck_A": False, "deck_B": True}, "score": 0.7, "distance": 1.0}],
        target="positive",
        tried=3,
        reason="",
    )

    found = alternatives_of(explanation, ayoub.version, dictionary, {"deck_A": True, "deck_B": False})

    assert found.found[0].summary == "Deck from A to B"


def test_describe__nothing_found__shows_the_reason(ayoub: Prediction) -> None:
    explanation = counterfactual(found=[], target="negative", tried=506, reason="None of the 506 variants.")

    found = alternatives_of(explanation, ayoub.version, ayoub.version.features, ayoub.values)

    assert "None of the 506 variants." in render(ayoub, found)


def test_describe__still_searched__waits(ayoub: Prediction) -> None:
    found = alternatives_of(Explanation(), ayoub.version, ayoub.version.features, ayoub.values)

    assert found.is_waiting
    assert "being searched" in render(ayoub, found)


def test_describe__refused__says_why(ayoub: Prediction) -> None:
    refused = Explanation(state=State.REFUSED, incident=Incident.FILE, incident_detail="Another file.")

    found = alternatives_of(refused, ayoub.version, ayoub.version.features, ayoub.values)

    assert found.reason == "The model's file is not the one that was registered. Another file."


def test_describe__hostile_categories__are_text(ayoub: Prediction) -> None:
    explanation = counterfactual(
        found=[{"changes": {"embarked": "</script><img src=x>"}, "score": 0.1, "distance": 1.0}],
        target="negative",
        tried=2,
    )

    page = render(
        ayoub,
        alternatives_of(explanation, ayoub.version, ayoub.version.features, {**AYOUB, "embarked": "<b>"}),
    )

    assert "<img" not in page
    assert "<b>" not in page


def test_describe__a_ranker_without_threshold__names_no_decision() -> None:
    version = ModelVersion(dictionary={**TITANIC_DICTIONARY, "link": "identity"}, threshold=None)
    explanation = counterfactual(found=[], target="", tried=0, reason="It ranks.")

    found = alternatives_of(explanation, version, version.features, AYOUB)

    assert (found.now, found.reason) == ("", "It ranks.")


@pytest.mark.parametrize("place", ["", "1", "-1", "x", "٣", "9999", "0 "])
def test_take__a_place_that_is_none__gives_nothing(ayoub: Prediction, place: str) -> None:
    explained(ayoub, method=Method.COUNTERFACTUAL)

    assert changes_of(ayoub, place) is None


def test_take__the_first__gives_the_changes_as_stored(ayoub: Prediction) -> None:
    explanation = explained(ayoub, method=Method.COUNTERFACTUAL)

    assert changes_of(ayoub, "0") == explanation.detail["found"][0]["changes"] == {"fare": 25.9292}


def test_take__nothing_was_searched__gives_nothing(ayoub: Prediction) -> None:
    assert changes_of(ayoub, "0") is None
