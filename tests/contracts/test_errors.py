"""One error shape on every route of the API, whatever goes wrong around the view."""

from typing import Any

import pytest
from django.test import Client
from django.urls import get_resolver
from pytest_django import Settings

from opsportal.accounts import services as accounts
from opsportal.accounts.models import User
from opsportal.accounts.permissions import SCOPES
from tests.asking import problem
from tests.contracts.test_permissions import MATRIX
from tests.contracts.world import API, MANY, World, make_world

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(settings: Settings, root: User) -> World:
    """One row of everything."""
    settings.APPROVAL_MIN_ITEMS = MANY
    return make_world(root)


@pytest.fixture
def machine(db: None) -> Client:
    """A client with a key that has every scope."""
    owner = accounts.service_account(name="machine")
    _key, token = accounts.create_api_key(actor=None, name="test", scopes=list(SCOPES), owner=owner)
    return Client(raise_request_exception=False, headers={"Authorization": f"Api-Key {token}"})


def test_api__every_refusal_around_a_view__has_the_shape(world: World, machine: Client) -> None:
    for name in API:
        url = world.url(name)
        problem(Client().generic("POST" if MATRIX[name].post else "GET", url), 401)
        problem(machine.get(url + "/nothing"), 404)
        problem(machine.generic("DELETE", url), 405)
        problem(machine.generic("BREW", url), 405)
        if not MATRIX[name].post_scope:
            continue

        def send(body: bytes, kind: str = "application/json", url: str = url) -> Any:
            return machine.generic("POST", url, body, content_type=kind)

        problem(send(b"a=b", "application/x-www-form-urlencoded"), 415)
        problem(send(b"\x00", "application/octet-stream"), 415)
        problem(send(b"{"), 400)
        problem(send(b"[]"), 400)
        problem(send(b'{"nothing": 1}'), 400)
        problem(send(b'"' + b"x" * 3_000_000 + b'"'), 413)


def test_api__405__says_what_there_is(world: World, machine: Client) -> None:
    for name in API:
        row = MATRIX[name]
        allowed = {part.strip() for part in machine.put(world.url(name)).headers["Allow"].split(",")}
        assert ("GET" in allowed, "POST" in allowed) == (bool(row.get), bool(row.post)), name


def test_api__a_fault_of_ours__tells_nothing(
    world: World, machine: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opsportal.overrides.selectors import answers

    def broken(*_arguments: object, **_named: object) -> None:
        raise RuntimeError("the secret cause")

    monkeypatch.setattr(answers, "overrides_answer", broken)

    response = machine.get("/api/v1/blocks")

    assert b"secret" not in response.content
    problem(response, 500)


def test_api__too_many_tries__has_the_shape(machine: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from opsportal.core.errors import TooManyRequests
    from opsportal.overrides.selectors import answers

    def busy(*_arguments: object, **_named: object) -> None:
        raise TooManyRequests("Come back in a moment.", headers={"Retry-After": "7"})

    monkeypatch.setattr(answers, "overrides_answer", busy)

    response = machine.get("/api/v1/blocks")

    assert response.headers["Retry-After"] == "7"
    problem(response, 429)


def test_api__only_json_is_offered(machine: Client) -> None:
    problem(machine.get("/api/v1/blocks", headers={"Accept": "application/xml"}), 406)


@pytest.mark.parametrize(
    "path", ["/api/", "/api/v1/", "/api/v1", "/api/v2/blocks", "/api/v1/blocks/", "/api/x\u00fc"]
)
def test_api__no_such_address__has_the_shape(machine: Client, path: str) -> None:
    problem(machine.get(path), 404)


def test_pages__error_handlers__are_ours() -> None:
    resolver = get_resolver()

    for status in (400, 403, 404, 500):
        assert resolver.resolve_error_handler(status).__module__ == "opsportal.core.views"
