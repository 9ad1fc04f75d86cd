"""What matters to a model at large: the same numbers as a direct computation, and how they are read."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from opsportal.events import outbox
from opsportal.events.models import OutboxMessage
from opsportal.explanations import explaining, profiling
from opsportal.explanations.models import Explanation, ImportanceProfile, Space
from opsportal.explanations.selectors.dependence import (
    HEIGHT,
    WIDTH,
    dependence_choices,
    dependence_of,
)
from opsportal.explanations.selectors.importance import (
    by_day,
    importance_of,
    likeness,
    profiles_of,
)
from opsportal.predictions.dictionary import Value, read_dictionary
from opsportal.predictions.models import ModelVersion, Prediction
from tests.explanations.making import (
    NOON,
    TITANIC_BACKGROUND,
    explained,
    make_prediction,
    make_version,
)

PASSENGERS: list[dict[str, Value]] = [json.loads(line) for line in TITANIC_BACKGROUND.splitlines()]
LATER = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def version(db: None) -> Iterator[ModelVersion]:
    """The Titanic's model, some weeks after its predictions."""
    with time_machine.travel(LATER, tick=False):
        yield make_version()


def board(version: ModelVersion, days: int = 2, of_day: int = 20, **more: Any) -> list[Prediction]:
    """Predictions of so many days, NOON's and the days before it."""
    return [
        make_prediction(
            version,
            prediction_id=f"p-{day}-{number}",
            predicted_at=NOON - timedelta(days=day),
            **{**PASSENGERS[(day * of_day + number) % len(PASSENGERS)], **more},
        )
        for day in range(days)
        for number in range(of_day)
    ]


def direct(version: ModelVersion, predictions: list[Prediction]) -> tuple[list[str], Any]:
    """Names and attributions, straight from the engine."""
    engine = explaining.engine_of(version)
    rows = [version.features.as_seen(prediction.values) for prediction in predictions]
    return list(engine.inputs), engine.explain(rows).values


# -- Computing --------------------------------------------------------------------------------


def test_profile__all_predictions__equals_a_direct_computation(version: ModelVersion) -> None:
    predictions = board(version)

    profiling.profile(version.pk)

    overall, days = profiles_of(version)
    assert overall is not None
    names, values = direct(version, predictions)
    lines = {name: (size, mean) for name, size, mean, *mark in overall.importance if not mark}
    assert list(lines) == names
    assert lines == {
        name: (pytest.approx(np.abs(values[:, k]).mean()), pytest.approx(values[:, k].mean()))
        for k, name in enumerate(names)
    }
    assert (overall.rows, overall.refused, overall.space) == (40, 0, Space.LOG_ODDS)
    assert [profile.day for profile in days] == [date(2026, 11, 1), date(2026, 11, 2)]
    assert [profile.rows for profile in days] == [20, 20]
    of_first_day = np.abs(values[20:]).mean(axis=0)
    assert [size for _, size, _ in days[0].importance[:-1]] == pytest.approx(of_first_day)


def test_profile__a_group__is_summed_in_each_row_before_its_size_is_taken(version: ModelVersion) -> None:
    predictions = board(version)

    profiling.profile(version.pk)

    overall, _ = profiles_of(version)
    assert overall is not None
    names, values = direct(version, predictions)
    sums = values[:, [names.index("sibsp"), names.index("parch")]].sum(axis=1)
    assert overall.importance[-1] == [
        "family",
        pytest.approx(np.abs(sums).mean()),
        pytest.approx(sums.mean()),
        "group",
    ]
    bars = importance_of(overall, version.features).bars
    assert [bar.label for bar in bars if bar.is_group] == ["Family aboard"]
    assert {"sibsp", "parch"}.isdisjoint(bar.name for bar in bars)


def test_profile__a_bad_score__is_counted_and_left_out(version: ModelVersion) -> None:
    good = board(version, days=1)
    make_prediction(version, score=0.123)

    profiling.profile(version.pk)

    overall, (day,) = profiles_of(version)
    assert overall is not None
    _, values = direct(version, good)
    assert (overall.rows, overall.refused, day.refused) == (20, 1, 1)
    assert overall.importance[0][1] == pytest.approx(np.abs(values[:, 0]).mean())


