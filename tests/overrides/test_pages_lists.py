"""The lists: filters, order, pages, bulk changes, hints, exports."""

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.core.spreadsheets import safe_cell
from opsportal.events.models import Event
from opsportal.overrides.models import Block, Boost, Kind, OptOut, State, Submission, Surface
from tests.overrides.asking import saved
from tests.overrides.filling import applied, in_days, make_live, withdrawn

pytestmark = pytest.mark.django_db

ClientFor = Callable[[User], Client]
BLOCKS, BOOSTS, OPT_OUTS = "/overrides/blocks/", "/overrides/boosts/", "/overrides/opt-outs/"


def _products(client: Client, url: str = BLOCKS, **query: str) -> list[str]:
    response = client.get(url, query)
    assert response.status_code == 200
    return [item.shown for item in response.context["page"].rows]


@pytest.fixture
def blocks(ana: User, search: Surface) -> dict[str, Block]:
    """One block in each phase, by the phase's name, and one on a surface."""
    now = clock.now()
    applied(ana, "live")
    applied(ana, "scheduled", starts_at=now + timedelta(days=1))
    applied(ana, "ending", ends_at=now + timedelta(days=2))
    applied(ana, "ended")
    applied(ana, "surface", surface="search", reason="=1+1")
    withdrawn(ana, Block.objects.get(product_id="ended").pk)
    make_live()
    applied(ana, "publishing", live=False)
    return {row.product_id: row for row in Block.objects.all()}


def test_list__states__each_finds_its_own(client_for: ClientFor, ana: User, blocks: dict[str, Block]) -> None:
    client = client_for(ana)

    assert _products(client) == ["publishing", "surface", "ending", "scheduled", "live"]
    assert _products(client, state="live") == ["surface", "ending", "live"]
    assert _products(client, state="scheduled") == ["scheduled"]
    assert _products(client, state="publishing") == ["publishing"]
    assert _products(client, state="ending") == ["ending"]
    assert _products(client, state="ended") == ["ended"]
    assert len(_products(client, state="all")) == 6


def test_list__badges__tell_the_phase(client_for: ClientFor, ana: User, blocks: dict[str, Block]) -> None:
    rows = client_for(ana).get(BLOCKS, {"state": "all"}).context["page"].rows

    assert {item.shown: item.badge.text for item in rows} == {
        "live": "Live",
        "scheduled": "Scheduled",
        "ending": "Live",
        "ended": "Withdrawn",
        "surface": "Live",
        "publishing": "Publishing",
    }
    assert [item.shown for item in rows if item.ends_soon] == ["ending"]


def test_list__end_has_passed__ended_without_anything_running(
    client_for: ClientFor, ana: User, blocks: dict[str, Block]
) -> None:
    with time_machine.travel(clock.now() + timedelta(days=2, seconds=1)):
        rows = client_for(ana).get(BLOCKS, {"state": "ended"}).context["page"].rows

    assert [(item.shown, item.badge.text) for item in rows] == [("ended", "Withdrawn"), ("ending", "Ended")]


def test_list__other_filters__narrow_it(client_for: ClientFor, ana: User, blocks: dict[str, Block]) -> None:
    client = client_for(ana)

    assert _products(client, q="end") == ["ending"]
    assert _products(client, q="END") == []
    assert _products(client, surface="search") == ["surface"]
    assert _products(client, reason_code="safety") == []
    assert _products(client, mine="true") == _products(client)
    assert _products(client, submission=str(blocks["live"].submission_id)) == ["live"]


def test_list__orders__by_product_and_by_end(
    client_for: ClientFor, ana: User, blocks: dict[str, Block]
) -> None:
    client = client_for(ana)

    assert _products(client, sort="product_id") == ["ending", "live", "publishing", "scheduled", "surface"]
    assert _products(client, sort="ends_at") == ["ending"]
    assert _products(client, sort="nonsense") == _products(client)


@pytest.mark.parametrize(
    "query", ["state=x&surface=moon&sort=%27", "submission=99999999999999999999", "q=%F0%9F%98%80"]
)
def test_list__nonsense_in_the_address__still_reads(client_for: ClientFor, ana: User, query: str) -> None:
    assert client_for(ana).get(f"{BLOCKS}?{query}").status_code == 200


def test_list__foreign_cursor__refused_in_words(client_for: ClientFor, ana: User) -> None:
    response = client_for(ana).get(BLOCKS, {"cursor": "x"})

    assert response.status_code == 400
    assert "Start again from the first page." in response.content.decode()


@pytest.mark.parametrize("sort", ["", "product_id", "-product_id", "ends_at", "-ends_at"])
def test_list__pages__every_row_once_and_in_order(client_for: ClientFor, ana: User, sort: str) -> None:
    applied(ana, *(f"p{number:03}" for number in range(120)), ends_at=clock.now() + timedelta(days=9))
    client = client_for(ana)
    seen: list[str] = []
    cursor: str | None = ""

    while cursor is not None:
        page = client.get(BLOCKS, {"sort": sort, "cursor": cursor}).context["page"]
        seen += [item.shown for item in page.rows]
        cursor = page.next

    assert sorted(seen) == [f"p{number:03}" for number in range(120)]
    assert seen in (sorted(seen), sorted(seen, reverse=True))


