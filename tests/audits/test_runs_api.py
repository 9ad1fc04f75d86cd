"""Runs over REST: figures, and labels in four formats."""

import json

import pytest
from django.test import Client

from opsportal.accounts import services as accounts
from opsportal.accounts.keyring import keyring
from opsportal.accounts.models import User
from opsportal.audits.models import Run
from opsportal.events import outbox
from opsportal.events.models import Event
from opsportal.predictions.models import Suppression
from opsportal.predictions.pseudonyms import customer_key
from tests.audits.making import make_items, make_run
from tests.audits.resulting import close, estimate, settle
from tests.explanations.making import NOON

pytestmark = pytest.mark.django_db


@pytest.fixture
def machine(dana: User) -> Client:
    """A client with a key that may read audits."""
    keyring.forget()
    _key, token = accounts.create_api_key(actor=None, name="test", scopes=["audits:read"], owner=dana)
    return Client(headers={"Authorization": f"Api-Key {token}"})


def labelled(number: int = 3) -> Run:
    run = make_run(title="November")
    settle(make_items(run, number, customer_id="C-1"), "did not survive")
    settle(make_items(run, 1), "survived")
    return close(run)


def test_run__closed__has_figures_without_people(machine: Client) -> None:
    run = estimate(make_run(state="closed", title="November"))

    body = machine.get(f"/api/v1/audits/runs/{run.pk}").json()

    assert (body["id"], body["title"], body["state"], body["model"]) == (
        run.pk,
        "November",
        "closed",
        "survival",
    )
    assert (body["starts_at"], body["closed_at"]) == ("2026-11-02T00:00:00Z", "2026-11-02T12:00:00Z")
    assert body["method"] == "audits/1"
    assert body["figures"]["error_rate"]["high"] == 0.04
    assert body["figures"]["people"] == []


def test_run__open__has_no_figures(machine: Client) -> None:
    run = make_run()
    settle(make_items(run, 2), "did not survive")

    body = machine.get(f"/api/v1/audits/runs/{run.pk}").json()

    assert body["figures"] is None
    assert "error" not in json.dumps(body)


def test_run__unknown__is_not_found(machine: Client) -> None:
    response = machine.get("/api/v1/audits/runs/77")

    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_labels_json__pages__give_every_label_once(machine: Client) -> None:
    run = labelled()
    url = f"/api/v1/audits/runs/{run.pk}/labels"

    first = machine.get(url, {"limit": "3"}).json()
    second = machine.get(url, {"limit": "3", "cursor": first["next"]}).json()

    rows = [*first["results"], *second["results"]]
    assert second["next"] is None
    assert [row["is_error"] for row in rows] == [True, True, True, False]
    assert len({row["prediction_id"] for row in rows}) == 4
    assert rows[0]["weight"] == 10.0
    assert rows[0]["settled_at"] == "2026-11-02T12:00:00Z"
    assert Event.objects.filter(verb="labels.exported").count() == 1


def test_labels_json__opted_out__leaves_a_short_page(machine: Client) -> None:
    run = labelled()
    Suppression.objects.create(customer_key=customer_key("C-1"), since=NOON)

    body = machine.get(f"/api/v1/audits/runs/{run.pk}/labels").json()

    assert [row["is_error"] for row in body["results"]] == [False]


@pytest.mark.parametrize(("format", "lines"), [("csv", 5), ("jsonl", 4)])
def test_labels__streamed_formats__come_whole(format: str, lines: int, machine: Client) -> None:
    run = labelled()

    response = machine.get(f"/api/v1/audits/runs/{run.pk}/labels", {"format": format})

    assert response.status_code == 200
    text = b"".join(response.streaming_content).decode()  # type: ignore[attr-defined]  # it is streamed
    assert len(text.strip().splitlines()) == lines


def test_labels_parquet__first_asked__says_when_to_come_back(machine: Client) -> None:
    run = labelled()
    url = f"/api/v1/audits/runs/{run.pk}/labels?format=parquet"

    early = machine.get(url)
    outbox.drain(lane="audits.")
    late = machine.get(url)

    assert (early.status_code, early.headers["Retry-After"]) == (202, "2")
    assert early.json() == {"run": run.pk, "format": "parquet", "state": "wanted"}
    assert (late.status_code, late.content[:4]) == (200, b"PAR1")
    assert late.headers["Content-Type"] == "application/vnd.apache.parquet"


def test_labels__open_run__is_a_conflict(machine: Client) -> None:
    run = make_run()

    response = machine.get(f"/api/v1/audits/runs/{run.pk}/labels")

    assert (response.status_code, response.json()["code"]) == (409, "not_closed")


@pytest.mark.parametrize(
    ("query", "path"),
    [("format=xml", "format"), ("limit=0", "limit"), ("since=1", "since"), ("cursor=x", "cursor")],
)
def test_labels__bad_query__names_the_place(query: str, path: str, machine: Client) -> None:
    run = make_run(state="closed")

    response = machine.get(f"/api/v1/audits/runs/{run.pk}/labels?{query}")

    assert response.status_code == 400
    assert [error["path"] for error in response.json()["errors"]] == [path]