def test_profile__stored_explanations__are_used_and_none_is_stored(version: ModelVersion) -> None:
    (prediction,) = board(version, days=1, of_day=1)
    explanation = explained(prediction)
    doubled = [[name, 2 * x] for name, x in explanation.attributions]
    Explanation.objects.update(attributions=doubled)
    make_prediction(version, predicted_at=NOON - timedelta(days=1))

    profiling.profile(version.pk)

    _, days = profiles_of(version)
    assert [size for _, size, *_ in days[-1].importance[:-1]] == [abs(x) for _, x in doubled]
    assert Explanation.objects.count() == 1


def test_profile__an_explanation_by_another_file__is_not_used(version: ModelVersion) -> None:
    (prediction,) = board(version, days=1, of_day=1)
    explained(prediction)
    Explanation.objects.update(model_sha256="0" * 64, attributions=[["sex", 99.0]])

    profiling.profile(version.pk)

    overall, _ = profiles_of(version)
    assert overall is not None
    assert overall.importance[0][1] < 99


def test_profile__twice__is_the_same_and_replaces(version: ModelVersion) -> None:
    board(version)

    profiling.profile(version.pk)
    first = list(ImportanceProfile.objects.order_by("day").values("day", "importance", "dependence"))
    profiling.profile(version.pk)

    assert list(ImportanceProfile.objects.order_by("day").values("day", "importance", "dependence")) == first


def test_profile__a_day_to_which_nothing_was_added__is_left_as_it_is(version: ModelVersion) -> None:
    board(version)
    profiling.profile(version.pk)
    kept = ImportanceProfile.objects.get(day=date(2026, 11, 1)).pk
    replaced = ImportanceProfile.objects.get(day=date(2026, 11, 2)).pk
    with time_machine.travel(LATER + timedelta(hours=1), tick=False):
        late = make_prediction(version, predicted_at=NOON)
        Prediction.objects.filter(pk=late.pk).update(received_at=LATER + timedelta(minutes=30))

        profiling.profile(version.pk)

    pks = set(ImportanceProfile.objects.exclude(day=None).values_list("pk", flat=True))
    assert kept in pks
    assert replaced not in pks
    assert ImportanceProfile.objects.get(day=date(2026, 11, 2)).rows == 21


def test_profile__older_than_thirty_days__is_in_the_whole_but_in_no_day(version: ModelVersion) -> None:
    make_prediction(version)
    make_prediction(version, predicted_at=NOON - timedelta(days=29))
    make_prediction(version, predicted_at=NOON - timedelta(days=30))

    profiling.profile(version.pk)

    overall, days = profiles_of(version)
    assert overall is not None
    assert overall.rows == 3
    assert [profile.day for profile in days] == [date(2026, 10, 4), date(2026, 11, 2)]


def test_profile__more_than_the_sample__keeps_those_of_the_lowest_hashes(
    version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiling, "ALL_MAX", 7)
    monkeypatch.setattr(profiling, "DAY_MAX", 3)
    monkeypatch.setattr(profiling, "_PAGE", 4)
    board(version, days=3, of_day=5)
    before = profiling._draw(version)

    make_prediction(version, prediction_id="one-more")
    after = profiling._draw(version)

    assert len(before.every) == 7
    assert {day: len(pks) for day, pks in before.by_day.items()} == dict.fromkeys(before.by_day, 3)
    assert len(set(before.every) & set(after.every)) >= 6, "one more changes one at most"


def test_profile__a_file_that_cannot_be_loaded__leaves_what_is_there(version: ModelVersion) -> None:
    board(version, days=1, of_day=3)
    profiling.profile(version.pk)
    ModelVersion.objects.update(sha256="0" * 64)

    profiling.profile(version.pk)

    assert ImportanceProfile.objects.count() == 2