def test_list__total__counted_only_with_a_next_page(client_for: ClientFor, ana: User) -> None:
    applied(ana, *(f"p{number}" for number in range(51)))

    page = client_for(ana).get(BLOCKS).context["page"]

    assert (page.summary, page.total) == ("50 of 51 blocks", 51)


@pytest.mark.parametrize(
    ("url", "kind"), [(BLOCKS, Kind.BLOCK), (BOOSTS, Kind.BOOST), (OPT_OUTS, Kind.OPT_OUT)]
)
def test_list__one_row_or_ten__as_many_queries(
    client_for: ClientFor, root: User, url: str, kind: Kind
) -> None:
    client = client_for(root)
    counts = []
    for ids in (["0"], [str(number) for number in range(1, 10)]):
        applied(root, *ids, kind=kind)
        client.get(url)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            client.get(url)
        counts.append(len(queries))

    assert counts[0] == counts[1] <= 14


def test_list__boost_of_a_blocked_product__says_that_it_has_no_effect(
    client_for: ClientFor, ana: User, max: User
) -> None:
    applied(max, "1", kind=Kind.BOOST)
    applied(ana, "1")

    boost = client_for(ana).get(BOOSTS).context["page"].rows[0]
    block = client_for(ana).get(BLOCKS).context["page"].rows[0]

    assert boost.hint == "no effect: blocked"
    assert block.hint == "beats a boost"


def test_list__who_may_not_write__sees_no_buttons(client_for: ClientFor, ana: User, lena: User) -> None:
    applied(ana, "1")

    page = client_for(lena).get(BLOCKS).content.decode()

    assert "Withdraw…" not in page
    assert "/overrides/blocks/new/" not in page


def test_opt_outs__list_and_clock__short_key_only(client_for: ClientFor, ana: User) -> None:
    applied(ana, "C-1", kind=Kind.OPT_OUT)
    row = OptOut.objects.get()

    response = client_for(ana).get(OPT_OUTS)

    item = response.context["page"].rows[0]
    assert item.shown == f"c·{row.customer_key[:6]}"
    assert item.clock.replace("\u00a0", " ") == "honoured after 0.4 s"
    assert row.customer_key not in response.content.decode()


def test_find__customer__to_the_opt_out_or_a_sentence(client_for: ClientFor, ana: User) -> None:
    applied(ana, "C-1", kind=Kind.OPT_OUT)
    client = client_for(ana)

    found = client.post(f"{OPT_OUTS}find/", {"customer_id": " C-1 "})
    unknown = client.post(f"{OPT_OUTS}find/", {"customer_id": "C-2"})
    wrong = client.post(f"{OPT_OUTS}find/", {"customer_id": "=C"})

    assert found["Location"] == OptOut.objects.get().get_absolute_url()
    assert "This customer has not opted out." in unknown.content.decode()
    assert wrong.status_code == 400
    assert client.get(f"{OPT_OUTS}find/").status_code == 405


def test_bulk__chosen__asks_for_the_reason_then_drafts(client_for: ClientFor, ana: User) -> None:
    applied(ana, "1", "2", "3")
    ids = list(Block.objects.filter(product_id__in=["1", "2"]).values_list("pk", flat=True))
    client = client_for(ana)

    asked = client.post(f"{BLOCKS}bulk/", {"action": "withdraw", "ids": ids})
    sent = client.post(
        f"{BLOCKS}bulk/",
        {"action": "withdraw", "ids": ids, "reason_code": "stock", "reason": "Back again"},
        follow=True,
    )

    assert "Withdraw 2 blocks" in asked.content.decode()
    submission = Submission.objects.order_by("-pk")[0]
    assert (submission.state, submission.reason) == (State.DRAFT, "Back again")
    assert "Withdraw 2 blocks" in sent.content.decode()
    assert Block.objects.filter(closed_at=None).count() == 3


def test_bulk__all_that_match__takes_the_filter(client_for: ClientFor, ana: User) -> None:
    applied(ana, *(f"a{number}" for number in range(60)), "b")

    response = client_for(ana).post(
        f"{BLOCKS}bulk/", {"action": "withdraw", "all_matching": "1", "query": "q=a", "ids": ["1"]}
    )

    assert len(response.context["page"].ids) == 60


