"""Decisions between answers: both in view without names, the model's hidden until one has decided."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
from django.test import Client

from opsportal.accounts.models import User
from opsportal.accounts.permissions import Role
from opsportal.audits.forms_review import UNCLEAR
from opsportal.audits.models import Item, Label, Review, Run
from opsportal.audits.selectors import review_page as selectors
from opsportal.audits.services import adjudicating, reviewing
from opsportal.audits.services.closing import close_run
from opsportal.audits.views.adjudicate import AdjudicatePage
from tests.audits.making import make_items, make_policy, make_run
from tests.conftest import make_person

pytestmark = pytest.mark.django_db
ClientFor = Callable[[User], Client]
SCRIPT = {"Accept": "application/json"}


@pytest.fixture
def otto() -> User:
    return make_person("otto", Role.AUDITOR)


@pytest.fixture
def nora() -> User:
    return make_person("nora", Role.AUDITOR)


@pytest.fixture
def run(otto: User, nora: User) -> Run:
    """Two disputed items."""
    run = make_run(make_policy(title="Survivors"), title="Survivors, week 45", guidelines="Boats count.")
    make_items(run, 2, text="She was in boat 12.", predicted="did not survive", score=0.37251, reviews=2)
    for person, value, note in ((otto, "survived", "Boat 12 <b>"), (nora, "did not survive", "")):
        for claim in reviewing.claim(actor=person, run=run, count=2):
            reviewing.answer(actor=person, token=claim.token, value=value, note=note)
    run.refresh_from_db()
    assert run.to_adjudicate == 2
    return run


def _shown(client: Client, query: str = "") -> selectors.Shown:
    shown = client.get(f"/audits/review/decide/{query}").context["page"].shown
    assert isinstance(shown, selectors.Shown)
    return shown


def _post(client: Client, command: str, *, script: bool = False, **data: Any) -> Any:
    headers = SCRIPT if script else {}
    return client.post(f"/audits/review/decide/{command}/", data, headers=headers)


def _decided() -> list[Label]:
    return list(Label.objects.filter(adjudicates=True).order_by("pk"))


def test_screen__dispute__shows_both_answers_without_names_or_the_models(
    client_for: ClientFor, lena: User, run: Run
) -> None:
    response = client_for(lena).get("/audits/review/decide/")

    page = response.context["page"]
    assert {field.name for field in fields(AdjudicatePage)} == set(type(page).__slots__)
    assert page.waiting == 2
    assert {(side.words, side.note) for side in page.sides} == {
        ("Survived", "Boat 12 <b>"),
        ("Did not survive", ""),
    }
    assert [side.letter for side in page.sides] == ["A", "B"]
    body = response.content.decode()
    assert "otto" not in body.casefold()
    assert "nora" not in body.casefold()
    assert "The model said" not in body
    assert "0.3725" not in body
    assert "Boat 12 &lt;b&gt;" in body
    assert "Boats count." in body


def test_sides__order__is_by_chance_and_stays(run: Run) -> None:
    item = Item.objects.all()[0]
    orders = set()
    for token in ("0", "z"):
        Label.objects.filter(item=item, value="survived").update(token=token)
        Label.objects.filter(item=item, value="did not survive").update(token="5")
        orders.add(tuple(side.words for side in selectors.sides(item, run)))

    assert orders == {("Survived", "Did not survive"), ("Did not survive", "Survived")}
    assert selectors.sides(item, run) == selectors.sides(item, run)


def test_screen__run_that_is_not_blind__still_hides_the_model(
    client_for: ClientFor, lena: User, run: Run
) -> None:
    Run.objects.update(blind=False)
    client = client_for(lena)
    assert "The model said" not in client.get("/audits/review/decide/").content.decode()

    _post(client, "answer", token=_shown(client).token, value="survived", run=run.pk)
    assert "the model said" not in client.get("/audits/review/decide/").content.decode()


def test_screen__nothing_disputed__says_what_would_come_here(client_for: ClientFor, lena: User) -> None:
    response = client_for(lena).get("/audits/review/decide/")

    assert response.status_code == 200
    assert "Nothing to decide now" in response.content.decode()


def test_screen__run_named__shows_a_dispute_of_that_run_alone(
    client_for: ClientFor, lena: User, run: Run
) -> None:
    client = client_for(lena)

    assert client.get(f"/audits/review/decide/?run={run.pk}").context["page"].run == run
    assert client.get(f"/audits/review/decide/?run={make_run().pk}").context["page"].shown is None
    assert client.get("/audits/review/decide/?run=999999").status_code == 404
    assert client.get("/audits/review/decide/?run=x").status_code == 404


def test_screen__own_answer__is_left_to_another_lead(client_for: ClientFor, otto: User, lena: User) -> None:
    run = make_run()
    make_items(run, 1, text="x", reviews=2)
    for person, value in ((lena, "survived"), (otto, "did not survive")):
        claim = reviewing.claim(actor=person, run=run)[0]
        reviewing.answer(actor=person, token=claim.token, value=value)

    response = client_for(lena).get("/audits/review/decide/")
    assert response.context["page"].shown is None
    assert "you gave one of the answers" in response.content.decode()


def test_decide__plain_form__settles_the_item_and_goes_on(
    client_for: ClientFor, lena: User, run: Run
) -> None:
    client = client_for(lena)
    first = _shown(client)
    response = _post(client, "answer", token=first.token, value="survived", note="Listed.", unclear="on")

    decision = _decided()[0]
    assert response["Location"] == "/audits/review/decide/"
    assert (decision.value, decision.note) == ("survived", f"{UNCLEAR} Listed.")
    assert Item.objects.get(pk=decision.item_id).provenance == "adjudicated"
    assert _shown(client).review_id != first.review_id


def test_decide__by_script__brings_the_next_dispute_and_the_panel(
    client_for: ClientFor, lena: User, run: Run
) -> None:
    client = client_for(lena)
    token = _shown(client).token
    answer = _post(client, "answer", script=True, token=token, value="", run=run.pk, want=1).json()

    assert len(answer["items"]) == 1
    assert "Answer A" in answer["items"][0]
    assert "data-before" not in answer["items"][0]
    assert "1 <span" in answer["progress"]
    assert "cannot tell" in answer["recent"]
    assert "/audits/review/decide/undo/" in answer["recent"]
    assert _decided()[0].note == ""


def test_next__while_one_is_held__brings_no_second(client_for: ClientFor, lena: User, run: Run) -> None:
    client = client_for(lena)
    shown = _shown(client)
    items = _post(client, "next", script=True, run=run.pk, want=1).json()["items"]

    assert shown.token in items[0]
    assert Review.objects.filter(holder=lena, state=Review.State.LEASED).count() == 1
    assert _post(client, "next", script=True, run=10**9, want=1).status_code == 404
    assert _post(client, "next", run=run.pk).status_code == 302


@pytest.mark.parametrize(
    "data",
    [{}, {"value": "perhaps"}, {"value": "survived", "note": "x" * 490, "unclear": "on"}],
    ids=["nothing", "unknown", "too long"],
)
def test_decide__odd_values__are_refused(
    client_for: ClientFor, lena: User, run: Run, data: dict[str, Any]
) -> None:
    client = client_for(lena)
    token = _shown(client).token

    assert _post(client, "answer", token=token, **data).status_code == 400
    assert _post(client, "answer", script=True, token=token, **data).status_code == 400
    assert _decided() == []


def test_decide__reviewers_or_wrong_token__changes_nothing(
    client_for: ClientFor, lena: User, nora: User, run: Run
) -> None:
    other = make_run()
    make_items(other, 1, text="x")
    reviewers = reviewing.claim(actor=lena, run=other)[0].token
    client = client_for(lena)

    for token in ("nonsense", "A" * 32, reviewers):
        assert _post(client, "answer", script=True, token=token, value="survived").status_code == 409
        page = _post(client, "answer", token=token, value="survived", note="Kept.")
        assert page.status_code == 409
        assert "Kept." in page.content.decode()
    assert _decided() == []


def test_decide__run_closed_meanwhile__keeps_the_words(client_for: ClientFor, lena: User, run: Run) -> None:
    client = client_for(lena)
    token = _shown(client).token
    close_run(actor=lena, run=run)

    page = _post(client, "answer", token=token, value="survived", note="Kept.")
    assert page.status_code == 409
    assert "is closed" in page.content.decode()
    assert "Kept." in page.content.decode()
    assert _decided() == []


def test_undo__hands_the_dispute_back_with_what_was_decided(
    client_for: ClientFor, lena: User, run: Run
) -> None:
    client = client_for(lena)
    first = _shown(client)
    _post(client, "answer", token=first.token, value="survived", note="Listed.")
    response = _post(client, "undo", label=_decided()[0].pk)

    shown = _shown(client, response["Location"].removeprefix("/audits/review/decide/"))
    assert (shown.review_id, shown.before, shown.note) == (first.review_id, "survived", "Listed.")
    run.refresh_from_db()
    assert run.to_adjudicate == 2


def test_reveal__after_deciding__shows_the_model_and_ends_the_undo(
    client_for: ClientFor, lena: User, run: Run
) -> None:
    client = client_for(lena)
    _post(client, "answer", token=_shown(client).token, value="survived")
    label = _decided()[0].pk

    assert _post(client, "reveal", script=True, label=label).json()["said"] == (
        "The model said Did not survive."
    )
    assert _post(client, "undo", script=True, label=label).json()["code"] == "revealed"
    assert _post(client, "reveal", label=label).status_code == 302
    assert _decided()[0].withdrawn_at is None


def test_undo_and_reveal__labels_of_reviewers__are_not_found(
    client_for: ClientFor, lena: User, run: Run
) -> None:
    client = client_for(lena)
    label = Label.objects.filter(adjudicates=False)[0].pk

    assert _post(client, "undo", label=label).status_code == 404
    assert _post(client, "reveal", label=label).status_code == 404
    assert _post(client, "undo", script=True, label="x").status_code == 400


COMMANDS = ["next", "answer", "undo", "reveal"]


def test_everything__without_the_role__does_not_exist(
    client_for: ClientFor, otto: User, mallory: User, lena: User, run: Run
) -> None:
    claim = adjudicating.claim_dispute(actor=lena)
    assert claim
    for person in (otto, mallory):
        client = client_for(person)
        assert client.get("/audits/review/decide/").status_code == 404
        for command in COMMANDS:
            answer = _post(client, command, run=run.pk, token=claim.token, value="survived")
            assert answer.status_code == 404
    assert _decided() == []


def test_everything__other_methods__are_refused(client_for: ClientFor, lena: User) -> None:
    client = client_for(lena)

    assert client.post("/audits/review/decide/").status_code == 405
    for command in COMMANDS:
        assert client.get(f"/audits/review/decide/{command}/").status_code == 405
