"""Many predictions side by side: which are taken, how far it is, and what is drawn."""

import json
import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from opsportal.accounts.models import User
from opsportal.events import outbox
from opsportal.events.models import Event, OutboxMessage
from opsportal.explanations.models import Explanation, Stack, State
from opsportal.explanations.selectors import stacks
from opsportal.explanations.services import stacking
from opsportal.predictions.models import ModelVersion, Prediction
from tests.explanations.making import NOON, make_prediction, make_version

pytestmark = pytest.mark.django_db
ClientFor = Callable[[User], Client]
URL = "/explain/together/"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def version(ana: User) -> ModelVersion:
    """A version that is ready."""
    return make_version()


def _passengers(version: ModelVersion, count: int, **more: Any) -> list[Prediction]:
    """Passengers of different ages, the newest first."""
    return [
        make_prediction(
            version,
            prediction_id=f"{version.version}-{number}",
            predicted_at=NOON - timedelta(minutes=number),
            age=5 + number,
            sex=("female", "male")[number % 2],
            **more,
        )
        for number in range(count)
    ]


def _stack(client: Client, **fields: str) -> Stack:
    response = client.post(URL, fields)
    assert response.status_code == 302, response.context["page"].form.errors
    return Stack.objects.get(pk=int(response["Location"].rstrip("/").rpartition("/")[2]))


# -- Asking -----------------------------------------------------------------------------------


def test_together__one_version__stacks_the_newest_and_sends_a_message(
    client_for: ClientFor, ana: User, version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacking, "STACK_MAX", 3)
    passengers = _passengers(version, 5)
    stack = _stack(client_for(ana), model="survival")

    assert stack.prediction_pks == [passenger.pk for passenger in passengers[:3]]
    assert (stack.author, stack.version, stack.title) == (ana, version, "model survival")
    message = OutboxMessage.objects.get()
    assert (message.task, message.key) == ("explanations.explain_stack", str(stack.pk))
    event = Event.objects.get()
    assert (event.verb, event.summary) == (
        "prediction.stacked",
        "Put 3 predictions of survival 1 side by side",
    )


def test_together__a_customer__is_neither_in_the_title_nor_in_the_trail(
    client_for: ClientFor, ana: User, version: ModelVersion
) -> None:
    mine = make_prediction(version, customer_id="C-20417")
    make_prediction(version, customer_id="C-1")
    stack = _stack(client_for(ana), customer_id="C-20417", product_id="")

    assert stack.prediction_pks == [mine.pk]
    assert stack.title == "one customer"
    assert "C-20417" not in repr(list(Event.objects.values())) + repr(list(OutboxMessage.objects.values()))
    assert mine.customer_key[:8] not in stack.title


def test_together__several_versions__asks_which_and_keeps_what_was_typed(
    client_for: ClientFor, ana: User, version: ModelVersion
) -> None:
    later = make_version(version="2")
    make_prediction(version, customer_id="C-1")
    mine = [make_prediction(later, customer_id="C-1") for _ in range(2)]
    client = client_for(ana)
    response = client.post(URL, {"customer_id": "C-1"})

    page = response.context["page"]
    assert response.status_code == 200
    assert [(found.version, n) for found, n in page.versions] == [("2", 2), ("1", 1)]
    assert page.fields == [("customer_id", "C-1")]
    assert Stack.objects.count() == 0
    stack = _stack(client, customer_id="C-1", model="survival", version="2")
    assert sorted(stack.prediction_pks) == sorted(found.pk for found in mine)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "Say which customer, product, name or model to look for."),
        ({"since": "2026-11-01"}, "Say which customer, product, name or model to look for."),
        ({"product_id": "nothing"}, "No prediction matches."),
        ({"customer_id": "nobody"}, "No prediction matches."),
        ({"model": "other"}, "There is no such model."),
        ({"model": "survival", "since": "soon"}, "Give a day, such as 27/11/2026."),
    ],
)
def test_together__nothing_to_stack__a_sentence_and_no_stack(
    client_for: ClientFor, ana: User, version: ModelVersion, fields: dict[str, str], sentence: str
) -> None:
    response = client_for(ana).post(URL, fields)

    assert response.status_code == 400
    assert sentence in response.content.decode()
    assert Stack.objects.count() == OutboxMessage.objects.count() == 0


def test_together__without_the_role__does_not_exist(
    client_for: ClientFor, mallory: User, version: ModelVersion
) -> None:
    make_prediction(version)

    assert client_for(mallory).post(URL, {"model": "survival"}).status_code == 404
    assert Stack.objects.count() == 0


# -- The page ---------------------------------------------------------------------------------


def test_page__not_yet_computed__shows_how_far_it_is_and_nobodys_data(
    client_for: ClientFor, ana: User, version: ModelVersion
) -> None:
    passengers = _passengers(version, 3)
    client = client_for(ana)
    stack = _stack(client, model="survival")
    Explanation.objects.create(
        prediction=passengers[0],
        state=State.REFUSED,
        incident="engine",
        wanted_at=NOON,
        computed_at=NOON,
    )
    events = Event.objects.count()
    response = client.get(stack.get_absolute_url())

    page = response.context["page"]
    assert (page.progress.done, page.progress.total, page.progress.is_complete) == (1, 3, False)
    assert page.rows == []
    body = response.content.decode()
    assert 'max="3" value="1"' in body
    assert f'hx-get="{stack.get_absolute_url()}"' in body
    assert Event.objects.count() == events


