"""Submissions over REST: what became of them, a second person's verdict, undo, and repeats."""

from collections.abc import Callable
from datetime import timedelta

import pytest
import time_machine

from opsportal.accounts import services as accounts
from opsportal.accounts.models import Role, RoleGrant, User
from opsportal.core import clock
from opsportal.events.models import Revision
from opsportal.events.selectors import verify_chain
from opsportal.overrides.models import Approval, Block, OptOut, State, Submission
from opsportal.overrides.selectors import desired_customers, desired_products
from tests.asking import Api, ApiOf, paths, problem
from tests.overrides.asking import blocks, boosts, opt_outs, saved, text

pytestmark = pytest.mark.django_db
Person = Callable[[User], Api]
MANY = [f"p{number}" for number in range(500)]


@pytest.fixture
def waiting(api: Api) -> int:
    """A submission of 500 blocks that waits for a second person."""
    return int(api.post("blocks", blocks(*MANY)).json()["submission"])


def test_submission__applied__tells_triage_and_delivery(api: Api, seen: list[str]) -> None:
    number = api.post("blocks", blocks("00701", "new one", ticket="OPS-1")).json()["submission"]
    revision = Revision.objects.get()

    before = api.get(f"submissions/{number}").json()
    Revision.objects.update(live_at=revision.at + timedelta(milliseconds=400))
    after = api.get(f"submissions/{number}").json()

    assert before["delivery"] == {"saved_at": text(revision.at), "live_at": None, "seconds": None}
    assert after["delivery"]["seconds"] == 0.4
    assert (after["state"], after["author"], after["ticket"], after["revision"]) == (
        "applied",
        "machine",
        "OPS-1",
        revision.number,
    )
    assert after["triage"] == {
        "new": 1,
        "changed": 0,
        "unchanged": 0,
        "pending": 0,
        "unknown": 1,
        "invalid": 0,
        "dropped": 0,
    }
    assert (after["approvals"], after["needs_approval"], after["undone_by"]) == ([], False, None)


def test_submission__person_in_another_zone__times_stay_in_utc(as_person: Person, ana: User) -> None:
    ana.time_zone = "Asia/Kolkata"
    ana.save()
    api = as_person(ana)
    made = api.post("blocks", blocks("p1", ends_at="2099-01-01T00:00:00+05:30")).json()

    row = api.get("blocks").json()["results"][0]

    assert row["ends_at"] == "2098-12-31T18:30:00Z"
    assert api.get(f"submissions/{made['submission']}").json()["created_at"].endswith("Z")


def test_submission__opt_out__hidden_from_who_may_not_see_opt_outs(
    api: Api, as_person: Person, max: User, priya: User
) -> None:
    number = api.post("opt-outs", opt_outs("C-1")).json()["submission"]

    for route in (f"submissions/{number}", f"submissions/{number}/items"):
        assert as_person(priya).get(route).status_code == 200
        problem(as_person(max).get(route), 404)
    problem(as_person(max).post(f"submissions/{number}/undo", {}), 404)
    assert as_person(max).get("submissions").json()["results"] == []
    assert len(as_person(priya).get("submissions").json()["results"]) == 1


def test_items__pages_and_filter(api: Api, seen: list[str]) -> None:
    number = api.post("blocks", blocks("00701", "x", "y", "z")).json()["submission"]

    first = api.get(f"submissions/{number}/items", {"limit": 3}).json()
    rest = api.get(f"submissions/{number}/items", {"limit": 3, "cursor": first["next"]}).json()
    unknown = api.get(f"submissions/{number}/items", {"triage": "unknown"}).json()

    assert [item["id"] for item in first["results"]] == ["00701", "x", "y"]
    assert [item["id"] for item in rest["results"]] == ["z"]
    assert rest["next"] is None
    assert [item["row"] for item in unknown["results"]] == [2, 3, 4]
    assert {item["override_id"] for item in unknown["results"]} <= set(
        Block.objects.values_list("id", flat=True)
    )


def test_list__filters__narrow_it(api: Api, as_person: Person, ana: User, waiting: int) -> None:
    api.post("boosts", boosts("p1"))
    mine = as_person(ana).post("blocks", blocks("p900")).json()["submission"]

    def numbers(asker: Api, **query: object) -> list[int]:
        return [row["id"] for row in asker.get("submissions", query).json()["results"]]

    assert numbers(api, state="waiting") == [waiting]
    assert numbers(api, kind="block") == [mine, waiting]
    assert numbers(as_person(ana), mine="true") == [mine]


# -- A second person ------------------------------------------------------------------------


