"""The review queue, one person at a time: leases, answers, skips and second thoughts."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from opsportal.accounts.models import User
from opsportal.accounts.permissions import Role
from opsportal.audits import tasks
from opsportal.audits.models import Decline, Item, Label, Review, Run, Stream
from opsportal.audits.selectors.queue import passed_over
from opsportal.audits.services import adjudicating, reviewing
from opsportal.audits.services.closing import close_run
from opsportal.audits.services.reviewing import Claim
from opsportal.core.errors import Conflict, Forbidden, Invalid, NotFound, PortalError
from tests.audits.making import make_items, make_run
from tests.conftest import make_person

pytestmark = pytest.mark.django_db
YES, NO = "survived", "did not survive"


@pytest.fixture
def anna(db: None) -> User:
    """An auditor."""
    return make_person("anna", Role.AUDITOR)


@pytest.fixture
def ben(db: None) -> User:
    """Another auditor."""
    return make_person("ben", Role.AUDITOR)


@pytest.fixture
def cleo(db: None) -> User:
    """A third auditor."""
    return make_person("cleo", Role.AUDITOR)


def take(person: User, run: Run | None = None) -> Claim:
    """The next item for this person, which there is."""
    (claim,) = reviewing.claim(actor=person, run=run)
    return claim


def label(person: User, value: str = YES, run: Run | None = None) -> Label:
    """Claim the next item and say this of it."""
    return reviewing.answer(actor=person, token=take(person, run).token, value=value)


def expire(*claims: Claim) -> None:
    """Let ten minutes pass, by the database's clock, for these leases."""
    Review.objects.filter(pk__in=[claim.review_id for claim in claims]).update(
        leased_until=Now() - timedelta(seconds=1)
    )


def refused(code: str, error: "pytest.ExceptionInfo[PortalError]") -> bool:
    """Whether the refusal has this code, and a sentence."""
    return error.value.code == code and error.value.message.endswith(".")


def recounted(run: Run) -> dict[str, int]:
    """The counters of a run, from its rows."""
    reviews = Review.objects.filter(run=run, kind=Review.Kind.LABEL)
    items = Item.objects.filter(run=run)
    return {
        "reviews_needed": reviews.exclude(state=Review.State.VOID).count(),
        "reviews_done": reviews.filter(state=Review.State.DONE).count(),
        "settled": items.filter(state=Item.State.SETTLED).count(),
        "to_adjudicate": items.filter(state=Item.State.DISPUTED).count(),
    }


def counters(run: Run) -> dict[str, int]:
    """The counters of a run, as it keeps them."""
    return {name: getattr(Run.objects.get(pk=run.pk), name) for name in recounted(run)}


# -- Claiming -------------------------------------------------------------------------------


def test_claim__open_run__leased_for_ten_minutes_by_the_databases_clock(anna: User) -> None:
    run = make_run()
    (item,) = make_items(run, 1)

    claim = take(anna)

    review = Review.objects.annotate(now=Now()).get()
    assert (claim.item, claim.run, claim.review_id) == (item, run, review.pk)
    assert (review.state, review.holder, review.leased_until) == ("leased", anna, claim.leased_until)
    assert review.leased_at is not None
    assert review.leased_until == review.leased_at + timedelta(minutes=10)
    assert timedelta(0) <= review.now - review.leased_at < timedelta(minutes=1)
    assert len(claim.token) == 32


def test_claim__nobody_may_label__refused(mallory: User) -> None:
    make_items(make_run(), 1)

    with pytest.raises(Forbidden):
        reviewing.claim(actor=mallory)

    assert Review.objects.get().state == "open"


def test_claim__by_priority_then_chance(anna: User) -> None:
    run = make_run()
    make_items(run, 5)
    for place, review in enumerate(Review.objects.order_by("pk")):
        Review.objects.filter(pk=review.pk).update(priority=-(place == 3), shuffle=10 - place)
    ids = list(Review.objects.order_by("pk").values_list("pk", flat=True))

    taken = []
    for _ in range(5):
        claim = take(anna)
        taken.append(claim.review_id)
        reviewing.answer(actor=anna, token=claim.token, value=YES)

    assert taken == [ids[3], ids[4], ids[2], ids[1], ids[0]]


