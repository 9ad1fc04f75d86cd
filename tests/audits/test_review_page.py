"""The review screen: what it shows, what its buttons do, and what it never gives away."""

import json
from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from opsportal.accounts.models import User
from opsportal.accounts.permissions import Role
from opsportal.audits.models import Decline, Item, Label, Review, Run
from opsportal.audits.selectors import review_page as selectors
from opsportal.audits.services import reviewing
from opsportal.audits.services.closing import close_run
from opsportal.audits.views.review import ReviewPage
from tests.audits.making import make_items, make_policy, make_run
from tests.conftest import make_person
from tests.explanations.making import make_version

pytestmark = pytest.mark.django_db
ClientFor = Callable[[User], Client]

HOSTILE = "</p><script>alert(1)</script>\u2028\u202egnirts {{ x }} " + "long " * 2_000
SCRIPT = {"Accept": "application/json"}


@pytest.fixture
def otto() -> User:
    return make_person("otto", Role.AUDITOR)


@pytest.fixture
def nora() -> User:
    return make_person("nora", Role.AUDITOR)


@pytest.fixture
def run(db: None) -> Run:
    """Three items, each with a text."""
    run = make_run(make_policy(title="Survivors"), title="Survivors, week 45", guidelines="Read <all> of it.")
    make_items(run, 3, text="She was in boat 12.", predicted="did not survive", score=0.37251)
    return run


def _shown(client: Client, query: str = "") -> selectors.Shown:
    shown = client.get(f"/audits/review/{query}").context["page"].shown
    assert isinstance(shown, selectors.Shown)
    return shown


def _post(client: Client, command: str, *, script: bool = False, **data: Any) -> Any:
    headers = SCRIPT if script else {}
    return client.post(f"/audits/review/{command}/", data, headers=headers)


# -- The screen -------------------------------------------------------------------------------


def test_screen__open_run__shows_one_item_its_labels_and_leases_it(
    client_for: ClientFor, otto: User, run: Run
) -> None:
    response = client_for(otto).get("/audits/review/")

    page = response.context["page"]
    assert set(vars_of(page)) == {field.name for field in fields(ReviewPage)}
    assert page.run == run
    assert page.shown.text == "She was in boat 12."
    assert [(choice.title, choice.key) for choice in page.choices] == [
        ("Survived", "1"),
        ("Did not survive", "2"),
    ]
    assert Review.objects.get(state=Review.State.LEASED).holder == otto
    body = response.content.decode()
    assert "Read &lt;all&gt; of it." in body
    assert "0 of 3" in body


def vars_of(page: object) -> list[str]:
    return list(page.__slots__)  # type: ignore[attr-defined]  # a dataclass with slots


def test_screen__blind_run__gives_the_models_answer_score_and_id_nowhere(
    client_for: ClientFor, otto: User, run: Run
) -> None:
    Item.objects.update(surface="home-left", product_id="men-9", why="most unlike the others")
    body = client_for(otto).get("/audits/review/").content.decode()

    item = Item.objects.all()[0]
    assert "0.3725" not in body
    assert "The model said" not in body
    assert "most unlike the others" not in body
    assert item.prediction_id not in body
    assert "data-before" not in body
    assert "men-9" in body
    assert "home-left" in body


def test_screen__run_that_is_not_blind__shows_the_models_answer_and_why(
    client_for: ClientFor, otto: User
) -> None:
    run = make_run(blind=False)
    make_items(run, 1, text="x", why="The model was unsure.", predicted="did not survive")

    body = client_for(otto).get("/audits/review/").content.decode()
    assert "The model said <strong>Did not survive</strong>" in body
    assert "The model was unsure." in body


def test_screen__no_text__shows_values_by_the_dictionarys_labels(client_for: ClientFor, otto: User) -> None:
    version = make_version()
    run = make_run()
    values = {"pclass": "3", "age": 15.0, "name": "Ayoub, Miss Banoura", "berth": None}
    make_items(run, 1, version=version, features=json.dumps(values))

    shown = _shown(client_for(otto))
    assert selectors.Field("Age", "15.0 years") in shown.fields
    assert selectors.Field("berth", "not provided") in shown.fields
    assert "Name" in [field.label for field in (*shown.fields, *shown.context)]


def test_screen__no_version__shows_plain_names(client_for: ClientFor, otto: User) -> None:
    make_items(make_run(), 1, features='{"age": 15.0, "alone": true}')

    assert _shown(client_for(otto)).fields == (
        selectors.Field("age", "15.0"),
        selectors.Field("alone", "yes"),
    )


