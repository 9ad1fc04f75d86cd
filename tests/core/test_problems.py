"""One error shape on every route of the API, and a page in words elsewhere."""

from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

pytestmark = [pytest.mark.urls("tests.core.error_urls"), pytest.mark.django_db]

FIELDS = {"type", "title", "status", "code", "detail", "errors"}


@pytest.fixture
def quiet() -> Client:
    """A browser that shows a 500 as people would see it."""
    return Client(raise_request_exception=False)


def problem(response: Any) -> dict[str, Any]:
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert set(body) == FIELDS
    assert body["status"] == response.status_code
    return body


def post(client: Client, body: object) -> Any:
    return client.post("/api/v1/test/echo", body, content_type="application/json")


def test_problem__nested_faults__each_has_its_json_path(client: Client) -> None:
    response = post(
        client,
        {
            "product_ids": ["ok", "x" * 6, "ok", ""],
            "lines": [{"product_id": "1"}, {}, {"product_id": "1", "colour": "red"}],
            "colour": "red",
        },
    )

    found = {(error["path"], error["code"]) for error in problem(response)["errors"]}
    assert response.status_code == 400
    assert found == {
        ("product_ids[1]", "max_length"),
        ("product_ids[3]", "blank"),
        ("lines[1].product_id", "required"),
        ("lines[2].colour", "unknown_field"),
        ("colour", "unknown_field"),
    }


def test_problem__one_fault__is_the_detail_too(client: Client) -> None:
    body = problem(post(client, {"colour": "red"}))

    assert body["code"] == "invalid"
    assert body["detail"] == "There is no such field here."


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("get", "/api/v1/nothing", 404, "not_found"),
        ("get", "/api/", 404, "not_found"),
        ("get", "/api/v1/test/echo", 405, "method_not_allowed"),
        ("get", "/api/v1/test/scoped", 401, "not_authenticated"),
        ("get", "/api/v1/test/undeclared", 401, "not_authenticated"),
        ("get", "/api/v1/test/faults/conflict", 409, "conflict"),
        ("get", "/api/v1/test/faults/denied", 403, "forbidden"),
        ("get", "/api/v1/test/faults/suspicious", 400, "unreadable"),
        ("get", "/api/v1/test/faults/database", 503, "unavailable"),
        ("get", "/api/v1/test/faults/throttled", 429, "throttled"),
    ],
)
def test_problem__every_refusal__has_the_shape(
    settings: Settings, quiet: Client, debug: bool, method: str, path: str, status: int, code: str
) -> None:
    settings.DEBUG = debug

    response = getattr(quiet, method)(path)

    assert (response.status_code, problem(response)["code"]) == (status, code)


@pytest.mark.parametrize("debug", [False, True])
def test_problem__bug__tells_nothing(settings: Settings, quiet: Client, debug: bool) -> None:
    settings.DEBUG = debug

    response = quiet.get("/api/v1/test/faults/bug")

    assert response.status_code == 500
    assert problem(response)["errors"] == []
    assert b"secret" not in response.content


def test_problem__service_refusal__keeps_its_places(client: Client) -> None:
    body = problem(client.get("/api/v1/test/faults/conflict"))

    assert body["detail"] == "Too late."
    assert body["errors"] == [{"path": "revision", "code": "stale", "message": "It is 7 by now."}]


def test_problem__headers__stay(client: Client) -> None:
    assert client.get("/api/v1/test/echo").headers["Allow"] == "POST, OPTIONS"
    assert client.get("/api/v1/test/scoped").headers["WWW-Authenticate"] == "Api-Key"
    assert client.get("/api/v1/test/faults/throttled").headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("text/plain", b"{}", 415),
        ("application/x-www-form-urlencoded", b"text=x", 415),
        ("application/json", b"[]", 400),
        ("application/json", b'{"text": "\\u0000"}', 400),
        ("application/json", b'{"text": "\xff"}', 400),
        ("application/json", b"{" * 50_000, 400),
        ("application/json", b'{"text": "' + b"x" * 10_000_000 + b'"}', 413),
        ("application/x-www-form-urlencoded", b"text=" + b"x" * 10_000_000, 413),
        ("multipart/form-data; boundary=x", b"--x\r\nbroken", 415),
        ("multipart/form-data", b"no boundary", 415),
    ],
)
def test_problem__bad_bodies__are_refused_in_shape(
    client: Client, content_type: str, body: bytes, status: int
) -> None:
    response = client.generic("POST", "/api/v1/test/echo", body, content_type=content_type)

    assert response.status_code == status
    problem(response)


def test_problem__any_accept_header__still_answers_json(client: Client) -> None:
    response = client.get("/api/v1/test/echo", headers={"Accept": "text/html"})

    assert response.status_code in {405, 406}
    problem(response)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing/", 404),
        ("/test/faults/conflict", 409),
        ("/test/faults/denied", 403),
        ("/test/faults/suspicious", 400),
        ("/test/faults/database", 503),
    ],
)
def test_page__refusal__is_html_in_words(
    settings: Settings, quiet: Client, debug: bool, path: str, status: int
) -> None:
    settings.DEBUG = debug

    response = quiet.get(path)

    assert response.status_code == status
    assert response.headers["Content-Type"].startswith("text/html")
    assert b"secret" not in response.content
    assert b"Traceback" not in response.content
    assert b"<h1>" in response.content


@pytest.mark.parametrize("debug", [False, True])
def test_page__bug__tells_nothing(settings: Settings, quiet: Client, debug: bool) -> None:
    settings.DEBUG = debug

    response = quiet.get("/test/faults/bug")

    assert response.status_code == 500
    assert b"secret" not in response.content
    assert b"<h1>" in response.content


def test_page__form_without_token__says_what_to_do() -> None:
    client = Client(enforce_csrf_checks=True)

    response = client.post("/test/csrf", {"a": "1"})

    assert response.status_code == 403
    assert b"reload the page" in response.content
