"""Several people register one version at the same moment, each with a connection of their own."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections

from opsportal.core.errors import Conflict
from opsportal.events.models import Event
from opsportal.events.selectors import verify_chain
from opsportal.predictions.models import Model, ModelVersion
from tests.explanations.making import TITANIC
from tests.predictions.test_registering import register

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    connections.close_all()


def _at_once(contents: list[bytes]) -> list[ModelVersion | Conflict]:
    def run(content: bytes) -> ModelVersion | Conflict:
        try:
            return register(content=content)
        except Conflict as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(contents)) as pool:
        return list(pool.map(run, contents))


def test_register__the_same_by_eight_at_once__is_one_version() -> None:
    found = _at_once([TITANIC] * 8)

    row = ModelVersion.objects.get()
    assert found == [row] * 8
    assert row.file.read() == TITANIC
    assert Event.objects.filter(verb="model.registered").count() == 1


def test_register__different_files_at_once__one_wins_and_the_others_are_told() -> None:
    found = _at_once([TITANIC + b"\n" * number for number in range(6)])

    assert sum(isinstance(one, Conflict) for one in found) == 5
    assert (Model.objects.count(), ModelVersion.objects.count()) == (1, 1)
    assert verify_chain().broken_at is None
