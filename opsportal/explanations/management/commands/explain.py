"""`manage.py explain`: do without a broker what needs a model; with --loop, keep doing it."""

import signal
import threading
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import Error as DatabaseError
from django.db import close_old_connections

from opsportal.events import outbox
from opsportal.explanations import warming

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.2
AFTER_FAILURE_SECONDS = 1.0


def drain() -> int:
    """Do what is due in every lane that needs the numeric libraries; how much was done."""
    return sum(outbox.drain(lane=lane) for lane in settings.OUTBOX_LANES)


class Command(BaseCommand):
    help = "Check models, compute explanations and work on audits without a broker."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--loop", action="store_true", help="keep going until SIGTERM or Ctrl-C")

    def handle(self, *args: object, **options: Any) -> None:
        if options["loop"]:
            Loop().run()
            return
        done = 0
        while ran := drain():
            done += ran
        self.stdout.write(f"{done} done." if done else "Nothing was due.")


class Loop:
    """Computes whatever is asked for, within a fifth of a second."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def run(self) -> None:
        """Go on until SIGTERM or Ctrl-C; a failure costs a second, never the process."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        self._attempt(warming.warm)
        log.info("explain.started")
        while not self._stop.is_set():
            close_old_connections()
            if not self._attempt(drain):
                self._stop.wait(POLL_SECONDS)
        log.info("explain.stopped")

    def _attempt(self, work: Callable[[], int]) -> int:
        try:
            return work()
        except DatabaseError as error:
            log.warning("explain.database_failed", error=type(error).__name__)
            close_old_connections()
        except Exception:
            # Whatever it is, the loop must outlive it.
            log.exception("explain.failed")
        self._stop.wait(AFTER_FAILURE_SECONDS)
        return 0
