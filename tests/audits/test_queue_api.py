"""The review queue over REST: claim, label, and what is refused and how."""

import json
from typing import Any

import pytest
from django.test import Client

from opsportal.accounts import services as accounts
from opsportal.accounts.keyring import keyring
from opsportal.accounts.models import User
from opsportal.accounts.permissions import Role
from opsportal.audits.models import Item, Label, Review, Run
from opsportal.audits.services import reviewing
from tests.asking import Api, paths, problem
from tests.audits.making import LABELS, make_items, make_run
from tests.audits.test_reviewing import NO, YES, expire
from tests.audits.test_reviewing import take as claim_for
from tests.conftest import make_person

pytestmark = pytest.mark.django_db


@pytest.fixture
def anna(db: None) -> User:
    """An auditor."""
    return make_person("anna", Role.AUDITOR)


@pytest.fixture
def api(anna: User) -> Api:
    """The API with Anna's key."""
    return api_of(anna)


def api_of(owner: User) -> Api:
    """The API with a key of this person that may label."""
    keyring.forget()
    _key, token = accounts.create_api_key(actor=None, name="labelling", scopes=["audits:write"], owner=owner)
    return Api(Client(raise_request_exception=False), token)


def next_item(api: Api, **body: object) -> dict[str, Any]:
    """The one item that comes next."""
    response = api.post("audits/next", body)
    assert response.status_code == 200, response.content
    (item,) = response.json()["items"]
    return dict(item)


def test_next__blind_run__what_is_needed_to_judge_and_nothing_of_the_model(api: Api, anna: User) -> None:
    run = make_run(guidelines="Look at the list.", sensitive=True)
    features = json.dumps({"age": 31, "deck": None, "is_new": True, "odd": float("nan"), "port": "00701"})
    (item,) = make_items(run, 1, text="A text.", features=features, surface="home-left")

    answer = next_item(api)

    leased = Review.objects.get()
    assert leased.holder == anna
    assert leased.leased_until is not None
    assert answer == {
        "item_id": item.pk,
        "token": answer["token"],
        "leased_until": leased.leased_until.isoformat().replace("+00:00", "Z"),
        "run": run.pk,
        "run_title": run.title,
        "is_sensitive": True,
        "text": "A text.",
        "features": {"age": 31, "deck": None, "is_new": True, "odd": "nan", "port": "00701"},
        "product_id": "",
        "surface": "home-left",
        "labels": LABELS,
        "guidelines": "Look at the list.",
        "prediction_id": None,
        "predicted": None,
        "score": None,
    }


def test_next__open_run__with_what_the_model_said(api: Api) -> None:
    (item,) = make_items(make_run(blind=False), 1, predicted=NO, score=0.25)

    answer = next_item(api)

    assert (answer["prediction_id"], answer["predicted"], answer["score"]) == (item.prediction_id, NO, 0.25)


def test_next__two_wanted_of_a_run__both_then_the_same_again(api: Api) -> None:
    make_items(make_run(), 3)
    run = make_run()
    make_items(run, 3)

    first = api.post("audits/next", {"run": run.pk, "count": 2}).json()["items"]
    again = api.post("audits/next", {"run": run.pk, "count": 2}).json()["items"]

    assert [item["run"] for item in first] == [run.pk] * 2
    assert [item["token"] for item in again] == [item["token"] for item in first]
    assert len({item["item_id"] for item in first}) == 2


def test_next__nothing_left__no_items(api: Api) -> None:
    assert api.post("audits/next", {}).json() == {"items": []}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"count": 3}, "count"),
        ({"count": 0}, "count"),
        ({"count": "1"}, "count"),
        ({"run": "1"}, "run"),
        ({"who": "ben"}, "who"),
    ],
)
def test_next__bad_input__refused_at_its_place(api: Api, body: dict[str, object], path: str) -> None:
    make_items(make_run(), 1)

    refusal = problem(api.post("audits/next", body), 400)

    assert {place for place, _code in paths(refusal)} == {path}
    assert Review.objects.get().state == "open"


