"""Two predictions side by side: the differences add up, and both looks are recorded."""

import math
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from opsportal.accounts.models import User
from opsportal.events.models import Event
from opsportal.explanations.models import Explanation, Space
from opsportal.explanations.selectors.comparing import Comparison, compare, side_of, written_score
from opsportal.explanations.selectors.reasons import sigmoid
from opsportal.predictions.dictionary import FeatureDictionary, Value, read_dictionary
from opsportal.predictions.models import Model, ModelVersion, Prediction
from tests.explanations.making import NOON, VESTROM, make_prediction, make_version

ClientFor = Callable[[User], Client]
NAMES = ["age", "sex", "deck_a", "deck_b", "fare"]
DICTIONARY = read_dictionary(
    {
        "positive": "granted",
        "negative": "refused",
        "features": [
            {"name": "age", "label": "Age"},
            {"name": "sex", "label": "Sex", "type": "category"},
            {"name": "deck_a", "type": "flag", "group": "deck", "level": "A"},
            {"name": "deck_b", "type": "flag", "group": "deck", "level": "B"},
            {"name": "fare", "label": "Fare"},
        ],
        # A group may have the name of a feature.
        "groups": [{"name": "deck", "label": "Deck"}],
    }
)
VALUES: dict[str, Value] = {"age": 15, "sex": "female", "deck_a": False, "deck_b": True, "fare": 7.25}
effects = st.lists(st.floats(-20, 20), min_size=5, max_size=5)


def _explained(
    attributions: list[float], *, base: float = -0.5, space: str = Space.LOG_ODDS, residual: float = 0.0
) -> Explanation:
    margin = base + math.fsum(attributions) + residual
    return Explanation(
        space=space,
        base_value=base,
        margin=margin,
        residual=residual,
        score=sigmoid(margin) if space == Space.LOG_ODDS else margin,
        attributions=[list(pair) for pair in zip(NAMES, attributions, strict=True)],
    )


def _compared(
    before: Explanation,
    after: Explanation,
    *,
    dictionary: FeatureDictionary = DICTIONARY,
    versions: tuple[int, int] = (1, 1),
    models: tuple[int, int] = (1, 1),
    changed: dict[str, Value] | None = None,
) -> Comparison:
    sides = []
    for explanation, version, model, values in zip(
        (before, after), versions, models, (VALUES, VALUES | (changed or {})), strict=True
    ):
        row = ModelVersion(pk=version, model=Model(pk=model, name=f"m{model}"), threshold=0.5)
        sides.append(side_of(explanation, Prediction(version=row), dictionary, values))
    return compare(*sides)


@given(first=effects, second=effects)
def test_differences__same_version__add_up_to_the_difference_of_the_scores(
    first: list[float], second: list[float]
) -> None:
    before, after = _explained(first), _explained(second)
    found = _compared(before, after)

    difference = 100 * (sigmoid(after.margin or 0) - sigmoid(before.margin or 0))
    assert found.total == pytest.approx(difference, abs=1e-9)
    assert math.fsum(row.difference or 0 for row in found.rows) == pytest.approx(difference, abs=1e-6)
    assert found.rounding == pytest.approx(0, abs=1e-6)
    assert found.start == 0


@given(first=effects, second=effects, bases=st.tuples(st.floats(-3, 3), st.floats(-3, 3)))
def test_differences__other_starting_point__add_up_with_it(
    first: list[float], second: list[float], bases: tuple[float, float]
) -> None:
    before, after = _explained(first, base=bases[0]), _explained(second, base=bases[1])
    found = _compared(before, after, versions=(1, 2))

    assert found.start == pytest.approx(100 * (sigmoid(bases[1]) - sigmoid(bases[0])), abs=1e-9)
    parts = [found.start or 0, *(row.difference or 0 for row in found.rows)]
    assert math.fsum(parts) == pytest.approx(found.total, abs=1e-6)


@given(first=effects, second=effects)
def test_differences__swapped__are_the_same_with_the_other_sign(
    first: list[float], second: list[float]
) -> None:
    before, after = _explained(first), _explained(second)
    there, back = _compared(before, after), _compared(after, before)

    assert {row.label: row.difference for row in there.rows} == {
        row.label: -(row.difference or 0) for row in back.rows
    }
    sizes = [row.size for row in there.rows]
    assert sizes == sorted(sizes, reverse=True)


def test_differences__groups_and_values__are_those_of_the_reasons() -> None:
    found = _compared(
        _explained([0.0, 0.0, 0.1, 0.2, 0.0]),
        _explained([0.0, 0.0, 0.5, 0.4, 0.0]),
        changed={"deck_a": True, "deck_b": False},
    )

    (deck, *others) = found.rows
    assert (deck.label, deck.differs) == ("Deck", True)
    assert [(deck.before.value, deck.after.value)] == [("B", "A")] if deck.before and deck.after else False
    assert not any(row.differs for row in others)
    assert found.changed == (deck,)


def test_differences__no_probability__are_in_the_score_itself() -> None:
    found = _compared(
        _explained([1, 0, 0, 0, 0], space=Space.SCORE), _explained([3.5, 0, 0, 0, 0], space=Space.SCORE)
    )

    assert not found.in_points
    assert (found.total, found.total_effect) == (2.5, "+2.5")
    assert found.headline == "2.5 higher"
    assert found.made_of == "The difference is made of Age +2.5."


def test_differences__different_units__are_not_subtracted() -> None:
    found = _compared(
        _explained([1, 0, 0, 0, 0], space=Space.SCORE), _explained([1, 0, 0, 0, 0]), models=(1, 2)
    )

    assert found.total is found.start is None
    assert {row.difference for row in found.rows} == {None}
    assert "different units" in found.made_of
    assert not found.one_model


