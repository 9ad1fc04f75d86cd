"""The list of models and the page of a version: what they show, to whom, and at what cost."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from opsportal.accounts.models import User
from opsportal.accounts.permissions import Role
from opsportal.core import clock
from opsportal.events.models import Event, OutboxMessage
from opsportal.explanations.models import Explanation, Incident, State
from opsportal.predictions.dictionary import read_dictionary
from opsportal.predictions.models import ModelVersion, Prediction, PredictionImport
from tests.conftest import make_person
from tests.explanations.making import NOON, TITANIC_DICTIONARY, make_prediction, make_version

pytestmark = pytest.mark.django_db
ClientFor = Callable[[User], Client]
PAGE = "/models/survival/1/"


@pytest.fixture
def dana(db: None) -> User:
    """A data scientist."""
    return make_person("dana", Role.DATA_SCIENTIST)


@pytest.fixture
def vic(db: None) -> User:
    """A viewer, who may see models and no predictions."""
    return make_person("vic", Role.VIEWER)


def refuse(prediction: Prediction, incident: str = Incident.SCORE, detail: str = "0.8 is not 0.9.") -> None:
    """An explanation that failed a check."""
    Explanation.objects.create(
        prediction=prediction,
        state=State.REFUSED,
        incident=incident,
        incident_detail=detail,
        wanted_at=NOON,
        computed_at=NOON,
    )


def measured(version: ModelVersion) -> None:
    """Have the importance computed, as a worker does."""
    from opsportal.explanations import explaining

    explaining.profile(version.pk)


def text_of(client: Client, url: str = PAGE) -> str:
    """The page's HTML with its white space evened out."""
    response = client.get(url)
    assert response.status_code == 200, response.content[:300]
    return " ".join(response.content.decode().split())


# -- The list ---------------------------------------------------------------------------------


def test_list__no_models__says_what_to_do(client_for: ClientFor, dana: User, vic: User) -> None:
    assert 'href="/models/new/"' in text_of(client_for(dana), "/models/")
    assert 'href="/models/new/"' not in text_of(client_for(vic), "/models/")


def test_list__versions__with_their_state_predictions_and_incidents(
    client_for: ClientFor, dana: User
) -> None:
    old = make_version(facts={"space": "log_odds"})
    make_version(version="2", state=ModelVersion.State.REFUSED, problems=["No."])
    refuse(make_prediction(old, score=0.5))
    make_prediction(old, score=0.5)

    page = text_of(client_for(dana), "/models/")

    assert "Survival model" in page
    assert page.index('href="/models/survival/2/"') < page.index('href="/models/survival/1/"')
    assert "Refused" in page
    assert "LightGBM text · probability, in log-odds" in page
    assert '<td class="numeric" data-label="Predictions">2</td>' in page
    assert page.count('class="incidents"') == 1


def test_list__many_versions__shows_five_and_leads_to_the_others(client_for: ClientFor, dana: User) -> None:
    for number in range(7):
        make_version(version=f"v{number}")
    client = client_for(dana)

    first, every = text_of(client, "/models/"), text_of(client, "/models/?model=survival")

    assert first.count("row-link") == 5
    assert "2 older versions" in first
    assert every.count("row-link") == 7
    assert client.get("/models/?model=nothing").status_code == 404


def test_list__ten_versions_of_ten_models__cost_as_much_as_one(client_for: ClientFor, dana: User) -> None:
    client = client_for(dana)
    refuse(make_prediction(make_version(), score=0.5))
    client.get("/models/")
    with CaptureQueriesContext(connection) as few:
        client.get("/models/")

    for number in range(10):
        refuse(make_prediction(make_version(model=f"m{number}"), score=0.5))
    with CaptureQueriesContext(connection) as many:
        client.get("/models/")

    assert len(many) == len(few), [q["sql"][:150] for q in many.captured_queries]


# -- One version ------------------------------------------------------------------------------