def test_next__run_of_others_or_none__not_found(api: Api) -> None:
    run = make_run(reviewers=[make_person("ben", Role.AUDITOR)])
    make_items(run, 1)

    for pk in (run.pk, run.pk + 1):
        problem(api.post("audits/next", {"run": pk}), 404)
    assert problem(api.post("audits/next", {"run": make_run(state="closed").pk}), 409)["code"] == "not_open"


def test_next__key_of_a_machine__refused(anna: User) -> None:
    make_items(make_run(), 1)
    token = claim_for(anna).token
    item = Item.objects.get()
    api = api_of(accounts.service_account(name="machine"))

    assert problem(api.post("audits/next", {}), 403)["code"] == "no_person"
    refusal = api.post(f"audits/items/{item.pk}/label", {"token": token, "label": YES})
    assert problem(refusal, 403)["code"] == "no_person"
    assert Label.objects.count() == 0


@pytest.mark.parametrize(("label", "stored"), [(NO, NO), (None, "")])
def test_label__claimed_item__stored_as_the_owners_answer(
    api: Api, anna: User, label: str | None, stored: str
) -> None:
    make_items(make_run(), 1)
    item = next_item(api)
    body = {"token": item["token"], "label": label, "note": "Seen twice."}

    answers = [api.post(f"audits/items/{item['item_id']}/label", body) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    expected = {"item_id": item["item_id"], "state": "settled", "label": label}
    assert [answer.json() for answer in answers] == [expected] * 2
    row = Label.objects.get()
    assert (row.person, row.value, row.note) == (anna, stored, "Seen twice.")


def test_label__second_review_wanted__still_open(api: Api) -> None:
    make_items(make_run(), 1, reviews=2)
    item = next_item(api)

    answer = api.post(f"audits/items/{item['item_id']}/label", {"token": item["token"], "label": YES})

    assert answer.json()["state"] == "open"


def test_label__other_item_or_none__not_found(api: Api) -> None:
    make_items(make_run(), 2)
    item = next_item(api)
    other = Item.objects.exclude(pk=item["item_id"]).get()

    for pk in (other.pk, 2**62):
        problem(api.post(f"audits/items/{pk}/label", {"token": item["token"], "label": YES}), 404)
    assert Label.objects.count() == 0


def test_label__lease_lost__conflict_with_its_code(api: Api, anna: User) -> None:
    make_items(make_run(), 1)
    item = next_item(api)
    expire(*reviewing.held(actor=anna))
    claim_for(make_person("ben", Role.AUDITOR))

    refusal = api.post(f"audits/items/{item['item_id']}/label", {"token": item["token"], "label": YES})

    assert problem(refusal, 409)["code"] == "lease_lost"
    assert Label.objects.count() == 0


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"label": "perhaps"}, "label"),
        ({"label": ""}, "label"),
        ({"label": 1}, "label"),
        ({"label": ...}, "label"),
        ({"token": ...}, "token"),
        ({"token": "x" * 33}, "token"),
        ({"token": None}, "token"),
        ({"note": "x" * 501}, "note"),
        ({"note": "a\0b"}, "note"),
        ({"person": "ben"}, "person"),
    ],
)
def test_label__bad_input__refused_at_its_place(api: Api, change: dict[str, Any], path: str) -> None:
    make_items(make_run(), 1)
    item = next_item(api)
    body = {"token": item["token"], "label": YES, **change}
    body = {name: value for name, value in body.items() if value is not ...}

    refusal = problem(api.post(f"audits/items/{item['item_id']}/label", body), 400)

    assert {place for place, _code in paths(refusal)} == {path}
    assert Label.objects.count() == 0
    assert Run.objects.get().reviews_done == 0


def test_label__session_of_a_person__as_with_a_key(anna: User) -> None:
    make_items(make_run(), 1)
    browser = Client()
    browser.force_login(anna)
    api = Api(browser)
    item = next_item(api)

    answer = api.post(f"audits/items/{item['item_id']}/label", {"token": item["token"], "label": YES})

    assert answer.json()["state"] == "settled"
