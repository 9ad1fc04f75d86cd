"""A portal in which people have decided things."""

from collections.abc import Callable

import pytest
import redis
from django.core.cache import cache
from django.test import Client

from opsportal.accounts.models import User
from opsportal.overrides.models import EVERYWHERE, Surface


@pytest.fixture(autouse=True)
def _forget_numbers() -> None:
    """The numbers of the home page outlive a test's transaction, as they do in a web process."""
    cache.clear()


@pytest.fixture(autouse=True)
def _surfaces(db: None) -> None:
    """Everywhere, and a surface beside it."""
    Surface.objects.get_or_create(slug=EVERYWHERE, defaults={"name": "Everywhere"})
    Surface.objects.get_or_create(slug="search", defaults={"name": "Search page"})


@pytest.fixture
def no_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects to Redis fails the test."""

    def refuse(self: object, *args: object, **kwargs: object) -> None:
        pytest.fail("a page connects to Redis")

    monkeypatch.setattr(redis.connection.AbstractConnection, "connect", refuse)


@pytest.fixture
def as_ana(ana: User, client_for: Callable[[User], Client]) -> Client:
    """The agent's browser."""
    return client_for(ana)


@pytest.fixture
def as_mallory(mallory: User, client_for: Callable[[User], Client]) -> Client:
    """The browser of somebody without a role."""
    return client_for(mallory)
