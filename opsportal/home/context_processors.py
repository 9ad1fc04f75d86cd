"""What the frame around every page shows: what waits for me, whether the store is live, where I may go."""

from dataclasses import dataclass
from functools import cached_property
from typing import cast

from django.http import HttpRequest

from opsportal.accounts.models import User
from opsportal.audits.selectors import waiting as audits
from opsportal.core.templatetags.ui import duration
from opsportal.overrides.models import State, Submission
from opsportal.serving.selectors import StoreStatus, store_status

_WORKS_ON_AUDITS = {"audits.label", "audits.lead", "audits.approve"}


@dataclass(frozen=True, slots=True)
class Pill:
    """The serving pill of the top bar. `state` is live, behind, stale or unknown."""

    state: str
    revision: int | None
    lag_text: str


class Frame:
    """Asks the database only for what a template really shows: fragments, errors and sign-in ask nothing."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @cached_property
    def can(self) -> frozenset[str]:
        """The person's capabilities; none for somebody who has not signed in."""
        user = self._request.user
        return user.capabilities if user.is_authenticated else frozenset()

    @cached_property
    def waiting(self) -> int:
        """Submissions of others that wait for my approval."""
        if "overrides.approve" not in self.can:
            return 0
        return Submission.objects.filter(state=State.WAITING).exclude(author=self._request.user.pk).count()

    @cached_property
    def audits_waiting(self) -> int:
        """What I can review, decide or close in audits."""
        if not self.can & _WORKS_ON_AUDITS:
            return 0
        return audits.waiting_for(cast(User, self._request.user))

    @cached_property
    def status(self) -> StoreStatus:
        """The serving store as the database knows it."""
        return store_status()

    @cached_property
    def pill(self) -> Pill:
        """How long the oldest change waits while the store is behind, else how long the newest one took."""
        status = self.status
        seconds = status.lag_seconds if status.pending else status.delivery_seconds
        return Pill(status.state, status.store_revision, duration(seconds) if seconds is not None else "")


def frame(request: HttpRequest) -> dict[str, Frame]:
    """`frame` for templates: a handful of small queries, each only where it is shown."""
    return {"frame": Frame(request)}