def test_version__facts_dictionary_and_training__are_shown(client_for: ClientFor, dana: User) -> None:
    training = {"params": {"learning_rate": 0.05}, "commit": "3f9a2c1", "metrics": ["auc"], "note": "<b>"}
    version = make_version(
        training=training, facts={"engine": "lightgbm 4.7.0 pred_contrib", "space": "log_odds", "trees": 25}
    )

    page = text_of(client_for(dana))

    assert version.sha256 in page
    assert "lightgbm 4.7.0 pred_contrib" in page
    assert "<dt>params.learning_rate</dt><dd>0.05</dd>" in page
    assert "<dt>note</dt><dd>&lt;b&gt;</dd>" in page
    assert "from 0.5 on: survived" in page
    for feature in TITANIC_DICTIONARY["features"]:
        assert f"<code>{feature['name']}</code>" in page


def test_version__in_the_address_twice__is_the_one_that_was_not_refused(
    client_for: ClientFor, dana: User
) -> None:
    make_version()
    make_version(state=ModelVersion.State.REFUSED, problems=["The file is damaged."])

    assert "The file is damaged." not in text_of(client_for(dana))


@pytest.mark.parametrize("path", ["/models/survival/2/", "/models/other/1/", "/models/survival/%3Cb%3E/"])
def test_version__that_is_not_there__is_not_found(client_for: ClientFor, dana: User, path: str) -> None:
    make_version()

    assert client_for(dana).get(path).status_code == 404


def test_version__being_checked__asks_for_itself_until_it_is_ready(client_for: ClientFor, dana: User) -> None:
    from opsportal.explanations import explaining

    version = make_version(state=ModelVersion.State.CHECKING)
    ModelVersion.objects.filter(pk=version.pk).update(registered_at=clock.now())
    client = client_for(dana)

    before = text_of(client)
    explaining.check_model(version.pk)
    after = text_of(client)

    assert 'hx-trigger="every 1s"' in before
    assert "A worker is loading the file" in before
    assert 'hx-trigger="every 1s"' not in after
    assert "Ready" in after
    assert "25" in after


def test_version__that_nobody_checks__says_so(client_for: ClientFor, dana: User) -> None:
    version = make_version(state=ModelVersion.State.CHECKING)
    ModelVersion.objects.filter(pk=version.pk).update(registered_at=clock.now() - timedelta(minutes=2))

    assert "No worker has checked it yet" in text_of(client_for(dana))

    moment = clock.now()
    OutboxMessage.objects.create(
        task="explanations.check_model",
        key=str(version.pk),
        created_at=moment,
        due_at=moment,
        dead_at=moment,
        last_error="MemoryError",
    )
    assert "MemoryError" in text_of(client_for(dana))


def test_version__refused__gives_the_reasons(client_for: ClientFor, dana: User) -> None:
    make_version(state=ModelVersion.State.REFUSED, problems=["The model needs “age”.", "<script>"])

    page = text_of(client_for(dana))

    assert "<li>The model needs “age”.</li><li>&lt;script&gt;</li>" in page
    assert 'href="/models/new/?model=survival"' in page


def test_version__file_that_was_swapped__says_that_it_is_another(client_for: ClientFor, dana: User) -> None:
    version = make_version()
    default_storage.delete(str(version.file.name))
    default_storage.save(version.file.name, ContentFile(b"something else"))
    swapped = text_of(client_for(dana))
    default_storage.delete(str(version.file.name))
    gone = text_of(client_for(dana))

    assert "it is another one" in swapped
    assert "no longer in the storage" in gone


def test_version__swapped_for_one_of_the_same_size__is_an_incident(client_for: ClientFor, dana: User) -> None:
    from opsportal.explanations import explaining
    from opsportal.explanations.loaded import forget
    from opsportal.explanations.services import asking

    version = make_version()
    prediction = make_prediction(version, score=0.5)
    content = bytearray(version.file.read())
    content[-3] ^= 1
    Path(settings.MEDIA_ROOT, str(version.file.name)).write_bytes(content)
    forget()

    wanted = asking.want_explanation(actor=None, prediction=prediction)
    explaining.explain(wanted.pk)

    assert "The model’s file is not the one" in text_of(client_for(dana)).replace("&#x27;", "’")