def test_words__name_the_three_largest_and_the_rest() -> None:
    found = _compared(_explained([0, 0, 0, 0, 0]), _explained([2, -1, 0.5, 0, 0.25]))

    names = re.findall(r"(?:made of |, | and )([A-Za-z ]+) [+−]", found.made_of)
    assert found.headline == f"{found.total_effect.lstrip('+')} points higher"
    assert names == ["Age", "Sex", "Deck", "everything else"]
    same = _compared(_explained([0] * 5), _explained([0] * 5))
    assert (same.headline, same.made_of) == ("The same score", "")


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (0.9637, "96.4\u00a0%"),
        (0.99996, ">\u00a099.9\u00a0%"),
        (0.0001, "<\u00a00.1\u00a0%"),
        (1, "100.0\u00a0%"),
    ],
)
def test_score__written__never_certain_that_is_not(score: float, text: str) -> None:
    assert written_score(score, in_points=True) == text


# -- The page ---------------------------------------------------------------------------------


@pytest.fixture
def pair(db: None) -> tuple[Prediction, Prediction]:
    """Two passengers of one version."""
    version = make_version()
    first = make_prediction(version, prediction_id="titanic-690", customer_id="C-1")
    second = make_prediction(version, prediction_id="titanic-15", customer_id="C-1", **VESTROM)
    return first, second


def _compare(client: Client, other: str, **more: Any) -> Any:
    return client.get("/explain/titanic-690/compare/", {"with": other}, **more)


def test_compare__two_predictions__side_by_side_and_both_looks_recorded(
    client_for: ClientFor, ana: User, pair: tuple[Prediction, Prediction], worker: None
) -> None:
    response = _compare(client_for(ana), "titanic-15")

    comparison = response.context["page"].comparison
    assert (comparison.after.prediction, comparison.before.prediction) == pair
    assert comparison.total == pytest.approx(100 * (pair[0].score - pair[1].score), abs=1e-6)
    assert math.fsum(row.difference for row in comparison.rows) == pytest.approx(comparison.total, abs=1e-6)
    body = response.content.decode()
    assert "Both come from the same model file" in body
    event = Event.objects.get()
    assert event.after == {"predictions": [pair[0].pk, pair[1].pk]}
    assert event.summary == "Compared prediction titanic-690 with titanic-15"


def test_compare__other_version__names_the_change_of_the_model(
    client_for: ClientFor, ana: User, pair: tuple[Prediction, Prediction], worker: None
) -> None:
    make_prediction(make_version(version="2"), prediction_id="later")
    body = _compare(client_for(ana), "later").content.decode()

    assert "The model changed in between: Survival model 2 and 1." in body
    assert "Both come from the same model file" not in body


def test_compare__without_another__offers_the_earlier_ones_of_the_customer(
    client_for: ClientFor, ana: User, pair: tuple[Prediction, Prediction]
) -> None:
    version = pair[0].version
    earlier = make_prediction(
        version, prediction_id="earlier", customer_id="C-1", predicted_at=NOON - timedelta(days=30)
    )
    make_prediction(
        version, prediction_id="stranger", customer_id="C-2", predicted_at=NOON - timedelta(days=30)
    )
    response = client_for(ana).get("/explain/titanic-690/compare/")

    assert response.context["page"].earlier == [earlier]
    assert 'href="/explain/titanic-690/compare/?with=earlier"' in response.content.decode()
    assert Event.objects.get().after == {"predictions": [pair[0].pk, earlier.pk]}
    assert Explanation.objects.count() == 0


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ("", "Give the ID of another prediction."),
        ("nobody", "There is no prediction with this ID."),
        ("titanic-690", "This is the prediction itself. Give the ID of another one."),
        ("x" * 129, "A prediction ID has at most 128 characters."),
        ("<script>alert(1)</script>", "There is no prediction with this ID."),
    ],
)
def test_compare__id_that_is_none__a_sentence_at_the_field_and_the_text_stays(
    client_for: ClientFor, ana: User, pair: tuple[Prediction, Prediction], other: str, sentence: str
) -> None:
    response = _compare(client_for(ana), other)

    assert response.status_code == 400
    assert response.context["page"].form.errors == {"with": [sentence]}
    assert response.context["page"].form["with"].value() == other
    assert "<script>alert" not in response.content.decode()


def test_compare__still_computing__polls_without_a_look(
    client_for: ClientFor,
    ana: User,
    pair: tuple[Prediction, Prediction],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("opsportal.explanations.services.asking.PATIENCE_SECONDS", 0)
    client = client_for(ana)
    page = _compare(client, "titanic-15")
    poll = _compare(client, "titanic-15", headers={"HX-Request": "true"})

    assert page.context["page"].is_computing
    assert 'hx-get="/explain/titanic-690/compare/?with=titanic-15"' in page.content.decode()
    assert (poll.status_code, poll.content) == (204, b"")
    assert Event.objects.count() == 1


def test_compare__one_failed_a_check__says_which(
    client_for: ClientFor, ana: User, pair: tuple[Prediction, Prediction], worker: None
) -> None:
    Prediction.objects.filter(pk=pair[1].pk).update(score=0.5)
    response = _compare(client_for(ana), "titanic-15")

    assert response.context["page"].comparison is None
    assert "titanic-15: The score computed now differs" in response.content.decode()


def test_compare__without_the_role__does_not_exist(
    client_for: ClientFor, mallory: User, pair: tuple[Prediction, Prediction]
) -> None:
    assert _compare(client_for(mallory), "titanic-15").status_code == 404
    assert Event.objects.count() == Explanation.objects.count() == 0
