"""Keys."""

from collections.abc import Callable

import pytest

from opsportal.accounts import services
from opsportal.accounts.models import ApiKey, User

MakeKey = Callable[..., tuple[ApiKey, str]]


@pytest.fixture
def make_key(root: User) -> MakeKey:
    """`make_key("overrides:read", owner=ana)`: a key and its token."""

    def make(*scopes: str, owner: User | None = None, days: int = 90) -> tuple[ApiKey, str]:
        return services.create_api_key(
            actor=root, name="ranker", scopes=scopes or ["overrides:read"], owner=owner, days=days
        )

    return make
