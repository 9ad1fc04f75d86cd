"""The outbox: a message is done once, comes back after a crash, and is set aside when it is poison."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from pytest_django import Settings

from opsportal.celery import app
from opsportal.core import clock
from opsportal.events import outbox
from opsportal.events.models import OutboxMessage

TASK, KEY = "test.work", "7"


def leave_message() -> OutboxMessage:
    with transaction.atomic():
        return outbox.send(task=TASK, key=7)


def fail() -> None:
    raise ValueError("no such thing")


def test_deliver__a_due_message__does_the_work_and_settles_it(db: None) -> None:
    message = leave_message()
    done: list[int] = []

    assert outbox.deliver(TASK, KEY, lambda: done.append(1))

    message.refresh_from_db()
    assert done == [1]
    assert message.delivered_at is not None
    assert (message.attempts, message.leased_until) == (1, None)


def test_deliver__twice__does_the_work_once(db: None) -> None:
    leave_message()
    done: list[int] = []

    outbox.deliver(TASK, KEY, lambda: done.append(1))
    again = outbox.deliver(TASK, KEY, lambda: done.append(2))

    assert not again
    assert done == [1]


def test_deliver__several_messages_of_one_key__does_the_work_once_for_all(db: None) -> None:
    leave_message()
    leave_message()
    done: list[int] = []

    outbox.deliver(TASK, KEY, lambda: done.append(1))

    assert done == [1]
    assert OutboxMessage.objects.filter(delivered_at=None).count() == 0


def test_deliver__work_fails__waits_longer_each_time(db: None) -> None:
    message = leave_message()

    assert not outbox.deliver(TASK, KEY, fail)

    message.refresh_from_db()
    assert message.last_error == "ValueError: no such thing"
    assert message.delivered_at is None
    assert message.due_at - message.created_at >= timedelta(seconds=2)


def test_deliver__eight_failures__sets_the_message_aside(db: None) -> None:
    message = leave_message()
    for _ in range(outbox.MAX_ATTEMPTS):
        outbox.deliver(TASK, KEY, fail)

    message.refresh_from_db()
    assert message.attempts == 8
    assert message.dead_at is not None
    assert not outbox.deliver(TASK, KEY, fail)


def test_retry_dead__a_dead_message__is_due_again(db: None) -> None:
    message = leave_message()
    OutboxMessage.objects.update(dead_at=Now(), attempts=8)

    outbox.retry_dead(message.pk)

    assert outbox.deliver(TASK, KEY, lambda: None)


def test_deliver__while_another_worker_holds_the_lease__leaves_it_alone(db: None) -> None:
    leave_message()
    OutboxMessage.objects.update(leased_until=clock.now() + timedelta(seconds=20))

    assert not outbox.deliver(TASK, KEY, fail)


def test_deliver__after_the_worker_was_killed__takes_the_message_over(db: None) -> None:
    leave_message()
    OutboxMessage.objects.update(leased_until=clock.now() - timedelta(seconds=1), attempts=1)

    assert outbox.deliver(TASK, KEY, lambda: None)

    assert OutboxMessage.objects.get().attempts == 2


def test_renew__while_working__prolongs_the_lease(db: None) -> None:
    message = leave_message()
    soon = clock.now() + timedelta(seconds=1)
    OutboxMessage.objects.update(leased_until=soon)

    outbox.renew(TASK, KEY)

    message.refresh_from_db()
    assert message.leased_until is not None
    assert message.leased_until > soon


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_deliver__eight_workers_at_once__one_does_the_work() -> None:
    leave_message()
    done: list[int] = []
    start = threading.Barrier(8)

    def work(number: int) -> bool:
        start.wait()
        try:
            return outbox.deliver(TASK, KEY, lambda: done.append(number))
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        delivered = list(pool.map(work, range(8)))

    assert len(done) == 1
    assert delivered.count(True) == 1


def test_drain__due_messages__runs_their_tasks_here(db: None) -> None:
    ran: list[str] = []

    def work(key: str) -> None:
        outbox.deliver(TASK, key, lambda: ran.append(key))

    app.task(name=TASK, shared=False)(work)
    leave_message()

    assert outbox.drain() == 1

    assert ran == [KEY]
    app.tasks.unregister(TASK)


def test_drain__message_of_a_newer_version__holds_up_nobody(db: None) -> None:
    ran: list[str] = []

    def work(key: str) -> None:
        ran.append(key)

    outbox.send(task="of.tomorrow", key=1)
    app.task(name=TASK, shared=False)(work)
    leave_message()

    assert outbox.drain() == 1

    assert ran == [KEY]
    app.tasks.unregister(TASK)


def test_drain__young_messages__are_left_to_celery(db: None) -> None:
    leave_message()

    assert outbox.drain(settled_for=timedelta(seconds=30)) == 0


@pytest.mark.django_db(transaction=True)
def test_nudge__broker_is_down__neither_fails_nor_loses_the_message(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OUTBOX_NUDGE = True
    asked = threading.Event()

    def refuse(*args: object, **options: object) -> None:
        asked.set()
        raise ConnectionError("refused")

    monkeypatch.setattr(app, "send_task", refuse)

    leave_message()

    assert asked.wait(5)
    assert OutboxMessage.objects.filter(delivered_at=None).count() == 1


@pytest.mark.django_db(transaction=True)
def test_nudge__transaction_rolls_back__asks_nobody(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OUTBOX_NUDGE = True
    asked: list[object] = []
    monkeypatch.setattr(outbox._nudger, "ask", lambda *args: asked.append(args))

    with transaction.atomic():
        outbox.send(task=TASK, key=7)
        transaction.set_rollback(True)

    assert asked == []
    assert not OutboxMessage.objects.exists()
