"""The store as the portal sees it, and a clean slate for what a process remembers."""

from collections.abc import Iterator

import pytest
from django.conf import settings

from opsportal.client import DirectReader
from opsportal.serving import decisions
from opsportal.serving.store import Store, connect


@pytest.fixture(autouse=True)
def _forget() -> None:
    decisions.forget()


@pytest.fixture
def serving_store() -> Store:
    """The portal's store."""
    return connect()


@pytest.fixture
def reader() -> Iterator[DirectReader]:
    """A ranker's reader of the portal's store."""
    reader = DirectReader(settings.REDIS_URL, settings.STORE_PREFIX, timeout=1)
    yield reader
    reader.close()
