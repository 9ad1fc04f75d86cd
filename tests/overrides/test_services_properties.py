"""What holds for any sequence of changes: asking twice is asking once, and an undo leaves no trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import hypothesis
import pytest
import time_machine
from django.db import transaction
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from opsportal.accounts.models import User
from opsportal.accounts.permissions import Role
from opsportal.client import decide
from opsportal.core.errors import Conflict, Invalid
from opsportal.overrides import services
from opsportal.overrides.models import Action, Block, Boost, Kind, Source, Submission, Surface
from opsportal.overrides.selectors import desired_products
from opsportal.overrides.services import Intent
from tests.conftest import make_person

pytestmark = pytest.mark.django_db

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
PRODUCTS, SURFACES = ["a", "b"], ["*", "search"]
HOUR = timedelta(hours=1)
some = hypothesis.settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Wish:
    """An addition: hours from now, `ends` None for no end, `factor` None for a block."""

    products: tuple[str, ...]
    surface: str
    starts: int
    ends: int | None
    factor: float | None

    @property
    def kind(self) -> Kind:
        return Kind.BLOCK if self.factor is None else Kind.BOOST

    def intent(self) -> Intent:
        """What is asked of the services."""
        return Intent(
            kind=self.kind,
            source=Source.API,
            reason="Property.",
            surface=self.surface,
            starts_at=START + self.starts * HOUR if self.starts else None,
            ends_at=None if self.ends is None else START + self.ends * HOUR,
            factor=self.factor,
        )

    def holds_at(self, hour: float) -> bool:
        """Whether the window covers this hour."""
        return self.starts <= hour and (self.ends is None or hour < self.ends)


@dataclass(frozen=True)
class Change:
    """A withdrawal (`ends` -1) or a new end of one of the open rules, picked by number."""

    kind: Kind
    pick: int
    ends: int | None


@st.composite
def wishes(draw: st.DrawFn) -> Wish:
    """Any addition that the rules allow."""
    factor = draw(st.sampled_from([None, 0.5, 2.0, 3.0]))
    starts = draw(st.integers(0, 4))
    endless = factor is None and draw(st.booleans())
    ends = None if endless else starts + draw(st.integers(1, 5))
    products = draw(st.lists(st.sampled_from(PRODUCTS), min_size=1, max_size=2, unique=True))
    return Wish(tuple(products), draw(st.sampled_from(SURFACES)), starts, ends, factor)


changes = st.builds(
    Change,
    st.sampled_from([Kind.BLOCK, Kind.BOOST]),
    st.integers(0, 5),
    st.one_of(st.just(-1), st.integers(1, 12), st.none()),
)


@pytest.fixture
def author(db: None) -> User:
    """Somebody who may block and boost; the clock stands still."""
    Surface.objects.get_or_create(slug="search", defaults={"name": "Search"})
    return make_person("author", Role.ADMINISTRATOR)


@contextmanager
def undone() -> Iterator[None]:
    """Everything inside is taken back, so that examples do not meet."""
    with time_machine.travel(START, tick=False), transaction.atomic():
        yield
        transaction.set_rollback(True)


def add(author: User, wish: Wish) -> Submission:
    """Apply an addition."""
    return services.request_targets(actor=author, intent=wish.intent(), texts=wish.products)


def change(author: User, wish: Change) -> Submission | None:
    """Withdraw or extend an open rule; None if there is none, or the rules refuse it."""
    model = Block if wish.kind == Kind.BLOCK else Boost
    rows = list(model._default_manager.filter(closed_at=None).order_by("id").values_list("id", flat=True))
    if not rows:
        return None
    action = Action.WITHDRAW if wish.ends == -1 else Action.EXTEND
    intent = Intent(
        kind=wish.kind,
        action=action,
        source=Source.API,
        reason="Property.",
        ends_at=None if wish.ends in {None, -1} else START + (wish.ends or 0) * HOUR,
    )
    try:
        return services.request_changes(
            actor=author, intent=intent, override_ids=[rows[wish.pick % len(rows)]]
        )
    except (Conflict, Invalid):
        return None


def carry_out(author: User, wish: Wish | Change) -> Submission | None:
    """Apply whatever it is."""
    return add(author, wish) if isinstance(wish, Wish) else change(author, wish)


@some
@given(before=st.lists(st.one_of(wishes(), changes), max_size=5), wish=wishes())
def test_add__twice__is_once(author: User, before: list[Wish | Change], wish: Wish) -> None:
    with undone():
        for earlier in before:
            carry_out(author, earlier)
        add(author, wish)
        once = desired_products(PRODUCTS)

        again = add(author, wish)

        assert set(again.items.values_list("triage", flat=True)) == {"unchanged"}
        assert again.revision is None
        assert desired_products(PRODUCTS) == once


@some
@given(before=st.lists(st.one_of(wishes(), changes), max_size=5), last=st.one_of(wishes(), changes))
def test_undo__after_anything__restores_the_store_exactly(
    author: User, before: list[Wish | Change], last: Wish | Change
) -> None:
    with undone():
        for earlier in before:
            carry_out(author, earlier)
        as_it_was = desired_products(PRODUCTS)
        submission = carry_out(author, last)
        if submission is None or submission.revision is None:
            return

        services.request_undo(actor=author, submission_id=submission.pk)

        assert desired_products(PRODUCTS) == as_it_was


@some
@given(asked=st.lists(wishes(), min_size=1, max_size=6), hour=st.integers(0, 10))
def test_decide__after_any_additions__does_what_was_asked_last(
    author: User, asked: list[Wish], hour: int
) -> None:
    """A block that covers the moment blocks; else the surface's last boost, else the last for everywhere."""
    with undone():
        for wish in asked:
            add(author, wish)
        rules = desired_products(PRODUCTS)
        now = (START + hour * HOUR).timestamp()

        for product in PRODUCTS:
            covering = [wish for wish in asked if product in wish.products and wish.holds_at(hour)]
            here = [wish for wish in covering if wish.surface in {"search", "*"}]
            boosts = sorted(
                (wish for wish in here if wish.factor is not None),
                key=lambda wish: wish.surface == "search",
            )
            decision = decide([product], surface="search", now=now, rules=rules)

            assert decision.blocked == ([product] if any(wish.factor is None for wish in here) else [])
            expected = {product: boosts[-1].factor} if boosts and not decision.blocked else {}
            assert decision.boosts == expected
