"""Every look-up begins at an index, and what came before is found."""

from datetime import timedelta

import pytest
from django.db import connection

from opsportal.core import clock
from opsportal.core.errors import NotFound
from opsportal.predictions.models import ModelVersion, Prediction
from opsportal.predictions.pseudonyms import customer_key
from opsportal.predictions.selectors import (
    LookUp,
    earlier_of_same_customer,
    find_predictions,
    prediction_by_id,
)
from tests.explanations.making import make_prediction
from tests.predictions.logging import scoring_version

pytestmark = pytest.mark.django_db

KEY = customer_key("C-1")


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (LookUp(customer_key=KEY), "prediction_customer"),
        (LookUp(customer_key=KEY, model="churn"), "prediction_customer"),
        (LookUp(customer_key=KEY, model="churn", version="1", surface="home"), "prediction_customer"),
        (LookUp(product_id="00701"), "prediction_product"),
        (LookUp(product_id="00701", model="churn"), "prediction_product"),
        (LookUp(product_id="00701", since=clock.now()), "prediction_product"),
        (LookUp(model="churn", version="1"), "prediction_version"),
        (LookUp(model="churn", until=clock.now()), "prediction_version"),
    ],
)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL reads small tables whole")
def test_find__by_what_is_known__reads_an_index_in_its_order(
    version: ModelVersion, wanted: LookUp, index: str
) -> None:
    plan = find_predictions(wanted)[:50].explain()

    assert f"USING INDEX {index}" in plan
    assert "TEMP B-TREE" not in plan


def test_find__nothing_wanted__everything_newest_first(version: ModelVersion) -> None:
    for number in range(3):
        make_prediction(version, prediction_id=f"p-{number}", score=0.5, age=number)

    assert [row.prediction_id for row in find_predictions(LookUp())] == ["p-2", "p-1", "p-0"]


def test_prediction_by_id__none__not_found(version: ModelVersion) -> None:
    with pytest.raises(NotFound):
        prediction_by_id("p-1")


def test_earlier__same_customer_model_and_product__newest_first(version: ModelVersion) -> None:
    moment = clock.now()
    second = scoring_version(version="2")
    other = scoring_version(model="ranker")

    def predict(prediction_id: str, days: float, **more: str) -> Prediction:
        where = {"product_id": "00701", "customer_id": "C-1", **more}
        of = {"2": second, "ranker": other}.get(where.pop("of", ""), version)
        return make_prediction(
            of,
            prediction_id=prediction_id,
            score=0.5,
            predicted_at=moment - timedelta(days=days),
            age=1,
            **where,
        )

    predict("older", 3)
    predict("newer", 1, of="2")
    predict("same-moment-before", 0)
    latest = predict("latest", 0)
    predict("later", -1)
    predict("other-customer", 1, customer_id="C-2")
    predict("other-product", 1, product_id="701")
    predict("other-model", 1, of="ranker")
    nobody = predict("nobody", 0, customer_id="")

    found = earlier_of_same_customer(latest, 10)

    assert [row.prediction_id for row in found] == ["same-moment-before", "newer", "older"]
    assert len(earlier_of_same_customer(latest, 1)) == 1
    assert earlier_of_same_customer(nobody, 10) == []