def test_screen__hostile_text__is_shown_as_text(client_for: ClientFor, otto: User) -> None:
    make_items(make_run(), 1, text=HOSTILE, features=json.dumps({"<img src=x>": "<b>"}))

    body = client_for(otto).get("/audits/review/").content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\u2028[U+202E]gnirts {{ x }}" in body
    assert "<script>alert" not in body
    assert "<img src=x>" not in body
    assert "&lt;img src=x&gt;" in body


def test_screen__reloaded__keeps_the_item_under_a_new_token(
    client_for: ClientFor, otto: User, run: Run
) -> None:
    client = client_for(otto)
    before, after = _shown(client), _shown(client)

    assert before.review_id == after.review_id
    assert before.token != after.token
    # The beacon of the page that was left releases nothing that is in view.
    _post(client, "release", token=before.token)
    assert Review.objects.get(pk=after.review_id).state == Review.State.LEASED


def test_screen__several_runs__takes_the_first_and_offers_the_others(
    client_for: ClientFor, otto: User, run: Run
) -> None:
    other = make_run(title="Another run")
    make_items(other, 1, text="Other.")
    client = client_for(otto)

    first = client.get("/audits/review/").context["page"]
    second = client.get(f"/audits/review/?run={other.pk}").context["page"]

    assert (first.run, first.others) == (run, [other])
    assert (second.run, second.others) == (other, [run])
    assert second.shown.text == "Other."


def test_screen__nothing_to_do__says_what_comes_next(client_for: ClientFor, otto: User) -> None:
    make_policy(title="Reviews every week", period="weekly")

    response = client_for(otto).get("/audits/review/")
    assert response.status_code == 200
    body = response.content.decode()
    assert "Nothing to review now" in body
    assert "Reviews every week" in body


def test_screen__all_in_other_hands__says_so(client_for: ClientFor, otto: User, nora: User) -> None:
    run = make_run()
    make_items(run, 2, text="x")
    reviewing.claim(actor=nora, run=run, count=2)

    page = client_for(otto).get("/audits/review/")
    assert page.context["page"].elsewhere == [run]
    assert "other people’s hands" in page.content.decode()


def test_screen__run_of_other_reviewers__does_not_exist(
    client_for: ClientFor, otto: User, nora: User
) -> None:
    run = make_run(reviewers=[nora])
    make_items(run, 1, text="secret")
    client = client_for(otto)

    assert client.get(f"/audits/review/?run={run.pk}").status_code == 404
    assert client.get("/audits/review/").context["page"].run is None
    assert _post(client, "next", run=run.pk, script=True).status_code == 404
    assert Review.objects.get().state == Review.State.OPEN


@pytest.mark.parametrize("query", ["?run=x", "?run=-1", "?run=99999", "?run=" + "9" * 30, "?run=1&review=x"])
def test_screen__odd_address__is_not_found_or_ignored(client_for: ClientFor, otto: User, query: str) -> None:
    assert client_for(otto).get(f"/audits/review/{query}").status_code == 404


def test_screen__sensitive_run__starts_blurred_unless_asked_otherwise(
    client_for: ClientFor, otto: User
) -> None:
    make_items(make_run(sensitive=True), 1, text="x")
    client = client_for(otto)

    assert client.get("/audits/review/").context["page"].blurred
    client.cookies["blur"] = "off"
    assert not client.get("/audits/review/").context["page"].blurred


def test_screen__same_number_of_queries_for_one_and_for_many_items(
    client_for: ClientFor, otto: User, django_assert_max_num_queries: Any
) -> None:
    run = make_run()
    make_items(run, 25, text="x")
    client = client_for(otto)
    for _ in range(20):
        _post(client, "answer", token=_shown(client).token, value="survived", run=run.pk)

    with django_assert_max_num_queries(30):
        client.get("/audits/review/")


# -- Answers ----------------------------------------------------------------------------------


def test_answer__plain_form__is_stored_and_leads_to_the_next(
    client_for: ClientFor, otto: User, run: Run
) -> None:
    client = client_for(otto)
    first = _shown(client)
    response = _post(client, "answer", token=first.token, value="survived", note=" Boat 12. ", run=run.pk)

    label = Label.objects.get()
    assert response.status_code == 302
    assert response["Location"] == f"/audits/review/?run={run.pk}"
    assert (label.value, label.note, label.person) == ("survived", "Boat 12.", otto)
    assert _shown(client, f"?run={run.pk}").review_id != first.review_id