def test_claim__two_held__those_again_with_a_fresh_lease(anna: User) -> None:
    make_items(make_run(), 4)
    first, second = reviewing.claim(actor=anna, count=2)
    expire(first, second)

    again = reviewing.claim(actor=anna, count=2)
    one = reviewing.claim(actor=anna)

    assert [claim.token for claim in again] == [first.token, second.token]
    assert [claim.token for claim in one] == [first.token]
    assert min(claim.leased_until for claim in again) > max(first.leased_until, second.leased_until)
    assert Review.objects.filter(state="leased").count() == 2


def test_claim__both_held_in_another_run__refused(anna: User) -> None:
    make_items(make_run(), 2)
    other = make_run()
    make_items(other, 1)
    assert len(reviewing.claim(actor=anna, count=2)) == 2

    with pytest.raises(Conflict) as error:
        reviewing.claim(actor=anna, run=other)

    assert refused("holds_enough", error)


def test_claim__item_that_needs_two__never_twice_to_one_person(anna: User, ben: User) -> None:
    make_items(make_run(), 1, reviews=2)
    claim = take(anna)
    assert reviewing.claim(actor=anna) == []
    reviewing.answer(actor=anna, token=claim.token, value=YES)

    assert reviewing.claim(actor=anna) == []
    assert take(ben).item == claim.item


def test_claim__expired_lease__taken_only_when_nothing_is_open(anna: User, ben: User) -> None:
    make_items(make_run(), 2)
    first = take(anna)
    expire(first)

    assert take(ben).item != first.item
    assert take(ben).item == first.item
    assert reviewing.claim(actor=ben, count=1)[0].item != first.item  # both held: those again


def test_claim__lease_that_runs__nobody_else_gets_it(anna: User, ben: User) -> None:
    make_items(make_run(), 1)
    take(anna)

    assert reviewing.claim(actor=ben) == []


def test_claim__reviewers_named__nobody_else(anna: User, ben: User) -> None:
    run = make_run(reviewers=[anna])
    make_items(run, 1)

    assert reviewing.claim(actor=ben) == []
    with pytest.raises(NotFound):
        reviewing.claim(actor=ben, run=run)
    assert take(anna).run == run


@pytest.mark.parametrize("state", [Run.State.DRAWING, Run.State.CLOSED, Run.State.CANCELLED])
def test_claim__run_not_open__nothing(anna: User, state: Run.State) -> None:
    run = make_run(state=state)
    make_items(run, 1)

    assert reviewing.claim(actor=anna) == []
    with pytest.raises(Conflict) as error:
        reviewing.claim(actor=anna, run=run)
    assert refused("not_open", error)


def test_claim__several_runs__acceptance_first_then_the_oldest_with_work(anna: User) -> None:
    kinds = [Run.Kind.REFERRED, Run.Kind.TARGETED, Run.Kind.AUDIT, Run.Kind.AUDIT, Run.Kind.ACCEPTANCE]
    runs = [make_run(kind=kind) for kind in kinds]
    for run in runs:
        make_items(run, 1)

    worked = [label(anna).run for _ in runs]

    assert worked == [runs[4], runs[2], runs[3], runs[1], runs[0]]
    assert reviewing.claim(actor=anna) == []