def test_profile__no_prediction_is_left__leaves_no_profile(version: ModelVersion) -> None:
    board(version, days=1, of_day=3)
    profiling.profile(version.pk)
    Prediction.objects.all().delete()

    profiling.profile(version.pk)

    assert not ImportanceProfile.objects.exists()


@pytest.mark.parametrize("state", [ModelVersion.State.CHECKING, ModelVersion.State.REFUSED])
def test_profile__a_version_that_is_not_ready__does_nothing(db: None, state: str) -> None:
    version = make_version(state=state)

    profiling.profile(version.pk)
    profiling.want_profiles()

    assert not ImportanceProfile.objects.exists()
    assert not OutboxMessage.objects.exists()


# -- Asking for it ----------------------------------------------------------------------------


def test_want__new_predictions__asks_once_until_it_is_done(version: ModelVersion) -> None:
    board(version, days=1, of_day=2)

    profiling.want_profiles()
    profiling.want_profiles()

    (message,) = OutboxMessage.objects.all()
    assert (message.task, message.key) == ("explanations.profile", str(version.pk))
    assert outbox.drain(lane="explanations.") == 1
    assert ImportanceProfile.objects.filter(version=version, day=None).exists()


def test_want__nothing_new__asks_for_nothing(version: ModelVersion) -> None:
    board(version, days=1, of_day=2)
    profiling.profile(version.pk)

    profiling.want_profiles()

    assert not OutboxMessage.objects.exists()


def test_want__predictions_came_in_since__asks_again(version: ModelVersion) -> None:
    board(version, days=1, of_day=2)
    profiling.profile(version.pk)
    Prediction.objects.update(received_at=LATER + timedelta(seconds=1))

    profiling.want_profiles()

    assert OutboxMessage.objects.count() == 1


# -- Reading it -------------------------------------------------------------------------------


def profile_of(sizes: dict[str, float], *, rows: int = 100, day: date | None = None) -> ImportanceProfile:
    return ImportanceProfile(
        day=day,
        rows=rows,
        space=Space.LOG_ODDS,
        importance=[[name, size, -size] for name, size in sizes.items()],
    )


LETTERS = read_dictionary({"features": [{"name": name, "label": name.upper()} for name in "abcd"]})


def test_read_bars__any_profile__come_longest_first_with_shares() -> None:
    found = importance_of(profile_of({"a": 1.0, "b": 3.0, "c": 0.0}), LETTERS)

    assert [(bar.label, bar.share, bar.rank, bar.width) for bar in found.bars] == [
        ("B", 0.75, 1, 1000.0),
        ("A", 0.25, 2, pytest.approx(1000 / 3)),
        ("C", 0.0, 3, 0.0),
    ]
    assert (found.unit, found.bars[0].size_text, found.bars[0].mean_text) == ("log-odds", "3", "−3")


def test_read_days__the_order_turns__is_seen_in_ranks_and_likeness() -> None:
    sizes = {"a": 4.0, "b": 2.0, "c": 1.0, "d": 0.1}
    turned = {"a": 0.1, "b": 1.0, "c": 2.0, "d": 4.0}
    days = [
        profile_of(sizes, day=date(2026, 11, 1)),
        profile_of(turned, day=date(2026, 11, 2)),
    ]

    found = by_day(profile_of(sizes), days, LETTERS)

    assert [day.has_moved for day in found.days] == [False, True]
    assert found.days[0].likeness == 1.0
    series = {one.label: one for one in found.series}
    assert (series["A"].change, series["A"].change_words) == (-3, "3 places down")
    assert (series["D"].change, series["D"].change_words) == (3, "3 places up")
    assert series["A"].shares == pytest.approx((4 / 7.1, 0.1 / 7.1))
    assert found.sentence == (
        "The order of the reasons was another one on 1 of 2 days (likeness, nDCG, under 0.9)."
    )


def test_read_days__too_few_predictions__are_not_judged() -> None:
    found = by_day(
        profile_of({"a": 2.0, "b": 1.0}),
        [profile_of({"a": 1.0, "b": 2.0}, rows=29, day=date(2026, 11, 1))],
        LETTERS,
    )

    assert found.days[0].likeness is None
    assert "No day has the 30 predictions" in found.sentence