def test_answer__by_script__brings_the_item_after_the_next_and_the_panel(
    client_for: ClientFor, otto: User, run: Run
) -> None:
    client = client_for(otto)
    first = _shown(client)
    more = _post(client, "next", script=True, run=run.pk, want=1).json()["items"]
    answer = _post(client, "answer", script=True, token=first.token, value="", run=run.pk, want=1).json()

    assert len(more) == len(answer["items"]) == 1
    assert more[0] != answer["items"][0]
    assert answer["label"] == Label.objects.get().pk
    assert "1 of 3" in answer["progress"]
    assert "cannot tell" in answer["recent"]
    assert Review.objects.filter(holder=otto, state=Review.State.LEASED).count() == 2


def test_answer__last_item__brings_nothing_and_the_screen_sums_up(client_for: ClientFor, otto: User) -> None:
    run = make_run()
    make_items(run, 1, text="x")
    client = client_for(otto)
    sent = _post(
        client, "answer", script=True, token=_shown(client).token, value="survived", run=run.pk, want=1
    )

    assert sent.json()["items"] == []
    body = client.get(f"/audits/review/?run={run.pk}").content.decode()
    assert "1 item labelled in less than a minute" in body


def test_answer__without_a_choice__is_refused(client_for: ClientFor, otto: User, run: Run) -> None:
    client = client_for(otto)
    response = _post(client, "answer", token=_shown(client).token, run=run.pk)

    assert response.status_code == 400
    assert "Choose a label" in response.content.decode()
    assert not Label.objects.exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"value": "perhaps"}, "must be one of"),
        ({"value": "survived", "note": "x" * 501}, "at most 500"),
        ({"value": "x" * 101}, "at most 100"),
    ],
)
def test_answer__odd_values__are_refused_in_json_and_as_a_page(
    client_for: ClientFor, otto: User, run: Run, data: dict[str, Any], words: str
) -> None:
    client = client_for(otto)
    token = _shown(client).token

    spoken = _post(client, "answer", script=True, token=token, run=run.pk, **data)
    assert (spoken.status_code, words in spoken.json()["detail"]) == (400, True)
    assert _post(client, "answer", token=token, run=run.pk, **data).status_code == 400
    assert not Label.objects.exists()


@pytest.mark.parametrize("token", ["", "nonsense", "A" * 32, "A" * 65, "\u2028" * 32])
@pytest.mark.parametrize("command", ["answer", "anyway", "skip"])
def test_command__wrong_token__changes_nothing(
    client_for: ClientFor, otto: User, run: Run, command: str, token: str
) -> None:
    client = client_for(otto)
    response = _post(client, command, script=True, token=token, value="survived", reason="skill", run=run.pk)

    assert response.status_code in {400, 409}
    assert not Label.objects.exists()
    assert not Decline.objects.exists()


def test_answer__other_persons_token__changes_nothing(
    client_for: ClientFor, otto: User, nora: User, run: Run
) -> None:
    token = _shown(client_for(nora)).token
    client = client_for(otto)

    answers = [
        _post(client, command, script=True, token=token, value="survived", reason="skill", run=run.pk)
        for command in ("answer", "anyway", "skip")
    ]
    _post(client, "release", token=token)
    assert [answer.status_code for answer in answers] == [409, 409, 409]
    assert _post(client, "renew", script=True, token=token).json()["held"] == []
    assert not Label.objects.exists()
    assert Review.objects.get(holder=nora).state == Review.State.LEASED


def _lose(review_id: int, to: User) -> None:
    """The lease runs out, and somebody else takes the item."""
    past = timezone.now() - timedelta(minutes=1)
    Review.objects.filter(pk=review_id).update(leased_until=past)
    for review in reviewing.claim(actor=to, count=2):
        if review.review_id == review_id:
            return
    raise AssertionError("not taken")