def test_bulk__one_from_its_page__done_at_once_with_event(client_for: ClientFor, ana: User) -> None:
    applied(ana, "1")
    block = Block.objects.get()

    form = {
        "action": "extend",
        "ids": [block.pk],
        "ends_at": in_days(5),
        "reason_code": "stock",
        "reason": "Late",
    }
    response = client_for(ana).post(f"{BLOCKS}bulk/", form)

    block.refresh_from_db()
    assert response.status_code == 302
    assert block.ends_at is not None
    assert Event.objects.order_by("-sequence")[0].verb == "submission.applied"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reason": " "}, "Say why"),
        ({"ends_at": "2020-01-01T00:00"}, "The end has passed already."),
        ({"ends_at": "x"}, "Give a date and a time"),
        ({"reason_code": "magic"}, "Select a valid choice"),
    ],
)
def test_bulk__wrong_field__named_and_kept(
    client_for: ClientFor, ana: User, changes: dict[str, str], words: str
) -> None:
    applied(ana, "1")
    before = saved()
    form: dict[str, Any] = {"action": "extend", "ids": [Block.objects.get().pk], "reason_code": "stock"}

    response = client_for(ana).post(
        f"{BLOCKS}bulk/", {**form, "reason": "Typed", "ends_at": in_days(5), **changes}
    )

    assert response.status_code == 400
    assert words in response.content.decode()
    assert saved() == before


@pytest.mark.parametrize(
    "form", [{}, {"action": "burn"}, {"action": "withdraw"}, {"action": "withdraw", "ids": ["x"]}]
)
def test_bulk__nothing_chosen__back_with_a_sentence(
    client_for: ClientFor, ana: User, form: dict[str, Any]
) -> None:
    response = client_for(ana).post(f"{BLOCKS}bulk/", {**form, "query": "state=all"}, follow=True)

    assert response.redirect_chain == [("/overrides/blocks/?state=all", 302)]
    assert [str(message) for message in response.context["messages"]]


def test_bulk__without_the_role__404_and_nothing_saved(client_for: ClientFor, ana: User, max: User) -> None:
    applied(ana, "1")
    applied(ana, "C-1", kind=Kind.OPT_OUT)
    before = saved()
    form = {"action": "withdraw", "ids": ["1"], "reason": "Mine", "reason_code": "other"}

    assert client_for(max).post(f"{BLOCKS}bulk/", form).status_code == 404
    assert client_for(max).post(f"{OPT_OUTS}bulk/", form).status_code == 404
    assert client_for(ana).post(f"{OPT_OUTS}bulk/", form).status_code == 404

    assert saved() == before


def _export(client: Client, url: str) -> list[dict[str, str]]:
    response = client.get(url)
    assert response.status_code == 200
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    text = b"".join(response.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
    return list(csv.DictReader(io.StringIO(text)))


def test_export__filtered__only_those_and_no_formulas(
    client_for: ClientFor, ana: User, blocks: dict[str, Block]
) -> None:
    rows = _export(client_for(ana), f"{BLOCKS}export/?surface=search")

    assert [(row["product_id"], row["state"], row["reason"]) for row in rows] == [
        ("surface", "live", "'=1+1")
    ]


def test_export__every_list__no_customer_ids(client_for: ClientFor, root: User) -> None:
    applied(root, "1", kind=Kind.BOOST)
    applied(root, "C-1", kind=Kind.OPT_OUT)
    client = client_for(root)

    assert _export(client, f"{BOOSTS}export/")[0]["factor"] == "2.0"
    opt_out = _export(client, f"{OPT_OUTS}export/")[0]
    assert opt_out["customer"] == f"c·{OptOut.objects.get().customer_key[:6]}"
    assert [row["kind"] for row in _export(client, "/overrides/submissions/export/")] == ["opt_out", "boost"]


def test_export__who_may_not_see__404(client_for: ClientFor, max: User, mallory: User) -> None:
    assert client_for(max).get(f"{OPT_OUTS}export/").status_code == 404
    for url in (BLOCKS, BOOSTS, OPT_OUTS, "/overrides/submissions/"):
        assert client_for(mallory).get(url).status_code == 404
        assert client_for(mallory).get(f"{url}export/").status_code == 404


@pytest.mark.parametrize(
    "start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", " ="]
)
def test_safe_cell__formula__gets_an_apostrophe(start: str) -> None:
    assert safe_cell(f"{start}cmd") == f"'{start}cmd"
    assert safe_cell("a=b") == "a=b"


def test_boosts__list__shows_the_factor(client_for: ClientFor, max: User) -> None:
    applied(max, "1", kind=Kind.BOOST)

    assert "×2" in client_for(max).get(BOOSTS).content.decode()
    assert Boost.objects.count() == 1


def test_bulk__five_thousand_and_one__asks_to_narrow(client_for: ClientFor, ana: User) -> None:
    ids = [str(number) for number in range(1, 5_002)]

    response = client_for(ana).post(f"{BLOCKS}bulk/", {"action": "withdraw", "ids": ids}, follow=True)

    assert "More than 5,000 match." in str(next(iter(response.context["messages"])))


def test_bulk__five_thousand__asked_and_drafted_in_time(client_for: ClientFor, ana: User) -> None:
    applied(ana, "1")
    ids = [str(number) for number in range(1, 5_001)]
    form = {"action": "withdraw", "ids": ids, "reason_code": "stock", "reason": "Back again"}

    response = client_for(ana).post(f"{BLOCKS}bulk/", form)

    assert response.status_code == 302
    assert Submission.objects.order_by("-pk")[0].rows_total == 5_000
