"""The serving page: the store's state from the database alone, and what an administrator can do about it."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
import redis
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.events.models import Event, OutboxMessage, Revision
from opsportal.serving import services
from opsportal.serving.models import Drift, Projection, Rebuild
from tests.serving.making import block

ClientFor = Callable[[User], Client]


@pytest.fixture
def no_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects to Redis fails the test."""

    def refuse(self: object, *args: object, **kwargs: object) -> None:
        pytest.fail("a page connects to Redis")

    monkeypatch.setattr(redis.connection.AbstractConnection, "connect", refuse)


def page(browser: Client) -> str:
    """What the page says, without tags."""
    response = browser.get("/serving/")
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode())).replace("\xa0", " ")


def dead_message(**fields: object) -> OutboxMessage:
    """A message that failed eight times."""
    moment = clock.now()
    content = {
        "task": "overrides.apply",
        "key": "12",
        "created_at": moment,
        "due_at": moment,
        "attempts": 8,
        "dead_at": moment,
        "last_error": "OperationalError: away",
        **fields,
    }
    return OutboxMessage.objects.create(**content)


def test_serving__nothing_published__is_unknown(ana: User, client_for: ClientFor, no_redis: None) -> None:
    text = page(client_for(ana))

    assert "Unknown: nothing has been published yet" in text
    assert "The store has never been filled anew." in text


def test_serving__after_a_push__is_live(ana: User, client_for: ClientFor) -> None:
    block("A", "B")
    services.project()

    text = page(client_for(ana))

    assert "Live: the rankers can read every change" in text
    assert "The same as in the database" in text
    assert "Products with a rule 2" in text
    assert "The store was empty." in text


def test_serving__change_not_pushed__is_behind_with_the_oldest_first(
    ana: User, client_for: ClientFor, no_redis: None
) -> None:
    block("A")
    block("B")
    Revision.objects.update(at=clock.now() - timedelta(minutes=2))
    Projection.objects.create(pk=1, pushed_at=clock.now(), heartbeat_at=clock.now())

    text = page(client_for(ana))

    assert "Behind: 2 changes on the way The oldest has waited for 2 min." in text
    assert re.search(r"Waiting to be live.* 1 .* 2 .*Rebuilds", text)


def test_serving__store_out_of_reach__is_stale_and_says_why(
    ana: User, client_for: ClientFor, no_redis: None
) -> None:
    block("A")
    Projection.objects.create(
        pk=1,
        pushed_at=clock.now(),
        heartbeat_at=clock.now(),
        failing_since=clock.now() - timedelta(minutes=3),
        last_error="The store does not answer in time.",
    )
    browser = client_for(ana)

    text = page(browser)
    pill = browser.get("/serving/pill/")

    assert "Stale: the store does not follow" in text
    assert "1 change is saved and will follow by itself." in text
    assert "The store does not answer in time." in text
    assert b"pill--stale" in pill.content
    assert b"<html" not in pill.content


def test_serving__rebuild_drift_and_proof__are_shown(ana: User, client_for: ClientFor) -> None:
    moment = clock.now()
    Projection.objects.create(pk=1, compared_at=moment - timedelta(minutes=3))
    Rebuild.objects.create(
        started_at=moment, reason="The store was empty.", revision=3, entries_total=9, entries_done=4
    )
    Rebuild.objects.create(
        started_at=moment, finished_at=moment, reason="It had gone.", revision=4, error="No answer."
    )
    Drift.objects.create(at=moment, kind="missing", keys=214, repaired=True)

    text = page(client_for(ana))

    assert "( 3 min ago )" in text
    assert "Cut short The store was empty. 4 entries" in text
    assert "Failed It had gone. No answer." in text
    assert "Repaired 214 missing entries" in text


def test_serving__rebuild_running__shows_its_progress(ana: User, client_for: ClientFor) -> None:
    moment = clock.now()
    Projection.objects.create(pk=1, leased_until=moment + timedelta(seconds=5))
    Rebuild.objects.create(
        started_at=moment, reason="It was empty.", revision=3, entries_total=9_000, entries_done=4_000
    )

    text = page(client_for(ana))

    assert "Filling the store anew: It was empty. 4,000 of 9,000" in text