def test_version__incidents__are_counted_for_all_and_listed_for_those_who_see_predictions(
    client_for: ClientFor, dana: User, vic: User
) -> None:
    prediction = make_prediction(make_version(), prediction_id="titanic-690", score=0.5)
    refuse(prediction, detail="Computed 0.8, logged 0.9.")

    full, bare = text_of(client_for(dana)), text_of(client_for(vic))

    assert "The score computed now differs" in full
    assert 'href="/explain/titanic-690/"' in full
    assert "Computed 0.8, logged 0.9." in full
    assert "The score computed now differs" in bare
    assert "titanic-690" not in bare
    assert "logged 0.9." not in bare


def test_version__predictions__lead_to_the_look_up(client_for: ClientFor, dana: User, vic: User) -> None:
    make_prediction(make_version(), score=0.5)
    link = 'href="/explain/?model=survival&amp;version=1"'

    assert link in text_of(client_for(dana))
    assert link not in text_of(client_for(vic))


def test_version__outcomes__are_counted_against_decisions(client_for: ClientFor, dana: User) -> None:
    version = make_version()
    for score, label, outcome in (
        (0.9, "", "survived"),
        (0.9, "", "Did not survive"),  # sure of itself and wrong
        (0.6, "", "0"),
        (0.2, "", "false"),
        (0.4, "", "1"),
        (0.4, "survived", "survived"),  # the logged decision wins
        (0.9, "", ""),
        (0.9, "", "who knows"),
        (0.9, "cabin boy", "survived"),
    ):
        make_prediction(version, score=score, label=label, outcome=outcome)

    page = text_of(client_for(dana))

    assert "Right in 3 of 6, wrong in 3. Sure of itself and wrong in 1." in page
    assert "<strong>2</strong> right" in page
    assert "<strong>2</strong> wrong" in page


def test_version__that_only_ranks__counts_no_decisions(client_for: ClientFor, dana: User) -> None:
    make_prediction(make_version(threshold=None), score=0.9, outcome="survived")

    page = text_of(client_for(dana))

    assert "Where the truth is known" not in page
    assert "none, it only ranks" in page


def test_version__imports__show_how_far_they_came_and_their_bad_rows(
    client_for: ClientFor, dana: User
) -> None:
    PredictionImport.objects.create(
        version=make_version(),
        file_name="october<1>.csv",
        fingerprint="a" * 64,
        rows_total=900,
        rows_done=450,
        bad=30,
        bad_rows=[[number, f"Wrong {number}."] for number in range(1, 31)],
        started_at=NOON,
    )

    page = text_of(client_for(dana))

    assert "october&lt;1&gt;.csv" in page
    assert 'max="900" value="450"' in page
    assert "Row 20: Wrong 20." in page
    assert "and 10 more" in page


# -- Importance -------------------------------------------------------------------------------


def _profiled() -> ModelVersion:
    version = make_version()
    for number in range(40):
        make_prediction(
            version,
            score=0.5,
            predicted_at=clock.now() - timedelta(days=number % 2),
            age=float(number),
            sex="male" if number % 3 else "female",
        )
    from opsportal.explanations.loaded import loaded

    seen = [version.features.as_seen(row.values) for row in Prediction.objects.order_by("pk")]
    for row, score in zip(Prediction.objects.order_by("pk"), loaded(version).engine.score(seen), strict=True):
        Prediction.objects.filter(pk=row.pk).update(score=float(score))
    measured(version)
    return version


def test_importance__computed__is_shown_as_bars_and_numbers(client_for: ClientFor, dana: User) -> None:
    _profiled()

    page = text_of(client_for(dana))

    assert "in log-odds, over 40 predictions" in page
    assert '<rect width="1000.0" height="10">' in page
    assert "Day by day" in page


def test_importance__not_yet__says_when(client_for: ClientFor, dana: User) -> None:
    version = make_version()
    assert "none has been logged yet" in text_of(client_for(dana))

    make_prediction(version, score=0.5)
    assert "computed once an hour" in text_of(client_for(dana))


