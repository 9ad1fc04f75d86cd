"""What-ifs: which values may be varied, what is asked, and what is shown."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.events.models import Event, OutboxMessage
from opsportal.explanations.forms_what_if import WhatIfForm
from opsportal.explanations.models import Explanation, Method, State
from opsportal.explanations.selectors.what_if import changeables, changes_in_words
from opsportal.explanations.services.what_if import PER_MINUTE
from opsportal.predictions.dictionary import Value, read_dictionary
from opsportal.predictions.models import Prediction
from tests.explanations.making import explained, make_prediction, make_version

pytestmark = pytest.mark.django_db
ClientFor = Callable[[User], Client]
HTMX = {"HX-Request": "true"}

DICTIONARY = read_dictionary(
    {
        "features": [
            {"name": "age", "label": "Age", "low": 0, "high": 80, "changeable": True},
            {"name": "class", "type": "category", "categories": ["1", "3"], "changeable": True},
            {"name": "pet", "type": "flag", "changeable": True},
            {"name": "town", "type": "category", "changeable": True},
            {"name": "deck_a", "type": "flag", "group": "deck", "level": "A deck"},
            {"name": "deck_b", "type": "flag", "group": "deck", "level": "B deck"},
            {"name": "sex", "type": "category", "categories": ["female", "male"]},
            {"name": "place", "label": "Position", "constant": 1, "changeable": True},
            {"name": "note", "type": "text", "changeable": True},
            {"name": "memo", "input": False, "changeable": True},
        ],
        "groups": [{"name": "deck", "label": "Deck", "changeable": True}],
    }
)
LOGGED: dict[str, Value] = {
    "age": 15.0,
    "class": 3,
    "pet": False,
    "town": "00701",
    "deck_a": False,
    "deck_b": True,
    "sex": "female",
}


@pytest.fixture
def ayoub(ana: User) -> Prediction:
    """A passenger whose prediction was logged."""
    return make_prediction(make_version(), prediction_id="titanic-690")


def _form(posted: dict[str, str] | None = None, logged: dict[str, Value] | None = None) -> WhatIfForm:
    values = LOGGED if logged is None else logged
    return WhatIfForm(posted, things=changeables(DICTIONARY), logged=values)


def _as_shown(form: WhatIfForm) -> dict[str, str]:
    """What a browser sends when nobody touches the form."""
    return {name: str(field.initial) for name, field in form.fields.items()}


def _labels(form: WhatIfForm) -> dict[str, str]:
    return {str(field.label): name for name, field in form.fields.items()}


def _changes(**posted: str) -> dict[str, Value]:
    """The changes of the form as shown, with these fields (by label) filled in."""
    names = _labels(_form())
    form = _form({**_as_shown(_form()), **{names[label]: text for label, text in posted.items()}})
    assert form.is_valid(), form.errors
    return form.changes()


# -- The form ---------------------------------------------------------------------------------


def test_form__fields__are_what_may_be_varied_and_the_model_sees() -> None:
    assert list(_labels(_form())) == ["Age", "class", "pet", "town", "Deck"]


def test_form__left_as_it_is__asks_for_a_change() -> None:
    form = _form(_as_shown(_form()))

    assert not form.is_valid()
    assert form.errors == {"__all__": ["Change at least one value: these are the ones that were logged."]}


@pytest.mark.parametrize(
    ("label", "text", "changes"),
    [
        ("Age", "16", {"age": 16}),
        ("Age", " 16.5 ", {"age": 16.5}),
        ("Age", "1e1", {"age": 10.0}),
        ("Age", "", {"age": None}),
        ("class", "0", {"class": "1"}),
        ("class", "", {"class": None}),
        ("pet", "true", {"pet": True}),
        ("town", "701", {"town": "701"}),
        ("town", "", {"town": None}),
        ("Deck", "0", {"deck_a": True, "deck_b": False}),
        ("Deck", "", {"deck_a": None, "deck_b": None}),
    ],
)
def test_form__one_value_changed__is_the_only_change(
    label: str, text: str, changes: dict[str, Value]
) -> None:
    found = _changes(**{label: text})

    assert found == changes
    assert [type(value) for value in found.values()] == [type(value) for value in changes.values()]


@pytest.mark.parametrize(
    "text", ["81", "-1", "abc", "nan", "inf", "1_0", "\uff11\uff12", "1,5", "9" * 500, "1e999"]
)
def test_form__number_that_cannot_be_used__a_sentence_at_the_field_and_the_text_stays(text: str) -> None:
    names = _labels(_form())
    form = _form({**_as_shown(_form()), names["Age"]: text})

    assert not form.is_valid()
    assert list(form.errors) == [names["Age"]]
    assert form[names["Age"]].value() == text


@pytest.mark.parametrize("label", ["class", "pet", "Deck"])
def test_form__choice_that_is_none__is_refused(label: str) -> None:
    names = _labels(_form())
    form = _form({**_as_shown(_form()), names[label]: "female"})

    assert form.errors[names[label]] == ["Choose one of the list."]


def test_form__logged_value_never_seen__stays_and_can_be_left() -> None:
    form = _form(logged=LOGGED | {"class": "platinum", "age": 99})
    names = _labels(form)
    posted = _as_shown(form)

    assert posted[names["class"]] == "logged"
    kept = _form(posted | {names["pet"]: "true"}, logged=LOGGED | {"class": "platinum", "age": 99})
    assert kept.is_valid(), kept.errors
    assert kept.changes() == {"pet": True}


def test_form__odd_values__come_out_as_they_went_in() -> None:
    odd = LOGGED | {"town": "a\r\nb </script>\u2028" + "x" * 9_000, "age": "1_5", "pet": None}
    form = _form(logged=odd)
    posted = _as_shown(form) | {_labels(form)["class"]: "0"}
    again = _form(posted, logged=odd)

    assert again.is_valid(), again.errors
    assert again.changes() == {"class": "1"}


def test_words__choice_of_levels__is_one_change() -> None:
    changes = changes_in_words(DICTIONARY, LOGGED, {"deck_a": True, "deck_b": False, "age": 20})

    assert [(change.label, change.before, change.after) for change in changes] == [
        ("Age", "15.0", "20"),
        ("Deck", "B deck", "A deck"),
    ]


# -- The page ---------------------------------------------------------------------------------


def _url(prediction: Prediction) -> str:
    return f"/explain/{prediction.prediction_id}/what-if/"


def _post(client: Client, prediction: Prediction, **changed: str) -> Any:
    """Send the page's form as shown, with these fields (by label) filled in."""
    form = client.get(_url(prediction)).context["page"].form
    names = _labels(form)
    shown = {name: "" if text == "None" else text for name, text in _as_shown(form).items()}
    return client.post(_url(prediction), {**shown, **{names[label]: text for label, text in changed.items()}})


