"""Many reviewers at once, each with a connection of their own, on either database."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import close_old_connections, connection, connections
from django.db.models.functions import Now

from opsportal.accounts.models import User
from opsportal.accounts.permissions import Role
from opsportal.audits.models import Item, Label, Review, Run
from opsportal.audits.services import adjudicating, reviewing
from opsportal.audits.services.closing import close_run
from opsportal.audits.services.reviewing import Claim
from opsportal.audits.services.sweeping import sweep
from opsportal.core.errors import Conflict, PortalError
from tests.audits.making import make_items, make_run
from tests.audits.test_reviewing import NO, YES, counters, expire, recounted
from tests.conftest import make_person

pytestmark = pytest.mark.django_db(transaction=True)

PEOPLE = 8


@pytest.fixture(autouse=True)
def _connections(transactional_db: None) -> Iterator[None]:
    yield
    connections.close_all()


@pytest.fixture
def people() -> list[User]:
    """Eight auditors."""
    return [make_person(f"auditor-{number}", Role.AUDITOR) for number in range(PEOPLE)]


def at_once(*jobs: Callable[[], object]) -> list[Any]:
    """What each job returned or refused; they start together, every thread with its own connection."""
    start = threading.Barrier(len(jobs))

    def run(job: Callable[[], object]) -> object:
        try:
            close_old_connections()
            start.wait(30)
            return job()
        except PortalError as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


def work(person: User, *, killed_after: int | None = None) -> list[Claim]:
    """Label until nothing is left; whoever is killed holds what they hold. What was claimed, in order."""
    claims: list[Claim] = []
    while more := reviewing.claim(actor=person, count=1 + len(claims) % 2):
        for claim in more:
            claims.append(claim)
            if len(claims) == killed_after:
                return claims
            reviewing.answer(actor=person, token=claim.token, value=YES)
    return claims


def job(function: Callable[..., Any], *arguments: Any, **named: Any) -> Callable[[], Any]:
    """A call to make in a thread."""
    return lambda: function(*arguments, **named)


def say(person: User, claim: Claim, value: str = YES) -> Callable[[], Label]:
    """The job of answering."""
    return job(reviewing.answer, actor=person, token=claim.token, value=value)


def test_eight_people__a_run__every_review_once_and_nobody_twice_on_an_item(people: list[User]) -> None:
    run = make_run()
    make_items(run, 60)
    make_items(run, 15, reviews=2)
    make_items(run, 5, reviews=3)

    done = at_once(*(job(work, person) for person in people))

    assert [answer for answer in done if isinstance(answer, PortalError)] == []
    # Near the end somebody may find nothing for the moment; what is left then is anybody's.
    for person in people:
        work(person)
    labels = list(Label.objects.values_list("review_id", "item_id", "person_id"))
    assert len({review for review, _, _ in labels}) == len(labels) == Review.objects.count() == 105
    assert len({(item, person) for _, item, person in labels}) == len(labels)
    assert set(Review.objects.values_list("state", flat=True)) == {"done"}
    assert set(Item.objects.values_list("state", flat=True)) == {"settled"}
    assert counters(run) == recounted(run)


def test_killed_reviewers__after_their_lease__others_finish_what_they_held(people: list[User]) -> None:
    run = make_run()
    make_items(run, 40)
    killed, others = people[:3], people[3:]

    at_once(*(job(work, person, killed_after=3) for person in killed))
    at_once(*(job(work, person) for person in others))
    held = Review.objects.filter(state="leased")
    assert {review.holder for review in held} == set(killed)
    assert reviewing.claim(actor=others[0]) == []
    held.update(leased_until=Now() - timedelta(seconds=1))
    taken = at_once(*(job(work, person) for person in others))

    assert sum(map(len, taken)) == 3
    assert Label.objects.count() == 40
    assert counters(run) == recounted(run)
    assert Run.objects.get().settled == 40


def test_three_people__item_that_needs_three__all_start_and_all_count(people: list[User]) -> None:
    make_items(make_run(), 1, reviews=3)
    held = [claims[0] for claims in at_once(*(job(reviewing.claim, actor=person) for person in people[:3]))]
    assert len({claim.review_id for claim in held}) == 3

    answers = at_once(*(say(person, claim) for person, claim in zip(people, held, strict=False)))

    assert Counter(answer.item.state for answer in answers) == {"open": 2, "settled": 1}
    assert Item.objects.get().label == YES


def test_two_differ__at_once__one_dispute(people: list[User]) -> None:
    run = make_run()
    for _ in range(6):
        make_items(run, 1, reviews=2)
        first, second = (reviewing.claim(actor=person)[0] for person in people[:2])
        assert first.item == second.item
        at_once(say(people[0], first, YES), say(people[1], second, NO))

    assert set(Item.objects.values_list("state", flat=True)) == {"disputed"}
    assert Review.objects.filter(kind=Review.Kind.ADJUDICATION, state="open").count() == 6
    assert counters(run) == recounted(run)


def test_one_person__eight_tabs__holds_two_and_no_item_twice(people: list[User]) -> None:
    make_items(make_run(), 3, reviews=3)

    found = at_once(*[job(reviewing.claim, actor=people[0])] * PEOPLE)

    held = Review.objects.filter(state="leased", holder=people[0])
    assert held.count() == len(set(held.values_list("item_id", flat=True))) == reviewing.HELD_MOST
    tokens = {claim.token for claims in found for claim in claims}
    assert tokens == {claim.token for claim in reviewing.held(actor=people[0])}


def test_one_token__posted_eight_times_at_once__one_label(people: list[User]) -> None:
    run = make_run()
    make_items(run, 1)
    (claim,) = reviewing.claim(actor=people[0])

    answers = at_once(*[say(people[0], claim)] * PEOPLE)

    assert answers == [Label.objects.get()] * PEOPLE
    assert counters(run) == recounted(run)


def test_one_token__with_two_values_at_once__the_first_stands(people: list[User]) -> None:
    make_items(make_run(), 1)
    (claim,) = reviewing.claim(actor=people[0])

    answers = at_once(*(say(people[0], claim, value) for value in [YES, NO] * 4))

    refusals = [answer for answer in answers if isinstance(answer, Conflict)]
    assert [error.code for error in refusals] == ["answered"] * 4
    assert Label.objects.count() == 1


def test_late_answer_against_whoever_takes_the_item__at_once__one_of_them_has_it(people: list[User]) -> None:
    run = make_run()
    late, taker = people[:2]
    for _ in range(8):
        make_items(run, 1)
        (claim,) = reviewing.claim(actor=late, run=run)
        expire(claim)
        answered, taken = at_once(say(late, claim, NO), job(reviewing.claim, actor=taker, run=run))
        if isinstance(answered, Label):
            assert taken == []
        else:
            assert answered.code == reviewing.LEASE_LOST
            reviewing.answer(actor=taker, token=taken[0].token, value=YES)

    assert Label.objects.count() == Item.objects.filter(state="settled").count() == 8
    assert counters(run) == recounted(run)


def test_close_against_answers__at_once__nothing_after_the_close(people: list[User], lena: User) -> None:
    run = make_run()
    make_items(run, PEOPLE)
    held = [reviewing.claim(actor=person)[0] for person in people]

    answers = at_once(
        *(say(person, claim) for person, claim in zip(people, held, strict=True)),
        job(close_run, actor=lena, run=run),
    )

    stored = [answer for answer in answers if isinstance(answer, Label)]
    refused = [answer for answer in answers if isinstance(answer, Conflict)]
    assert len(stored) + len(refused) == PEOPLE
    assert {error.code for error in refused} <= {"run_closed"}
    assert Item.objects.filter(state="settled").count() == len(stored) == Label.objects.count()
    assert Item.objects.filter(state="void").count() == len(refused)
    assert Run.objects.get().settled == len(stored)


def test_undo_decide_skip_sweep__at_once__the_counters_hold(people: list[User], lena: User) -> None:
    run = make_run(second_look_at_errors=True)
    make_items(run, 12, reviews=2, predicted=NO)

    answers = at_once(
        *(job(_restless, person, number) for number, person in enumerate(people)),
        job(_decide, lena),
    )

    assert answers == [None] * (PEOPLE + 1)
    assert counters(run) == recounted(run)
    waiting = Review.objects.filter(kind=Review.Kind.ADJUDICATION, state__in=["open", "leased"])
    assert waiting.count() == Item.objects.filter(state="disputed").count()
    done = Review.objects.filter(state="done").count()
    assert done == Label.objects.filter(withdrawn_at=None).count()


def _restless(person: User, number: int) -> None:
    for turn in range(6):
        with suppress(Conflict):
            for claim in reviewing.claim(actor=person, count=2):
                value = YES if (turn + number) % 3 else NO
                answer = reviewing.answer(actor=person, token=claim.token, value=value)
                if turn % 2:
                    reviewing.undo(actor=person, label_id=answer.pk)
        if turn == 4:
            for claim in reviewing.held(actor=person):
                with suppress(Conflict):
                    reviewing.skip(actor=person, token=claim.token, reason="other")


def _decide(lead: User) -> None:
    for _ in range(10):
        sweep()
        with suppress(Conflict):
            if claim := adjudicating.claim_dispute(actor=lead):
                decision = adjudicating.decide(actor=lead, token=claim.token, value=YES)
                adjudicating.undo(actor=lead, label_id=decision.pk)
