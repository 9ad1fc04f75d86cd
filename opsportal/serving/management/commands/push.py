"""`manage.py push`: bring the store up to date without a broker; with --loop, keep it so."""

import signal
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import structlog
from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError
from django.db import close_old_connections

from opsportal.events import outbox
from opsportal.events import services as events
from opsportal.events.models import Head
from opsportal.serving import services
from opsportal.serving.models import Projection
from opsportal.serving.services import StoreOfAnotherDatabase
from opsportal.serving.store import StoreDown

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.1
BUSY_WAIT_SECONDS = 30
# Celery is faster for what it hears of; what it has not taken up by then is left to this loop.
OUTBOX_SETTLED = timedelta(seconds=3)


class Command(BaseCommand):
    help = "Project pending changes without a broker."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--loop", action="store_true", help="keep going until SIGTERM or Ctrl-C")
        parser.add_argument("--full", action="store_true", help="fill the store anew")
        parser.add_argument(
            "--new-epoch",
            action="store_true",
            help="let this database win over a newer store, as after a restore",
        )

    def handle(self, *args: object, **options: Any) -> None:
        if options["new_epoch"]:
            events.raise_epoch(actor=None, reason="Asked for on the command line.")
        if options["full"] or options["new_epoch"]:
            services.want_rebuild(actor=None, reason="Asked for on the command line.")
        if options["loop"]:
            Loop().run()
        else:
            self.stdout.write(_push_once())


class Loop:
    """The pusher: wakes for every new revision, and does each second what beat would do."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._wake_at = 0.0
        self._chores: list[_Chore] = [
            _Chore(1.0, services.project),
            _Chore(5.0, services.heartbeat),
            _Chore(30.0, services.check),
            _Chore(300.0, lambda: services.compare(repair=True)),
            _Chore(1.0, lambda: outbox.drain(settled_for=OUTBOX_SETTLED)),
        ]

    def run(self) -> None:
        """Go on until SIGTERM or Ctrl-C; a failure of database or store costs a second, never the process."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        log.info("push.started")
        while not self._stop.is_set():
            self._turn()
            self._stop.wait(POLL_SECONDS)
        log.info("push.stopped")

    def _turn(self) -> None:
        close_old_connections()
        for chore in self._chores:
            if chore.is_due() and not self._stop.is_set():
                self._attempt(chore.work)
                chore.done()
        if time.monotonic() >= self._wake_at:
            self._attempt(_project_if_new)

    def _attempt(self, work: Callable[[], object]) -> None:
        try:
            work()
        except (StoreDown, StoreOfAnotherDatabase):
            # Noted by the service; the one-second chore tries again.
            self._wake_at = time.monotonic() + 1
        except DatabaseError as error:
            log.warning("push.database_failed", error=type(error).__name__)
            close_old_connections()
            self._stop.wait(1)
        except Exception:
            # Whatever it is, the pusher must outlive it.
            log.exception("push.failed")
            self._stop.wait(1)


class _Chore:
    """Work that is due again so many seconds after it was last done."""

    def __init__(self, every: float, work: Callable[[], object]) -> None:
        self.work = work
        self._every = every
        self._due = 0.0

    def is_due(self) -> bool:
        return time.monotonic() >= self._due

    def done(self) -> None:
        self._due = time.monotonic() + self._every


def _project_if_new() -> None:
    """One cheap query ten times a second is what makes a change live at once without a broker."""
    newest = Head.objects.filter(pk=1).values_list("epoch", "revision").first()
    held = Projection.objects.filter(pk=1).values_list("epoch", "revision", "rebuild_wanted").first()
    if newest is not None and (held is None or (*newest, "") != held):
        services.project()


def _push_once() -> str:
    """Push, waiting for another process that is at it; return a sentence."""
    deadline = time.monotonic() + BUSY_WAIT_SECONDS
    try:
        while (outcome := services.project()).busy:
            if time.monotonic() > deadline:
                raise CommandError("Another process is still pushing; it goes on without us.")
            time.sleep(0.2)
    except (StoreDown, StoreOfAnotherDatabase) as error:
        raise CommandError(str(error)) from error
    if outcome.rebuilt:
        return f"Filled the store anew at revision {outcome.revision}. {outcome.rebuilt}"
    return f"The store is at revision {outcome.revision}; pushed {outcome.keys:,} keys."
