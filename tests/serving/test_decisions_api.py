"""What rankers get over HTTP, and what they get when the store is away."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import redis
import time_machine
from django.conf import LazySettings
from django.db import OperationalError
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from opsportal.accounts import services as accounts
from opsportal.accounts.models import User
from opsportal.accounts.permissions import Role
from opsportal.core import clock
from opsportal.events.models import Event
from opsportal.overrides import selectors as overrides
from opsportal.serving import decisions
from opsportal.serving.services import project
from tests.conftest import make_person
from tests.serving.making import block, boost, make_surfaces, opt_out

pytestmark = pytest.mark.django_db

Ask = Callable[..., Any]
AWAY = {"x-served-from": "database"}


@pytest.fixture
def key() -> str:
    """A key with serving:read."""
    return make_key("serving:read")


def make_key(*scopes: str) -> str:
    owner = User.objects.filter(username="root").first() or make_person("root", Role.ADMINISTRATOR)
    return accounts.create_api_key(actor=owner, name="ranker", scopes=scopes)[1]


@pytest.fixture
def ask(key: str) -> Ask:
    """`ask("decisions", {...})`: POST and return the response."""
    make_surfaces("home", "search")
    client = Client(headers={"Authorization": f"Api-Key {key}"})

    def post(route: str, body: object) -> Any:
        content = body if isinstance(body, str | bytes) else json.dumps(body)
        return client.post(f"/api/v1/{route}", content, content_type="application/json")

    return post


def test_decisions__blocked_boosted_and_opted_out__as_the_contract_says(ask: Ask) -> None:
    block("bad", "worse")
    boost("good", factor=1.5, surface="home")
    opt_out("c-1")
    project()

    response = ask(
        "decisions", {"surface": "home", "customer_id": "c-1", "product_ids": ["x", "worse", "good", "bad"]}
    )

    answer = response.json()
    assert response.status_code == 200
    assert set(answer) == {"revision", "as_of", "age_seconds", "personalize", "blocked", "boosts"}
    assert (answer["revision"], answer["personalize"]) == (3, False)
    assert answer["blocked"] == ["worse", "bad"]
    assert answer["boosts"] == {"good": 1.5}
    assert 0 <= answer["age_seconds"] < 10
    assert answer["as_of"].endswith("Z")
    assert "X-Served-From" not in response
    other = ask("decisions", {"surface": "search", "product_ids": ["good"]}).json()
    assert (other["boosts"], other["personalize"]) == ({}, True)


def test_decisions__ids_are_exact_text(ask: Ask) -> None:
    ids = ["85123A", "00701", "a b", "🦊 fox", "x;y|z,"]
    block(*ids)
    project()

    body = {"surface": "home", "product_ids": [*ids, "85123a", "701", "a  b"]}
    assert ask("decisions", body).json()["blocked"] == ids


def test_decisions__key_in_memory__asks_no_database(
    ask: Ask, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    block("bad")
    project()
    body = {"surface": "home", "product_ids": ["bad"], "customer_id": "c"}
    ask("decisions", body)

    with django_assert_num_queries(0):
        assert ask("decisions", body).json()["blocked"] == ["bad"]


def test_rank__score_times_factor__blocked_left_out(ask: Ask) -> None:
    block("bad")
    pk = boost("slow", factor=3.0)[0].pk
    project()

    answer = ask(
        "rank",
        {
            "surface": "home",
            "items": [
                {"product_id": "fast", "score": 0.9},
                {"product_id": "bad", "score": 0.8},
                {"product_id": "slow", "score": 0.4},
            ],
            "limit": 10,
        },
    ).json()

    assert answer["blocked"] == ["bad"]
    assert answer["items"] == [
        {"product_id": "slow", "score": 0.4, "rank": 1, "model_rank": 3, "boost": 3.0, "override_id": pk},
        {"product_id": "fast", "score": 0.9, "rank": 2, "model_rank": 1, "boost": 1.0, "override_id": None},
    ]


def test_explain__every_rule_with_its_fate(ask: Ask) -> None:
    moment = clock.this_second()
    boost("P1", factor=2.0, surface="search")
    boost("P1", factor=3.0)
    block("P1", starts=moment + timedelta(hours=1))
    won = block("P1", ends=moment + timedelta(hours=1))[0]
    project()

    answer = ask("decisions/explain", {"surface": "home", "product_id": "P1"}).json()

    assert answer["blocked"]
    assert answer["winner"]["override_id"] == won.pk
    assert {(rule["kind"], rule["applies"], rule["wins"], rule["why"]) for rule in answer["rules"]} == {
        ("block", True, True, "It hides the product."),
        ("block", False, False, "It has not started yet."),
        ("boost", True, False, "A block beats every boost."),
        ("boost", False, False, "It is for search only."),
    }
    assert ask("decisions/explain", {"surface": "home", "product_id": "none"}).json()["winner"] is None


def test_head__etag__304_until_the_content_changes(key: str) -> None:
    block("P1")
    project()
    client = Client(headers={"Authorization": f"Api-Key {key}"})

    first = client.get("/api/v1/serving/head")
    again = client.get("/api/v1/serving/head", headers={"If-None-Match": first["ETag"]})
    block("P2")
    project()
    changed = client.get("/api/v1/serving/head", headers={"If-None-Match": first["ETag"]})

    assert set(first.json()) == {
        "schema",
        "epoch",
        "revision",
        "products",
        "customers",
        "thresholds",
        "digest",
        "heartbeat_at",
    }
    assert (again.status_code, again.content) == (304, b"")
    assert (changed.status_code, changed.json()["products"]) == (200, 2)


@pytest.mark.parametrize("how", ["down", "flushed", "partial"])
def test_decisions__store_away__same_answer_from_the_database(
    ask: Ask, settings: LazySettings, dead_store_url: str, store: redis.Redis, how: str
) -> None:
    block("bad")
    boost("good", factor=1.5)
    opt_out("c-1")
    project()
    body = {"surface": "home", "product_ids": ["good", "bad", "other"], "customer_id": "c-1"}
    expected = ask("decisions", body).json()
    if how == "down":
        settings.REDIS_URL = dead_store_url
    elif how == "flushed":
        store.flushall()
    else:
        store.hdel("{ops}:p", "bad")

    response = ask("decisions", body)

    answer = response.json()
    for name in ("revision", "personalize", "blocked", "boosts"):
        assert answer[name] == expected[name]
    assert response["X-Served-From"] == "database"


def test_decisions__store_frozen__costs_one_probe_a_second(
    ask: Ask, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    block("bad")
    body = {"surface": "home", "product_ids": ["bad"]}
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        settings.REDIS_URL = f"redis://127.0.0.1:{frozen.getsockname()[1]}/0"
        monkeypatch.setattr(decisions, "time", SimpleNamespace(monotonic=lambda: 1_000.0))
        answers = [ask("decisions", body) for _ in range(20)]
        frozen.setblocking(False)
        frozen.accept()
        with pytest.raises(BlockingIOError):
            frozen.accept()

    assert all(answer.json()["blocked"] == ["bad"] for answer in answers)


def test_decisions__both_away__503_with_retry_after(
    ask: Ask, settings: LazySettings, dead_store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("decisions", {"surface": "home", "product_ids": []})
    settings.REDIS_URL = dead_store_url

    def fail(keys: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(overrides, "desired_products", fail)

    response = ask("decisions", {"surface": "home", "product_ids": ["bad"]})

    assert (response.status_code, response["Content-Type"]) == (503, "application/problem+json")
    assert response["Retry-After"] == "1"


def test_head__store_down__what_was_last_pushed(
    key: str, settings: LazySettings, dead_store_url: str
) -> None:
    block("P1")
    project()
    client = Client(headers={"Authorization": f"Api-Key {key}"})
    expected = client.get("/api/v1/serving/head")
    settings.REDIS_URL = dead_store_url

    response = client.get("/api/v1/serving/head")

    assert response["ETag"] == expected["ETag"]
    assert response["X-Served-From"] == "database"


def test_decisions__scheduled__flips_at_its_second_without_any_worker(ask: Ask) -> None:
    moment = clock.this_second()
    block("P1", starts=moment + timedelta(minutes=5), ends=moment + timedelta(minutes=6))
    project()

    def blocked(after: timedelta) -> bool:
        with time_machine.travel(moment + after, tick=False):
            body = {"surface": "home", "product_ids": ["P1"]}
            return bool(ask("decisions", body).json()["blocked"])

    assert not blocked(timedelta(minutes=5, microseconds=-1))
    assert blocked(timedelta(minutes=5))
    assert blocked(timedelta(minutes=6, microseconds=-1))
    assert not blocked(timedelta(minutes=6))


GOOD = {"surface": "home", "product_ids": ["a"]}


@pytest.mark.parametrize(
    ("body", "status", "path", "code"),
    [
        (b" ", 400, "", "json"),
        (b"{", 400, "", "json"),
        (b"\xff\xfe", 400, "", "json"),
        (b'{"surface": "home", "product_ids": ["\xff"]}', 400, "", "json"),
        (b"[" * 100_000, 400, "", "invalid"),
        (b'{"surface": "home", "product_ids": ' + b"[" * 100_000, 400, "product_ids[0]", "invalid"),
        ([], 400, "", "invalid"),
        ("null", 400, "", "invalid"),
        ({"product_ids": ["a"]}, 400, "surface", "required"),
        ({"surface": "home"}, 400, "product_ids", "required"),
        ({**GOOD, "sruface": 1}, 400, "sruface", "unknown_field"),
        ({**GOOD, "surface": "nowhere"}, 400, "surface", "unknown_surface"),
        ({**GOOD, "surface": "*"}, 400, "surface", "unknown_surface"),
        ({**GOOD, "surface": "ho\0me"}, 400, "surface", "unknown_surface"),
        ({**GOOD, "surface": 5}, 400, "surface", "invalid"),
        ({**GOOD, "product_ids": "a"}, 400, "product_ids", "invalid"),
        ({**GOOD, "product_ids": ["a"] * 1_001}, 400, "product_ids", "invalid"),
        ({**GOOD, "product_ids": ["a", 5]}, 400, "product_ids[1]", "invalid"),
        ({**GOOD, "product_ids": ["a", ""]}, 400, "product_ids[1]", "invalid"),
        ({**GOOD, "product_ids": ["a", "b" * 129]}, 400, "product_ids[1]", "invalid"),
        ({**GOOD, "product_ids": ["a", "b\0"]}, 400, "product_ids[1]", "unclean_text"),
        ({**GOOD, "customer_id": "\0"}, 400, "customer_id", "unclean_text"),
        ({**GOOD, "customer_id": ""}, 400, "customer_id", "invalid"),
        ({**GOOD, "customer_id": 12}, 400, "customer_id", "invalid"),
        (b'{"surface": "home", "product_ids": ["\\ud800"]}', 400, "", "json"),
        (b'{"x": "' + b"a" * 10_000_000 + b'"}', 413, "", "too_large"),
    ],
)
def test_decisions__bad_input__a_clear_refusal(
    ask: Ask, body: object, status: int, path: str, code: str
) -> None:
    response = ask("decisions", body)

    problem = response.json()
    assert response["Content-Type"] == "application/problem+json"
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code)
    if path:
        assert [(error["path"], error["code"]) for error in problem["errors"]] == [(path, code)]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"surface": "home", "items": [{"product_id": "a", "score": "1"}]}, "items[0].score"),
        (b'{"surface": "home", "items": [{"product_id": "a", "score": NaN}]}', ""),
        (b'{"surface": "home", "items": [{"product_id": "a", "score": 1e999}]}', "items[0].score"),
        ({"surface": "home", "items": [{"product_id": "a", "score": True}]}, "items[0].score"),
        ({"surface": "home", "items": [{"product_id": "a"}]}, "items[0].score"),
        ({"surface": "home", "items": [{"product_id": "a", "score": 1, "x": 1}]}, "items[0].x"),
        ({"surface": "home", "items": [], "limit": 0}, "limit"),
        ({"surface": "home", "items": [], "limit": 1.5}, "limit"),
    ],
)
def test_rank__bad_input__a_clear_refusal(ask: Ask, body: object, path: str) -> None:
    response = ask("rank", body)

    assert response.status_code == 400
    assert [error["path"] for error in response.json()["errors"]] == ([path] if path else [])


def test_every_route__without_a_usable_key__refused() -> None:
    make_surfaces("home")
    wrong = make_key("overrides:read")
    client = Client()
    for route in ("decisions", "rank", "decisions/explain", "serving/head", "serving/thresholds"):
        url = f"/api/v1/{route}"
        method = client.get if route.startswith("serving/") else client.post
        for header, status in ((None, 401), ("Api-Key nonsense", 401), (f"Api-Key {wrong}", 403)):
            headers = {"Authorization": header} if header else {}
            response = method(url, headers=headers)
            assert (response.status_code, response["Content-Type"]) == (status, "application/problem+json")


def test_every_route__wrong_method_or_type__refused(key: str) -> None:
    client = Client(headers={"Authorization": f"Api-Key {key}"})

    assert client.get("/api/v1/decisions").status_code == 405
    assert client.post("/api/v1/serving/head").status_code == 405
    assert client.post("/api/v1/decisions", {"surface": "home"}).status_code == 415


def test_explain__signed_in__needs_a_role_and_the_csrf_token(ana: User, mallory: User) -> None:
    make_surfaces("home")
    project()
    body = json.dumps({"surface": "home", "product_id": "P1"})

    def post(person: User, **headers: str) -> int:
        client = Client(enforce_csrf_checks=True)
        client.force_login(person)
        if headers:
            client.cookies["csrf"] = headers["X-CSRFToken"]
        url = "/api/v1/decisions/explain"
        return client.post(url, body, content_type="application/json", headers=headers).status_code

    assert post(ana) == 403
    assert post(ana, **{"X-CSRFToken": "a" * 32}) == 200
    assert post(mallory, **{"X-CSRFToken": "a" * 32}) == 403


def test_surface__added_later__known_within_a_moment(ask: Ask) -> None:
    body = {"surface": "cart", "product_ids": []}
    assert ask("decisions", body).status_code == 400
    make_surfaces("cart")

    time.sleep(decisions.SURFACES_AFTER_MISS_SECONDS)

    assert ask("decisions", body).status_code == 200


def test_schema__decision_routes__documented(client: Client) -> None:
    text = client.get("/api/schema/", headers={"Accept": "application/vnd.oai.openapi+json"})
    document = json.loads(text.content)

    for route in ("decisions", "rank", "decisions/explain"):
        assert "200" in document["paths"][f"/api/v1/{route}"]["post"]["responses"]
    assert document["components"]["schemas"]["DecisionRequest"]["additionalProperties"] is False


def test_decisions__person_who_names_a_customer__needs_the_right_and_is_recorded(
    ana: User, max: User
) -> None:
    make_surfaces("home")
    opt_out("c-1")
    project()
    body = json.dumps({"surface": "home", "product_ids": [], "customer_id": "c-1"})

    def post(person: User) -> Any:
        client = Client()
        client.force_login(person)
        return client.post("/api/v1/decisions", body, content_type="application/json")

    refused, answered = post(max), post(ana)

    assert (refused.status_code, answered.status_code) == (403, 200)
    assert answered.json()["personalize"] is False
    looked = Event.objects.filter(verb="customer.looked_up")
    assert list(looked.values_list("actor__username", flat=True)) == ["ana"]
