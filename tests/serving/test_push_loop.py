"""The pusher outlives whatever happens to the database and the store."""

import threading
from collections.abc import Callable

import pytest
from django.db import InterfaceError, OperationalError

from opsportal.serving import services
from opsportal.serving.management.commands import push
from opsportal.serving.store import StoreDown

pytestmark = pytest.mark.django_db


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> push.Loop:
    """A loop that does not really wait."""
    loop = push.Loop()
    monkeypatch.setattr(loop, "_stop", _NoWait())
    # The connection of a test belongs to pytest.
    monkeypatch.setattr(push, "close_old_connections", lambda: None)
    return loop


class _NoWait(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


@pytest.mark.parametrize(
    "error", [OperationalError("gone"), InterfaceError("closed"), StoreDown("away"), ValueError("a fault")]
)
def test_turn__work_fails__tried_again(
    loop: push.Loop, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    calls: list[int] = []

    def failing() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise error

    chore = push._Chore(0, failing)
    monkeypatch.setattr(loop, "_chores", [chore])

    loop._turn()
    loop._turn()

    assert len(calls) == 2


def test_turn__new_revision__pushed_without_waiting_for_the_second(
    loop: push.Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opsportal.events.models import Revision
    from tests.serving.making import block

    loop._turn()
    block("P1")
    loop._turn()

    assert Revision.objects.get().live_at is not None


def test_project_if_new__nothing_new__asks_the_store_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    services.project()
    called: list[int] = []
    work: Callable[[], object] = lambda: called.append(1)  # noqa: E731  it stands in for project
    monkeypatch.setattr(services, "project", work)

    push._project_if_new()

    assert called == []