def test_page__form__shows_the_logged_values_and_records_the_look(
    client_for: ClientFor, ana: User, ayoub: Prediction
) -> None:
    response = client_for(ana).get(_url(ayoub))

    page = response.context["page"]
    assert response.status_code == 200
    assert page.may_change
    assert list(_labels(page.form)) == [
        "Class",
        "Fare",
        "Siblings and spouses",
        "Parents and children",
        "Port of embarkation",
    ]
    assert page.asked is page.comparison is None
    event = Event.objects.get()
    assert (event.verb, event.subject_id, event.actor) == ("prediction.looked_up", str(ayoub.pk), ana)


def test_what_if__asked__is_stored_sent_and_recorded_without_values(
    client_for: ClientFor, ana: User, ayoub: Prediction
) -> None:
    response = _post(client_for(ana), ayoub, Class="0", Fare="512.25")

    asked = Explanation.objects.get()
    assert response.status_code == 302
    assert response["Location"] == f"{_url(ayoub)}?changes={asked.pk}"
    assert asked.changes == {"pclass": "1", "fare": 512.25}
    assert (asked.state, asked.method, asked.wanted_by) == (State.WANTED, Method.SHAP, ana)
    assert OutboxMessage.objects.get().key == str(asked.pk)
    event = Event.objects.order_by("-sequence")[0]
    assert event.verb == "prediction.what_if"
    assert event.after == {"explanation": asked.pk, "features": ["pclass", "fare"]}
    assert "512" not in event.summary


