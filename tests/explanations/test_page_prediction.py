"""The page of one prediction."""

import html
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from opsportal.accounts.models import User
from opsportal.accounts.permissions import Role
from opsportal.events.models import Event, OutboxMessage
from opsportal.explanations.models import Explanation, Incident, Method, State
from opsportal.explanations.selectors.drawing import marked_text
from opsportal.explanations.selectors.pages import PredictionPage
from opsportal.overrides.models import Kind, Surface
from opsportal.predictions.models import Prediction
from tests.conftest import make_person
from tests.explanations.making import (
    AYOUB,
    NEVER_SEEN,
    NOON,
    TITANIC,
    TITANIC_DICTIONARY,
    VESTROM,
    explained,
    make_prediction,
    make_version,
)
from tests.overrides.filling import applied

pytestmark = pytest.mark.django_db

ClientFor = Callable[[User], Client]
NBSP = "\N{NO-BREAK SPACE}"


@pytest.fixture
def dana(db: None) -> User:
    """A data scientist."""
    return make_person("dana", Role.DATA_SCIENTIST)


def _ready(prediction: Prediction, **fields: Any) -> Explanation:
    """An explanation as a worker leaves it, with these numbers."""
    return Explanation.objects.create(
        prediction=prediction,
        state=State.READY,
        engine="test 1",
        model_sha256=prediction.version.sha256,
        score=prediction.score,
        residual=0.0,
        wanted_at=NOON,
        computed_at=NOON,
        **fields,
    )


def _refused(prediction: Prediction, incident: str, detail: str) -> Explanation:
    return Explanation.objects.create(
        prediction=prediction,
        state=State.REFUSED,
        incident=incident,
        incident_detail=detail,
        wanted_at=NOON,
        computed_at=NOON,
    )


def _text(response: Any) -> str:
    """The page's text without its tags."""
    page = re.sub(r"<script.*?</script>", "", response.content.decode(), flags=re.DOTALL)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))).replace(NBSP, " ")


def _page(response: Any) -> PredictionPage:
    page = response.context["page"]
    assert isinstance(page, PredictionPage)
    return page


def test_page__explained__says_decision_reasons_and_proof(
    client_for: ClientFor, ana: User, worker: None
) -> None:
    prediction = make_prediction(make_version(), prediction_id="titanic-690", outcome="1", **AYOUB)

    response = client_for(ana).get("/explain/titanic-690/")

    text = _text(response)
    for words in (
        "The model gave Ayoub, Miss. Banoura an 88 % chance of survival",
        "Typical passengers start at 37 %",
        "Being female speaks for survival.",
        "Travelling in third class speaks against survival.",
        "rescaled from log-odds",
        "Adds up to the score shown",
        "Equals the score logged 0.875543",
        prediction.version.sha256[:12],
        "1 further reason may not be told to the customer.",
        "Fares of others would show.",
        "as decided",
    ):
        assert words in text, words
    because = _page(response).because
    assert because is not None
    assert [reason.name for reason in because.reasons.top(4)] == ["sex", "age", "fare", "pclass"]


def test_page__exact_numbers__are_those_of_the_row_digit_by_digit(
    client_for: ClientFor, ana: User, worker: None
) -> None:
    prediction = make_prediction(make_version(), prediction_id="titanic-690", **AYOUB)

    response = client_for(ana).get("/explain/titanic-690/")

    row = Explanation.objects.get(prediction=prediction)
    text = _text(response)
    for number in (row.base_value, row.margin, *(x for _name, x in row.attributions)):
        assert repr(abs(number)) in text


def test_page__force_plot__holds_the_tables_values_and_effects_as_json(
    client_for: ClientFor, ana: User, worker: None
) -> None:
    hostile = "</script><script>alert(1)</script>\u2028"
    make_prediction(make_version(), prediction_id="hostile", embarked=hostile, deck="00701")

    response = client_for(ana).get("/explain/hostile/")

    page = response.content.decode()
    assert "<script>alert(1)" not in page
    attribute = re.search(r'data-force-plot="([^"]*)"', page)
    assert attribute is not None
    assert "<" not in attribute[1]
    plot = json.loads(html.unescape(attribute[1]))
    because = _page(response).because
    assert because is not None
    drawn = {feature["name"]: feature for feature in plot["features"]}
    assert drawn["Deck"]["value"] == "00701"
    assert drawn["Port of embarkation"]["value"] == hostile
    assert [feature["effect"] for feature in plot["features"]] == [
        reason.points for reason in because.reasons.all if reason.attribution
    ]
    assert plot["base"] + sum(feature["effect"] for feature in plot["features"]) == pytest.approx(
        because.reasons.margin_percent, abs=1e-9
    )


