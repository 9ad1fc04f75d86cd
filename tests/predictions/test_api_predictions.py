"""Log and look up predictions over REST: results for each, repeats, refusals, traces."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.events.models import Event
from opsportal.predictions.models import ModelVersion, Prediction, Product, Word
from opsportal.predictions.pseudonyms import customer_key
from opsportal.predictions.services import suppress
from tests.asking import Api, ApiOf, paths, problem
from tests.overrides.asking import text as as_text
from tests.predictions.logging import body, ids, logged, scoring_version
from tests.predictions.test_intake import HOSTILE

pytestmark = pytest.mark.django_db


def results(response: Any) -> list[str]:
    """What became of each prediction."""
    assert response.status_code == 200, response.content[:500]
    return [item["result"] for item in response.json()["results"]]


# -- Logging --------------------------------------------------------------------------------


def test_log__new_ones__saved_with_one_event(api: Api, version: ModelVersion) -> None:
    response = api.post("predictions", body(logged("p-1", product_id="00701"), logged("p-2")))

    assert results(response) == ["created", "created"]
    assert {name: response.json()[name] for name in ("created", "exists", "refused")} == {
        "created": 2,
        "exists": 0,
        "refused": 0,
    }
    assert ids() == {"p-1", "p-2"}
    assert Product.objects.get().product_id == "00701"
    event = Event.objects.get(verb="predictions.taken_in")
    assert (event.subject_type, event.subject_id) == ("model_version", str(version.pk))
    assert event.after == {"created": 2, "exists": 0, "conflict": 0, "suppressed": 0, "refused": 0}


def test_log__again__exists_and_nothing_is_written(api: Api, version: ModelVersion) -> None:
    api.post("predictions", body(logged("p-1", customer_id="C-1")))
    events = Event.objects.count()

    response = api.post("predictions", body(logged("p-1", customer_id=" C-1 ")))

    assert results(response) == ["exists"]
    assert Event.objects.count() == events


@pytest.mark.parametrize(
    "change",
    [
        {"score": 0.5},
        {"predicted_at": "2026-11-02T12:00:01Z"},
        {"label": "churned"},
        {"outcome": "stayed"},
        {"product_id": "00701"},
        {"customer_id": "C-1"},
        {"surface": "home"},
        {"text": "Loved it."},
        {"values": {"postcode": 701}},
        {"values": {"postcode": "701"}},
        {"values": {"is_new": None}},
    ],
)
def test_log__same_id_other_content__conflict_and_kept_as_it_was(
    api: Api, version: ModelVersion, change: dict[str, Any]
) -> None:
    api.post("predictions", body(logged()))
    before = Prediction.objects.values().get()

    response = api.post("predictions", body(logged(**change)))

    assert results(response) == ["conflict"]
    assert Prediction.objects.values().get() == before


def test_log__same_id_for_another_version__conflict(api: Api, version: ModelVersion) -> None:
    scoring_version(version="2")
    api.post("predictions", body(logged()))

    assert results(api.post("predictions", body(logged(), version="2"))) == ["conflict"]


def test_log__same_id_twice_in_one_request__judged_by_the_first(api: Api, version: ModelVersion) -> None:
    response = api.post("predictions", body(logged(), logged(), logged(score=0.5)))

    assert results(response) == ["created", "exists", "conflict"]
    assert Prediction.objects.get().score == 0.25


def test_log__bad_one_among_good__only_that_is_refused(api: Api, version: ModelVersion) -> None:
    bad = logged("p-2", score=2, values={"height": 1})

    response = api.post("predictions", body(logged("p-1"), bad, logged("p-3")))

    assert results(response) == ["created", "refused", "created"]
    item = response.json()["results"][1]
    assert item["prediction_id"] == "p-2"
    assert {(error["path"], error["code"]) for error in item["errors"]} == {
        ("score", "range"),
        ("features.height", "unknown_feature"),
    }
    assert ids() == {"p-1", "p-3"}


def test_log__customer_who_opted_out__nothing_is_saved(api: Api, version: ModelVersion) -> None:
    suppress([customer_key("C-1")])

    response = api.post(
        "predictions", body(logged("p-1", customer_id="C-1"), logged("p-2", customer_id="C-2"))
    )

    assert results(response) == ["suppressed", "created"]
    assert ids() == {"p-2"}
    assert Word.objects.filter(prediction__prediction_id="p-1").count() == 0


def test_log__customer__only_the_pseudonym_is_kept(api: Api, version: ModelVersion) -> None:
    api.post("predictions", body(logged("p-1", customer_id="C-20417")))

    assert Prediction.objects.get().customer_key == customer_key("C-20417")
    assert "20417" not in str([*Prediction.objects.values(), *Event.objects.values()])


@pytest.mark.parametrize("value", [HOSTILE, "x" * 10_000, "00701", "NaN", "🦊", " "])
def test_log__odd_texts__come_back_as_they_were(api: Api, version: ModelVersion, value: str) -> None:
    sent = logged(
        values={"postcode": value, "comment": value}, text=value, label=value[:100], surface=value[:64]
    )

    assert results(api.post("predictions", body(sent))) == ["created"]
    found = api.get("predictions/p-1").json()

    assert found["features"] == sent["features"]
    assert (found["text"], found["label"], found["surface"]) == (value, value[:100], value[:64])


@pytest.mark.parametrize(
    ("sent", "status", "place"),
    [
        ({}, 400, "predictions"),
        (body(), 400, "predictions"),
        (body(logged(), colour="red"), 400, "colour"),
        (body(logged(), model="nobody"), 400, "model"),
        (body(logged(), model="x" * 65), 400, "model"),
        (body(logged(), model=1), 400, "model"),
        (body(logged(), version="nothing"), 400, "version"),
        (body(logged(), version=["1"]), 400, "version"),
        ({"model": "churn", "version": "1", "predictions": logged()}, 400, "predictions"),
        ({"model": "churn", "version": "1", "predictions": "p-1"}, 400, "predictions"),
        ({"model": "churn", "version": "1", "predictions": [logged(), None]}, 400, "predictions"),
        (body(*(logged(f"p-{number}") for number in range(1_001))), 413, "predictions"),
    ],
)
def test_log__bad_body__refused_whole(
    api: Api, version: ModelVersion, sent: dict[str, Any], status: int, place: str
) -> None:
    found = problem(api.post("predictions", sent), status)

    assert any(path.startswith(place) for path, _code in paths(found)), found
    assert ids() == set()


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5_000])
def test_log__numbers_that_json_does_not_have__refused_whole(
    api: Api, version: ModelVersion, number: str
) -> None:
    raw = f'{{"model": "churn", "version": "1", "predictions": [{{"score": {number}}}]}}'

    problem(api.post("predictions", raw), 400)

    assert ids() == set()


def test_log__version_that_is_checked_or_refused__refused(api: Api) -> None:
    scoring_version(version="1", state="checking")
    scoring_version(version="2", state="refused")

    assert problem(api.post("predictions", body(logged())), 409)["code"] == "checking"
    problem(api.post("predictions", body(logged(), version="2")), 400)
    assert ids() == set()


def test_log__a_thousand__a_handful_of_queries(
    api: Api, version: ModelVersion, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    many = [logged(f"p-{number}", values={"name": None}) for number in range(1_000)]
    api.post("predictions", body(logged("warm")))

    with django_assert_max_num_queries(30):
        response = api.post("predictions", body(*many))

    assert response.json()["created"] == 1_000


# -- Looking up -----------------------------------------------------------------------------


def test_get__prediction__all_of_it_and_the_look_is_recorded(api: Api, version: ModelVersion) -> None:
    sent = logged(
        "p:1@x=2+3~4-5.6", customer_id="C-1", product_id="00701", label="stays", outcome="stayed", text="Hm"
    )
    api.post("predictions", body(sent))

    found = api.get("predictions/p:1@x=2+3~4-5.6").json()

    key = customer_key("C-1")
    assert found.pop("received_at")
    assert found == {
        "prediction_id": "p:1@x=2+3~4-5.6",
        "model": "churn",
        "version": "1",
        "predicted_at": "2026-11-02T12:00:00Z",
        "score": 0.25,
        "label": "stays",
        "outcome": "stayed",
        "product_id": "00701",
        "customer": f"c·{key[:6]}",
        "surface": "",
        "text": "Hm",
        "features": sent["features"],
    }
    event = Event.objects.get(verb="prediction.looked_up")
    assert event.subject_id == str(Prediction.objects.get().pk)
    assert "p:1@x=2+3~4-5.6" in event.summary


def test_get__nothing_there__404_and_no_event(api: Api, version: ModelVersion) -> None:
    problem(api.get("predictions/nothing"), 404)

    assert not Event.objects.filter(verb="prediction.looked_up").exists()


def test_get__without_the_right__refused(
    api: Api, api_of: ApiOf, version: ModelVersion, mallory: User, lena: User
) -> None:
    api.post("predictions", body(logged()))
    browser = Client()
    browser.force_login(mallory)

    assert problem(api_of("predictions:write").get("predictions/p-1"), 403)["code"] == "scope"
    assert problem(Api(browser).get("predictions/p-1"), 403)["code"] == "capability"
    assert not Event.objects.filter(verb="prediction.looked_up").exists()
    browser.force_login(lena)
    assert Api(browser).get("predictions/p-1").status_code == 200


@pytest.fixture
def some(api: Api, version: ModelVersion) -> None:
    """Predictions an hour apart, oldest first: of two customers, two products, two versions."""
    scoring_version(version="2")
    moment = clock.now().replace(microsecond=0) - timedelta(hours=5)
    rows = [
        logged(
            f"p-{number}",
            predicted_at=as_text(moment + timedelta(hours=number)),
            customer_id=f"C-{number % 2}",
            product_id="00701" if number < 2 else "701",
            surface="home" if number else "mail",
        )
        for number in range(4)
    ]
    assert results(api.post("predictions", body(*rows))) == ["created"] * 4
    assert results(api.post("predictions", body(logged("q-1", values={"name": "Max"}), version="2"))) == [
        "created"
    ]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"prediction_id": "p-2"}, ["p-2"]),
        ({"prediction_id": "P-2"}, []),
        ({"customer_id": "C-0"}, ["p-2", "p-0"]),
        ({"customer_id": "c-0"}, []),
        ({"product_id": "00701"}, ["p-1", "p-0"]),
        ({"product_id": "701"}, ["p-3", "p-2"]),
        ({"customer_id": "C-0", "product_id": "00701"}, ["p-0"]),
        ({"model": "churn"}, ["p-3", "p-2", "p-1", "p-0", "q-1"]),
        ({"model": "churn", "version": "1"}, ["p-3", "p-2", "p-1", "p-0"]),
        ({"model": "churn", "version": "2"}, ["q-1"]),
        ({"model": "nobody"}, []),
        ({"model": "churn", "surface": "mail"}, ["p-0"]),
        ({"name": "renee O'HARA", "version": "1"}, ["p-3", "p-2", "p-1", "p-0"]),
        ({"name": "max"}, ["q-1"]),
        ({"name": "max renee"}, []),
        ({"name": "!!"}, []),
    ],
)
@pytest.mark.usefixtures("some")
def test_search__by_what_is_known__newest_first(api: Api, wanted: dict[str, Any], found: list[str]) -> None:
    response = api.post("predictions/search", wanted)

    assert [row["prediction_id"] for row in response.json()["results"]] == found
    assert response.json()["next"] is None
    assert Event.objects.filter(verb="prediction.looked_up").count() == 1


@pytest.mark.usefixtures("some")
def test_search__period__from_is_included_to_is_not(api: Api) -> None:
    moments = {row.prediction_id: as_text(row.predicted_at) for row in Prediction.objects.all()}

    response = api.post(
        "predictions/search", {"model": "churn", "from": moments["p-1"], "to": moments["p-3"]}
    )

    assert [row["prediction_id"] for row in response.json()["results"]] == ["p-2", "p-1"]


@pytest.mark.usefixtures("some")
def test_search__page_by_page__each_once(api: Api) -> None:
    seen: list[str] = []
    cursor = None
    while True:
        answer = api.post("predictions/search", {"model": "churn", "limit": 2, "cursor": cursor}).json()
        seen += [row["prediction_id"] for row in answer["results"]]
        if (cursor := answer["next"]) is None:
            break

    assert seen == ["p-3", "p-2", "p-1", "p-0", "q-1"]


@pytest.mark.usefixtures("some")
def test_search__customer__the_event_has_neither_id_nor_key(api: Api) -> None:
    api.post("predictions/search", {"customer_id": "C-0", "name": "renee"})

    event = Event.objects.get(verb="prediction.looked_up")
    key = customer_key("C-0")
    assert event.summary == f"Looked up predictions by customer c·{key[:6]}, name"
    assert key not in str([event.summary, event.subject_id, event.after])
    assert len((event.after or {})["predictions"]) == 2


@pytest.mark.parametrize(
    ("wanted", "place"),
    [
        ({}, ""),
        ({"surface": "home", "from": "2026-01-01T00:00:00Z"}, ""),
        ({"version": "1"}, ""),
        ({"customer_id": "=C-20417"}, "customer_id"),
        ({"customer_id": 20417}, "customer_id"),
        ({"customer_id": ""}, "customer_id"),
        ({"prediction_id": ["p"]}, "prediction_id"),
        ({"product_id": "x" * 129}, "product_id"),
        ({"model": "churn", "from": "2026-01-01"}, "from"),
        ({"model": "churn", "to": 1}, "to"),
        ({"model": "churn", "since": "2026-01-01T00:00:00Z"}, "since"),
        ({"model": "churn", "limit": 201}, "limit"),
        ({"model": "churn", "limit": "5"}, "limit"),
        ({"model": "churn", "cursor": "x"}, "cursor"),
        ({"model": "churn", "colour": "red"}, "colour"),
    ],
)
@pytest.mark.usefixtures("some")
def test_search__bad_wish__refused_without_a_trace(api: Api, wanted: dict[str, Any], place: str) -> None:
    found = problem(api.post("predictions/search", wanted), 400)

    assert not place or place in {path for path, _code in paths(found)}
    assert "20417" not in str(found)
    assert not Event.objects.filter(verb="prediction.looked_up").exists()