def test_what_if__computed__shows_before_and_after_that_add_up(
    client_for: ClientFor, ana: User, ayoub: Prediction, worker: None
) -> None:
    client = client_for(ana)
    response = client.get(_post(client, ayoub, Class="0")["Location"])

    page = response.context["page"]
    comparison = page.comparison
    assert comparison.one_version
    assert comparison.before.score == pytest.approx(ayoub.score, abs=1e-9)
    assert comparison.after.score > comparison.before.score
    assert comparison.total == pytest.approx(sum(row.difference for row in comparison.rows), abs=1e-6)
    assert [row.name for row in comparison.changed] == ["pclass"]
    body = response.content.decode()
    assert f"The model would say {comparison.after.score_text}" in body
    assert "It does not say that changing them would bring the outcome about." in body
    assert page.earlier[0].explanation == page.asked


def test_what_if__same_again__computed_once_but_recorded(
    client_for: ClientFor, ana: User, ayoub: Prediction
) -> None:
    client = client_for(ana)
    first, second = _post(client, ayoub, Class="0"), _post(client, ayoub, Class="0")

    assert first["Location"] == second["Location"]
    assert Explanation.objects.count() == 1
    assert Event.objects.filter(verb="prediction.what_if").count() == 2


def test_what_if__still_computing__says_so_and_polls_without_a_look(
    client_for: ClientFor, ana: User, ayoub: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opsportal.explanations.services.asking.PATIENCE_SECONDS", 0)
    client = client_for(ana)
    url = _post(client, ayoub, Class="0")["Location"]
    page = client.get(url)
    looks = Event.objects.filter(verb="prediction.looked_up").count()
    poll = client.get(url, headers=HTMX)

    assert page.context["page"].is_computing
    assert f'hx-get="{url}"' in page.content.decode()
    assert (poll.status_code, poll.content) == (204, b"")
    assert Event.objects.filter(verb="prediction.looked_up").count() == looks


def test_what_if__refused__says_which_check_failed(
    client_for: ClientFor, ana: User, ayoub: Prediction, worker: None
) -> None:
    Prediction.objects.filter(pk=ayoub.pk).update(score=0.5)
    client = client_for(ana)
    response = client.get(_post(client, ayoub, Class="0")["Location"])

    page = response.context["page"]
    assert page.comparison is None
    assert page.refused.incident == "score"
    assert "The score computed now differs from the score that was logged" in response.content.decode()


def test_what_if__wrong_number__everything_typed_stays(
    client_for: ClientFor, ana: User, ayoub: Prediction
) -> None:
    response = _post(client_for(ana), ayoub, Class="0", Fare="a lot")

    body = response.content.decode()
    assert response.status_code == 400
    assert "Write a number, such as 12 or 0.5." in body
    assert 'value="a lot"' in body
    assert Explanation.objects.count() == 0


def test_what_if__thirty_within_a_minute__waits(client_for: ClientFor, ana: User, ayoub: Prediction) -> None:
    now = clock.now()
    Explanation.objects.bulk_create(
        Explanation(
            prediction=ayoub, changes={"fare": n}, changes_digest=f"{n:064}", wanted_at=now, wanted_by=ana
        )
        for n in range(PER_MINUTE)
    )
    client = client_for(ana)
    refused = _post(client, ayoub, Class="0")

    assert refused.status_code == 429
    assert refused["Retry-After"] == "60"
    assert "nothing you typed is lost" in refused.content.decode()
    assert Explanation.objects.count() == PER_MINUTE
    with time_machine.travel(now + timedelta(seconds=61)):
        assert _post(client, ayoub, Class="0").status_code == 302


def test_what_if__alternative_that_was_found__is_asked_by_its_place(
    client_for: ClientFor, ana: User, ayoub: Prediction, worker: None
) -> None:
    found = explained(ayoub, method=Method.COUNTERFACTUAL).detail["found"]
    response = client_for(ana).post(_url(ayoub), {"alternative": "0"})

    assert response.status_code == 302
    asked = Explanation.objects.exclude(changes_digest="").get()
    assert asked.changes == found[0]["changes"]


@pytest.mark.parametrize("place", ["99", "-1", "x", "0" * 50])
def test_what_if__alternative_that_is_none__leads_to_those_there_are(
    client_for: ClientFor, ana: User, ayoub: Prediction, place: str
) -> None:
    response = client_for(ana).post(_url(ayoub), {"alternative": place})

    assert response["Location"] == "/explain/titanic-690/alternatives/"
    assert Explanation.objects.count() == 0


@pytest.mark.parametrize("changes", ["0", "x", "9" * 40, "1 OR 1=1"])
def test_what_if__of_another_prediction_or_none__does_not_exist(
    client_for: ClientFor, ana: User, ayoub: Prediction, changes: str
) -> None:
    other = make_prediction(ayoub.version)
    asked = explained(other, pclass="1")
    client = client_for(ana)

    assert client.get(_url(ayoub), {"changes": changes}).status_code == 404
    assert client.get(_url(ayoub), {"changes": asked.pk}).status_code == 404


def test_what_if__nothing_may_be_changed__says_so(client_for: ClientFor, ana: User) -> None:
    dictionary = {"features": [{"name": "age", "label": "Age"}]}
    prediction = make_prediction(
        make_version(model="fixed", dictionary=dictionary), prediction_id="p-1", score=0.5, age=15
    )
    response = client_for(ana).get(_url(prediction))

    assert response.status_code == 200
    assert "Nothing may be changed here" in response.content.decode()


def test_what_if__hostile_values__are_text(client_for: ClientFor, ana: User) -> None:
    hostile = '</script><script>alert(1)</script>"\u2028' + "x" * 9_000
    prediction = make_prediction(make_version(), score=0.5, embarked=hostile, name=hostile)
    body = client_for(ana).get(_url(prediction)).content.decode()

    assert "<script>alert" not in body
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in body


def test_what_if__without_the_role__does_not_exist(
    client_for: ClientFor, mallory: User, ayoub: Prediction
) -> None:
    client = client_for(mallory)

    assert client.get(_url(ayoub)).status_code == 404
    assert client.post(_url(ayoub), {"value-0": "0"}).status_code == 404
    assert Explanation.objects.count() == Event.objects.count() == 0


# -- Alternatives -----------------------------------------------------------------------------


def test_alternatives__computed__part_of_a_page_and_a_page_of_their_own(
    client_for: ClientFor, ana: User, ayoub: Prediction, worker: None
) -> None:
    client = client_for(ana)
    whole = client.get("/explain/titanic-690/alternatives/").content.decode()
    part = client.get("/explain/titanic-690/alternatives/", headers=HTMX).content.decode()

    assert whole.count("<h1") == 1
    assert part.lstrip().startswith('<div id="alternatives">')
    assert re.search(r'name="alternative" value="0"', part)
    assert Event.objects.filter(verb="prediction.looked_up").count() == 2


def test_alternatives__being_searched__asks_again_and_shows_nothing(
    client_for: ClientFor, ana: User, ayoub: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opsportal.explanations.services.asking.PATIENCE_SECONDS", 0)
    client = client_for(ana)
    part = client.get("/explain/titanic-690/alternatives/", headers=HTMX).content.decode()

    assert 'hx-get="/explain/titanic-690/alternatives/"' in part
    assert Explanation.objects.get().method == Method.COUNTERFACTUAL
    assert Event.objects.count() == 0
