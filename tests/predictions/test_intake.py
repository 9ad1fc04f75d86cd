"""What may come in, and how it is kept: the same for the API and for files."""

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from opsportal.core import clock
from opsportal.predictions.dictionary import read_dictionary, read_values
from opsportal.predictions.intake import WORDS_MAX, Checked, Intake
from opsportal.predictions.pseudonyms import customer_key
from tests.predictions.logging import DICTIONARY, VALUES, logged

CHURN = read_dictionary(DICTIONARY)
HOSTILE = "</script><script>alert(1)</script>\u2028\u2029'\"&<!--"


def places(raw: dict[str, Any], **options: Any) -> set[str]:
    """Where the prediction is wrong; empty when it is not."""
    found = Intake(CHURN, **options).check(raw)
    return set() if isinstance(found, Checked) else {problem.path for problem in found}


def sound(raw: dict[str, Any], **options: Any) -> Checked:
    """The prediction as it is stored."""
    found = Intake(CHURN, **options).check(raw)
    assert isinstance(found, Checked), found
    return found


def test_check__sound__keeps_types_and_order() -> None:
    values = dict(reversed(VALUES.items()))

    found = sound(logged(features=values))

    assert list(read_values(found.features)) == list(VALUES)
    assert read_values(found.features) == VALUES
    assert found.predicted_at == datetime(2026, 11, 2, 12, tzinfo=UTC)


def test_check__text_that_looks_like_a_number__stays_text() -> None:
    found = sound(
        logged(values={"postcode": "00701", "age": "00701"}, product_id="00701", customer_id="00701")
    )

    assert json.loads(found.features)["postcode"] == json.loads(found.features)["age"] == "00701"
    assert found.product_id == "00701"
    assert found.customer_key == customer_key("00701") != customer_key("701")


def test_check__values_not_given__are_null() -> None:
    assert read_values(sound(logged(features={})).features) == dict.fromkeys(VALUES)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"prediction_id": None}, "prediction_id"),
        ({"prediction_id": ""}, "prediction_id"),
        ({"prediction_id": 701}, "prediction_id"),
        ({"prediction_id": ["p"]}, "prediction_id"),
        ({"prediction_id": ".."}, "prediction_id"),
        ({"prediction_id": "together"}, "prediction_id"),
        ({"prediction_id": "search"}, "prediction_id"),
        ({"prediction_id": "a/b"}, "prediction_id"),
        ({"prediction_id": "p\n"}, "prediction_id"),
        ({"prediction_id": HOSTILE}, "prediction_id"),
        ({"prediction_id": "x" * 129}, "prediction_id"),
        ({"prediction_id": "é"}, "prediction_id"),
        ({"predicted_at": None}, "predicted_at"),
        ({"predicted_at": 1793620800}, "predicted_at"),
        ({"predicted_at": "yesterday"}, "predicted_at"),
        ({"predicted_at": "2026-11-02T12:00:00"}, "predicted_at"),
        ({"predicted_at": "2026-02-30T12:00:00Z"}, "predicted_at"),
        ({"predicted_at": "0001-01-01T00:00:00+14:00"}, "predicted_at"),
        ({"predicted_at": "1999-12-31T23:59:59Z"}, "predicted_at"),
        ({"predicted_at": "9999-12-31T23:59:59-14:00"}, "predicted_at"),
        ({"score": None}, "score"),
        ({"score": "0.5"}, "score"),
        ({"score": True}, "score"),
        ({"score": math.nan}, "score"),
        ({"score": -math.inf}, "score"),
        ({"score": 10**400}, "score"),
        ({"score": 1.0000001}, "score"),
        ({"score": -0.1}, "score"),
        ({"score": [0.5]}, "score"),
        ({"label": 1}, "label"),
        ({"label": "x" * 101}, "label"),
        ({"label": "a\0"}, "label"),
        ({"outcome": True}, "outcome"),
        ({"outcome": "x" * 101}, "outcome"),
        ({"surface": "x" * 65}, "surface"),
        ({"surface": ["home"]}, "surface"),
        ({"text": "x" * 100_001}, "text"),
        ({"text": "\ud800"}, "text"),
        ({"product_id": 701}, "product_id"),
        ({"product_id": "a\nb"}, "product_id"),
        ({"product_id": "x" * 129}, "product_id"),
        ({"customer_id": 701}, "customer_id"),
        ({"customer_id": "=1+1"}, "customer_id"),
        ({"customer_id": "x" * 201}, "customer_id"),
        ({"features": None}, "features"),
        ({"features": [1]}, "features"),
        ({"features": "age=1"}, "features"),
        ({"colour": "red"}, "colour"),
        ({"customer_key": "0" * 32}, "customer_key"),
        ({"values": {"height": 1}}, "features.height"),
        ({"values": {HOSTILE: 1}}, f"features.{HOSTILE}"),
        ({"values": {"age": "old"}}, "features.age"),
        ({"values": {"age": math.nan}}, "features.age"),
        ({"values": {"age": math.inf}}, "features.age"),
        ({"values": {"age": "inf"}}, "features.age"),
        ({"values": {"age": 10**400}}, "features.age"),
        ({"values": {"age": [1]}}, "features.age"),
        ({"values": {"postcode": {"a": 1}}}, "features.postcode"),
        ({"values": {"postcode": math.nan}}, "features.postcode"),
        ({"values": {"postcode": "x" * 10_001}}, "features.postcode"),
        ({"values": {"is_new": "yes"}}, "features.is_new"),
        ({"values": {"is_new": 1}}, "features.is_new"),
        ({"values": {"comment": "a\0b"}}, "features.comment"),
        ({"values": {"comment": "\ud800"}}, "features"),
    ],
)
def test_check__bad_field__is_named(change: dict[str, Any], place: str) -> None:
    assert places(logged(**change)) == {place}