def test_dependence__of_a_number__is_a_scatter_with_a_table(client_for: ClientFor, dana: User) -> None:
    _profiled()

    page = text_of(client_for(dana), f"{PAGE}?feature=age")

    assert '<option value="age" selected>' in page
    assert page.count("<circle cx") == 40
    assert "Effect of Age by its value" in page


def test_dependence__of_a_category__is_a_strip_for_each(client_for: ClientFor, dana: User) -> None:
    _profiled()

    page = text_of(client_for(dana), f"{PAGE}?feature=sex")

    assert page.count('class="strips__plot"') == 2
    assert page.count("<circle cx") == 40


def test_dependence__of_nothing_known__shows_the_strongest(client_for: ClientFor, dana: User) -> None:
    _profiled()

    assert "selected" in text_of(client_for(dana), f"{PAGE}?feature=%3Cscript%3E")


def test_importance__again__is_asked_for_once_and_shown_as_under_way(
    client_for: ClientFor, dana: User
) -> None:
    version = make_version()
    make_prediction(version, score=0.5)
    client = client_for(dana)

    response = client.post(f"{PAGE}importance/")

    assert response.headers["Location"] == f"{PAGE}#importance"
    message = OutboxMessage.objects.get(task="explanations.profile")
    assert message.key == str(version.pk)
    event = Event.objects.get(verb="model.importance_wanted")
    assert (event.actor, event.subject_id) == (dana, "survival")
    page = text_of(client)
    assert "Being computed" in page
    assert 'hx-trigger="every 2s"' in page


def test_importance__of_a_version_that_is_not_ready__is_a_conflict(client_for: ClientFor, dana: User) -> None:
    make_version(state=ModelVersion.State.REFUSED, problems=["No."])

    assert client_for(dana).post(f"{PAGE}importance/").status_code == 409
    assert OutboxMessage.objects.count() == 0


@pytest.mark.parametrize("url", ["/models/", "/models/new/", PAGE, f"{PAGE}importance/"])
def test_pages__mallory__finds_nothing(client_for: ClientFor, mallory: User, url: str) -> None:
    make_version()
    client = client_for(mallory)

    response = client.post(url) if url.endswith("importance/") else client.get(url)

    assert response.status_code == 404
    assert OutboxMessage.objects.count() == 0


def test_version__a_hundred_predictions__cost_as_many_queries_as_one(
    client_for: ClientFor, dana: User
) -> None:
    version = make_version()
    client = client_for(dana)

    def fill(first: int, last: int) -> None:
        for number in range(first, last):
            refuse(make_prediction(version, score=0.5, outcome="survived", prediction_id=f"p-{number}"))
            PredictionImport.objects.create(
                version=version, file_name="f.csv", fingerprint=str(number), started_at=NOON
            )

    fill(0, 1)
    client.get(PAGE)
    with CaptureQueriesContext(connection) as few:
        client.get(PAGE)
    fill(1, 30)
    with CaptureQueriesContext(connection) as many:
        client.get(PAGE)

    assert len(many) == len(few), [q["sql"][:150] for q in many.captured_queries]


# -- Hostile words ------------------------------------------------------------------------------


def test_version__hostile_dictionary__is_shown_as_text(client_for: ClientFor, dana: User) -> None:
    nasty = "</script><script>alert(1)</script>\u2028"
    dictionary: dict[str, Any] = {
        **TITANIC_DICTIONARY,
        "outcome": nasty[:100],
        "features": [
            {**feature, "label": nasty, "description": nasty, "up": nasty, "withheld": nasty}
            for feature in TITANIC_DICTIONARY["features"]
        ],
    }
    make_version(dictionary=dictionary, training={nasty: {nasty: nasty}})

    page = text_of(client_for(dana))

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_template__the_downloadable_dictionary__is_a_dictionary() -> None:
    path = Path(settings.BASE_DIR) / "static" / "files" / "feature-dictionary.json"

    found = read_dictionary(json.loads(path.read_text(encoding="utf-8")))

    assert {"number", "category", "flag"} == {feature.type for feature in found.features}