def test_claim__long_queue__as_many_queries_as_a_short_one(
    anna: User, ben: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    run = make_run()
    make_items(run, 3, reviews=2)
    take(anna)
    assert ben.can("audits.label")  # the roles are read once
    with CaptureQueriesContext(transaction.get_connection()) as few:
        claim = take(ben)
    with CaptureQueriesContext(transaction.get_connection()) as first_answer:
        reviewing.answer(actor=ben, token=claim.token, value=YES)

    make_items(run, 60, reviews=2)
    for _ in range(10):
        label(ben)

    with django_assert_num_queries(len(few)):
        claim = take(ben)
    with django_assert_num_queries(len(first_answer)):
        reviewing.answer(actor=ben, token=claim.token, value=YES)


# -- Leases ---------------------------------------------------------------------------------


def test_renew__what_is_held__for_ten_minutes_more(anna: User, ben: User) -> None:
    make_items(make_run(), 3)
    mine, lost = reviewing.claim(actor=anna, count=2)
    expire(mine, lost)
    Review.objects.filter(pk=mine.review_id).update(leased_until=Now() + timedelta(seconds=5))
    take(ben)
    assert take(ben).item == lost.item

    held = reviewing.renew(actor=anna, tokens=[lost.token, mine.token, "nonsense", mine.token[::-1]])

    assert held == [mine.token]
    assert [claim.token for claim in reviewing.held(actor=anna)] == [mine.token]
    assert reviewing.held(actor=anna)[0].leased_until >= mine.leased_until


def test_renew__somebody_elses_token__nothing(anna: User, ben: User) -> None:
    make_items(make_run(), 1)
    claim = take(anna)

    assert reviewing.renew(actor=ben, tokens=[claim.token]) == []


def test_renew__one_answered__the_other_goes_on(anna: User) -> None:
    make_items(make_run(), 2)
    first, second = reviewing.claim(actor=anna, count=2)
    reviewing.answer(actor=anna, token=first.token, value=YES)
    expire(second)

    assert reviewing.renew(actor=anna, tokens=[first.token, second.token]) == [second.token]


def test_renew__swept_up_but_not_taken__comes_back_while_there_is_room(anna: User) -> None:
    make_items(make_run(), 3)
    asleep = reviewing.claim(actor=anna, count=2)
    expire(*asleep)
    tasks.sweep()
    assert reviewing.held(actor=anna) == []
    fresh = reviewing.claim(actor=anna)

    held = reviewing.renew(actor=anna, tokens=[claim.token for claim in (*asleep, *fresh)])

    assert len(held) == 2
    assert fresh[0].token in held
    assert len(reviewing.held(actor=anna)) == 2


def test_release__others_get_it_at_once(anna: User, ben: User) -> None:
    make_items(make_run(), 1)
    claim = take(anna)

    reviewing.release(actor=ben, tokens=[claim.token])
    assert reviewing.claim(actor=ben) == []
    reviewing.release(actor=anna, tokens=[claim.token])

    assert take(ben).item == claim.item
    assert reviewing.renew(actor=anna, tokens=[claim.token]) == []


def test_sweep__expired_leases_of_every_kind__open_again(anna: User, ben: User) -> None:
    make_items(make_run(), 3)
    expired, running = take(anna), take(ben)
    expire(expired)

    tasks.sweep()

    states = dict(Review.objects.values_list("pk", "state"))
    assert states[expired.review_id] == "open"
    assert states[running.review_id] == "leased"


# -- Answering ------------------------------------------------------------------------------


def test_answer__item_leased_ahead__is_timed_from_the_answer_before(anna: User) -> None:
    run = make_run()
    make_items(run, 2)
    first, second = reviewing.claim(actor=anna, run=run, count=2)
    Review.objects.update(leased_at=Now() - timedelta(seconds=300))
    before = reviewing.answer(actor=anna, token=first.token, value=YES)
    Label.objects.filter(pk=before.pk).update(at=Now() - timedelta(seconds=9))

    after = reviewing.answer(actor=anna, token=second.token, value=YES)

    assert before.seconds >= 300
    assert 9 <= after.seconds < 60


def test_answer__one_review__settled_with_seconds_by_the_databases_clock(anna: User) -> None:
    run = make_run()
    make_items(run, 1)
    claim = take(anna)
    Review.objects.update(leased_at=Now() - timedelta(seconds=9))

    answer = reviewing.answer(actor=anna, token=claim.token, value=NO, note="Cabin list.")

    answer.refresh_from_db()
    item = Item.objects.get()
    assert (answer.value, answer.note, answer.person, answer.blind) == (NO, "Cabin list.", anna, True)
    assert 9 <= answer.seconds < 60
    assert (item.state, item.label, item.provenance) == ("settled", NO, "human")
    assert item.settled_at is not None
    assert (
        counters(run)
        == recounted(run)
        == {
            "reviews_needed": 1,
            "reviews_done": 1,
            "settled": 1,
            "to_adjudicate": 0,
        }
    )


def test_answer__cannot_tell__settled_without_a_label(anna: User) -> None:
    make_items(make_run(second_look_at_errors=True), 1)

    label(anna, "")

    item = Item.objects.get()
    assert (item.state, item.label, item.is_error) == ("settled", "", None)
    assert Review.objects.count() == 1


def test_answer__two_agree__settled_with_the_second(anna: User, ben: User) -> None:
    run = make_run()
    make_items(run, 1, reviews=2)

    assert label(anna).item.state == "open"
    assert label(ben).item.state == "settled"
    assert counters(run) == recounted(run)


@pytest.mark.parametrize(("first", "second"), [(YES, NO), (YES, ""), ("", NO)])
def test_answer__two_differ__disputed_and_a_lead_is_asked(
    anna: User, ben: User, first: str, second: str
) -> None:
    run = make_run()
    make_items(run, 1, reviews=2)

    label(anna, first)
    answer = label(ben, second)

    assert (answer.item.state, answer.item.label) == ("disputed", "")
    review = Review.objects.get(kind=Review.Kind.ADJUDICATION)
    assert (review.state, review.number) == ("open", 3)
    assert counters(run) == recounted(run)
    assert Run.objects.get().to_adjudicate == 1


def test_answer__three_start_together__all_three_count(anna: User, ben: User, cleo: User) -> None:
    make_items(make_run(), 1, reviews=3)
    claims = [(person, take(person)) for person in (anna, ben, cleo)]

    states = [
        reviewing.answer(actor=person, token=claim.token, value=YES).item.state for person, claim in claims
    ]

    assert states == ["open", "open", "settled"]


def test_answer__differs_from_the_model__somebody_else_looks_again(anna: User, ben: User) -> None:
    run = make_run(second_look_at_errors=True)
    make_items(run, 1, predicted=YES)

    assert label(anna, NO).item.state == "open"
    assert reviewing.claim(actor=anna) == []
    second = Review.objects.get(number=2)
    assert (second.second_look, second.state) == (True, "open")
    assert label(ben, NO).item.state == "settled"
    assert counters(run) == recounted(run)
    assert Run.objects.get().reviews_needed == 2


def test_answer__agrees_with_the_model__no_second_look(anna: User) -> None:
    make_items(make_run(second_look_at_errors=True), 1, predicted=YES)

    assert label(anna, YES).item.state == "settled"
    assert Review.objects.count() == 1


def test_answer__known_answer__settled_by_one_and_never_disputed(anna: User, ben: User) -> None:
    run = make_run(second_look_at_errors=True)
    make_items(run, 1, stream=Stream.GOLD, gold=NO, predicted=YES, reviews=2)

    assert label(anna, NO).item.state == "settled"
    assert label(ben, YES).item.state == "settled"
    assert Item.objects.get().label == NO
    assert Review.objects.count() == Label.objects.count() == 2
    assert counters(run) == recounted(run)


def test_answer__the_same_twice__one_label(anna: User) -> None:
    run = make_run()
    make_items(run, 1)
    claim = take(anna)

    first = reviewing.answer(actor=anna, token=claim.token, value=YES)
    again = reviewing.answer(actor=anna, token=claim.token, value=YES)

    assert again == first == Label.objects.get()
    assert again.item.state == "settled"
    assert counters(run) == recounted(run)


def test_answer__the_same_after_closing__still_the_label(anna: User, lena: User) -> None:
    run = make_run()
    make_items(run, 1)
    claim = take(anna)
    first = reviewing.answer(actor=anna, token=claim.token, value=YES)
    close_run(actor=lena, run=run)

    assert reviewing.answer(actor=anna, token=claim.token, value=YES) == first


def test_answer__another_value_for_a_used_token__refused(anna: User) -> None:
    make_items(make_run(), 1)
    claim = take(anna)
    reviewing.answer(actor=anna, token=claim.token, value=YES)

    with pytest.raises(Conflict) as error:
        reviewing.answer(actor=anna, token=claim.token, value=NO)

    assert refused("answered", error)
    assert Label.objects.get().value == YES


@pytest.mark.parametrize("send", [reviewing.answer, reviewing.send_anyway])
def test_answer__somebody_elses_token__refused(anna: User, ben: User, send: Any) -> None:
    make_items(make_run(), 1)
    claim = take(anna)

    with pytest.raises(Conflict) as error:
        send(actor=ben, token=claim.token, value=YES)

    assert refused("lease_lost", error)
    reviewing.answer(actor=anna, token=claim.token, value=YES)
    with pytest.raises(Conflict) as error:
        send(actor=ben, token=claim.token, value=YES)
    assert refused("lease_lost", error)
    assert Label.objects.count() == 1


@pytest.mark.parametrize("token", ["", "x", "\0", "é" * 32, "A" * 31, "A" * 32, "=" * 32, "/" * 32, "A" * 33])
def test_answer__no_token__refused(anna: User, token: str) -> None:
    make_items(make_run(), 1)
    take(anna)

    for send in (reviewing.answer, reviewing.send_anyway):
        with pytest.raises(Conflict) as error:
            send(actor=anna, token=token, value=YES)
        assert refused("lease_lost", error)


def test_answer__bad_input__refused_at_its_place(anna: User, mallory: User) -> None:
    make_items(make_run(), 1)
    claim = take(anna)

    for value, note, path in (("unknown", "", "label"), (YES, "x" * 501, "note")):
        with pytest.raises(Invalid) as error:
            reviewing.answer(actor=anna, token=claim.token, value=value, note=note)
        assert [problem.path for problem in error.value.errors] == [path]
    with pytest.raises(NotFound):
        reviewing.answer(actor=anna, token=claim.token, value=YES, item_id=claim.item.pk + 1)
    with pytest.raises(Forbidden):
        reviewing.answer(actor=mallory, token=claim.token, value=YES)

    assert Label.objects.count() == 0
    assert reviewing.renew(actor=anna, tokens=[claim.token]) == [claim.token]


def test_answer__run_closed_meanwhile__refused(anna: User, lena: User) -> None:
    run = make_run()
    make_items(run, 2)
    first, second = reviewing.claim(actor=anna, count=2)
    answer = reviewing.answer(actor=anna, token=first.token, value=YES)
    close_run(actor=lena, run=run)

    for late in (reviewing.answer, reviewing.send_anyway):
        with pytest.raises(Conflict) as error:
            late(actor=anna, token=second.token, value=YES)
        assert refused("run_closed", error)
    with pytest.raises(Conflict) as error:
        reviewing.undo(actor=anna, label_id=answer.pk)
    assert refused("run_closed", error)
    assert Label.objects.count() == 1


def test_answer__expired_but_not_taken__counts(anna: User) -> None:
    make_items(make_run(), 2)
    first, second = reviewing.claim(actor=anna, count=2)
    expire(first, second)
    reviewing.answer(actor=anna, token=first.token, value=YES)
    tasks.sweep()

    assert reviewing.answer(actor=anna, token=second.token, value=YES).item.state == "settled"


def test_answer__taken_by_another__refused_and_the_other_goes_on(anna: User, ben: User) -> None:
    make_items(make_run(), 1)
    late = take(anna)
    expire(late)
    claim = take(ben)

    with pytest.raises(Conflict) as error:
        reviewing.answer(actor=anna, token=late.token, value=NO)

    assert refused("lease_lost", error)
    assert Label.objects.count() == 0
    assert reviewing.answer(actor=ben, token=claim.token, value=YES).item.label == YES


def test_answer__other_review_of_the_item_taken_since__given_back(anna: User) -> None:
    """Asleep over one review, a person may be given the other of the same item, and then wake up."""
    run = make_run()
    make_items(run, 1, reviews=2)
    asleep = take(anna)
    expire(asleep)
    tasks.sweep()
    Review.objects.filter(pk=asleep.review_id).update(priority=1)
    other = take(anna)
    assert other.review_id != asleep.review_id

    assert reviewing.renew(actor=anna, tokens=[asleep.token, other.token]) == [other.token]
    reviewing.answer(actor=anna, token=asleep.token, value=YES)

    assert reviewing.held(actor=anna) == []
    with pytest.raises(Conflict) as error:
        reviewing.answer(actor=anna, token=other.token, value=YES)
    assert refused("answered", error) or refused("lease_lost", error)
    assert counters(run) == recounted(run)


# -- Late answers ---------------------------------------------------------------------------


def test_send_anyway__item_still_short__an_extra_review(anna: User, ben: User) -> None:
    run = make_run()
    make_items(run, 1)
    late = take(anna)
    expire(late)
    claim = take(ben)

    extra = reviewing.send_anyway(actor=anna, token=late.token, value=NO, note="Was at lunch.")
    again = reviewing.send_anyway(actor=anna, token=late.token, value=NO)

    assert again == extra
    assert (extra.review.number, extra.review.state, extra.item.state) == (2, "done", "open")
    assert reviewing.answer(actor=ben, token=claim.token, value=YES).item.state == "disputed"
    assert counters(run) == recounted(run)
    assert Run.objects.get().reviews_needed == 2


def test_send_anyway__item_settled_since__refused_and_nothing_stored(anna: User, ben: User) -> None:
    run = make_run()
    make_items(run, 1)
    late = take(anna)
    expire(late)
    label(ben)

    with pytest.raises(Conflict) as error:
        reviewing.send_anyway(actor=anna, token=late.token, value=NO)

    assert refused("not_needed", error)
    assert Label.objects.count() == Review.objects.count() == 1
    assert counters(run) == recounted(run)


def test_send_anyway__lease_still_there__a_plain_answer(anna: User) -> None:
    make_items(make_run(), 1)

    answer = reviewing.send_anyway(actor=anna, token=take(anna).token, value=NO)

    assert answer.item.state == "settled"
    assert Review.objects.count() == 1


# -- Skipping -------------------------------------------------------------------------------


def test_skip__one_person__others_get_it_and_it_counts_as_nothing(anna: User, ben: User) -> None:
    run = make_run()
    make_items(run, 1)
    claim = take(anna)

    declined = reviewing.skip(actor=anna, token=claim.token, reason="upsetting", note="Violence.")

    assert (declined.item, declined.person, declined.reason) == (claim.item, anna, "upsetting")
    assert reviewing.claim(actor=anna) == []
    assert reviewing.renew(actor=anna, tokens=[claim.token]) == []
    with pytest.raises(Conflict):
        reviewing.answer(actor=anna, token=claim.token, value=YES)
    assert label(ben).item.state == "settled"
    assert counters(run) == recounted(run)


def test_skip__bad_reason_or_lost_lease__refused(anna: User, ben: User) -> None:
    make_items(make_run(), 1)
    claim = take(anna)

    with pytest.raises(Invalid):
        reviewing.skip(actor=anna, token=claim.token, reason="bored")
    expire(claim)
    take(ben)
    with pytest.raises(Conflict) as error:
        reviewing.skip(actor=anna, token=claim.token, reason="other")

    assert refused("lease_lost", error)
    assert Decline.objects.count() == 0


def test_passed_over__everybody_skipped_or_answered__leads_see_it(anna: User, ben: User, lena: User) -> None:
    run = make_run(reviewers=[anna, ben])
    skipped, mixed, half = make_items(run, 3, reviews=3)
    for person, skips in ((anna, [skipped, mixed]), (ben, [skipped])):
        for _ in range(3):
            claim = take(person, run)
            if claim.item in skips:
                reviewing.skip(actor=person, token=claim.token, reason="skill")
            elif claim.item == half and person == ben:
                reviewing.release(actor=person, tokens=[claim.token])
                Review.objects.filter(item=half).update(priority=1)
            else:
                reviewing.answer(actor=person, token=claim.token, value=YES)

    assert set(passed_over(run)) == {skipped, mixed}
    run.reviewers.clear()
    assert list(passed_over(run)) == []  # Lena may label too


# -- Second thoughts ------------------------------------------------------------------------


def test_undo__settled_item__open_again_and_in_the_same_hands(anna: User) -> None:
    run = make_run()
    make_items(run, 1)
    before = take(anna)
    first = reviewing.answer(actor=anna, token=before.token, value=NO)

    claim = reviewing.undo(actor=anna, label_id=first.pk)

    first.refresh_from_db()
    assert first.withdrawn_at is not None
    assert (claim.item, claim.item.state, claim.item.label) == (first.item, "open", "")
    assert counters(run) == recounted(run)
    with pytest.raises(Conflict) as error:
        reviewing.answer(actor=anna, token=before.token, value=NO)
    assert refused("withdrawn", error)
    second = reviewing.answer(actor=anna, token=claim.token, value=YES)
    assert second.pk != first.pk
    assert (second.item.state, second.item.label) == ("settled", YES)
    assert reviewing.recent(anna) == [second]
    assert counters(run) == recounted(run)


def test_undo__disputed_item__no_lead_is_asked_any_more(anna: User, ben: User, lena: User) -> None:
    run = make_run()
    make_items(run, 1, reviews=2)
    label(anna, YES)
    wrong = label(ben, NO)
    dispute = adjudicating.claim_dispute(actor=lena)
    assert dispute is not None

    claim = reviewing.undo(actor=ben, label_id=wrong.pk)

    assert adjudicating.claim_dispute(actor=lena) is None
    with pytest.raises(Conflict) as error:
        adjudicating.decide(actor=lena, token=dispute.token, value=NO)
    assert refused("lease_lost", error)
    assert counters(run) == recounted(run)
    assert reviewing.answer(actor=ben, token=claim.token, value=YES).item.state == "settled"
    assert counters(run) == recounted(run)


def test_undo__second_look_not_begun__not_wanted_any_more(anna: User, ben: User) -> None:
    run = make_run(second_look_at_errors=True)
    make_items(run, 1, predicted=YES)
    wrong = label(anna, NO)

    claim = reviewing.undo(actor=anna, label_id=wrong.pk)

    assert reviewing.claim(actor=ben) == []
    assert reviewing.answer(actor=anna, token=claim.token, value=YES).item.state == "settled"
    assert counters(run) == recounted(run)
    assert Run.objects.get().reviews_needed == 1


def test_undo__lead_has_decided__refused(anna: User, ben: User, lena: User) -> None:
    make_items(make_run(), 1, reviews=2)
    mine = label(anna, YES)
    label(ben, NO)
    dispute = adjudicating.claim_dispute(actor=lena)
    assert dispute is not None
    adjudicating.decide(actor=lena, token=dispute.token, value=NO)

    with pytest.raises(Conflict) as error:
        reviewing.undo(actor=anna, label_id=mine.pk)

    assert refused("decided", error)
    assert Label.objects.filter(withdrawn_at=None).count() == 3


def test_undo__two_held_already__the_later_is_given_back_but_may_still_be_answered(anna: User) -> None:
    make_items(make_run(), 3)
    done = label(anna)
    on_screen, after = reviewing.claim(actor=anna, count=2)

    claim = reviewing.undo(actor=anna, label_id=done.pk)

    assert {held.token for held in reviewing.held(actor=anna)} == {on_screen.token, claim.token}
    for token in (claim.token, on_screen.token, after.token):
        assert reviewing.answer(actor=anna, token=token, value=YES).item.state == "settled"


def test_undo__twice_somebody_elses_or_too_late__refused(anna: User, ben: User) -> None:
    make_items(make_run(), 21)
    answers = [label(anna) for _ in range(21)]

    with pytest.raises(Conflict) as error:
        reviewing.undo(actor=anna, label_id=answers[0].pk)
    assert refused("too_late", error)
    with pytest.raises(NotFound):
        reviewing.undo(actor=ben, label_id=answers[20].pk)
    reviewing.undo(actor=anna, label_id=answers[20].pk)
    with pytest.raises(Conflict) as error:
        reviewing.undo(actor=anna, label_id=answers[20].pk)
    assert refused("withdrawn", error)
    assert [answer.pk for answer in reviewing.recent(anna)] == [
        answer.pk for answer in reversed(answers[:20])
    ]
    # With one withdrawn, the first is among the last twenty again.
    assert reviewing.undo(actor=anna, label_id=answers[0].pk).item == answers[0].item


# -- Any sequence of all of this ------------------------------------------------------------

STEPS = ["claim", "answer", "late", "expire", "skip", "undo", "release", "renew", "decide", "overrule"]
step = st.tuples(st.sampled_from(STEPS), st.integers(0, 2), st.sampled_from(["", NO, YES]), st.integers(0, 5))


@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(steps=st.lists(step, min_size=20, max_size=40), second_look=st.booleans())
def test_queue__any_steps__rows_and_counters_say_the_same(
    anna: User, ben: User, cleo: User, lena: User, steps: list[Any], second_look: bool
) -> None:
    with _put_back():
        run = make_run(second_look_at_errors=second_look)
        for reviews in (1, 2, 3):
            make_items(run, 1, reviews=reviews)
        make_items(run, 1, reviews=2, stream=Stream.GOLD, gold=NO)
        people = [anna, ben, cleo]
        handed_out: list[tuple[User, str]] = []
        for verb, who, value, place in steps:
            # A refusal changes nothing that the rows would not show.
            with suppress(PortalError):
                handed_out += _do(verb, people[who], lena, value, place, handed_out)
            _check(run)


def _do(
    verb: str, person: User, lead: User, value: str, place: int, handed_out: list[tuple[User, str]]
) -> list[tuple[User, str]]:
    """One step; the tokens that it hands out. Any token ever handed out may be used, by its owner."""
    mine = [token for owner, token in handed_out if owner == person]
    token = mine[place % len(mine)] if mine else ""
    held = reviewing.held(actor=person)
    if verb == "claim":
        return [(person, claim.token) for claim in reviewing.claim(actor=person, count=1 + place % 2)]
    if verb == "answer" and held:
        reviewing.answer(actor=person, token=held[0].token, value=value)
    elif verb == "late" and token:
        send = reviewing.send_anyway if place % 2 else reviewing.answer
        send(actor=person, token=token, value=value)
    elif verb == "expire":
        expire(*held)
        if place % 2:
            tasks.sweep()
    elif verb == "skip" and held:
        reviewing.skip(actor=person, token=held[-1].token, reason="other")
    elif verb == "undo" and (recent := reviewing.recent(person)):
        return [(person, reviewing.undo(actor=person, label_id=recent[place % len(recent)].pk).token)]
    elif verb == "release":
        reviewing.release(actor=person, tokens=mine)
    elif verb == "renew":
        reviewing.renew(actor=person, tokens=mine)
    elif verb == "decide" and (dispute := adjudicating.claim_dispute(actor=lead)):
        adjudicating.decide(actor=lead, token=dispute.token, value=value)
    elif verb == "overrule" and (decided := adjudicating.recent(lead)):
        adjudicating.undo(actor=lead, label_id=decided[0].pk)
    return []


def _check(run: Run) -> None:
    """What must hold at any time, told from the rows alone."""
    assert counters(run) == recounted(run)
    reviews = list(Review.objects.filter(run=run))
    labels = list(Label.objects.filter(run=run, withdrawn_at=None).order_by("pk"))
    leased = Counter((review.holder_id, review.kind) for review in reviews if review.state == "leased")
    assert max(leased.values(), default=0) <= reviewing.HELD_MOST
    assert {review.pk for review in reviews if review.state == "done"} == {
        label.review_id for label in labels
    }
    assert len({(label.item_id, label.person_id) for label in labels}) == len(labels)
    for item in Item.objects.filter(run=run):
        said = [label for label in labels if label.item_id == item.pk]
        decision = [label.value for label in said if label.adjudicates]
        values = [label.value for label in said if not label.adjudicates]
        waiting = [
            review.kind
            for review in reviews
            if review.item_id == item.pk and review.state in {"open", "leased"}
        ]
        if item.stream == "gold":
            expected = ("settled", values[0]) if values else ("open", "")
        elif decision:
            expected = ("settled", decision[0])
        elif "label" in waiting:
            expected = ("open", "")
        else:
            expected = ("settled", values[0]) if len(set(values)) == 1 else ("disputed", "")
        assert (item.state, item.label) == expected
        assert waiting.count("adjudication") == (item.state == "disputed")
        if run.second_look_at_errors and item.stream != "gold" and item.state == "settled":
            assert decision or len(values) > 1 or values[0] in {"", item.predicted}


@contextmanager
def _put_back() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