def test_check__many_faults__all_said_up_to_twenty() -> None:
    assert places({"features": {"age": "old"}}) == {"prediction_id", "predicted_at", "score", "features.age"}
    found = Intake(CHURN).check(logged(features={f"f{number}": 1 for number in range(1_000)}))
    assert isinstance(found, list)
    assert len(found) == 20


def test_check__bad_customer__is_never_repeated() -> None:
    found = Intake(CHURN).check(logged(customer_id="=C-20417\u202e"))

    assert "20417" not in str(found)


@pytest.mark.parametrize("text", [HOSTILE, "x" * 10_000, "00701", "NaN", "1e5", "null", "🦊", " "])
def test_check__odd_text__is_kept_as_it_is(text: str) -> None:
    found = sound(logged(values={"postcode": text, "comment": text}, text=text))

    assert read_values(found.features)["postcode"] == found.text == text


@time_machine.travel("2026-11-02T12:00:00Z", tick=False)
def test_check__clocks_that_differ__one_day_is_forgiven() -> None:
    tomorrow = clock.now() + timedelta(days=1)

    assert places(logged(predicted_at=tomorrow.isoformat())) == set()
    assert places(logged(predicted_at=(tomorrow + timedelta(seconds=1)).isoformat())) == {"predicted_at"}


def test_check__time_without_offset__is_utc_in_files_only() -> None:
    raw = logged(predicted_at="2026-11-02 12:00:00")

    assert places(raw) == {"predicted_at"}
    assert sound(raw, naive_is_utc=True).predicted_at == datetime(2026, 11, 2, 12, tzinfo=UTC)


def test_check__names__become_words_without_case_and_accents() -> None:
    assert sound(logged()).words == ("o", "hara", "miss", "renee")
    assert sound(logged(values={"name": None})).words == ()
    many = " ".join(f"w{number}" for number in range(WORDS_MAX + 50))
    assert len(sound(logged(values={"name": many})).words) == WORDS_MAX


def test_check__score_of_a_ranker__may_be_any_number() -> None:
    ranker = read_dictionary({**DICTIONARY, "link": "identity"})

    assert isinstance(Intake(ranker).check(logged(score=-17)), Checked)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)
_FIELD = st.sampled_from([*logged(), "label", "outcome", "surface", "text", "product_id", "customer_id"])


@given(st.dictionaries(_FIELD, _JSON), st.dictionaries(st.sampled_from(list(VALUES)), _JSON))
def test_check__anything__is_stored_as_given_or_refused(
    fields: dict[str, Any], values: dict[str, Any]
) -> None:
    raw = logged(**{"values": values, **fields})

    found = Intake(CHURN).check(raw)

    if isinstance(found, Checked):
        kept = read_values(found.features)
        assert kept == {**dict.fromkeys(VALUES), **raw["features"]}
        assert {name: type(value) for name, value in kept.items() if value is not None} == {
            name: type(value) for name, value in raw["features"].items() if value is not None
        }
    else:
        assert all(problem.path and problem.message for problem in found)
