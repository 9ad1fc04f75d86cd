"""A registered model is loaded and tried before anybody relies on it."""

import json
from pathlib import Path
from typing import Any

import pytest

from opsportal.events import outbox
from opsportal.events.models import Event
from opsportal.explanations import explaining, loaded
from opsportal.predictions.models import ModelVersion
from tests.explanations import training
from tests.explanations.making import (
    TITANIC,
    TITANIC_BACKGROUND,
    TITANIC_DICTIONARY,
    explained,
    make_prediction,
    make_version,
)

pytestmark = pytest.mark.django_db
CHECKING = ModelVersion.State.CHECKING


@pytest.fixture(autouse=True)
def _nothing_loaded() -> None:
    loaded.forget()


def checked(**given: Any) -> ModelVersion:
    version = make_version(state=CHECKING, **given)
    outbox.send(task="explanations.check_model", key=version.pk)
    outbox.drain(lane="explanations.")
    version.refresh_from_db()
    return version


def test_check_model__good_file__is_ready_and_says_what_was_found() -> None:
    version = checked()

    assert (version.state, version.problems) == ("ready", [])
    assert version.checked_at is not None
    facts = version.facts
    assert facts["space"] == "log_odds"
    assert facts["inputs"] == ["sex", "pclass", "age", "fare", "sibsp", "parch", "embarked", "deck"]
    assert (facts["trees"], facts["tried"], facts["single_precision"]) == (25, 20, False)
    event = Event.objects.get(verb="model.ready")
    assert (event.subject_type, event.subject_id) == ("model", "survival")


@pytest.mark.parametrize(
    "train",
    [
        training.train_xgboost,
        training.train_forest,
        training.train_boosted,
        training.train_linear,
        training.train_text,
    ],
)
def test_check_model__other_libraries_without_background__are_tried_with_an_ordinary_row(train: Any) -> None:
    trained = train()

    version = checked(format=trained.format, content=trained.content, dictionary=trained.raw, background=b"")

    assert (version.state, version.problems) == ("ready", [])


def test_check_model__ready_or_gone__does_nothing() -> None:
    version = make_version()

    explaining.check_model(version.pk)
    explaining.check_model(version.pk + 1)

    assert not Event.objects.filter(verb__startswith="model.").exists()


def test_check_model__file_swapped_meanwhile__is_refused() -> None:
    version = make_version(state=CHECKING)
    Path(version.file.path).write_bytes(TITANIC + b"\n")

    explaining.check_model(version.pk)

    version.refresh_from_db()
    assert version.state == "refused"
    assert version.problems[0].startswith("The model's file is another one than was registered")
    after = Event.objects.get(verb="model.refused").after
    assert after is not None
    assert after["problems"] == version.problems


def test_check_model__dictionary_that_misses_features__names_them_all() -> None:
    raw = TITANIC_DICTIONARY | {"features": TITANIC_DICTIONARY["features"][:-2]}

    version = checked(dictionary=raw)

    assert version.problems == [
        "The model needs the feature “embarked”, which the dictionary does not name.",
        "The model needs the feature “deck”, which the dictionary does not name.",
    ]


def test_check_model__score_of_another_kind_than_the_dictionary_says__is_refused() -> None:
    ranker = training.train_lightgbm(objective="lambdarank")

    plain = checked(content=ranker.content, dictionary=ranker.raw, background=b"")
    probability = checked(version="2", dictionary=TITANIC_DICTIONARY | {"link": "identity"})
    right = checked(
        version="3", content=ranker.content, dictionary=ranker.raw | {"link": "identity"}, background=b""
    )

    assert "Write “link”: “identity”" in plain.problems[0]
    assert "Write “link”: “logit”" in probability.problems[0]
    assert right.state == "ready"


def test_check_model__background_that_is_no_json__is_refused() -> None:
    version = checked(background=TITANIC_BACKGROUND[:200] + b"\n[1]\n")

    assert version.state == "refused"
    assert "no JSON object in line" in version.problems[0]


def test_check_model__process_that_died_at_it_twice__is_refused() -> None:
    version = checked(facts={"attempts": 2})

    assert version.problems == ["Loading it ended the worker's process 2 times."]


def test_check_model__background_that_comes_later__leaves_a_linear_model_where_it_started() -> None:
    trained = training.train_linear()
    version = checked(format="skops", content=trained.content, dictionary=trained.raw, background=b"")
    before = explained(make_prediction(version, **trained.rows[1]))
    for row in trained.rows[:120]:
        make_prediction(version, **row)

    explaining.reference_rows(version)
    loaded.forget()
    after = explained(make_prediction(ModelVersion.objects.get(pk=version.pk), **trained.rows[1]))

    assert version.background_sha256
    assert json.dumps(before.attributions) == json.dumps(after.attributions)
    assert before.engine == after.engine
