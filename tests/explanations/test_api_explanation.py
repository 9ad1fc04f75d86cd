"""GET predictions/{id}/explanation: the stored numbers, 202 while it is computed, 409 when it is refused."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from opsportal.accounts import services as accounts
from opsportal.accounts.models import User
from opsportal.events.models import Event, OutboxMessage
from opsportal.explanations.models import Explanation, Method, State
from opsportal.explanations.selectors.reasons import points_per_unit
from opsportal.predictions.models import Prediction
from tests.explanations.making import explained, make_prediction, make_version

pytestmark = pytest.mark.django_db
ClientFor = Callable[[User], Client]
URL = "/api/v1/predictions/titanic-690/explanation"


@pytest.fixture
def ayoub(ana: User) -> Prediction:
    """A passenger whose prediction was logged; her deck was written as text that reads as a number."""
    return make_prediction(make_version(), prediction_id="titanic-690", customer_id="C-1", deck="00701")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits."""
    monkeypatch.setattr(
        "opsportal.explanations.services.asking.wait_for", lambda explanation, **_: explanation
    )


def _machine(*scopes: str) -> Client:
    owner = accounts.service_account(name="machine")
    _, token = accounts.create_api_key(actor=None, name="m", scopes=list(scopes), owner=owner)
    return Client(headers={"Authorization": f"Api-Key {token}"})


def test_explanation__ready__is_exactly_what_is_stored(ayoub: Prediction) -> None:
    stored = explained(ayoub)
    response = _machine("predictions:read").get(URL)

    body: dict[str, Any] = response.json()
    assert response.status_code == 200
    assert body["model"] == {"name": "survival", "version": "1", "sha256": ayoub.version.sha256}
    for name in ("engine", "space", "base_value", "margin", "residual", "score"):
        assert body[name] == getattr(stored, name)
    assert body["probability"] == stored.score
    assert body["score_logged"] == ayoub.score
    assert [[row["feature"], row["attribution"]] for row in body["attributions"]] == stored.attributions
    scale = points_per_unit(stored.space, stored.base_value or 0, stored.margin or 0) or 0
    assert [row["points"] for row in body["attributions"]] == [x * scale for _, x in stored.attributions]
    by_feature = {row["feature"]: row for row in body["attributions"]}
    assert by_feature["deck"]["value"] == "00701"
    assert (by_feature["age"]["value"], by_feature["age"]["display_value"]) == (13, "13.0 years")
    assert body["prediction_id"] == "titanic-690"


def test_explanation__looked_at__is_recorded(client_for: ClientFor, ana: User, ayoub: Prediction) -> None:
    explained(ayoub)
    response = client_for(ana).get(URL)

    assert response.status_code == 200
    event = Event.objects.get()
    assert (event.verb, event.actor, event.subject_id) == ("prediction.looked_up", ana, str(ayoub.pk))


def test_explanation__not_yet_computed__is_asked_for_and_comes_later(
    ayoub: Prediction, impatient: None
) -> None:
    response = _machine("predictions:read").get(URL)

    assert response.status_code == 202
    assert response["Retry-After"] == "1"
    assert response.json() == {"prediction_id": "titanic-690", "state": "wanted"}
    wanted = Explanation.objects.get()
    assert (wanted.state, wanted.method) == (State.WANTED, Method.SHAP)
    assert OutboxMessage.objects.get().key == str(wanted.pk)
    assert not Event.objects.filter(verb="prediction.looked_up").exists()


def test_explanation__a_worker_at_hand__comes_at_once(ayoub: Prediction, worker: None) -> None:
    assert _machine("predictions:read").get(URL).status_code == 200


def test_explanation__refused__says_which_check_failed(ayoub: Prediction) -> None:
    Prediction.objects.filter(pk=ayoub.pk).update(score=0.5)
    explained(Prediction.objects.get(pk=ayoub.pk))
    response = _machine("predictions:read").get(URL)

    body = response.json()
    assert response.status_code == 409
    assert response["Content-Type"] == "application/problem+json"
    assert (body["code"], body["errors"][0]["code"]) == ("explanation_refused", "score")
    assert "0.5" in body["detail"]


@pytest.mark.parametrize("method", ["lime", "counterfactual"])
def test_explanation__other_method__has_its_detail(ayoub: Prediction, worker: None, method: str) -> None:
    body = _machine("predictions:read").get(URL, {"method": method}).json()

    assert body["method"] == method
    assert body["detail"] == Explanation.objects.get().detail
    assert all(row["points"] is None for row in body["attributions"])


def test_explanation__of_a_what_if__is_not_the_one(ayoub: Prediction, worker: None) -> None:
    explained(ayoub, pclass="1")
    body = _machine("predictions:read").get(URL).json()

    assert body["score"] == pytest.approx(ayoub.score, abs=1e-9)


@pytest.mark.parametrize(
    ("query", "path"),
    [({"method": "magic"}, "method"), ({"methods": "shap"}, "methods"), ({"method": ""}, "method")],
)
def test_explanation__unknown_query__is_refused(
    ayoub: Prediction, impatient: None, query: dict[str, str], path: str
) -> None:
    response = _machine("predictions:read").get(URL, query)

    assert response.status_code == 400
    assert response.json()["errors"][0]["path"] == path
    assert Explanation.objects.count() == 0


def test_explanation__of_none__is_not_found(ana: User) -> None:
    response = _machine("predictions:read").get("/api/v1/predictions/nobody/explanation")

    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_explanation__without_scope_or_role__is_refused_and_nothing_asked_for(
    client_for: ClientFor, mallory: User, ayoub: Prediction
) -> None:
    assert _machine("predictions:write").get(URL).json()["code"] == "scope"
    assert client_for(mallory).get(URL).json()["code"] == "capability"
    assert Client().get(URL).status_code == 401
    assert Explanation.objects.count() == 0


def test_explanation__odd_numbers__are_valid_json(ayoub: Prediction) -> None:
    explained(ayoub)
    Prediction.objects.filter(pk=ayoub.pk).update(features='{"age": NaN, "fare": Infinity}')
    body = _machine("predictions:read").get(URL).json()

    assert {row["feature"]: row["value"] for row in body["attributions"]}["age"] == "nan"
