"""Policies: what is written down, and what is refused with the reason at its field."""

from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.conf import LazySettings

from opsportal.accounts.models import User
from opsportal.audits.models import Policy
from opsportal.audits.selectors.policies import forecast, sentences, size_in_words
from opsportal.audits.services.policies import Order, change_policy, create_policy
from opsportal.audits.strata import dimensions_of
from opsportal.core.errors import Forbidden, Invalid
from opsportal.events.models import Event
from opsportal.predictions.dictionary import Feature, FeatureDictionary
from opsportal.predictions.models import ModelVersion, Prediction
from tests.audits.making import LABELS, WEEK_ENDS, make_policy
from tests.audits.test_drawing import log_predictions
from tests.explanations.making import make_version

pytestmark = pytest.mark.django_db

GOOD: dict[str, Any] = {"title": "Weekly audit", "rate": 0.02, "labels": LABELS}


def create(actor: User, of: ModelVersion, **more: Any) -> Policy:
    return create_policy(actor=actor, model=of.model, order=Order(**{**GOOD, **more}))


def labels(*values: str, keys: str = "123456789") -> list[dict[str, str]]:
    return [
        {"value": value, "title": value, "key": key, "guideline": ""}
        for value, key in zip(values, keys, strict=False)
    ]


def test_create__audit_lead__writes_it_with_its_event(lena: User) -> None:
    version = make_version()

    policy = create(lena, version, strata=["predicted"], reviewers=[lena])

    policy.refresh_from_db()
    assert (policy.name, policy.active, policy.rate) == ("weekly-audit", True, 0.02)
    assert list(policy.reviewers.all()) == [lena]
    event = Event.objects.get(verb="policy.created")
    assert event.after is not None
    assert event.after["labels"] == ["survived", "did not survive"]
    assert create(lena, version).name == "weekly-audit-2"


def test_create__no_audit_lead__is_refused(ana: User) -> None:
    with pytest.raises(Forbidden):
        create(ana, make_version())

    assert not Policy.objects.exists()


