"""What README and OpenAPI say is there is there, and what is there stands in them."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands
from django.test import Client

from tests.contracts.test_permissions import MATRIX
from tests.contracts.world import API

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
READERS = {"env_text", "env_bool", "env_number", "env_list"}
PATH_PARAMETER = re.compile(r"<\w+:(\w+)>")


def _variables() -> set[str]:
    """Every variable of the environment that the settings read."""
    tree = ast.parse((ROOT / "opsportal" / "settings.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {
        str(node.args[0].value)
        for node in calls
        if isinstance(node.func, ast.Name)
        and node.func.id in READERS
        and isinstance(node.args[0], ast.Constant)
    }


def _rows() -> set[str]:
    """What stands in the first cell of each row of each table of the README, in code marks."""
    cells = re.findall(r"^\| (`[^|]+) \|", README, flags=re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


def test_settings__every_variable__stands_in_the_readme() -> None:
    missing = sorted(_variables() - _rows())

    assert missing == [], "add these to the table of settings in README.md"


def test_settings__every_variable_of_the_readme__is_read() -> None:
    tables = {name for name in _rows() if re.fullmatch(r"[A-Z][A-Z_]{2,}", name)}

    # Read by the demo and the tests rather than by the settings.
    elsewhere = {"ENV_FILE", "PORT", "TEST_DATABASE_URL", "CHROMIUM", "CI"}
    assert sorted(tables - _variables() - elsewhere) == []


def test_commands__each_of_ours__stands_in_the_readme() -> None:
    ours = {name for name, app in get_commands().items() if str(app).startswith("opsportal.")}

    missing = sorted(name for name in ours if f"manage.py {name}" not in README)
    assert missing == [], "add these to the table of commands in README.md"


def test_commands__each_of_the_readme__exists() -> None:
    named = set(re.findall(r"manage\.py (\w+)", README))

    assert sorted(named - set(get_commands())) == []


def test_make__each_target_of_the_readme__exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", makefile, flags=re.MULTILINE))

    assert sorted(set(re.findall(r"`make (\w+)", README)) - targets) == []


# -- The OpenAPI document -------------------------------------------------------------------


@pytest.fixture
def document() -> dict[str, Any]:
    """The OpenAPI document as it is served."""
    response = Client().get("/api/schema/", headers={"Accept": "application/vnd.oai.openapi+json"})
    assert response.status_code == 200
    answer: dict[str, Any] = json.loads(response.content)
    return answer


@pytest.mark.django_db
def test_openapi__every_route_and_method__is_described(document: dict[str, Any]) -> None:
    described = {(path, method) for path, operations in document["paths"].items() for method in operations}

    wanted = set()
    for name, route in API.items():
        path = "/" + PATH_PARAMETER.sub(r"{\1}", route)
        wanted |= {(path, method) for method in ("get", "post") if getattr(MATRIX[name], method)}
    assert described == wanted


@pytest.mark.django_db
def test_openapi__every_operation__is_complete(document: dict[str, Any]) -> None:
    operations = [operation for path in document["paths"].values() for operation in path.values()]

    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    for operation in operations:
        statuses = set(operation["responses"])
        assert operation["summary"], operation["operationId"]
        assert operation["security"], operation["operationId"]
        assert statuses >= {"400", "401", "403", "406", "429", "500", "503"}, operation["operationId"]
        if "requestBody" in operation:
            assert statuses >= {"409", "413", "415"}, operation["operationId"]
        for status, response in operation["responses"].items():
            if status >= "400":
                found = response
                if "$ref" in response:
                    found = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
                assert list(found["content"]) == ["application/problem+json"]


@pytest.mark.django_db
def test_openapi__bodies__are_closed_against_unknown_fields(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    for path in document["paths"].values():
        for operation in path.values():
            for media in operation.get("requestBody", {}).get("content", {}).values():
                name = media["schema"]["$ref"].rpartition("/")[2]
                assert schemas[name]["additionalProperties"] is False, name
