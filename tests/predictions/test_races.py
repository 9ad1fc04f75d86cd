"""Many who log at once, and an opt-out meanwhile; each has a connection of its own. PostgreSQL only."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest
from django.db import connection, connections, transaction

from opsportal.events.selectors import verify_chain
from opsportal.predictions import services
from opsportal.predictions.intake import Checked, Intake
from opsportal.predictions.models import ModelVersion, Prediction, PredictionImport, Product, Word
from opsportal.predictions.pseudonyms import customer_key
from opsportal.predictions.services.importing import import_file
from opsportal.predictions.services.storing import Result, store
from tests.predictions.logging import ids, logged, scoring_version, write_csv
from tests.predictions.test_importing import HEADER, line

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

THREADS = 12


@pytest.fixture(autouse=True)
def _close(transactional_db: None) -> Iterator[None]:
    yield
    connections.close_all()


@pytest.fixture
def version(transactional_db: None) -> ModelVersion:
    """A ready version of the model `churn`."""
    return scoring_version()


def at_once(jobs: list[Callable[[], Any]]) -> list[Any]:
    """What each job returned; every thread has a connection of its own."""

    def run(job: Callable[[], Any]) -> Any:
        try:
            return job()
        finally:
            connection.close()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, jobs))


def test_take_in__same_ids_at_once_in_any_order__each_created_once(version: ModelVersion) -> None:
    random = Random(7)  # noqa: S311 an order, no secret
    rows = [logged(f"p-{number}", product_id=f"{number % 50:05}") for number in range(200)]

    def job() -> list[Result]:
        shuffled = random.sample(rows, len(rows))
        outcomes = services.take_in(actor=None, model="churn", version="1", predictions=shuffled)
        return [outcome.result for outcome in outcomes]

    results = Counter(result for found in at_once([job] * 24) for result in found)

    assert results == {Result.CREATED: 200, Result.EXISTS: 23 * 200}
    assert Prediction.objects.count() == 200
    assert Product.objects.count() == 50
    assert Word.objects.count() == 200 * 4
    assert verify_chain().broken_at is None


def test_take_in__same_id_other_content_at_once__one_wins(version: ModelVersion) -> None:
    scores = iter([number / 100 for number in range(20)])

    def job() -> Result:
        rows = [logged("p-1", score=next(scores))]
        return services.take_in(actor=None, model="churn", version="1", predictions=rows)[0].result

    results = at_once([job] * 20)

    assert Counter(results) == {Result.CREATED: 1, Result.CONFLICT: 19}


def test_erase__while_predictions_are_being_saved__none_is_left(version: ModelVersion) -> None:
    """Checked before the opt-out, saved after it: the erasing waits for that transaction."""
    row = Intake(version.features).check(logged("p-1", customer_id="C-1"))
    assert isinstance(row, Checked)
    saved, go_on = threading.Event(), threading.Event()

    def log() -> list[Result]:
        with transaction.atomic():
            results = store(version.pk, [row])
            saved.set()
            assert go_on.wait(30)
        return results

    def object_and_erase() -> int:
        assert saved.wait(30)
        with transaction.atomic():
            services.suppress([customer_key("C-1")])
        threading.Timer(0.5, go_on.set).start()
        return services.erase_suppressed("1")

    results, erased = at_once([log, object_and_erase])

    assert (results, erased) == ([Result.CREATED], 1)
    assert ids() == set()
    assert (
        services.take_in(
            actor=None, model="churn", version="1", predictions=[logged("p-2", customer_id="C-1")]
        )[0].result
        == Result.SUPPRESSED
    )


def test_erase__while_files_come_in__none_is_left(version: ModelVersion, tmp_path: Path) -> None:
    customers = [f"C-{number % 10}" for number in range(600)]
    rows = [line(number, customer_id=customer) for number, customer in enumerate(customers)]
    path = write_csv(tmp_path / "a.csv", HEADER, *rows)

    def take() -> PredictionImport:
        return import_file(actor=None, model="churn", version="1", path=path, chunk=20, leave_out_bad=True)

    def object_and_erase() -> None:
        for number in range(5):
            with transaction.atomic():
                services.suppress([customer_key(f"C-{number}")])
            services.erase_suppressed("1")

    found, _ = at_once([take, object_and_erase])

    assert found.created + found.suppressed == 600
    left = set(Prediction.objects.values_list("customer_key", flat=True))
    assert left == {customer_key(f"C-{number}") for number in range(5, 10)}
    assert Prediction.objects.count() == 300