def test_approve__by_a_second_person__goes_live_as_one_revision(
    api: Api, as_person: Person, lena: User, waiting: int
) -> None:
    response = as_person(lena).post(f"submissions/{waiting}/approve", {"version": 1, "comment": "Checked."})

    body = response.json()
    assert response.status_code == 200
    assert body["state"] == "applied"
    assert [(vote["approver"], vote["verdict"], vote["comment"]) for vote in body["approvals"]] == [
        ("lena", "approved", "Checked.")
    ]
    assert Block.objects.count() == 500
    assert Revision.objects.get().keys == 500
    assert verify_chain().broken_at is None


def test_approve__own__403_and_still_waiting(as_person: Person, lena: User, ana: User) -> None:
    from opsportal.accounts.models import RoleGrant
    from opsportal.accounts.permissions import Role

    RoleGrant.objects.create(user=lena, role=Role.AGENT)
    number = as_person(lena).post("blocks", blocks(*MANY)).json()["submission"]
    before = saved()

    body = problem(as_person(lena).post(f"submissions/{number}/approve", {"version": 1}), 403)

    assert body["code"] == "own"
    assert saved() == before
    assert Submission.objects.get().state == State.WAITING


def test_approve__by_a_key__403_whatever_its_owner_may(api_of: ApiOf, lena: User, waiting: int) -> None:
    api = api_of("overrides:read", "overrides:write", owner=lena)
    before = saved()

    for verb in ("approve", "reject", "undo"):
        problem(api.post(f"submissions/{waiting}/{verb}", {"version": 1, "comment": "Yes."}), 403)

    assert saved() == before


def test_approve__without_the_role__403(as_person: Person, ana: User, mallory: User, waiting: int) -> None:
    before = saved()

    for person in (ana, mallory):
        for verb in ("approve", "reject"):
            body = {"version": 1, "comment": "Yes."}
            problem(as_person(person).post(f"submissions/{waiting}/{verb}", body), 403)

    assert saved() == before


def test_approve__another_version_than_looked_at__409(as_person: Person, lena: User, waiting: int) -> None:
    before = saved()

    body = problem(as_person(lena).post(f"submissions/{waiting}/approve", {"version": 2}), 409)

    assert paths(body) == {("version", "changed")}
    assert saved() == before


def test_approve__twice__second_is_409(as_person: Person, lena: User, waiting: int) -> None:
    as_person(lena).post(f"submissions/{waiting}/approve", {"version": 1})
    before = saved()

    body = problem(as_person(lena).post(f"submissions/{waiting}/approve", {"version": 1}), 409)

    assert body["code"] == "not_waiting"
    assert saved() == before


def test_approve__after_its_end__refused_and_still_waiting(api: Api, as_person: Person, lena: User) -> None:
    end = clock.this_second() + timedelta(hours=1)
    number = api.post("blocks", blocks(*MANY, ends_at=text(end))).json()["submission"]
    browser = as_person(lena)
    before = saved()

    with time_machine.travel(end + timedelta(seconds=1), tick=False):
        response = browser.post(f"submissions/{number}/approve", {"version": 1})

    body = problem(response, response.status_code)
    assert response.status_code in {400, 409}
    assert paths(body) == {("ends_at", "in_the_past")}
    assert saved() == before


def test_reject__with_a_comment__never_takes_effect(as_person: Person, lena: User, waiting: int) -> None:
    browser = as_person(lena)

    problem(browser.post(f"submissions/{waiting}/reject", {"version": 1, "comment": " "}), 400)
    body = browser.post(f"submissions/{waiting}/reject", {"version": 1, "comment": "Wrong list."}).json()

    assert body["state"] == "rejected"
    assert body["approvals"][0]["comment"] == "Wrong list."
    assert Block.objects.count() == 0
    problem(browser.post(f"submissions/{waiting}/approve", {"version": 1}), 409)
    assert Approval.objects.count() == 1


def test_approve__session_without_csrf_token__403(lena: User, waiting: int) -> None:
    from django.test import Client

    browser = Client(enforce_csrf_checks=True)
    browser.force_login(lena)

    problem(Api(browser).post(f"submissions/{waiting}/approve", {"version": 1}), 403)

    assert Submission.objects.get().state == State.WAITING


# -- Undo -----------------------------------------------------------------------------------


def test_undo__blocks__restores_what_was_there(api: Api, as_person: Person, ana: User) -> None:
    api.post("blocks", blocks("p1"))
    before = desired_products(["p1", "p2"])
    number = api.post("blocks", blocks("p1", "p2", "p3")).json()["submission"]

    response = as_person(ana).post(f"submissions/{number}/undo", {"reason": "Wrong recall."})

    assert response.status_code == 201
    assert desired_products(["p1", "p2", "p3"]) == before
    detail = api.get(f"submissions/{number}").json()
    assert detail["undone_by"] == response.json()["submission"]
    problem(as_person(ana).post(f"submissions/{number}/undo", {}), 409)


