"""Ask the REST API as a machine with a key or as a person with a session, and read its refusals."""

import json
from collections.abc import Callable
from typing import Any

from django.test import Client

PROBLEM = "application/problem+json"
FIELDS = {"type", "title", "status", "code", "detail", "errors"}


class Api:
    """The API under /api/v1/, asked as whoever the headers or the browser say."""

    def __init__(self, client: Client | None = None, token: str = "") -> None:
        self.client = client or Client()
        self.headers = {"Authorization": f"Api-Key {token}"} if token else {}

    def get(self, route: str, query: dict[str, Any] | None = None) -> Any:
        """GET /api/v1/<route>."""
        return self.client.get(f"/api/v1/{route}", query or {}, headers=self.headers)

    def post(self, route: str, body: object, *, key: str | None = None) -> Any:
        """POST the body as JSON, with an Idempotency-Key if there is one."""
        headers = {**self.headers, **({"Idempotency-Key": key} if key is not None else {})}
        text = body if isinstance(body, str | bytes) else json.dumps(body)
        return self.client.post(f"/api/v1/{route}", text, content_type="application/json", headers=headers)


# `api_of("overrides:read")`, see tests.conftest.
ApiOf = Callable[..., Api]


def problem(response: Any, status: int) -> dict[str, Any]:
    """The body of a refusal, which has the one shape that every error has."""
    assert response.status_code == status, response.content[:500]
    assert response.headers["Content-Type"] == PROBLEM
    body: dict[str, Any] = response.json()
    assert set(body) == FIELDS
    assert body["status"] == status
    assert body["detail"]
    assert all(set(error) == {"path", "code", "message"} for error in body["errors"])
    return body


def paths(body: dict[str, Any]) -> set[tuple[str, str]]:
    """Where the problem lies, and its code."""
    return {(error["path"], error["code"]) for error in body["errors"]}
