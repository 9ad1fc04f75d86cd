"""Keys, and a version to log predictions for."""

from collections.abc import Callable, Iterator

import pytest

from opsportal.accounts import services as accounts
from opsportal.accounts.keyring import keyring
from opsportal.accounts.models import User
from opsportal.predictions.models import ModelVersion
from tests.overrides.asking import Api
from tests.predictions.logging import scoring_version

ApiOf = Callable[..., Api]


@pytest.fixture(autouse=True)
def _fresh_keyring() -> Iterator[None]:
    """The key ring outlives a test's transaction, as it does in a web process."""
    keyring.forget()
    yield
    keyring.forget()


@pytest.fixture
def machine(db: None) -> User:
    """The account that keys act as: it has no role."""
    return accounts.service_account(name="machine")


@pytest.fixture
def api_of(machine: User) -> ApiOf:
    """`api_of("predictions:read")`: the API as a key with these scopes sees it."""

    def ask(*scopes: str) -> Api:
        _key, token = accounts.create_api_key(actor=None, name="test", scopes=scopes, owner=machine)
        return Api(token=token)

    return ask


@pytest.fixture
def api(api_of: ApiOf) -> Api:
    """The API with a key that may log and look up predictions."""
    return api_of("predictions:read", "predictions:write")


@pytest.fixture
def version(db: None) -> ModelVersion:
    """A ready version of the model `churn`."""
    return scoring_version()
