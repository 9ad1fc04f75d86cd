"""Blocks, boosts and opt-outs over REST, by key: from the request to row, event and revision."""

from collections.abc import Callable
from datetime import timedelta

import pytest
import time_machine
from pytest_django import DjangoAssertNumQueries

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.events.models import Event, Revision
from opsportal.overrides.models import Block, Boost, OptOut, Submission, SubmissionItem, Surface
from opsportal.overrides.selectors import desired_products
from opsportal.predictions.pseudonyms import customer_key
from tests.asking import Api, ApiOf, paths, problem
from tests.overrides.asking import blocks, boosts, opt_outs, saved, text

pytestmark = pytest.mark.django_db


def test_block__two_products__rows_event_and_revision(api: Api, machine: User, seen: list[str]) -> None:
    response = api.post("blocks", blocks("00701", "85123A", ticket="OPS-1"))

    body = response.json()
    rows = {row.product_id: row for row in Block.objects.all()}
    assert response.status_code == 201
    assert response.headers["Location"] == f"/api/v1/submissions/{body['submission']}"
    assert body["state"] == "applied"
    assert [(item["id"], item["triage"], item["override_id"]) for item in body["items"]] == [
        ("00701", "new", rows["00701"].pk),
        ("85123A", "unknown", rows["85123A"].pk),
    ]
    assert body["revision"] == Revision.objects.get().number == rows["00701"].revision
    event = Event.objects.order_by("-sequence")[0]
    assert (event.actor, event.verb, event.subject_id) == (
        machine,
        "submission.applied",
        str(body["submission"]),
    )
    assert event.reason == "Recall of the week."
    assert Submission.objects.get().source == "api"


def test_block__same_again__applied_without_effect(api: Api) -> None:
    first = api.post("blocks", blocks("00701")).json()

    again = api.post("blocks", blocks("00701"))

    assert again.status_code == 201
    assert again.json()["submission"] != first["submission"]
    assert again.json()["revision"] is None
    assert again.json()["items"][0]["triage"] == "unchanged"
    assert Block.objects.count() == Revision.objects.count() == 1


def test_block__many_items__waits_for_a_second_person(api: Api) -> None:
    response = api.post("blocks", blocks(*(f"p{number}" for number in range(500))))

    body = response.json()
    assert response.status_code == 202
    assert (body["state"], body["revision"], len(body["items"])) == ("waiting", None, 500)
    assert {item["override_id"] for item in body["items"]} == {None}
    assert Block.objects.count() == Revision.objects.count() == 0


def test_block__id_that_cannot_be_used__nothing_is_saved_and_its_place_named(api: Api) -> None:
    before = saved()

    body = problem(api.post("blocks", blocks("00701", "=1+1", "")), 400)

    assert paths(body) == {("product_ids[1]", "invalid"), ("product_ids[2]", "invalid")}
    assert saved() == before


def test_block__letter_case_spaces_and_emoji__stay_as_they_are(api: Api) -> None:
    response = api.post("blocks", blocks("85123A", "85123a", "red shoe 42", "🦊-1"))

    assert response.status_code == 201
    assert set(Block.objects.values_list("product_id", flat=True)) == {
        "85123A",
        "85123a",
        "red shoe 42",
        "🦊-1",
    }


def test_block__duplicate_ids__one_row_and_a_note(api: Api) -> None:
    items = api.post("blocks", blocks("00701", "00701", " 00701 ")).json()["items"]

    assert [item["triage"] for item in items] == ["unknown", "unchanged", "unchanged"]
    assert items[1]["note"] == "The same ID as in row 1."
    assert len({item["override_id"] for item in items}) == 1
    assert Block.objects.count() == 1


def test_boost__with_window__scheduled_on_its_surface(api: Api, search: Surface) -> None:
    start = clock.this_second() + timedelta(days=1)
    body = boosts("00701", surface="search", factor=1.5, starts_at=text(start))

    made = api.post("boosts", body).json()["items"][0]["override_id"]

    row = api.get(f"boosts/{made}").json()
    assert (row["state"], row["surface"], row["factor"]) == ("publishing", "search", 1.5)
    Revision.objects.update(live_at=clock.now())
    assert api.get(f"boosts/{made}").json()["state"] == "scheduled"
    with time_machine.travel(start + timedelta(seconds=1), tick=False):
        assert api.get(f"boosts/{made}").json()["state"] == "live"
    with time_machine.travel(start + timedelta(days=8), tick=False):
        assert api.get(f"boosts/{made}").json()["state"] == "ended"


