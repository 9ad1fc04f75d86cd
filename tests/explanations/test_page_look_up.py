"""The look-up of predictions: by an address, or by a customer who stands in none."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from opsportal.accounts.models import User
from opsportal.events.models import Event
from opsportal.explanations.views import looking_up as views
from opsportal.explanations.views.looking_up import LookUpPage
from opsportal.overrides.models import Surface
from opsportal.predictions.models import Prediction, Word
from opsportal.predictions.words import words_of
from tests.explanations.making import AYOUB, MORAN, NOON, VESTROM, explained, make_prediction, make_version

pytestmark = pytest.mark.django_db

ClientFor = Callable[[User], Client]


def _findable(prediction: Prediction) -> Prediction:
    """The prediction, as taken in: its name can be looked for."""
    name = str(prediction.values["name"])
    Word.objects.bulk_create(Word(prediction=prediction, word=word) for word in words_of(name))
    return prediction


def _page(response: Any) -> LookUpPage:
    page = response.context["page"]
    assert isinstance(page, LookUpPage)
    return page


def _ids(response: Any) -> list[str]:
    return [one.row.prediction_id for one in _page(response).rows or []]


def _looks() -> int:
    return Event.objects.filter(verb="prediction.looked_up").count()


def test_look_up__nothing_asked__shows_nobody_and_records_nothing(client_for: ClientFor, ana: User) -> None:
    make_prediction(make_version(), **AYOUB)

    response = client_for(ana).get("/explain/")

    assert _page(response).rows is None
    assert "Find the case." in response.content.decode()
    assert "Ayoub" not in response.content.decode().replace("<code>Ayoub</code>", "")
    assert _looks() == 0


def test_look_up__by_id__leads_to_the_page(client_for: ClientFor, ana: User) -> None:
    make_prediction(make_version(), prediction_id="a:1=x", **AYOUB)
    browser = client_for(ana)

    found = browser.get("/explain/", {"prediction_id": " a:1=x "})
    missing = browser.get("/explain/", {"prediction_id": "a:1=X"})

    assert (found.status_code, found["Location"]) == (302, "/explain/a:1=x/")
    assert _page(missing).rows == []
    assert "Nothing matches" in missing.content.decode()


def test_look_up__by_words__finds_names_without_case_and_is_recorded_without_them(
    client_for: ClientFor, ana: User
) -> None:
    version = make_version()
    found = _findable(make_prediction(version, prediction_id="titanic-690", **AYOUB))
    _findable(make_prediction(version, **VESTROM))
    explained(found)

    response = client_for(ana).get("/explain/", {"words": "BANOURA ayoub"})

    assert _ids(response) == ["titanic-690"]
    assert [one.reasons for one in _page(response).rows or []] == ["sex, age, fare up"]
    event = Event.objects.latest("sequence")
    assert (event.verb, event.subject_id) == ("prediction.looked_up", str(found.pk))
    assert "ayoub" not in event.summary.casefold()


def test_look_up__by_product_model_surface_and_days__narrows_in_the_persons_zone(
    client_for: ClientFor, ana: User
) -> None:
    Surface.objects.create(slug="home", name="Home page")
    version, other = make_version(), make_version(model="clicks")
    make_prediction(version, prediction_id="right", product_id="00701", surface="home", **AYOUB)
    make_prediction(version, prediction_id="other product", product_id="701", surface="home", **AYOUB)
    make_prediction(other, prediction_id="other model", product_id="00701", surface="home", **AYOUB)
    make_prediction(version, prediction_id="no surface", product_id="00701", **AYOUB)
    make_prediction(
        version,
        prediction_id="a day later",
        product_id="00701",
        surface="home",
        predicted_at=NOON + timedelta(days=1),
        **AYOUB,
    )

    query = {
        "product_id": "00701",
        "model": "survival",
        "surface": "home",
        "since": "2026-11-02",
        "until": "2026-11-02",
    }
    response = client_for(ana).get("/explain/", query)

    assert _ids(response) == ["right"]
    chips = {chip.label: chip.url for chip in _page(response).chips}
    assert set(chips) == {
        "Product ID: 00701",
        "Model: Survival model",
        "Surface: Home page",
        "From: Mon 2 Nov 2026",
        "To: Mon 2 Nov 2026",
    }
    assert "surface" not in chips["Surface: Home page"]
    assert "Home page" in response.content.decode()


def test_look_up__customer__is_posted_paged_and_never_in_an_address(
    client_for: ClientFor, ana: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "PAGE_SIZE", 2)
    version = make_version()
    for number in range(3):
        make_prediction(
            version,
            prediction_id=f"c-{number}",
            customer_id="C-77001",
            predicted_at=NOON - timedelta(days=number),
            **AYOUB,
        )
    make_prediction(version, customer_id="C-77002", **MORAN)
    browser = client_for(ana)

    first = browser.post("/explain/", {"customer_id": " C-77001 "})
    cursor = _page(first).next
    second = browser.post("/explain/", {"customer_id": "C-77001", "cursor": cursor})
    asked_by_address = browser.get("/explain/", {"customer_id": "C-77001"})

    assert _ids(first) == ["c-0", "c-1"]
    assert f'name="cursor" value="{cursor}"' in first.content.decode()
    assert _ids(second) == ["c-2"]
    assert _page(asked_by_address).rows is None
    assert _looks() == 2
    for event in Event.objects.all():
        assert "C-77001" not in f"{event.summary} {event.subject_id} {event.before} {event.after}"
    for response in (first, second):
        assert "C-77001" not in "".join(
            part.split('"')[0] for part in response.content.decode().split('href="')[1:]
        )


def test_look_up__unknown_customer__says_so_and_is_recorded(client_for: ClientFor, ana: User) -> None:
    make_version()

    response = client_for(ana).post("/explain/", {"customer_id": "C-9"})

    assert "Nothing is known of this customer" in response.content.decode()
    assert _looks() == 1


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"prediction_id": "a/b"}, "letters, digits"),
        ({"prediction_id": "x" * 129}, "at most 128"),
        ({"product_id": "=1"}, "formula"),
        ({"product_id": "x" * 129}, "at most 128"),
        ({"words": "–!"}, "at least one word"),
        ({"words": "x" * 201}, "at most 200"),
        ({"model": "moon"}, "no such model"),
        ({"surface": "moon"}, "no such surface"),
        ({"since": "yesterday"}, "Give a day"),
        ({"since": "1999-12-31", "words": "a"}, "between 2000 and 2100"),
        ({"until": "9999-12-31", "words": "a"}, "between 2000 and 2100"),
        ({"since": "2026-11-03", "until": "2026-11-02", "words": "a"}, "before the first"),
        ({"since": "2026-11-02"}, "Say which"),
        ({"words": "a", "cursor": "nonsense"}, "cursor"),
    ],
)
def test_look_up__bad_input__a_sentence_and_nothing_lost(
    client_for: ClientFor, ana: User, query: dict[str, str], sentence: str
) -> None:
    make_version()

    response = client_for(ana).get("/explain/", query)

    assert response.status_code == 400
    assert sentence in response.content.decode()
    name, value = next(iter(query.items()))
    if name not in {"model", "surface"}:
        assert f'name="{name}" value="{value}"' in response.content.decode()
    assert _looks() == 0


@pytest.mark.parametrize("customer_id", ["", " ", "x" * 201, "=1", "a\u202eb"])
def test_look_up__bad_customer__a_sentence_at_the_field(
    client_for: ClientFor, ana: User, customer_id: str
) -> None:
    response = client_for(ana).post("/explain/", {"customer_id": customer_id})

    assert response.status_code == 400
    assert "customer_id" in _page(response).customer_form.errors
    assert _looks() == 0


def test_list__confident_and_wrong__is_marked(client_for: ClientFor, ana: User) -> None:
    version = make_version()
    make_prediction(version, product_id="1", score=0.92, outcome="0", **VESTROM)

    response = client_for(ana).get("/explain/", {"product_id": "1"})

    assert "confident and wrong" in response.content.decode()


@pytest.mark.parametrize("rows", [1, 10])
def test_list__any_length__costs_the_same_queries(client_for: ClientFor, ana: User, rows: int) -> None:
    version = make_version()
    for _ in range(rows):
        explained(make_prediction(version, product_id="1", surface="home", **AYOUB))
    browser = client_for(ana)
    browser.get("/explain/", {"product_id": "1"})

    with CaptureQueriesContext(connection) as queries:
        browser.get("/explain/", {"product_id": "1"})

    assert len(queries) == 19


def test_look_up__without_the_capability__is_404(client_for: ClientFor, mallory: User, lena: User) -> None:
    for person in (mallory, lena):
        browser = client_for(person)
        expected = 200 if person.can("predictions.view") else 404
        assert browser.get("/explain/").status_code == expected
    assert client_for(mallory).post("/explain/", {"customer_id": "C-1"}).status_code == 404
    assert _looks() == 0


def test_search__prediction_id__leads_to_its_page(client_for: ClientFor, ana: User) -> None:
    make_prediction(make_version(), prediction_id="titanic-690", **AYOUB)

    response = client_for(ana).post("/search/", {"q": "titanic-690"})

    assert (response.status_code, response["Location"]) == (302, "/explain/titanic-690/")


def test_search__name__offers_the_predictions_with_it(client_for: ClientFor, ana: User) -> None:
    _findable(make_prediction(make_version(), prediction_id="titanic-690", **AYOUB))

    page = client_for(ana).post("/search/", {"q": "Ayoub"}).content.decode()
    unknown = client_for(ana).post("/search/", {"q": "Nobody"}).content.decode()

    assert "/explain/?words=Ayoub" in page
    assert "Predictions with these words" not in unknown
