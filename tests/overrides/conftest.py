"""A key, surfaces and products seen."""

import pytest

from opsportal.overrides.models import EVERYWHERE, Surface
from opsportal.predictions.models import Product
from tests.asking import Api, ApiOf


@pytest.fixture
def api(api_of: ApiOf) -> Api:
    """The API with a key that may read and write overrides."""
    return api_of("overrides:read", "overrides:write")


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
