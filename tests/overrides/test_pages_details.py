"""The page of one block, boost or opt-out."""

from collections.abc import Callable

import pytest
from django.test import Client

from opsportal.accounts.models import User
from opsportal.overrides.models import Block, Boost, Kind, OptOut
from tests.overrides.filling import applied, withdrawn

pytestmark = pytest.mark.django_db

ClientFor = Callable[[User], Client]


def test_block__live__facts_delivery_and_buttons(client_for: ClientFor, ana: User) -> None:
    applied(ana, "00701", reason="Recall", ticket="OPS-9")

    page = client_for(ana).get(Block.objects.get().get_absolute_url()).content.decode()

    for words in (
        "00701",
        "Recall",
        "OPS-9",
        "Live",
        "It hides the product.",
        "Change the end",
        "Withdraw it now",
    ):
        assert words in page


def test_block__withdrawn__says_who_and_offers_nothing(client_for: ClientFor, ana: User) -> None:
    applied(ana, "00701")
    block = Block.objects.get()
    withdrawn(ana, block.pk)

    response = client_for(ana).get(block.get_absolute_url())

    page = response.content.decode()
    assert "Withdrawn" in page
    assert "Withdraw it now" not in page
    newest = response.context["page"].timeline[0]
    assert newest.text == "withdrew the blocks of 1 product"


def test_boost__blocked_product__shows_which_rule_wins(client_for: ClientFor, ana: User, max: User) -> None:
    applied(max, "1", kind=Kind.BOOST)
    applied(ana, "1")

    response = client_for(max).get(Boost.objects.get().get_absolute_url())

    rules = {rule.row.kind: rule for rule in response.context["page"].rules}
    assert rules[Kind.BLOCK].wins
    assert rules[Kind.BOOST].why == "A block beats every boost."
    assert rules[Kind.BOOST].is_this


def test_opt_out__evidence_clock_and_proof(client_for: ClientFor, ana: User, priya: User) -> None:
    applied(ana, "C-1", kind=Kind.OPT_OUT)
    row = OptOut.objects.get()

    officer = client_for(priya).get(row.get_absolute_url()).content.decode().replace("\u00a0", " ")
    agent = client_for(ana).get(row.get_absolute_url()).content.decode()

    for words in ("Phone", "honoured after 0.4 s", "15 business days", "The revision is the proof"):
        assert words in officer
    assert "Ask for its withdrawal" in officer
    assert "Ask for its withdrawal" not in agent
    assert row.customer_key not in officer


@pytest.mark.parametrize("noun", ["blocks", "boosts", "opt-outs"])
def test_detail__unknown_or_without_a_role__404(
    client_for: ClientFor, root: User, mallory: User, noun: str
) -> None:
    kind, model = {
        "blocks": (Kind.BLOCK, Block),
        "boosts": (Kind.BOOST, Boost),
        "opt-outs": (Kind.OPT_OUT, OptOut),
    }[noun]
    applied(root, "1", kind=kind)
    url = f"/overrides/{noun}/{model._default_manager.get().pk}/"

    assert client_for(root).get(url).status_code == 200
    assert client_for(root).get(f"/overrides/{noun}/{10**30}/").status_code == 404
    assert client_for(mallory).get(url).status_code == 404


def test_opt_out__without_the_capability__404(client_for: ClientFor, ana: User, max: User) -> None:
    applied(ana, "C-1", kind=Kind.OPT_OUT)

    assert client_for(max).get(OptOut.objects.get().get_absolute_url()).status_code == 404
