"""Keep a long drawing alive and visible: its lease, its count of rows, and whether anybody still wants it."""

import time

from django.db.models import F
from django.db.models.functions import Least

from opsportal.audits.models import Run
from opsportal.events import outbox

_SECONDS = 2.0


class Stopped(Exception):
    """The run is no longer being drawn: somebody cancelled it, or another worker has finished it."""


class Progress:
    """Told after every piece; writes at most every two seconds."""

    def __init__(self, run_id: int, task: str, key: object) -> None:
        self._run_id, self._task, self._key = run_id, task, str(key)
        self._rows = 0
        self._last = time.monotonic()

    def add(self, rows: int) -> None:
        """So many rows more. Raises Stopped."""
        self._rows += rows
        if time.monotonic() - self._last >= _SECONDS:
            self.write()

    def write(self) -> None:
        """Write what was counted and renew the lease now. Raises Stopped."""
        outbox.renew(self._task, self._key)
        still = Run.objects.filter(pk=self._run_id, state=Run.State.DRAWING).update(
            rows_done=Least(F("rows_done") + self._rows, F("rows_total"))
        )
        self._rows, self._last = 0, time.monotonic()
        if not still:
            raise Stopped