def test_page__computed__shows_picture_and_table_and_records_the_look(
    client_for: ClientFor, ana: User, version: ModelVersion
) -> None:
    passengers = _passengers(version, 4)
    client = client_for(ana)
    stack = _stack(client, model="survival")
    assert outbox.drain(lane="explanations.") == 1
    response = client.get(stack.get_absolute_url())

    page = response.context["page"]
    assert [row.prediction for row in page.rows] == passengers
    assert all(row.words for row in page.rows)
    body = response.content.decode()
    plot = json.loads(body.split('<script id="stack-data" type="application/json">')[1].split("</script>")[0])
    assert [row["url"] for row in plot["rows"]] == [found.get_absolute_url() for found in passengers]
    event = Event.objects.order_by("-sequence")[0]
    assert event.after == {"predictions": [found.pk for found in passengers]}


def test_page__computed_while_it_polls__is_opened_anew(
    client_for: ClientFor, ana: User, version: ModelVersion
) -> None:
    _passengers(version, 2)
    client = client_for(ana)
    stack = _stack(client, model="survival")
    waiting = client.get(stack.get_absolute_url(), headers=HTMX)
    outbox.drain(lane="explanations.")
    done = client.get(stack.get_absolute_url(), headers=HTMX)

    assert "HX-Refresh" not in waiting
    assert (done["HX-Refresh"], done.content) == ("true", b"")


def test_page__erased_predictions__are_simply_gone(
    client_for: ClientFor, ana: User, version: ModelVersion
) -> None:
    passengers = _passengers(version, 3)
    client = client_for(ana)
    stack = _stack(client, model="survival")
    outbox.drain(lane="explanations.")
    passengers[1].delete()
    some = client.get(stack.get_absolute_url())
    Prediction.objects.all().delete()
    none = client.get(stack.get_absolute_url())

    assert [row.prediction for row in some.context["page"].rows] == [passengers[0], passengers[2]]
    assert "1 has been deleted since." in some.content.decode()
    assert "None of them is left" in none.content.decode()


def test_page__failed_checks__stand_in_the_table_and_not_in_the_picture(
    client_for: ClientFor, ana: User, version: ModelVersion
) -> None:
    passengers = _passengers(version, 3)
    Prediction.objects.filter(pk=passengers[0].pk).update(score=0.5)
    client = client_for(ana)
    stack = _stack(client, model="survival")
    outbox.drain(lane="explanations.")
    response = client.get(stack.get_absolute_url())

    page = response.context["page"]
    assert (len(page.rows), page.refused, len(page.plot["rows"])) == (3, 1, 2)
    assert "1 of 3 failed a check, so it has no numbers." in response.content.decode()


def test_page__hostile_values__are_text_and_the_json_is_whole(
    client_for: ClientFor, ana: User, version: ModelVersion
) -> None:
    hostile = "</script><script>alert(1)</script>\u2028" + "x" * 9_000
    for _ in range(2):
        make_prediction(version, name=hostile, embarked=hostile, deck="00701")
    client = client_for(ana)
    stack = _stack(client, model="survival")
    outbox.drain(lane="explanations.")
    body = client.get(stack.get_absolute_url()).content.decode()

    assert "<script>alert" not in body
    plot = json.loads(body.split('<script id="stack-data" type="application/json">')[1].split("</script>")[0])
    values = plot["rows"][0]["values"]
    assert f"{stacks.VERBATIM}00701" in values
    assert max(map(len, values)) <= 61


def test_page__unknown_stack__does_not_exist(
    client_for: ClientFor, ana: User, mallory: User, version: ModelVersion
) -> None:
    make_prediction(version)
    stack = _stack(client_for(ana), model="survival")

    assert client_for(ana).get(f"{URL}{stack.pk + 1}/").status_code == 404
    assert client_for(mallory).get(stack.get_absolute_url()).status_code == 404
    assert client_for(ana).get(URL).status_code == 405


# -- The picture ------------------------------------------------------------------------------


def test_picture__every_layer_in_every_column__adds_up_to_its_score(
    client_for: ClientFor, ana: User, version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "_LAYERS", 3)
    passengers = _passengers(version, 5)
    client = client_for(ana)
    stack = _stack(client, model="survival")
    outbox.drain(lane="explanations.")
    plot = client.get(stack.get_absolute_url()).context["page"].plot

    assert len(plot["layers"]) == len(set(plot["layers"])) == 4
    assert plot["layers"][-1] == stacks.REST
    for row, passenger in zip(plot["rows"], passengers, strict=True):
        assert len(row["effects"]) == len(row["values"]) == 4
        assert plot["base"] + math.fsum(row["effects"]) == pytest.approx(100 * passenger.score, abs=1e-6)
    assert sorted(row["near"] for row in plot["rows"]) == [1, 2, 3, 4, 5]


@given(
    st.integers(1, 4).flatmap(
        lambda k: st.lists(st.lists(st.floats(-1e6, 1e6), min_size=k, max_size=k), max_size=30)
    )
)
def test_places__any_vectors__each_place_once(vectors: list[list[float]]) -> None:
    assert sorted(stacks._places(vectors)) == list(range(1, len(vectors) + 1))


def test_places__two_kinds_of_case__lie_together() -> None:
    places = stacks._places([[5, 0], [-5, 0], [5.1, 0], [-5.1, 0], [5.2, 0]])

    assert [places[i] for i in (4, 2, 0)] == [1, 2, 3]
    assert sorted([places[1], places[3]]) == [4, 5]


def test_labels__that_stand_there_twice__are_numbered() -> None:
    assert stacks._distinct(["Age", "Sex", "Age"]) == ["Age", "Sex", "Age (2)"]
