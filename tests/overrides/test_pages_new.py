"""The forms for new blocks, boosts and opt-outs, through the browser's door."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.events.models import Event, Revision
from opsportal.overrides.models import (
    Block,
    Boost,
    OptOut,
    State,
    Submission,
    SubmissionItem,
    Surface,
    Triage,
)
from opsportal.predictions.pseudonyms import customer_key
from tests.overrides.asking import saved
from tests.overrides.filling import block_form, boost_form, in_days, opt_out_form

pytestmark = pytest.mark.django_db

BLOCKS, BOOSTS, OPT_OUTS = (
    "/overrides/blocks/new/",
    "/overrides/boosts/new/",
    "/overrides/opt-outs/new/",
)
ClientFor = Callable[[User], Client]


def _errors(response: Any) -> dict[str, list[str]]:
    return dict(response.context["page"].form.errors)


def test_block__one_known_product__applied_at_once_with_event_and_revision(
    client_for: ClientFor, ana: User, seen: list[str]
) -> None:
    response = client_for(ana).post(BLOCKS, block_form("00701"))

    row = Block.objects.get()
    assert response.status_code == 302
    assert response["Location"] == f"/overrides/submissions/{row.submission_id}/"
    assert (row.product_id, row.surface_id, row.ends_at) == ("00701", "*", None)
    assert row.submission.state == State.APPLIED
    assert Revision.objects.get().number == row.revision
    event = Event.objects.order_by("-sequence")[0]
    assert (event.actor, event.verb, event.reason) == (ana, "submission.applied", "Recall of batch 77")


def test_block__several__drafted_and_shown_first(client_for: ClientFor, ana: User, seen: list[str]) -> None:
    response = client_for(ana).post(BLOCKS, block_form("00701", "85123A", "85123a", "00701"), follow=True)

    submission = Submission.objects.get()
    assert response.redirect_chain == [(f"/overrides/submissions/{submission.pk}/", 302)]
    assert submission.state == State.DRAFT
    assert Block.objects.count() == 0
    assert "Block 3 products everywhere" in response.content.decode()
    assert [item.triage for item in submission.items.all()] == [
        Triage.NEW,
        Triage.UNKNOWN,
        Triage.UNKNOWN,
        Triage.UNCHANGED,
    ]


def test_block__one_invalid_id__drafted_with_its_reason(client_for: ClientFor, ana: User) -> None:
    response = client_for(ana).post(BLOCKS, block_form("=SUM(A1)"), follow=True)

    assert Submission.objects.get().state == State.DRAFT
    assert "as a spreadsheet formula does" in response.content.decode()
    assert "Nothing is left to do." in response.content.decode()


def test_block__in_the_persons_zone__stored_in_utc(client_for: ClientFor, ana: User) -> None:
    ana.time_zone = "Europe/Berlin"
    ana.save()
    with time_machine.travel("2026-07-01T10:00Z", tick=False):
        client_for(ana).post(
            BLOCKS, block_form("1", starts_at="2026-07-02T18:00", ends_at="2026-07-03T18:00")
        )

    row = Block.objects.get()
    assert row.starts_at.isoformat() == "2026-07-02T16:00:00+00:00"
    assert row.ends_at is not None
    assert row.ends_at - row.starts_at == timedelta(days=1)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"product_ids": " ,\n\t"}, "product_ids", "Give at least one product ID."),
        ({"product_ids": ",".join(map(str, range(5_001)))}, "product_ids", "5,001 IDs are more"),
        ({"surface": "moon"}, "surface", "Choose one of the list."),
        ({"starts_at": "soon"}, "starts_at", "Give a date and a time"),
        ({"starts_at": "0001-01-01T00:00"}, "starts_at", "between 2000 and 2100"),
        ({"ends_at": "9999-12-31T23:59"}, "ends_at", "between 2000 and 2100"),
        ({"ends_at": "2020-01-01T00:00"}, "ends_at", "The end has passed already."),
        ({"starts_at": in_days(9), "ends_at": in_days(8)}, "ends_at", "The end must come after the start."),
        ({"reason": "  "}, "reason", "Say why, in a few words."),
        ({"reason": "x" * 2_001}, "reason", "at most 2000"),
        ({"reason_code": "magic"}, "reason_code", "Choose one of the list."),
        ({"ticket": "x" * 101}, "ticket", "at most 100"),
    ],
)
def test_block__wrong_field__named_and_kept_and_nothing_saved(
    client_for: ClientFor, ana: User, changes: dict[str, str], field: str, words: str
) -> None:
    before = saved()

    response = client_for(ana).post(BLOCKS, block_form("00701", **changes))

    assert response.status_code == 400
    assert words in _errors(response)[field][0]
    assert 'aria-invalid="true"' in response.content.decode()
    assert response.context["page"].form["ticket"].value() == changes.get("ticket", "OPS-1")
    assert saved() == before


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"factor": ""}, "factor", "A boost needs a factor."),
        ({"factor": "0"}, "factor", "The factor must be from 0.1 to 10."),
        ({"factor": "NaN"}, "factor", "Give a number"),
        ({"factor": "1e9"}, "factor", "The factor must be from 0.1 to 10."),
        ({"factor": "1"}, "factor", "A factor of 1 changes nothing."),
        ({"ends_at": ""}, "ends_at", "A boost needs an end."),
        ({"ends_at": in_days(91)}, "ends_at", "within 90 days"),
    ],
)
def test_boost__wrong_field__named_and_nothing_saved(
    client_for: ClientFor, max: User, changes: dict[str, str], field: str, words: str
) -> None:
    before = saved()

    response = client_for(max).post(BOOSTS, boost_form("00701", **changes))

    assert response.status_code == 400
    assert words in _errors(response)[field][0]
    assert saved() == before


def test_boost__one_product_on_a_surface__applied(client_for: ClientFor, max: User, search: Surface) -> None:
    client_for(max).post(BOOSTS, boost_form("00701", factor="2.5", surface="search"))

    row = Boost.objects.get()
    assert (row.factor, row.surface_id) == (2.5, "search")


def test_opt_out__one_customer__recorded_under_a_pseudonym_only(client_for: ClientFor, ana: User) -> None:
    response = client_for(ana).post(OPT_OUTS, opt_out_form("C-104711"), follow=True)

    row = OptOut.objects.get()
    assert row.customer_key == customer_key("C-104711")
    assert row.purposes == ["personalisation"]
    assert f"c·{row.customer_key[:6]}" in response.content.decode()
    assert "C-104711" not in response.content.decode()
    assert row.customer_key not in response.content.decode()
    assert not SubmissionItem.objects.filter(target__contains="104711").exists()
    assert not Event.objects.filter(after__icontains="104711").exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"customer_ids": ""}, "customer_ids"),
        ({"customer_ids": ",".join(map(str, range(5_001)))}, "customer_ids"),
        ({"purposes": []}, "purposes"),
        ({"purposes": ["spying"]}, "purposes"),
        ({"channel": "pigeon"}, "channel"),
        ({"received_at": in_days(2)}, "received_at"),
    ],
)
def test_opt_out__wrong_field__named_and_nothing_saved(
    client_for: ClientFor, ana: User, changes: dict[str, Any], field: str
) -> None:
    before = saved()

    response = client_for(ana).post(OPT_OUTS, opt_out_form("C-1", **changes))

    assert response.status_code == 400
    assert field in _errors(response)
    assert saved() == before


@pytest.mark.parametrize("url", [BLOCKS, BOOSTS, OPT_OUTS])
def test_new__nobody_or_without_the_role__sign_in_or_404_and_nothing_saved(
    client: Client, client_for: ClientFor, mallory: User, lena: User, url: str
) -> None:
    before = saved()
    form = {**block_form("1"), **boost_form("1"), **opt_out_form("1")}

    assert client.post(url, form)["Location"].startswith("/account/sign-in/")
    for person in (mallory, lena):
        assert client_for(person).get(url).status_code == 404
        assert client_for(person).post(url, form).status_code == 404

    assert saved() == before


def test_new__product_in_the_address__filled_in(client_for: ClientFor, ana: User) -> None:
    response = client_for(ana).get(BLOCKS, {"product_ids": "<00701>"})

    assert "&lt;00701&gt;" in response.content.decode()


def test_block__high_risk__one_product_is_shown_before_it_is_sent(
    client_for: ClientFor, ana: User, seen: list[str]
) -> None:
    from opsportal.predictions.models import Impressions

    Impressions.objects.create(product_id="00701", surface="search", day=clock.now().date(), shown=1_000)

    response = client_for(ana).post(BLOCKS, block_form("00701"), follow=True)

    assert Submission.objects.get().state == State.DRAFT
    page = response.content.decode()
    assert "It made 100 % of last week’s impressions." in page.replace("\u00a0", " ")
    assert "Ask for approval of 1 block" in page