def test_rebuild__administrator_with_a_reason__is_wanted_and_recorded(
    root: User, client_for: ClientFor
) -> None:
    browser = client_for(root)
    assert "Rebuild the store" in page(browser)

    response = browser.post("/serving/rebuild/", {"reason": "Somebody typed FLUSHALL."})

    assert response.status_code == 302
    assert Projection.objects.get().rebuild_wanted == "Somebody typed FLUSHALL."
    event = Event.objects.get(verb="serving.rebuild_wanted")
    assert (event.actor_name, event.reason) == ("root", "Somebody typed FLUSHALL.")
    assert "The next push fills the store anew" in page(browser)


@pytest.mark.parametrize("reason", ["", "   ", "x" * 101])
def test_rebuild__without_a_usable_reason__keeps_the_dialog_open(
    root: User, client_for: ClientFor, reason: str
) -> None:
    response = client_for(root).post("/serving/rebuild/", {"reason": reason})

    assert response.status_code == 400
    assert "data-open-now" in response.content.decode()
    assert not Projection.objects.exists()
    assert not Event.objects.exists()


def test_dead_message__retried__is_due_again_and_recorded(root: User, client_for: ClientFor) -> None:
    message = dead_message()
    browser = client_for(root)
    assert "overrides.apply 12" in page(browser)

    response = browser.post(f"/serving/outbox/{message.pk}/retry/")

    assert response.status_code == 302
    message.refresh_from_db()
    assert (message.dead_at, message.attempts) == (None, 0)
    event = Event.objects.get(verb="outbox.retried")
    assert (event.actor_name, event.subject_id) == ("root", str(message.pk))
    assert "Given up after eight tries" not in page(browser)


def test_dead_message__retried_twice__says_somebody_was_faster(root: User, client_for: ClientFor) -> None:
    message = dead_message()
    browser = client_for(root)
    browser.post(f"/serving/outbox/{message.pk}/retry/")

    response = browser.post(f"/serving/outbox/{message.pk}/retry/", follow=True)

    assert response.status_code == 200
    assert "somebody was faster" in response.content.decode()
    assert Event.objects.filter(verb="outbox.retried").count() == 1


def test_serving__others__see_no_buttons_and_cannot_act(ana: User, client_for: ClientFor) -> None:
    message = dead_message()
    browser = client_for(ana)

    text = page(browser)

    assert "Rebuild the store" not in text
    assert "Try again" not in text
    assert browser.post("/serving/rebuild/", {"reason": "x"}).status_code == 404
    assert browser.post(f"/serving/outbox/{message.pk}/retry/").status_code == 404
    message.refresh_from_db()
    assert message.dead_at is not None
    assert not Projection.objects.exists()
    assert not Event.objects.exists()


def test_serving__without_role__does_not_exist(mallory: User, client_for: ClientFor) -> None:
    browser = client_for(mallory)

    assert browser.get("/serving/").status_code == 404
    assert browser.get("/serving/pill/").status_code == 404
    assert browser.post("/serving/rebuild/", {"reason": "x"}).status_code == 404


@pytest.mark.parametrize("path", ["/serving/rebuild/", "/serving/outbox/1/retry/"])
def test_serving__action_by_get__is_refused(root: User, client_for: ClientFor, path: str) -> None:
    assert client_for(root).get(path).status_code == 405


def test_serving__ten_times_as_much__takes_as_many_queries(ana: User, client_for: ClientFor) -> None:
    browser = client_for(ana)

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            page(browser)
        return len(queries)

    def happen(number: int) -> None:
        block(f"P{number}")
        dead_message(key=str(number))
        Drift.objects.create(at=clock.now(), kind="missing", keys=1, repaired=True)
        Rebuild.objects.create(started_at=clock.now(), reason="It was empty.", revision=number)

    happen(0)
    page(browser)
    one = count()
    for number in range(1, 10):
        happen(number)

    assert count() == one
    assert one <= 20