def test_undo__of_an_opt_out__needs_the_officer_and_a_second_person(
    api: Api, as_person: Person, ana: User, priya: User, lena: User
) -> None:
    number = api.post("opt-outs", opt_outs("C-1")).json()["submission"]
    key = OptOut.objects.get().customer_key
    before = saved()

    problem(as_person(ana).post(f"submissions/{number}/undo", {}), 403)
    assert saved() == before
    undo = as_person(priya).post(f"submissions/{number}/undo", {"reason": "Another customer."})

    assert (undo.status_code, undo.json()["state"]) == (202, "waiting")
    assert desired_customers([key]) == {key: "personalisation"}
    as_person(lena).post(f"submissions/{undo.json()['submission']}/approve", {"version": 1})
    assert desired_customers([key]) == {}


# -- Repeats --------------------------------------------------------------------------------


def test_repeat__same_key_and_body__answers_with_the_first(api: Api) -> None:
    body = blocks("p1", "p2")
    first = api.post("blocks", body, key="a-1")
    before = saved()

    again = api.post("blocks", dict(reversed(body.items())), key="a-1")

    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert saved() == before


def test_repeat__of_what_changed_nothing__answers_with_the_first(api: Api) -> None:
    api.post("blocks", blocks("p1"))
    first = api.post("blocks", blocks("p1"), key="a-1")
    before = saved()

    again = api.post("blocks", blocks("p1"), key="a-1")

    assert again.json() == first.json()
    assert saved() == before


def test_repeat__same_key_other_body_or_route__409(api: Api) -> None:
    made = api.post("blocks", blocks("p1"), key="a-1").json()["items"][0]["override_id"]
    before = saved()

    for response in (
        api.post("blocks", blocks("p2"), key="a-1"),
        api.post("boosts", boosts("p1"), key="a-1"),
        api.post(f"blocks/{made}/withdraw", {"reason": "Fixed."}, key="a-1"),
    ):
        assert problem(response, 409)["code"] == "idempotency_key_reused"
    assert saved() == before


def test_repeat__refused_first__key_is_free(api: Api) -> None:
    problem(api.post("blocks", blocks("=1"), key="a-1"), 400)

    assert api.post("blocks", blocks("p1"), key="a-1").status_code == 201


def test_repeat__same_key_of_another_caller__is_another_request(
    api: Api, as_person: Person, ana: User
) -> None:
    first = api.post("blocks", blocks("p1"), key="a-1").json()

    second = as_person(ana).post("blocks", blocks("p2"), key="a-1")

    assert second.status_code == 201
    assert second.json()["submission"] != first["submission"]


@pytest.mark.parametrize("key", ["", " ", "a b", "a" * 101, "ä"])
def test_repeat__malformed_key__400_and_nothing_saved(api: Api, key: str) -> None:
    before = saved()

    problem(api.post("blocks", blocks("p1"), key=key), 400)

    assert saved() == before


def test_repeat__digest__is_no_plain_hash_of_the_body(api: Api) -> None:
    import hashlib
    import json

    body = opt_outs("C-1")
    api.post("opt-outs", body, key="a-1")

    digest = Submission.objects.get().request_digest
    guesses = [
        json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
        for content in (body, ["/api/v1/opt-outs", body])
    ]
    assert len(digest) == 64
    assert digest not in {hashlib.sha256(guess).hexdigest() for guess in guesses}


def test_request__all_of_it_waits_elsewhere__is_no_success(api: Api, waiting: int) -> None:
    before = saved()

    refused = problem(api.post("blocks", blocks("p1", "p2")), 409)

    assert refused["code"] == "pending"
    assert f"#{waiting}" in refused["detail"]
    assert saved() == before


def test_approve__who_made_the_key__is_no_second_person(as_person: Person, machine: User, root: User) -> None:
    RoleGrant.objects.create(user=root, role=Role.APPROVER)
    _key, token = accounts.create_api_key(
        actor=root, name="mine", scopes=["overrides:read", "overrides:write"], owner=machine
    )
    number = Api(token=token).post("blocks", blocks(*MANY)).json()["submission"]

    refused = problem(as_person(root).post(f"submissions/{number}/approve", {"version": 1}), 403)

    assert refused["code"] == "own"
    assert Submission.objects.get(pk=number).state == State.WAITING
