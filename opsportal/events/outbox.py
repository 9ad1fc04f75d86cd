"""The transactional outbox: what a transaction leaves to be done elsewhere, and the three ways it gets done.

A message names a Celery task and the key of what changed. The nudge after commit makes it fast; the
beat tick and `manage.py push --loop` make it certain. All three end in `deliver`.
"""

import os
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import cache

import structlog
from celery import current_app
from django.conf import settings
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from opsportal.events.models import OutboxMessage

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=30)
MAX_ATTEMPTS = 8
BACKOFF_CAP = timedelta(minutes=10)


def send(*, task: str, key: object) -> OutboxMessage:
    """Leave a message in the caller's transaction, and nudge Celery once it has committed."""
    # The database's clock throughout: leases and waits are measured by it.
    message = OutboxMessage.objects.create(task=task, key=str(key), created_at=Now(), due_at=Now())
    nudge(task, str(key))
    return message


def is_waiting(*, task: str, key: object) -> bool:
    """Whether a message for (task, key) is still to be delivered. Reads the few that are."""
    return OutboxMessage.objects.filter(task=task, key=str(key), delivered_at=None, dead_at=None).exists()


def nudge(task: str, *args: str) -> None:
    """Ask Celery, after commit, to run `task` now. Never blocks and never raises: the tick comes anyway."""
    if settings.OUTBOX_NUDGE:
        transaction.on_commit(lambda: _nudger.ask(task, args), robust=True)


def deliver(task: str, key: str, work: Callable[[], object]) -> bool:
    """Do `work` if a due message for (task, key) can be claimed; settle every message it covers.

    A claim is a lease of 30 s by the database's clock, taken by a conditional UPDATE, so two
    workers never share a message and a killed worker's message comes back. A failure doubles the
    wait, up to 10 minutes; after 8 failures the message is dead and shown on the serving page.
    Returns whether the work was done.
    """
    due = OutboxMessage.objects.filter(
        Q(leased_until=None) | Q(leased_until__lt=Now()),
        task=task,
        key=key,
        delivered_at=None,
        dead_at=None,
    )
    claimed = [
        message.pk
        for message in due
        # The WHERE is evaluated again under the row's lock: only one claimant changes the row.
        if due.filter(pk=message.pk).update(leased_until=Now() + LEASE, attempts=F("attempts") + 1)
    ]
    if not claimed:
        return False
    messages = OutboxMessage.objects.filter(pk__in=claimed)
    try:
        work()
    except Exception as error:
        log.exception("outbox.failed", task=task)
        _settle_failure(messages, error)
        return False
    messages.update(delivered_at=Now(), leased_until=None, last_error="")
    return True


def renew(task: str, key: str) -> None:
    """Prolong the lease on (task, key) by another 30 s; long work calls it with every batch."""
    OutboxMessage.objects.filter(task=task, key=key, leased_until__isnull=False).update(
        leased_until=Now() + LEASE
    )


def drain(*, settled_for: timedelta = timedelta(0), limit: int = 50, lane: str = "") -> int:
    """Run the tasks of up to `limit` due messages in this process, oldest first; return how many ran.

    `settled_for` leaves messages younger than that to Celery. `lane`, one of OUTBOX_LANES: only tasks
    whose name begins so; without it, all that are of no lane, so that nothing light ever waits for a
    model or a drawing.
    """
    heavy = Q()
    for prefix in settings.OUTBOX_LANES:
        heavy |= Q(task__startswith=prefix)
    due = (
        OutboxMessage.objects.filter(
            Q(task__startswith=lane) if lane else ~heavy,
            Q(leased_until=None) | Q(leased_until__lt=Now()),
            due_at__lte=Now() - settled_for,
            delivered_at=None,
            dead_at=None,
        )
        .order_by("due_at", "pk")
        .values_list("task", "key")[:limit]
    )
    _import_tasks()
    done = 0
    for task, key in dict.fromkeys(due):
        if task not in current_app.tasks:
            # Of a newer version that is being rolled out: it must not hold up what stands behind it.
            log.warning("outbox.unknown_task", task=task)
            continue
        current_app.tasks[task].run(key)
        done += 1
    return done


@cache
def _import_tasks() -> None:
    """Know every app's tasks. Once: each time, Celery would have Django check the whole project."""
    current_app.loader.import_default_modules()


def retry_dead(pk: int) -> None:
    """Give a dead message another eight attempts, starting now."""
    OutboxMessage.objects.filter(pk=pk, dead_at__isnull=False).update(
        dead_at=None, attempts=0, due_at=Now(), leased_until=None
    )


def _settle_failure(messages: "models.QuerySet[OutboxMessage]", error: Exception) -> None:
    for message in messages:
        wait = min(timedelta(seconds=2**message.attempts), BACKOFF_CAP)
        dead = message.attempts >= MAX_ATTEMPTS
        OutboxMessage.objects.filter(pk=message.pk).update(
            due_at=Now() + wait,
            dead_at=Now() if dead else None,
            leased_until=None,
            last_error=f"{type(error).__name__}: {error}"[:500],
        )


class _Nudger:
    """One daemon thread per process that publishes; equal requests that wait are one request."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._asked: dict[tuple[str, tuple[str, ...]], None] = {}
        self._pid = 0

    def ask(self, task: str, args: tuple[str, ...]) -> None:
        with self._wake:
            self._asked[task, args] = None
            if self._pid != os.getpid():
                # A fork copies the object but not its thread.
                self._pid = os.getpid()
                threading.Thread(target=self._publish, name="nudge", daemon=True).start()
            self._wake.notify()

    def _publish(self) -> None:
        while True:
            with self._wake:
                while not self._asked:
                    self._wake.wait()
                task, args = next(iter(self._asked))
                del self._asked[task, args]
            try:
                current_app.send_task(task, args=list(args), expires=30, retry=False)
            except Exception as error:  # noqa: BLE001 the broker may fail in any way; the tick makes up for it
                log.warning("outbox.nudge_failed", task=task, error=type(error).__name__)


_nudger = _Nudger()