def test_opt_out__customer__only_the_pseudonym_is_kept(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    response = api.post("opt-outs", opt_outs("C-20417", purposes=["sharing", "training"]), key="once")

    item = response.json()["items"][0]
    row = OptOut.objects.get()
    assert response.status_code == 201
    assert (item["row"], item["id"], item["override_id"]) == (1, customer_key("C-20417"), row.pk)
    assert row.purposes == ["training", "sharing"]
    assert "C-20417" not in response.content.decode()
    assert "C-20417" not in caplog.text
    for model in (Submission, SubmissionItem, OptOut, Event):
        assert "C-20417" not in str(list(model._default_manager.values()))


def test_opt_out__wider_purposes__widens_the_one_row(api: Api) -> None:
    first = api.post("opt-outs", opt_outs("C-1")).json()["items"][0]["override_id"]

    item = api.post("opt-outs", opt_outs("C-1", purposes=["sharing"])).json()["items"][0]

    assert (item["triage"], item["override_id"]) == ("changed", first)
    assert OptOut.objects.get().purposes == ["personalisation", "sharing"]


def test_opt_out__search_by_customer__finds_only_theirs(api: Api) -> None:
    api.post("opt-outs", opt_outs("C-1", "C-2"))

    found = api.post("opt-outs/search", {"customer_id": " C-2 "}).json()
    nothing = api.post("opt-outs/search", {"customer_id": "C-3"}).json()

    assert [row["customer_key"] for row in found["results"]] == [customer_key("C-2")]
    assert nothing == {"results": [], "next": None}
    looked = Event.objects.filter(verb="customer.looked_up").order_by("sequence")
    assert list(looked.values_list("subject_id", flat=True)) == [customer_key("C-2"), customer_key("C-3")]


def test_opt_out__withdrawal__always_waits(api: Api) -> None:
    made = api.post("opt-outs", opt_outs("C-1")).json()["items"][0]["override_id"]

    response = api.post(f"opt-outs/{made}/withdraw", {"reason": "Changed their mind."})

    assert (response.status_code, response.json()["state"]) == (202, "waiting")
    assert OptOut.objects.get().closed_at is None


def test_withdraw__block__ends_it_and_names_it(api: Api) -> None:
    made = api.post("blocks", blocks("00701")).json()["items"][0]["override_id"]

    response = api.post(f"blocks/{made}/withdraw", {"reason": "Fixed by the supplier.", "ticket": "OPS-2"})

    row = api.get(f"blocks/{made}").json()
    assert response.status_code == 201
    assert response.json()["items"][0] == {
        "row": 1,
        "id": "00701",
        "triage": "changed",
        "note": "Will be withdrawn.",
        "override_id": made,
    }
    assert (row["state"], row["closed_by"]) == ("ended", response.json()["submission"])
    assert desired_products(["00701"]) == {}


def test_withdraw__twice__second_changes_nothing(api: Api) -> None:
    made = api.post("blocks", blocks("00701")).json()["items"][0]["override_id"]
    api.post(f"blocks/{made}/withdraw", {"reason": "Fixed."})

    again = api.post(f"blocks/{made}/withdraw", {"reason": "Fixed."})

    assert (again.status_code, again.json()["revision"]) == (201, None)
    assert again.json()["items"][0]["triage"] == "unchanged"
    assert Revision.objects.count() == 2


def test_extend__boost__within_90_days_of_its_start(api: Api) -> None:
    made = api.post("boosts", boosts("00701")).json()["items"][0]["override_id"]
    start = Boost.objects.get().starts_at
    later, too_late = text(start + timedelta(days=90)), text(start + timedelta(days=90, seconds=1))

    good = api.post(f"boosts/{made}/extend", {"ends_at": later, "reason": "Goes well."})
    before = saved()
    bad = problem(api.post(f"boosts/{made}/extend", {"ends_at": too_late, "reason": "Goes well."}), 400)

    assert good.status_code == 201
    assert Boost.objects.get().ends_at == start + timedelta(days=90)
    assert paths(bad) == {("ids[0]", "invalid")}
    assert saved() == before


def test_extend__block__may_lose_its_end(api: Api) -> None:
    end = text(clock.now() + timedelta(days=1))
    made = api.post("blocks", blocks("00701", ends_at=end)).json()["items"][0]["override_id"]

    response = api.post(f"blocks/{made}/extend", {"ends_at": None, "reason": "Not fixed yet."})

    assert response.status_code == 201
    assert Block.objects.get().ends_at is None


def test_list__pages__every_row_once_newest_first(api: Api) -> None:
    api.post("blocks", blocks(*(f"p{number}" for number in range(5))))

    pages, cursor = [], None
    while True:
        page = api.get("blocks", {"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        pages.append([row["product_id"] for row in page["results"]])
        cursor = page["next"]
        if cursor is None:
            break

    assert pages == [["p4", "p3"], ["p2", "p1"], ["p0"]]


def test_list__filters__narrow_it(api: Api, search: Surface) -> None:
    submission = api.post("blocks", blocks("p1", "p2")).json()["submission"]
    made = api.post("blocks", blocks("p3", surface="search")).json()["items"][0]["override_id"]
    api.post(f"blocks/{made}/withdraw", {"reason": "Fixed."})
    Revision.objects.update(live_at=clock.now())

    def products(**query: object) -> list[str]:
        return [row["product_id"] for row in api.get("blocks", query).json()["results"]]

    assert products() == ["p3", "p2", "p1"]
    assert products(product_id="p2") == ["p2"]
    assert products(product_id="p") == []
    assert products(surface="search") == ["p3"]
    assert products(submission=submission) == ["p2", "p1"]
    assert products(state="live") == products(state="open") == ["p2", "p1"]
    assert products(state="ended") == ["p3"]
    assert products(state="scheduled") == products(state="publishing") == []


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"state": "dead"}, "state"),
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"submission": "1e3"}, "submission"),
        ({"submission": "9" * 30}, "submission"),
        ({"customer_id": "C-1"}, "customer_id"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_list__bad_query__is_refused_with_its_place(api: Api, query: dict[str, str], path: str) -> None:
    body = problem(api.get("blocks", query), 400)

    assert [error["path"] for error in body["errors"]] == [path]


def test_list__one_row_or_ten__same_queries(
    api: Api, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    api.post("blocks", blocks("p0"))
    api.get("blocks")
    with django_assert_num_queries(2):
        api.get("blocks")

    api.post("blocks", blocks(*(f"p{number}" for number in range(1, 10))))

    with django_assert_num_queries(2):
        assert len(api.get("blocks").json()["results"]) == 10


@pytest.mark.parametrize("number", ["4711", "0", str(2**63), "9" * 40])
@pytest.mark.parametrize("kind", ["blocks", "boosts", "opt-outs", "submissions"])
def test_get__no_such_row__404(api: Api, kind: str, number: str) -> None:
    problem(api.get(f"{kind}/{number}"), 404)


@pytest.mark.parametrize("kind", ["blocks", "boosts", "opt-outs"])
def test_withdraw__no_such_row__404_and_nothing_saved(api: Api, kind: str) -> None:
    before = saved()

    problem(api.post(f"{kind}/4711/withdraw", {"reason": "Fixed."}), 404)

    assert saved() == before


# -- Who may ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scopes", "read", "write"),
    [
        (["serving:read"], 403, 403),
        (["overrides:read"], 200, 403),
        (["overrides:write"], 403, 201),
        (["overrides:read", "overrides:write"], 200, 201),
    ],
)
def test_scope__each_set_of_scopes__may_do_exactly_that(
    api_of: ApiOf, scopes: list[str], read: int, write: int
) -> None:
    api = api_of(*scopes)
    bodies = {"blocks": blocks("p1"), "boosts": boosts("p1"), "opt-outs": opt_outs("C-1")}

    for kind, body in bodies.items():
        assert api.get(kind).status_code == read
        before = saved()
        assert api.post(kind, body).status_code == write
        assert (saved() == before) is (write == 403)
    assert api.get("submissions").status_code == read
    assert api.post("opt-outs/search", {"customer_id": "C-1"}).status_code == read


def test_key__of_an_administrator__does_only_what_its_scopes_say(api_of: ApiOf, root: User) -> None:
    api = api_of("overrides:read", owner=root)
    before = saved()

    problem(api.post("blocks", blocks("p1")), 403)

    assert saved() == before


@pytest.mark.parametrize("token", ["", "opk_", "opk_0123456789_" + "a" * 43, "nonsense"])
def test_key__none_or_unknown__401_and_nothing_saved(api: Api, token: str) -> None:
    before = saved()

    for response in (
        Api(token=token).get("blocks"),
        Api(token=token).post("blocks", blocks("p1")),
    ):
        body = problem(response, 401)
        assert response.headers["WWW-Authenticate"] == "Api-Key"
        assert body["title"]
    assert saved() == before


def test_key__revoked_or_expired__401(api_of: ApiOf, machine: User) -> None:
    from opsportal.accounts import services

    key, token = services.create_api_key(actor=None, name="old", scopes=["overrides:read"], owner=machine)
    api = Api(token=token)
    assert api.get("blocks").status_code == 200

    with time_machine.travel(clock.now() + timedelta(days=91)):
        problem(api.get("blocks"), 401)
    services.revoke_api_key(actor=None, key_id=key.pk)
    problem(api.get("blocks"), 401)


def test_key__two_at_once__share_no_power(api_of: ApiOf, machine: User) -> None:
    reader, writer = api_of("overrides:read"), api_of("overrides:write")

    assert writer.post("blocks", blocks("p1")).status_code == 201
    problem(reader.post("blocks", blocks("p2")), 403)

    assert not machine.can("blocks.write")


def test_mallory__signed_in_without_a_role__403_and_nothing_saved(
    as_person: Callable[[User], Api], mallory: User
) -> None:
    before = saved()
    api = as_person(mallory)

    for route in ("blocks", "boosts", "opt-outs", "submissions"):
        problem(api.get(route), 403)
    for route, body in (("blocks", blocks("p1")), ("boosts", boosts("p1")), ("opt-outs", opt_outs("C-1"))):
        problem(api.post(route, body), 403)
    assert saved() == before


def test_person__roles__decide(as_person: Callable[[User], Api], ana: User, max: User) -> None:
    assert as_person(ana).post("blocks", blocks("p1")).status_code == 201
    problem(as_person(ana).post("boosts", boosts("p1")), 403)
    assert as_person(max).post("boosts", boosts("p1")).status_code == 201
    problem(as_person(max).get("opt-outs"), 403)
