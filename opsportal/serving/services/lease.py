"""The right to push: one process at a time holds it, and a killed one loses it within ten seconds."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db.models import Q
from django.db.models.functions import Now

from opsportal.serving.models import Projection

LENGTH = timedelta(seconds=8)
RENEW_SECONDS = 1.0


class LeaseLost(Exception):
    """We were so slow that another process took over. The store's fence has kept out what came late."""


class Lease:
    """A held right to push. `renew` it with every batch."""

    def __init__(self, token: str) -> None:
        self.token = token
        self._renewed = time.monotonic()

    def renew(self) -> None:
        """Prolong the lease, at most once a second. Raises LeaseLost."""
        if time.monotonic() - self._renewed < RENEW_SECONDS:
            return
        # Whoever pushes is alive, so a long push counts as a heartbeat.
        held = Projection.objects.filter(pk=1, lease_token=self.token)
        if not held.update(leased_until=Now() + LENGTH, heartbeat_at=Now()):
            raise LeaseLost
        self._renewed = time.monotonic()


@contextmanager
def take() -> Iterator[Lease | None]:
    """Hold the lease for the length of a `with`, or get None because somebody else holds it.

    Taken by a conditional UPDATE and timed by the database's clock, so the clocks of hosts do not matter.
    """
    token = secrets.token_hex(16)
    free = Projection.objects.filter(Q(leased_until=None) | Q(leased_until__lt=Now()), pk=1)
    if not free.update(lease_token=token, leased_until=Now() + LENGTH):
        yield None
        return
    try:
        yield Lease(token)
    finally:
        Projection.objects.filter(pk=1, lease_token=token).update(lease_token="", leased_until=None)