def test_answer__lease_lost__keeps_the_answer_and_offers_to_send_it(
    client_for: ClientFor, otto: User, nora: User
) -> None:
    run = make_run()
    make_items(run, 1, text="x", reviews=1)
    client = client_for(otto)
    shown = _shown(client)
    _lose(shown.review_id, nora)
    data: dict[str, Any] = {"token": shown.token, "value": "survived", "note": "Boat <12>.", "run": run.pk}

    spoken = _post(client, "answer", script=True, **data)
    page = _post(client, "answer", **data)

    assert (spoken.status_code, spoken.json()["code"], spoken.json()["may_send"]) == (409, "lease_lost", True)
    assert page.status_code == 409
    body = page.content.decode()
    assert "Boat &lt;12&gt;." in body
    assert "<strong>Survived</strong>" in body
    assert "Send it anyway" in body
    assert not Label.objects.exists()

    sent = _post(client, "anyway", **data)
    assert sent.status_code == 302
    assert Label.objects.get().note == "Boat <12>."


def test_send_anyway__no_longer_needed__says_so_and_offers_no_more(
    client_for: ClientFor, otto: User, nora: User
) -> None:
    run = make_run()
    make_items(run, 1, text="x")
    client = client_for(otto)
    shown = _shown(client)
    _lose(shown.review_id, nora)
    reviewing.answer(actor=nora, token=reviewing.held(actor=nora)[0].token, value="survived")

    page = _post(client, "anyway", token=shown.token, value="did not survive", run=run.pk)
    assert page.status_code == 409
    assert "Send it anyway" not in page.content.decode()
    assert "Did not survive" in page.content.decode()
    assert Label.objects.get().person == nora


def test_answer__run_closed_meanwhile__keeps_the_words_and_offers_nothing(
    client_for: ClientFor, otto: User, lena: User, run: Run
) -> None:
    client = client_for(otto)
    shown = _shown(client)
    close_run(actor=lena, run=run)

    spoken = _post(client, "answer", script=True, token=shown.token, value="survived", run=run.pk)
    page = _post(client, "answer", token=shown.token, value="survived", run=run.pk)

    assert (spoken.status_code, spoken.json()["may_send"]) == (409, False)
    assert "is closed" in page.content.decode()
    assert "Send it anyway" not in page.content.decode()
    assert client.get(f"/audits/review/?run={run.pk}").status_code == 200
    assert _post(client, "next", script=True, run=run.pk).json() == {"items": []}