@pytest.mark.parametrize(
    ("order", "path", "words"),
    [
        ({"title": " "}, "title", "Name the policy"),
        ({"rate": 0.009}, "rate", "from 1 to 5 %"),
        ({"rate": 0.051}, "rate", "from 1 to 5 %"),
        ({"rate": None}, "rate", "from 1 to 5 %"),
        ({"rate": float("nan")}, "rate", "from 1 to 5 %"),
        ({"sizing": "size", "size": 0}, "size", "from 1 to 100,000"),
        ({"sizing": "size", "size": 100_001}, "size", "from 1 to 100,000"),
        ({"sizing": "width", "half_width": 0.6, "expected_error": 0.05}, "half_width", "between 0 and 50"),
        ({"sizing": "width", "half_width": 0.01}, "expected_error", "expected to be wrong"),
        ({"sizing": "width", "half_width": 0.0001, "expected_error": 0.1}, "half_width", "at most 100,000"),
        ({"sizing": "acceptance"}, "expected_error", "must not be exceeded"),
        ({"sizing": "acceptance", "expected_error": 0.00001}, "expected_error", "takes 299,572 items"),
        ({"sizing": "guess"}, "sizing", "Choose one"),
        ({"strata": ["feature:shoe"]}, "strata", "“shoe” is not a feature"),
        ({"strata": ["weather"]}, "strata", "“weather” is not a feature"),
        ({"strata": ["predicted", "predicted"]}, "strata", "divides only once"),
        ({"strata": ["score_band"]}, "score_edges", "where the score bands meet"),
        ({"strata": ["score_band"], "score_edges": [0.6, 0.4]}, "score_edges", "higher than the one before"),
        ({"strata": ["score_band"], "score_edges": [0.5, 1.5]}, "score_edges", "between 0 and 1"),
        ({"allocation": "boost"}, "allocation", "needs score bands"),
        ({"allocation": "neyman"}, "allocation", "divide by something"),
        ({"core_share": 0.0, "strata": ["surface"]}, "core_share", "above 0"),
        ({"labels": labels("survived")}, "labels", "two labels at least"),
        ({"labels": labels("survived", "survived")}, "labels[0].value", "twice"),
        ({"labels": labels("survived", "drowned")}, "labels[1].value", "it says “survived” or “did not"),
        ({"labels": labels("survived", "did not survive", keys="11")}, "labels[0].key", "Two labels"),
        ({"labels": labels("survived", "did not survive", keys="1s")}, "labels[1].key", "letters have other"),
        ({"labels": labels("survived", "did not survive", keys="01")}, "labels[0].key", "cannot tell"),
        ({"double_share": 1.5}, "double_share", "from 0 to 100"),
        ({"gold_share": 0.5}, "gold_share", "less than 50"),
        ({"gold_share": 0.1}, "gold_share", "Give the known answers"),
        ({"gold": [{"prediction_id": "p-1", "label": ""}]}, "gold", "Line 1: each prediction needs"),
        ({"gold": [{"prediction_id": "p-1", "label": "perhaps"}]}, "gold", "“perhaps” is not one"),
        ({"gold": [{"prediction_id": "p-1", "label": "survived"}]}, "gold", "not in the log"),
        ({"gold": 2 * [{"prediction_id": "p-1", "label": "survived"}]}, "gold", "two answers"),
        ({"source": "files", "files": "*.parquet"}, "version", "choose one"),
        ({"source": "files", "files": "../*.parquet"}, "files", "no path that leads out"),
        ({"source": "files", "files": "/etc/*.csv"}, "files", "no path that leads out"),
        ({"source": "files", "files": "a/../../b.csv"}, "files", "no path that leads out"),
        ({"source": "files", "files": "**/x.csv"}, "files", "Name each folder"),
        ({"source": "files", "files": "secrets.txt"}, "files", ".parquet or .csv"),
        ({"source": "files", "files": ""}, "files", "Name the files"),
        (
            {"sizing": "size", "size": 30, "strata": ["predicted", "score_band"], "score_edges": [0.5],
             "minimum_per_stratum": 10},
            "minimum_per_stratum",
            "4 strata with at least 10 items each need 40 items, and the sample has 30",
        ),
    ],
)  # fmt: skip
def test_create__asks_for_the_impossible__is_refused_at_its_field(
    order: dict[str, Any], path: str, words: str, lena: User
) -> None:
    version = make_version()

    with pytest.raises(Invalid) as refusal:
        create(lena, version, **order)

    found = {problem.path: problem.message for problem in refusal.value.errors}
    assert words in found[path]
    assert not Policy.objects.exists()
    assert not Event.objects.exists()


def test_create__ranker_without_labels__is_refused(lena: User) -> None:
    version = make_version(threshold=None)

    with pytest.raises(Invalid, match="only ranks: it has no threshold"):
        create(lena, version)


def test_create__model_says_more__needs_a_label_for_it(lena: User) -> None:
    version = make_version()
    log_predictions(version, 3)
    Prediction.objects.filter(prediction_id="p-00001").update(label="missing at sea")

    with pytest.raises(Invalid, match="also says “missing at sea”"):
        create(lena, version)
    assert create(lena, version, labels=labels("survived", "did not survive", "missing at sea"))


def test_create__no_threshold_for_a_boost__is_refused(lena: User) -> None:
    version = make_version(threshold=None)
    log_predictions(version, 3)
    Prediction.objects.update(label="survived")
    Prediction.objects.filter(prediction_id="p-00001").update(label="did not survive")

    with pytest.raises(Invalid, match="no threshold, so nothing is near it"):
        create(
            lena,
            version,
            labels=labels("survived", "did not survive"),
            strata=["score_band"],
            score_edges=[0.5],
            allocation="boost",
        )


