"""Keys and a clean key ring."""

from collections.abc import Callable, Iterator

import pytest

from opsportal.accounts import services
from opsportal.accounts.keyring import keyring
from opsportal.accounts.models import ApiKey, User

MakeKey = Callable[..., tuple[ApiKey, str]]


@pytest.fixture(autouse=True)
def _fresh_keyring() -> Iterator[None]:
    """The key ring outlives a test's transaction, as it does in a web process."""
    keyring.forget()
    yield
    keyring.forget()


@pytest.fixture
def make_key(root: User) -> MakeKey:
    """`make_key("overrides:read", owner=ana)`: a key and its token."""

    def make(*scopes: str, owner: User | None = None, days: int = 90) -> tuple[ApiKey, str]:
        return services.create_api_key(
            actor=root, name="ranker", scopes=scopes or ["overrides:read"], owner=owner, days=days
        )

    return make
