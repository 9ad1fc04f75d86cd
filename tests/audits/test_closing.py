"""Close a run, or give it up: what becomes of its items and reviews."""

from datetime import timedelta

import pytest

from opsportal.accounts.models import User
from opsportal.audits.models import Item, Review, Run
from opsportal.audits.selectors.runs import remainder
from opsportal.audits.services.closing import cancel_run, close_run
from opsportal.core import clock
from opsportal.core.errors import Conflict, Forbidden, Invalid
from opsportal.events.models import Event, OutboxMessage
from tests.audits.making import make_items, make_run
from tests.audits.resulting import settle

pytestmark = pytest.mark.django_db


def lease(item: Item, person: User) -> Review:
    review = item.reviews.get()
    review.state, review.holder, review.token = Review.State.LEASED, person, "t" * 32
    review.leased_at = clock.now()
    review.leased_until = clock.now() + timedelta(minutes=10)
    review.save()
    return review


def test_close__some_unlabelled__leaves_them_void_and_has_figures_computed(lena: User) -> None:
    run = make_run()
    first, second, third, fourth = make_items(run, 4)
    settle([first], "survived")
    Item.objects.filter(pk=second.pk).update(state=Item.State.DISPUTED)
    Run.objects.filter(pk=run.pk).update(to_adjudicate=1)
    held = lease(third, lena)

    closed = close_run(actor=lena, run=run)

    assert (closed.state, closed.closed_by, closed.to_adjudicate) == (Run.State.CLOSED, lena, 0)
    assert closed.closed_at is not None
    states = dict(Item.objects.filter(run=run).values_list("pk", "state"))
    assert states == {first.pk: "settled", second.pk: "void", third.pk: "void", fourth.pk: "void"}
    assert set(Review.objects.filter(run=run).values_list("state", flat=True)) == {"void"}
    held.refresh_from_db()
    assert (held.token, held.leased_until) == ("t" * 32, None)
    assert OutboxMessage.objects.get(task="audits.estimate").key == str(run.pk)
    event = Event.objects.get(verb="run.closed")
    assert event.summary == f"Closed “{run.title}”: 1 of 4 items labelled"
    assert event.after == {"items": 4, "settled": 1, "unlabelled": 3}


def test_close__done_reviews__stay_done(lena: User, otto: User) -> None:
    run = make_run()
    items = make_items(run, 2)
    settle(items, "survived", people=[otto])

    close_run(actor=lena, run=run)

    assert list(Review.objects.filter(run=run).values_list("state", flat=True)) == ["done", "done"]


@pytest.mark.parametrize("state", ["drawing", "closed", "failed", "cancelled"])
def test_close__not_open__is_a_conflict(state: str, lena: User) -> None:
    run = make_run(state=state)

    with pytest.raises(Conflict, match=f"is {run.get_state_display().lower()}, not open"):
        close_run(actor=lena, run=run)

    run.refresh_from_db()
    assert run.state == state
    assert not OutboxMessage.objects.filter(task="audits.estimate").exists()


def test_close__twice__only_the_first_counts(lena: User) -> None:
    run = make_run()
    make_items(run, 1)
    close_run(actor=lena, run=run)

    with pytest.raises(Conflict):
        close_run(actor=lena, run=run)

    assert OutboxMessage.objects.filter(task="audits.estimate").count() == 1
    assert Event.objects.filter(verb="run.closed").count() == 1


def test_close__auditor__is_refused(otto: User) -> None:
    run = make_run()
    make_items(run, 1)

    with pytest.raises(Forbidden):
        close_run(actor=otto, run=run)

    run.refresh_from_db()
    assert run.state == Run.State.OPEN
    assert Review.objects.get().state == Review.State.OPEN


def test_remainder__open_disputed_and_held__counts_each(lena: User) -> None:
    run = make_run()
    first, second, third, fourth = make_items(run, 4)
    settle([first], "survived")
    Item.objects.filter(pk=second.pk).update(state=Item.State.DISPUTED)
    lease(third, lena)
    expired = lease(fourth, lena)
    Review.objects.filter(pk=expired.pk).update(leased_until=clock.now() - timedelta(minutes=1))

    rest = remainder(run)

    assert (rest.unlabelled, rest.disputed, rest.held) == (3, 1, 1)


@pytest.mark.parametrize("state", ["drawing", "open", "failed"])
def test_cancel__not_over__computes_nothing(state: str, lena: User) -> None:
    run = make_run(state=state)
    item, *_ = make_items(run, 2)

    cancelled = cancel_run(actor=lena, run=run, reason="Wrong period.")

    assert (cancelled.state, cancelled.problem) == (Run.State.CANCELLED, "Wrong period.")
    item.refresh_from_db()
    assert item.state == Item.State.VOID
    assert not OutboxMessage.objects.filter(task="audits.estimate").exists()
    assert Event.objects.get(verb="run.cancelled").reason == "Wrong period."


@pytest.mark.parametrize("reason", ["  ", "x" * 501, "a\0b"])
def test_cancel__bad_reason__is_refused(reason: str, lena: User) -> None:
    run = make_run()

    with pytest.raises(Invalid) as refusal:
        cancel_run(actor=lena, run=run, reason=reason)

    assert refusal.value.errors[0].path == "reason"
    run.refresh_from_db()
    assert run.state == Run.State.OPEN


def test_cancel__closed__is_a_conflict(lena: User) -> None:
    run = make_run(state=Run.State.CLOSED)

    with pytest.raises(Conflict):
        cancel_run(actor=lena, run=run, reason="Too late.")
