"""The API keeps to its OpenAPI document, whatever is sent: no 5xx, no undocumented status, no other shape."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import hypothesis
import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from pytest_django import Settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from opsportal.accounts import services as accounts
from opsportal.accounts.models import User
from opsportal.accounts.permissions import SCOPES
from opsportal.explanations.services import asking
from opsportal.wsgi import application
from tests.conftest import make_person
from tests.contracts.world import MANY, World, make_world

# Half of the positive ones name rows that are there.
EXAMPLES = 20
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def _document() -> dict[str, Any]:
    generator: Any = SchemaGenerator
    renderer: Any = OpenApiJsonRenderer
    document: dict[str, Any] = json.loads(
        renderer().render(generator().get_schema(request=None, public=True))
    )
    return document


schema = schemathesis.openapi.from_dict(_document())
schema.app = application
operations = {}
for _found in schema.get_all_operations():
    _operation = _found.ok()  # type: ignore[union-attr]  # an unreadable document has no tests to run
    operations[_operation.label] = _operation


@dataclass(frozen=True)
class Callers:
    """How a machine and a person prove who they are."""

    machine: dict[str, str]
    person: dict[str, str]


@pytest.fixture
def world(settings: Settings, root: User, monkeypatch: pytest.MonkeyPatch) -> World:
    """One row of everything; nobody waits for a worker."""
    monkeypatch.setattr(asking, "wait_for", lambda explanation, **_: explanation)
    settings.APPROVAL_MIN_ITEMS = MANY
    return make_world(root)


@pytest.fixture
def callers(settings: Settings, world: World, lena: User) -> Callers:
    """A key with every scope, of a person since machines label nothing, and an approver's session."""
    owner = make_person("owner")
    _key, token = accounts.create_api_key(actor=None, name="test", scopes=list(SCOPES), owner=owner)
    browser = Client()
    browser.force_login(lena)
    secret = "a" * 32
    cookies = {settings.SESSION_COOKIE_NAME: browser.session.session_key, settings.CSRF_COOKIE_NAME: secret}
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return Callers(
        machine={"Authorization": f"Api-Key {token}"},
        person={"Cookie": cookie, "X-CSRFToken": secret},
    )


@pytest.fixture
def _one_connection() -> Iterator[None]:
    """Keep the connection whose transaction the requests share, as Django's test client does."""
    signals = [request_started, request_finished]
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.mark.usefixtures("_one_connection")
@pytest.mark.parametrize("label", operations)
def test_operation__any_input__answers_as_described(label: str, world: World, callers: Callers) -> None:
    operation = operations[label]
    for_people = operation.definition.raw["security"] == [{"Session": []}]
    headers = callers.person if for_people else callers.machine
    rows = {
        "/blocks/": world.block,
        "/boosts/": world.boost,
        "/opt-outs/": world.opt_out,
        "/submissions/": world.waiting,
        "/predictions/{": world.prediction,
        "/audits/items/": world.item,
    }
    there = next((pk for part, pk in rows.items() if part in operation.path), None)

    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=st.one_of(
            operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
            operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
        ),
        is_there=st.booleans(),
    )
    def ask(case: schemathesis.Case[Any], is_there: bool) -> None:
        if is_there and there is not None:
            case.path_parameters = dict.fromkeys(case.path_parameters or {}, there)
        case.call_and_validate(headers=headers, checks=CHECKS)

    ask()
