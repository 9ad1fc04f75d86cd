"""Keys, surfaces and products seen."""

from collections.abc import Callable, Iterator

import pytest
from django.test import Client

from opsportal.accounts import services as accounts
from opsportal.accounts.keyring import keyring
from opsportal.accounts.models import User
from opsportal.overrides.models import EVERYWHERE, Surface
from opsportal.predictions.models import Product
from tests.overrides.asking import Api

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
    """`api_of("overrides:read")`: the API as a key with these scopes sees it."""

    def ask(*scopes: str, owner: User = machine) -> Api:
        _key, token = accounts.create_api_key(actor=None, name="test", scopes=scopes, owner=owner)
        return Api(token=token)

    return ask


@pytest.fixture
def api(api_of: ApiOf) -> Api:
    """The API with a key that may read and write overrides."""
    return api_of("overrides:read", "overrides:write")


@pytest.fixture
def as_person(client_for: Callable[[User], Client]) -> Callable[[User], Api]:
    """`as_person(lena)`: the API from the browser of somebody signed in."""
    return lambda person: Api(client_for(person))


@pytest.fixture
def search(db: None) -> Surface:
    """A surface beside `*`."""
    Surface.objects.get_or_create(slug=EVERYWHERE, defaults={"name": "Everywhere"})
    return Surface.objects.get_or_create(slug="search", defaults={"name": "Search"})[0]


@pytest.fixture
def seen(db: None) -> list[str]:
    """Products that some ranker has shown."""
    products = [f"{number:05}" for number in range(700, 710)]
    Product.objects.bulk_create(Product(product_id=product) for product in products)
    return products