def test_create__link_out_of_the_folder__is_refused(
    lena: User, tmp_path: Path, settings: LazySettings
) -> None:
    settings.AUDIT_FILES_DIR = tmp_path / "files"
    (tmp_path / "files").mkdir()
    (tmp_path / "secret.csv").write_text("x")
    (tmp_path / "files" / "innocent.csv").symlink_to(tmp_path / "secret.csv")
    version = make_version()

    with pytest.raises(Invalid, match="is a link to a file outside"):
        create(lena, version, source="files", files="*.csv", version=version)
    assert create(lena, version, source="files", files="later/*.csv", version=version).files == "later/*.csv"


def test_create__more_strata_in_the_log_than_the_sample_holds__is_refused(lena: User) -> None:
    version = make_version()
    log_predictions(version, 300)

    with time_machine.travel(WEEK_ENDS, tick=False), pytest.raises(Invalid, match="3 strata with at least 2"):
        create(lena, version, sizing="size", size=5, strata=["surface"])


def test_change__other_words__are_written_down_once(lena: User) -> None:
    version = make_version()
    policy = create(lena, version)
    other = Order(**{**GOOD, "sizing": "size", "size": 40, "title": "Other"})

    changed = change_policy(actor=lena, policy=policy, order=other)
    change_policy(actor=lena, policy=policy, order=other)

    assert (changed.title, changed.rate, changed.size, changed.name) == ("Other", None, 40, "weekly-audit")
    event = Event.objects.get(verb="policy.changed")
    assert event.before is not None
    assert event.after is not None
    assert (event.before["rate"], event.after["size"]) == (0.02, 40)


@time_machine.travel(WEEK_ENDS, tick=False)
def test_forecast__last_week_is_known__says_items_width_and_hours() -> None:
    version = make_version()
    log_predictions(version, 1_000)
    policy = make_policy(
        version.model, sizing="width", rate=None, half_width=0.02, expected_error=0.05, double_share=0.1
    )

    found = forecast(policy)

    assert (found.frame, found.n) == (1_000, 320)
    assert found.sentence == (
        "About 320 items a week from about 1,000 predictions: ±2 points if 5 % are wrong; "
        "about 1 h 10 min for one person."
    )


@time_machine.travel(WEEK_ENDS, tick=False)
def test_forecast__narrower_than_the_frame_allows__is_everything() -> None:
    version = make_version()
    log_predictions(version, 100)

    found = forecast(make_policy(version.model, sizing="size", rate=None, size=500))

    assert found.n == 100
    assert "everything, so nothing is left to chance" in found.sentence


def test_forecast__nothing_logged__says_so() -> None:
    assert forecast(make_policy(make_version().model)).sentence == (
        "2 % of what there is; how many that are is known once predictions are logged."
    )


def test_sentences__policy__say_everything_it_asks_for(lena: User) -> None:
    version = make_version()
    policy = make_policy(
        version.model,
        strata=["predicted", "score_band"],
        score_edges=[0.4, 0.6],
        allocation="boost",
        double_share=0.1,
        second_look_at_errors=True,
    )

    assert size_in_words(policy) == "2 % of the predictions, weekly"
    assert " ".join(sentences(policy, [lena])) == (
        "Every Monday, for the week before, 2 % of the predictions are drawn. They come from the prediction "
        "log, made by any version. Predictions are divided by what the model decided and score; in a score "
        "band at the threshold each is four times as likely to be drawn. Each stratum gets 2 at least. "
        "30 % of the sample are spread evenly whatever happens, so that every prediction has a known chance. "
        "People choose between “Survived” (1), “Did not survive” (2). 10 % of the items are looked at by two "
        "people; whoever differs from the model is checked by somebody else. The model’s answer is hidden "
        "until a person has given theirs. Reviewed by Lena."
    )


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        (Feature(name="review", label="Review", type="text"), "“Review” is running text"),
        (Feature(name="review", label="Length"), "“Length” is a number whose range is not known"),
    ],
)
def test_dimensions__text_or_a_number_without_range__cannot_divide(feature: Feature, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        dimensions_of(["feature:review"], [], FeatureDictionary(features=(feature,)))