def test_page__odd_values__carry_badges_in_words(client_for: ClientFor, ana: User, worker: None) -> None:
    make_prediction(make_version(), prediction_id="odd", **{**NEVER_SEEN, "age": 130, "fare": None})

    text = _text(client_for(ana).get("/explain/odd/"))

    for words in ("Atlantis never seen", "130 years out of range", "not provided missing"):
        assert words in text


@pytest.mark.parametrize(
    ("score", "outcome", "words", "mark"),
    [
        (0.92, "0", "Confident and wrong", "confident and wrong"),
        (0.08, "survived", "Confident and wrong", "confident and wrong"),
        (0.68, "did not survive", "It turned out otherwise", "wrong"),
        (0.92, "1", "as decided", "right"),
        (0.92, "", "Nobody has told us how it came out.", ""),
        (0.92, "in Cobh", "in Cobh", ""),
    ],
)
def test_page__truth__is_held_against_the_score(
    client_for: ClientFor, ana: User, score: float, outcome: str, words: str, mark: str
) -> None:
    prediction = make_prediction(make_version(), prediction_id="p", outcome=outcome, score=score, **VESTROM)
    _refused(prediction, Incident.FILE, "")

    response = client_for(ana).get("/explain/p/")

    assert words in _text(response)
    assert _page(response).verdict.mark == mark


