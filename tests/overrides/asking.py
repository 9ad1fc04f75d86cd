"""Ask the REST API as a machine with a key or as a person with a session, and count what was saved."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from django.test import Client

from opsportal.core import clock
from opsportal.events.models import Change, Event, Head, OutboxMessage, Revision
from opsportal.overrides.models import Approval, Block, Boost, OptOut, Submission, SubmissionItem

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


def blocks(*product_ids: str, **fields: object) -> dict[str, object]:
    """A body that blocks these products."""
    return {
        "product_ids": list(product_ids),
        "reason_code": "safety",
        "reason": "Recall of the week.",
        **fields,
    }


def boosts(*product_ids: str, **fields: object) -> dict[str, object]:
    """A body that boosts these products for a week."""
    week = {"ends_at": text(clock.now() + timedelta(days=7)), "factor": 2, "reason_code": "campaign"}
    return {**blocks(*product_ids), **week, **fields}


def opt_outs(*customer_ids: str, **fields: object) -> dict[str, object]:
    """A body that records what these customers asked for."""
    return {
        "customer_ids": list(customer_ids),
        "purposes": ["personalisation"],
        "channel": "phone",
        "reason": "Asked on the phone.",
        **fields,
    }


def text(moment: datetime) -> str:
    """The moment as the API writes it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def saved() -> dict[str, int]:
    """How many rows there are of everything that a change may write."""
    models = [
        Submission,
        SubmissionItem,
        Approval,
        Block,
        Boost,
        OptOut,
        Event,
        Revision,
        Change,
        OutboxMessage,
    ]
    head = Head.objects.filter(pk=1).first()
    counts = {model.__name__: model._default_manager.count() for model in models}
    return {**counts, "head": head.revision if head else 0}


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
