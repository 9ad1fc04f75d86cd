"""Bad input through every door: a clear refusal or a named row, nothing half-saved, never a 500."""

from collections.abc import Callable

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from opsportal.accounts import services as accounts
from opsportal.accounts.keyring import keyring
from opsportal.accounts.models import User
from opsportal.overrides import services
from opsportal.overrides.models import Block, OptOut, State, Submission, Triage
from opsportal.predictions.pseudonyms import customer_key
from tests.asking import Api, problem
from tests.contracts.bad_input import BOOST_FORMS, FILES, FORMS, REST, TABLE
from tests.overrides.asking import blocks, opt_outs, saved
from tests.overrides.filling import block_form, boost_form, opt_out_form

pytestmark = pytest.mark.django_db
ClientFor = Callable[[User], Client]


@pytest.fixture
def api(db: None) -> Api:
    """The API with a key that may write."""
    keyring.forget()
    machine = accounts.service_account(name="machine")
    _key, token = accounts.create_api_key(actor=None, name="test", scopes=["overrides:write"], owner=machine)
    return Api(Client(raise_request_exception=False), token)


@pytest.mark.parametrize(("route", "name"), REST)
def test_rest__bad_input__refused_with_its_place_and_nothing_saved(api: Api, route: str, name: str) -> None:
    row = TABLE[name]
    before = saved()

    body = problem(api.post(route, row.body(route), key="once"), row.status)

    places = [error["path"] for error in body["errors"]]
    if row.path is not None:
        assert row.place(route) in places, body
    assert len(str(body)) < 100_000
    assert saved() == before
    assert Submission.objects.filter(idempotency_key="once").count() == 0


def test_rest__ids_that_only_look_bad__are_taken_as_they_are(api: Api) -> None:
    ids = [
        "00701",
        "85123A",
        "85123a",
        "red shoe",
        "🦊",
        "-1",
        "+1",
        "null",
        "1e3",
        "O'Brien; DROP",
        "%s",
        "é",
    ]

    response = api.post("blocks", blocks(*ids))

    assert response.status_code == 201
    assert [item["id"] for item in response.json()["items"]] == ids
    assert set(Block.objects.values_list("product_id", flat=True)) == set(ids)


def test_rest__customer_ids__same_letters_same_person(api: Api) -> None:
    composed, decomposed = "Jos\u00e9", "Jose\u0301"

    items = api.post("opt-outs", opt_outs(composed, decomposed, "jos\u00e9")).json()["items"]

    assert [item["triage"] for item in items] == ["new", "unchanged", "new"]
    assert OptOut.objects.filter(customer_key=customer_key(composed)).count() == 1


@pytest.mark.parametrize("ids", [5_000])
def test_rest__as_many_ids_as_possible__are_taken(api: Api, ids: int) -> None:
    response = api.post("blocks", blocks(*(f"p{number}" for number in range(ids))))

    assert (response.status_code, len(response.json()["items"])) == (202, ids)


@pytest.mark.parametrize("name", FORMS)
def test_form__bad_input__asked_again_and_nothing_saved(client_for: ClientFor, ana: User, name: str) -> None:
    fields, status = FORMS[name]
    before = saved()

    response = client_for(ana).post("/overrides/blocks/new/", block_form("00701", **fields))

    assert response.status_code == status
    assert response.headers["Content-Type"].startswith("text/html")
    assert saved() == before


@pytest.mark.parametrize("name", BOOST_FORMS)
def test_form__bad_boost__asked_again_and_nothing_saved(client_for: ClientFor, max: User, name: str) -> None:
    before = saved()

    form = boost_form("00701", **BOOST_FORMS[name])
    response = client_for(max).post("/overrides/boosts/new/", form)

    assert response.status_code == 400
    assert saved() == before


def test_form__ids_that_cannot_be_used__are_named_rows(client_for: ClientFor, ana: User) -> None:
    pasted = ["85123A", "85123a", "85123A", "=1+1", "x" * 129, "a\u202eb", "red shoe 🦊"]

    response = client_for(ana).post("/overrides/blocks/new/", block_form(*pasted))

    submission = Submission.objects.get()
    rows = list(submission.items.order_by("row").values_list("triage", flat=True))
    assert (response.status_code, submission.state) == (302, State.DRAFT)
    assert rows == [
        Triage.UNKNOWN,
        Triage.UNKNOWN,
        Triage.UNCHANGED,
        Triage.INVALID,
        Triage.INVALID,
        Triage.INVALID,
        Triage.UNKNOWN,
    ]
    assert Block.objects.count() == 0


def test_form__customer_ids_that_cannot_be_used__are_kept_nowhere(client_for: ClientFor, ana: User) -> None:
    client_for(ana).post("/overrides/opt-outs/new/", opt_out_form("=C-20417", "y" * 201, "C-1"))

    items = Submission.objects.get().items.order_by("row")
    assert [item.triage for item in items] == [Triage.INVALID, Triage.INVALID, Triage.NEW]
    assert "20417" not in str(list(items.values()))


@pytest.mark.parametrize("name", FILES)
def test_file__that_cannot_be_read__refused_with_its_place(
    client_for: ClientFor, ana: User, name: str
) -> None:
    content, word = FILES[name]
    before = saved()
    form = {**block_form(), "file": SimpleUploadedFile("list.csv", content)}

    response = client_for(ana).post("/overrides/import/?kind=block", form)

    assert response.status_code in {400, 413}
    assert word in response.content.decode()
    assert saved() == before


def test_file__formulas_and_odd_cells__are_named_rows(client_for: ClientFor, ana: User) -> None:
    lines = [
        "product_id,note",
        "85123A,x",
        '"=HYPERLINK(""http://x"")",x',
        "@SUM(1),x",
        "a,b,c",
        ",x",
        "85123a",
    ]
    content = "\r\n".join(lines).encode("utf-8-sig")

    client_for(ana).post(
        "/overrides/import/?kind=block", {**block_form(), "file": SimpleUploadedFile("list.csv", content)}
    )

    submission = Submission.objects.get()
    services.check_file(submission.pk)
    found = dict(submission.items.values_list("row", "triage"))
    assert found == {
        2: Triage.UNKNOWN,
        3: Triage.INVALID,
        4: Triage.INVALID,
        5: Triage.INVALID,
        6: Triage.INVALID,
        7: Triage.UNKNOWN,
    }
    assert Block.objects.count() == 0
