"""What the overrides did to a product at one moment."""

from datetime import timedelta

import pytest
import time_machine

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.overrides.models import Block, Kind, Surface
from opsportal.overrides.selectors.moments import rules_at
from tests.overrides.filling import applied, withdrawn

pytestmark = pytest.mark.django_db

START = "2026-11-02T12:00:00Z"


def test_rules_at__before_during_and_after_a_block__says_what_held_then(ana: User, max: User) -> None:
    with time_machine.travel(START, tick=False) as traveller:
        applied(max, "1", kind=Kind.BOOST)
        traveller.shift(timedelta(hours=1))
        boosted = clock.now()
        traveller.shift(timedelta(hours=1))
        applied(ana, "1")
        blocked = clock.now()
        traveller.shift(timedelta(hours=1))
        withdrawn(ana, Block.objects.get().pk)
        now = clock.now()

    assert rules_at("1", surface="home", moment=boosted - timedelta(hours=2)).rules == []
    then = rules_at("1", surface="home", moment=boosted)
    assert (then.words, then.look, [rule.wins for rule in then.rules]) == ("boosted ×2", "boost", [True])
    then = rules_at("1", surface="", moment=blocked)
    assert then.words == "blocked"
    assert [(rule.row.kind, rule.wins, rule.why) for rule in then.rules] == [
        (Kind.BLOCK, True, "It hides the product."),
        (Kind.BOOST, False, "A block beats every boost."),
    ]
    assert rules_at("1", surface="home", moment=now).words == "boosted ×2"


def test_rules_at__a_rule_of_another_surface_or_product__is_left_out(ana: User) -> None:
    Surface.objects.create(slug="search", name="Search")
    applied(ana, "1", surface="search")

    assert rules_at("1", surface="search", moment=clock.now()).blocked
    for product, surface in (("1", "home"), ("1", ""), ("2", "search")):
        assert rules_at(product, surface=surface, moment=clock.now()).rules == []