def test_likeness__a_known_example__equals_the_hand_computation() -> None:
    baseline = {"a": 3.0, "b": 2.0, "c": 1.0}

    found = likeness(baseline, {"a": 1.0, "b": 9.0, "c": 2.0})

    ideal = 3 / np.log2(2) + 2 / np.log2(3) + 1 / np.log2(4)
    assert found == pytest.approx((2 / np.log2(2) + 1 / np.log2(3) + 3 / np.log2(4)) / ideal)


SIZES = st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1e6))


@given(SIZES, SIZES)
def test_likeness__any_order__is_within_bounds_and_one_for_the_same(
    baseline: dict[str, float], now: dict[str, float]
) -> None:
    assert likeness(baseline, baseline) == pytest.approx(1.0)
    assert 0.0 <= likeness(baseline, now) <= 1.0


def test_read_dependence__a_number__has_points_bands_and_missing_ones(version: ModelVersion) -> None:
    board(version, days=1, of_day=30)
    make_prediction(version, age=None)
    profiling.profile(version.pk)
    overall, _ = profiles_of(version)
    assert overall is not None

    found = dependence_of(overall, version.features, "age")

    assert found is not None
    assert found.is_numeric
    missing = found.bands[-1]
    assert missing.label == "not provided"
    assert sum(band.count for band in found.bands) == 31
    assert len(found.points) == 31 - missing.count
    assert all(0 <= point.x <= WIDTH and 0 <= point.y <= HEIGHT for point in found.points)
    assert all(tick.text.endswith(" years") for tick in found.x_ticks)
    assert "pushes the score most at" in found.summary


def test_read_dependence__a_category__has_columns_in_the_dictionarys_order(version: ModelVersion) -> None:
    board(version, days=1, of_day=40)
    profiling.profile(version.pk)
    overall, _ = profiles_of(version)
    assert overall is not None

    found = dependence_of(overall, version.features, "pclass")

    assert found is not None
    assert [tick.text for tick in found.x_ticks] == ["1 – first class", "2 – second class", "3 – third class"]
    assert found.bands[0].mean > found.bands[2].mean
    choices = dict(dependence_choices(overall, version.features))
    assert next(iter(choices)) == "sex", "the strongest first"
    assert "name" not in choices


def test_read_dependence__unknown_features__have_none(version: ModelVersion) -> None:
    board(version, days=1, of_day=2)
    profiling.profile(version.pk)
    overall, _ = profiles_of(version)
    assert overall is not None

    assert dependence_of(overall, version.features, "nothing") is None
    assert dependence_of(overall, version.features, "name") is None


HOSTILE = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(allow_nan=False),
    st.text(max_size=60),
    st.sampled_from(["NaN", "Infinity", "1e999", "</script>"]),
)


@given(
    st.lists(st.tuples(HOSTILE, st.floats(-1e300, 1e300)), max_size=30),
    st.sampled_from(["number", "category"]),
)
def test_read_dependence__hostile_values__stay_in_the_box(
    pairs: list[tuple[Value, float]], kind: str
) -> None:
    dictionary = read_dictionary({"features": [{"name": "a", "type": kind}]})
    profile = ImportanceProfile(space=Space.SCORE, importance=[], dependence={"a": pairs})

    found = dependence_of(profile, dictionary, "a")

    if not pairs:
        assert found is None
        return
    assert found is not None
    assert all(0 <= point.x <= WIDTH and 0 <= point.y <= HEIGHT for point in found.points)
    assert all(0 <= tick.at <= max(WIDTH, HEIGHT) for tick in (*found.x_ticks, *found.y_ticks))
    assert sum(band.count for band in found.bands) + found.left_out == len(pairs)
    assert found.summary


def test_read_profiles__many_days__asks_once(
    version: ModelVersion, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    board(version)
    profiling.profile(version.pk)

    with django_assert_num_queries(1):
        overall, days = profiles_of(version)

    assert overall is not None
    assert len(days) == 2