def test_page__no_worker__waits_by_itself_and_gives_up_in_words(
    client_for: ClientFor, ana: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opsportal.explanations.services import asking

    monkeypatch.setattr(asking, "wait_for", lambda explanation, **_: explanation)
    make_prediction(make_version(), prediction_id="p", **AYOUB)
    browser = client_for(ana)

    response = browser.get("/explain/p/")
    later = browser.get("/explain/p/progress/?tries=1", headers={"HX-Request": "true"})
    last = browser.get("/explain/p/progress/?tries=29", headers={"HX-Request": "true"})
    odd = browser.get("/explain/p/progress/?tries=x")

    assert "The reasons are being computed." in _text(response)
    assert 'hx-get="/explain/p/progress/?tries=0"' in response.content.decode()
    assert 'hx-get="/explain/p/progress/?tries=2"' in later.content.decode()
    assert "hx-get=" not in last.content.decode()
    assert "No worker has answered yet" in _text(last)
    assert odd.status_code == 200
    assert OutboxMessage.objects.filter(task="explanations.explain").count() == 1
    # Only the page itself has shown anything.
    assert Event.objects.filter(verb="prediction.looked_up").count() == 1


def test_progress__once_explained__shows_it_and_is_recorded(client_for: ClientFor, ana: User) -> None:
    prediction = make_prediction(make_version(), prediction_id="p", **AYOUB)
    explained(prediction)

    response = client_for(ana).get("/explain/p/progress/?tries=3", headers={"HX-Request": "true"})

    text = _text(response)
    assert "Being female speaks for survival." in text
    assert "<html" not in response.content.decode()
    assert Event.objects.latest("sequence").summary == "Saw the explanation of prediction p"


def test_page__refused__says_which_check_failed_and_shows_no_chart(
    client_for: ClientFor, ana: User, dana: User
) -> None:
    prediction = make_prediction(make_version(), prediction_id="p", score=0.31, **AYOUB)
    _refused(prediction, Incident.SCORE, "The model gives 0.8755 now; 0.31 was logged.")

    response = client_for(ana).get("/explain/p/")
    for_dana = _text(client_for(dana).get("/explain/p/"))

    text = _text(response)
    assert "The score computed now differs from the score that was logged" in text
    assert "The model gives 0.8755 now; 0.31 was logged." in text
    assert "data-force-plot" not in response.content.decode()
    assert "Compute again" not in text
    assert "Compute again" in for_dana


def test_again__refused__is_wanted_anew_by_those_who_may(
    client_for: ClientFor, ana: User, dana: User
) -> None:
    prediction = make_prediction(make_version(), prediction_id="p", score=0.31, **AYOUB)
    refused = _refused(prediction, Incident.SCORE, "")

    denied = client_for(ana).post("/explain/p/again/")
    refused.refresh_from_db()
    assert (denied.status_code, refused.state) == (404, State.REFUSED)
    response = client_for(dana).post("/explain/p/again/")

    refused.refresh_from_db()
    assert (response.status_code, response["Location"], refused.state) == (302, "/explain/p/", State.WANTED)


def test_page__corrupted_model__says_so(client_for: ClientFor, ana: User, worker: None) -> None:
    # No worker has it in memory yet.
    version = make_version(content=TITANIC + b"\n")
    make_prediction(version, prediction_id="p", score=0.9, **AYOUB)
    with version.file.storage.open(str(version.file.name), "wb") as file:
        file.write(b"swapped")

    response = client_for(ana).get("/explain/p/")

    assert response.status_code == 200
    assert "The model's file is not the one that was registered" in _text(response)


def test_copy__one_or_all__is_recorded_by_reason_and_without_values(
    client_for: ClientFor, ana: User, worker: None
) -> None:
    prediction = make_prediction(make_version(), prediction_id="p", **AYOUB)
    browser = client_for(ana)
    browser.get("/explain/p/")

    by_htmx = browser.post("/explain/p/copied/", {"reason": "sex"}, headers={"HX-Request": "true"})
    one = Event.objects.latest("sequence")
    everything = browser.post("/explain/p/copied/", {"reason": "*"}, follow=True)
    withheld = browser.post("/explain/p/copied/", {"reason": "fare"})

    assert by_htmx.status_code == 204
    assert (one.verb, one.subject_id) == ("prediction.told", str(prediction.pk))
    assert one.after == {"how": "copied", "reasons": ["sex"]}
    told = set((Event.objects.filter(verb="prediction.told").latest("sequence").after or {})["reasons"])
    assert "fare" not in told
    assert {"sex", "age", "pclass"} <= told
    assert "Recorded that you told the customer this." in _text(everything)
    assert withheld.status_code == 400
    assert "may not be told" in _text(withheld)


def test_page__product__says_what_overrides_did_then_and_do_now(
    client_for: ClientFor, ana: User, max: User, worker: None
) -> None:
    Surface.objects.create(slug="home", name="Home page")
    version = make_version()
    make_prediction(version, prediction_id="p", product_id="85/A", surface="home", **AYOUB)
    applied(max, "85/A", kind=Kind.BOOST)

    response = client_for(ana).get("/explain/p/")

    text = _text(response)
    assert "as ranked then, on Home page" in text
    assert "boosted ×2 now" in text
    assert "/overrides/blocks/new/?product_ids=85%2FA" in response.content.decode()
    assert "/overrides/boosts/new/" not in response.content.decode()


def test_page__earlier_of_the_customer__can_be_compared(
    client_for: ClientFor, ana: User, worker: None
) -> None:
    version = make_version()
    make_prediction(
        version, prediction_id="old", customer_id="C-1", predicted_at=NOON - timedelta(days=9), **AYOUB
    )
    make_prediction(version, prediction_id="new", customer_id="C-1", **AYOUB)

    page = client_for(ana).get("/explain/new/").content.decode()

    assert f"{reverse('explain-compare', args=['new'])}?with=old" in page
    assert "C-1" not in page


def test_page__text_model__marks_and_lists_the_words(client_for: ClientFor, ana: User) -> None:
    dictionary = {
        "outcome": "chance of a complaint",
        "positive": "complaint",
        "negative": "praise",
        "features": [{"name": "review", "label": "Review", "type": "text", "tellable": True, "up": "x"}],
    }
    version = make_version(model="reviews", dictionary=dictionary, background=b"")
    prediction = make_prediction(version, prediction_id="t", score=0.7, text="Awful <b> zoom, awful!")
    _ready(
        prediction,
        space="log_odds",
        base_value=0.0,
        margin=0.8,
        attributions=[["review", 0.8]],
        detail={"words": [[0, 5, 0.5], [10, 14, -0.2], [16, 21, 0.5]]},
    )

    response = client_for(ana).get("/explain/t/")

    page = response.content.decode()
    assert '<mark class="word word--up word--4">Awful</mark> &lt;b&gt; ' in page
    assert '<mark class="word word--down word--2">zoom</mark>' in page
    because = _page(response).because
    assert because is not None
    assert [(reason.label, round(reason.attribution, 9)) for reason in because.reasons.all] == [
        ("“awful”", 1.0),
        ("“zoom”", -0.2),
    ]
    assert because.reasons.for_customer.told == ()


def test_mark_text__overlapping_and_odd_places__loses_no_letter() -> None:
    pieces = marked_text("one two", [(0, 3, 1.0), (0, 7, -0.5), (5, 99, 0.25), (4, 4, 9.0)])

    assert "".join(piece.text for piece in pieces) == "one two"
    assert [(piece.text, piece.direction) for piece in pieces] == [
        ("one", "up"),
        (" t", "down"),
        ("wo", "down"),
    ]


def test_page__of_a_ranker__speaks_of_scores_not_of_chances(client_for: ClientFor, ana: User) -> None:
    dictionary = {**TITANIC_DICTIONARY, "link": "identity", "outcome": "rank score"}
    prediction = make_prediction(
        make_version(dictionary=dictionary, threshold=None), prediction_id="r", score=-1.25, **AYOUB
    )
    _ready(prediction, space="score", base_value=0.5, margin=-1.25, attributions=[["sex", -1.75]])

    response = client_for(ana).get("/explain/r/")

    text = _text(response)
    assert "The model gave Ayoub, Miss. Banoura a rank score of -1.25" in text
    assert "Effects are in the unit of the score." in text
    assert "What would turn the decision" not in text
    because = _page(response).because
    assert because is not None
    assert (because.base, because.final, because.bars[0].reason.effect) == ("0.5", "-1.25", "−1.75")


def test_look__unknown_prediction_or_no_role__is_404_and_leaves_nothing(
    client_for: ClientFor, ana: User, mallory: User, lena: User
) -> None:
    make_prediction(make_version(), prediction_id="p", **AYOUB)

    assert client_for(ana).get("/explain/nothing/").status_code == 404
    for person in (mallory, make_person("vera", Role.VIEWER), make_person("abel", Role.APPROVER)):
        for path in ("", "progress/", "second-opinion/"):
            assert client_for(person).get(f"/explain/p/{path}").status_code == 404
    assert Explanation.objects.count() == Event.objects.filter(verb="prediction.looked_up").count() == 0


def test_page__stored__costs_few_queries(client_for: ClientFor, ana: User, max: User) -> None:
    version = make_version()
    prediction = make_prediction(
        version, prediction_id="p", customer_id="C-1", product_id="1", surface="home", **AYOUB
    )
    for number in range(7):
        make_prediction(
            version,
            customer_id="C-1",
            product_id="1",
            predicted_at=NOON - timedelta(days=number + 1),
            **AYOUB,
        )
    explained(prediction)
    browser = client_for(ana)
    browser.get("/explain/p/")

    with CaptureQueriesContext(
        connection,
    ) as before:
        browser.get("/explain/p/")
    applied(max, "1", kind=Kind.BOOST)
    applied(ana, "1")
    with CaptureQueriesContext(connection) as after:
        browser.get("/explain/p/")

    assert len(before) == len(after)
    assert len(after) <= 24, "\n".join(query["sql"][:120] for query in after.captured_queries)


def test_second_opinion__asked__is_a_fragment_for_scripts_and_a_page_without(
    client_for: ClientFor, ana: User, worker: None
) -> None:
    make_prediction(make_version(), prediction_id="p", **AYOUB)
    browser = client_for(ana)

    fragment = browser.get("/explain/p/second-opinion/", headers={"HX-Request": "true"})
    page = browser.get("/explain/p/second-opinion/")

    assert Explanation.objects.get(method=Method.LIME).state == State.READY
    assert "<html" not in fragment.content.decode()
    assert "hx-get" not in fragment.content.decode()
    assert "<html" in page.content.decode()
    assert "LIME agrees on" in _text(fragment)