def test_answer__twice__is_one(client_for: ClientFor, otto: User, run: Run) -> None:
    client = client_for(otto)
    token = _shown(client).token
    answers = [_post(client, "answer", token=token, value="survived", run=run.pk) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [302, 302]
    assert Label.objects.count() == 1


# -- Skip, undo, reveal, heartbeat ----------------------------------------------------------------


def test_skip__with_a_reason__passes_the_item_over_for_good(
    client_for: ClientFor, otto: User, run: Run
) -> None:
    client = client_for(otto)
    shown = _shown(client)
    response = _post(client, "skip", token=shown.token, reason="upsetting", note="No.", run=run.pk)

    declined = Decline.objects.get()
    assert response["Location"] == f"/audits/review/?run={run.pk}"
    assert (declined.reason, declined.note, declined.person) == ("upsetting", "No.", otto)
    assert _shown(client).review_id != shown.review_id


@pytest.mark.parametrize("reason", ["", "because"])
def test_skip__without_a_reason__is_refused(client_for: ClientFor, otto: User, run: Run, reason: str) -> None:
    client = client_for(otto)
    token = _shown(client).token

    assert _post(client, "skip", token=token, reason=reason, run=run.pk).status_code == 400
    assert not Decline.objects.exists()


def test_undo__hands_the_item_back_with_what_was_said(client_for: ClientFor, otto: User, run: Run) -> None:
    client = client_for(otto)
    first = _shown(client)
    _post(client, "answer", token=first.token, value="survived", note="Sure?", run=run.pk)
    _shown(client)
    response = _post(client, "undo", label=Label.objects.get().pk)

    shown = _shown(client, response["Location"].removeprefix("/audits/review/"))
    assert shown.review_id == first.review_id
    assert (shown.before, shown.note) == ("survived", "Sure?")
    assert Label.objects.get().withdrawn_at is not None


def test_undo__by_script__brings_the_item_and_the_panel(client_for: ClientFor, otto: User, run: Run) -> None:
    client = client_for(otto)
    _post(client, "answer", token=_shown(client).token, value="", note="Hm.", run=run.pk)
    answer = _post(client, "undo", script=True, label=Label.objects.get().pk).json()

    assert 'data-before=""' in answer["items"][0]
    assert 'data-note="Hm."' in answer["items"][0]
    assert "0 of 3" in answer["progress"]


def test_undo__somebody_elses_or_nonsense__is_not_found_or_refused(
    client_for: ClientFor, otto: User, nora: User, run: Run
) -> None:
    _post(client_for(nora), "answer", token=_shown(client_for(nora)).token, value="survived", run=run.pk)
    client = client_for(otto)

    assert _post(client, "undo", label=Label.objects.get().pk).status_code == 404
    assert _post(client, "undo", label="x").status_code == 400
    assert _post(client, "undo", label=2**63).status_code == 400
    assert _post(client, "reveal", label=Label.objects.get().pk).status_code == 404
    assert Label.objects.get().withdrawn_at is None


def test_reveal__shows_the_models_answer_and_ends_the_undo(
    client_for: ClientFor, otto: User, run: Run
) -> None:
    client = client_for(otto)
    _post(client, "answer", token=_shown(client).token, value="survived", run=run.pk)
    label = Label.objects.get().pk
    assert "the model said" not in client.get("/audits/review/").content.decode()

    answer = _post(client, "reveal", script=True, label=label).json()
    assert answer["said"] == "The model said Did not survive."
    assert "the model said" in answer["recent"]
    refused = _post(client, "undo", script=True, label=label)
    assert (refused.status_code, refused.json()["code"]) == (409, "revealed")
    assert Label.objects.get().withdrawn_at is None
    assert _post(client, "reveal", label=label).status_code == 302


def test_renew__says_what_is_still_held(client_for: ClientFor, otto: User, run: Run) -> None:
    client = client_for(otto)
    token = _shown(client).token
    soon = timezone.now() + timedelta(seconds=5)
    Review.objects.filter(state=Review.State.LEASED).update(leased_until=soon)

    answer = _post(client, "renew", script=True, token=[token, "nonsense"])
    assert answer.json() == {"held": [token], "seconds": 600}
    left = Review.objects.get(state=Review.State.LEASED).leased_until
    assert left is not None
    assert left > soon


def test_release__lets_others_have_the_item(client_for: ClientFor, otto: User, run: Run) -> None:
    client = client_for(otto)
    assert _post(client, "release", token=_shown(client).token).status_code == 204
    assert not Review.objects.filter(state=Review.State.LEASED).exists()
    assert _post(client, "release", token=["x"] * 100).status_code == 204


# -- Who may ------------------------------------------------------------------------------------

COMMANDS = ["next", "answer", "anyway", "skip", "undo", "reveal", "renew", "release"]


def test_everything__without_the_role__does_not_exist(
    client_for: ClientFor, ana: User, mallory: User, run: Run
) -> None:
    for person in (ana, mallory):
        client = client_for(person)
        assert client.get("/audits/review/").status_code == 404
        for command in COMMANDS:
            assert _post(client, command, run=run.pk, token="x", value="").status_code == 404
    assert not Review.objects.exclude(state=Review.State.OPEN).exists()


def test_everything__other_methods__are_refused(client_for: ClientFor, otto: User) -> None:
    client = client_for(otto)

    assert client.post("/audits/review/").status_code == 405
    for command in COMMANDS:
        assert client.get(f"/audits/review/{command}/").status_code == 405


def test_everything__without_the_forms_token__is_refused(otto: User, run: Run) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(otto)

    for command in COMMANDS:
        assert _post(client, command, run=run.pk).status_code == 403


# -- Pace -----------------------------------------------------------------------------------------


def test_sitting__gaps_and_a_long_pause__count_the_last_stretch(otto: User) -> None:
    run = make_run()
    items = make_items(run, 6)
    start = timezone.now()
    for place, minutes in enumerate([0, 30, 31, 33, 34]):
        Label.objects.create(
            run=run, item=items[place], review=items[place].reviews.get(), person=otto, token=str(place),
            value="survived", seconds=30, at=start + timedelta(minutes=minutes),
        )  # fmt: skip

    with time_machine.travel(start + timedelta(minutes=43), tick=False):
        sitting = selectors.sitting_of(otto, run)
    with time_machine.travel(start + timedelta(minutes=45), tick=False):
        ended = selectors.sitting_of(otto, run)

    assert (sitting.labelled, sitting.seconds, sitting.pace) == (4, 270.0, 60.0)
    assert sitting.length == "4 minutes"
    assert ended == selectors.Sitting(0, 0.0, None)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(20, "less than a minute"), (60, "1 minute"), (3_600, "1 hour"), (7_500, "2 hours 5 minutes")],
)
def test_sitting__length__is_worded(seconds: float, words: str) -> None:
    assert selectors.Sitting(5, seconds, None).length == words
