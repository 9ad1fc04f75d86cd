"""The home page: what waits, what is coming, what is due; for each role its own."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.overrides.models import Submission
from opsportal.predictions.models import Product
from tests.home.deciding import block, boost, draft, draft_opt_out, opt_out, words

ClientFor = Callable[[User], Client]
MONDAY = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def test_home__signed_out__leads_to_sign_in(client: Client) -> None:
    response = client.get("/")

    assert response.status_code == 302
    assert response.headers["Location"] == "/account/sign-in/?next=%2F"


def test_home__without_role__says_whom_to_ask(as_mallory: Client, root: User) -> None:
    response = as_mallory.get("/")

    assert response.status_code == 200
    assert "You have no role yet" in words(response)
    assert "Ask Root, who can give you one" in words(response)
    page = response.content.decode()
    assert "serving-pill" not in page
    assert 'href="/overrides/' not in page


@pytest.mark.parametrize(
    ("person", "button"),
    [
        ("ana", "Block products"),
        ("max", "Boost products"),
        ("priya", "Record an opt-out"),
        ("lena", None),
    ],
)
def test_home__nothing_yet__offers_the_one_thing_to_do(
    person: str, button: str | None, client_for: ClientFor, request: pytest.FixtureRequest
) -> None:
    response = client_for(request.getfixturevalue(person)).get("/")

    assert "Nothing is overridden" in words(response)
    if button:
        assert words(response).rstrip().endswith(button)
    else:
        assert (
            "<a class" not in response.content.decode().partition('class="empty"')[2].partition("</div>")[0]
        )


def test_home__submission_of_another__waits_for_the_approver_only(
    ana: User, lena: User, client_for: ClientFor, settings: Settings
) -> None:
    settings.APPROVAL_MIN_ITEMS = 2
    block(ana, "A", "B")

    theirs, hers = client_for(lena).get("/"), client_for(ana).get("/")

    assert "Waiting for your approval Waiting for approval Block 2 products everywhere #1" in _numbered(
        theirs
    )
    assert theirs.context["frame"].waiting == 1
    assert "Waiting for your approval" not in words(hers)
    assert "Yours, not finished All of yours Waiting for approval Block 2 products everywhere" in _numbered(
        hers
    )
    assert hers.context["frame"].waiting == 0


def test_home__own_submission_of_an_approver__does_not_wait_for_her(
    lena: User, client_for: ClientFor, settings: Settings
) -> None:
    settings.APPROVAL_MIN_ITEMS = 1
    lena.role_grants.create(role="agent")
    author = User.objects.get(pk=lena.pk)
    block(author, "A")

    response = client_for(lena).get("/")

    assert response.context["frame"].waiting == 0
    assert "Nothing waits for you" in words(response)


def test_home__drafts__are_shown_to_their_author_only(ana: User, root: User, client_for: ClientFor) -> None:
    draft(ana, "A", "B", "C")

    assert "Draft Block 3 products everywhere" in words(client_for(ana).get("/"))
    assert "Block 3 products" not in words(client_for(root).get("/"))


@time_machine.travel(MONDAY, tick=False)
def test_home__coming_week__by_day_with_starts_and_ends(ana: User, max: User, as_ana: Client) -> None:
    block(ana, "00701", ends_at=MONDAY + timedelta(hours=9))
    block(ana, "00702", "00703", starts_at=MONDAY + timedelta(days=1), surface="search")
    boost(max, "00704", ends=MONDAY + timedelta(days=4, hours=9), factor=2.5)
    boost(max, "00705", ends=MONDAY + timedelta(days=8))

    response = as_ana.get("/")

    text = words(response).replace("\xa0", " ")
    assert "Today 18:00 Block 00701 ends in 9 h" in text
    assert "Tomorrow 09:00 Block 00702 and 1 other start in 1 day" in text
    assert "Friday 27 November 18:00 Boost 00704 ×2.5 ends in 4 days" in text
    assert "00705" not in text.partition("The next seven days")[2].partition("Opt-outs to honour")[0]


@time_machine.travel(MONDAY, tick=False)
def test_home__days__are_those_of_the_person(ana: User, as_ana: Client) -> None:
    block(ana, "00701", ends_at=datetime(2026, 11, 23, 23, 30, tzinfo=UTC))
    User.objects.filter(pk=ana.pk).update(time_zone="Europe/Berlin")

    assert "Tomorrow 00:30 Block 00701 ends" in words(as_ana.get("/"))


@time_machine.travel(MONDAY, tick=False)
def test_home__numbers__count_what_is_in_effect_now(ana: User, max: User, as_ana: Client) -> None:
    block(ana, "A", "B")
    block(ana, "C", starts_at=MONDAY + timedelta(days=1))
    block(ana, "D", ends_at=MONDAY + timedelta(minutes=1))
    boost(max, "E")
    opt_out(ana, "C-1", "C-2")

    with time_machine.travel(MONDAY + timedelta(minutes=2), tick=False):
        numbers = as_ana.get("/").context["numbers"]

    assert (numbers.blocks, numbers.boosts, numbers.opt_outs, numbers.scheduled) == (2, 1, 2, 1)
    assert numbers.changes == [0] * 13 + [5]


def test_home__own_change__is_counted_at_once(ana: User, as_ana: Client) -> None:
    block(ana, "A")
    assert as_ana.get("/").context["numbers"].blocks == 1

    block(ana, "B")

    assert as_ana.get("/").context["numbers"].blocks == 2


@time_machine.travel(MONDAY, tick=False)
def test_home__opt_out_not_carried_out__is_due_or_overdue(ana: User, as_ana: Client) -> None:
    draft_opt_out(ana, "C-1", received_at=MONDAY - timedelta(days=30))
    draft_opt_out(ana, "C-2", received_at=MONDAY)

    due = as_ana.get("/").context["due"]

    assert [item.days_left for item in due] == [-10, 21]
    assert "Overdue Submission" in words(as_ana.get("/"))


def test_home__opt_out_saved_but_not_live__stays_on_the_list(ana: User, as_ana: Client) -> None:
    submission = opt_out(ana, "C-1")
    assert "saved, not yet live" in words(as_ana.get("/"))

    assert submission.revision is not None
    submission.revision.live_at = clock.now()
    submission.revision.save()

    assert "None is due: the one opt-out is live." in words(as_ana.get("/"))


def test_home__opt_outs__are_hidden_without_the_capability(
    ana: User, max: User, client_for: ClientFor
) -> None:
    draft_opt_out(ana, "C-1")
    opt_out(ana, "C-2")

    response = client_for(max).get("/")

    assert "Opt-outs to honour" not in words(response)
    assert response.context["due"] == []


def test_home__ten_times_as_much__takes_as_many_queries(
    ana: User, max: User, lena: User, client_for: ClientFor, settings: Settings
) -> None:
    settings.APPROVAL_MIN_ITEMS = 2
    browser = client_for(lena)

    def decide(number: int) -> None:
        soon = clock.this_second() + timedelta(hours=number + 1)
        block(ana, f"B{number}", ends_at=soon)
        block(ana, f"S{number}", starts_at=soon)
        boost(max, f"F{number}", ends=soon)
        block(ana, f"W{number}", f"V{number}")
        opt_out(ana, f"C{number}")

    decide(0)
    browser.get("/")
    one = _queries(browser)
    for number in range(1, 10):
        decide(number)

    assert Submission.objects.count() == 50
    assert _queries(browser) == one
    assert one <= 40


def test_home__redis_away__still_answers(ana: User, as_ana: Client, no_redis: None) -> None:
    block(ana, "A")

    assert as_ana.get("/").status_code == 200
    assert as_ana.get("/activity/").status_code == 200
    assert as_ana.post("/search/", {"q": "A"}).status_code == 200


def test_frame__sign_in_page__asks_the_database_nothing(client: Client) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        client.get("/account/sign-in/")

    assert len(queries) == 0


def test_home__markup_in_an_id__is_text(ana: User, as_ana: Client) -> None:
    Product.objects.create(product_id="<b>x", title="<script>")
    block(ana, "<b>x", ends_at=clock.this_second() + timedelta(hours=1))

    page = as_ana.get("/").content.decode()

    assert "&lt;b&gt;x" in page
    assert "<b>x" not in page


def _queries(browser: Client) -> int:
    cache.clear()
    with CaptureQueriesContext(connection) as queries:
        assert browser.get("/").status_code == 200
    return len(queries)


def _numbered(response: object) -> str:
    """The page's words with the submission's number as #1, whatever the database gave it."""
    first = Submission.objects.order_by("pk").values_list("pk", flat=True)[0]
    return words(response).replace(f"#{first} ", "#1 ")
