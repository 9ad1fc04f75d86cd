"""Decisions between answers: who may take them, what they do, and how they are taken back."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from opsportal.accounts.models import User
from opsportal.accounts.permissions import Role
from opsportal.audits.models import Item, Label, Review, Run
from opsportal.audits.services import adjudicating, reviewing
from opsportal.audits.services.closing import close_run
from opsportal.audits.services.reviewing import Claim
from opsportal.core.errors import Conflict, Forbidden, Invalid, NotFound
from opsportal.events.models import Event
from tests.audits.making import make_items, make_run
from tests.audits.test_reviewing import NO, YES, counters, expire, recounted, refused
from tests.conftest import make_person

pytestmark = pytest.mark.django_db


@pytest.fixture
def anna(db: None) -> User:
    """An auditor."""
    return make_person("anna", Role.AUDITOR)


@pytest.fixture
def lead(db: None) -> User:
    """An audit lead besides Lena."""
    return make_person("lead", Role.AUDIT_LEAD)


@pytest.fixture
def run(db: None) -> Run:
    """An open run."""
    return make_run()


def dispute(run: Run, first: User, second: User) -> Item:
    """An item of which these two say different things."""
    (item,) = make_items(run, 1, reviews=2)
    for person, value in ((first, YES), (second, NO)):
        claim = next(claim for claim in reviewing.claim(actor=person, run=run) if claim.item == item)
        reviewing.answer(actor=person, token=claim.token, value=value)
    return item


def take(person: User) -> Claim:
    """The next dispute, which there is."""
    claim = adjudicating.claim_dispute(actor=person)
    assert claim is not None
    return claim


@pytest.mark.parametrize("value", [NO, ""])
def test_decide__dispute__settled_for_good_with_an_event(
    run: Run, anna: User, lead: User, lena: User, value: str
) -> None:
    item = dispute(run, anna, lead)

    decision = adjudicating.decide(actor=lena, token=take(lena).token, value=value, note="Ticket 2.")

    item.refresh_from_db()
    assert (item.state, item.label, item.provenance) == ("settled", value, "adjudicated")
    assert (decision.adjudicates, decision.note, decision.item) == (True, "Ticket 2.", item)
    assert counters(run) == recounted(run)
    assert Run.objects.get().to_adjudicate == 0
    event = Event.objects.get(verb="item.adjudicated")
    assert (event.actor_name, event.subject_type, event.subject_id) == ("lena", "run", str(run.pk))
    assert event.before == {"item": item.pk, "answers": [YES, NO]}
    assert event.after == {"item": item.pk, "label": value}
    assert event.reason == ""  # a note may quote the text


def test_claim_dispute__lead_who_labelled_it__never(run: Run, anna: User, lead: User, lena: User) -> None:
    item = dispute(run, anna, lead)

    assert adjudicating.claim_dispute(actor=lead) is None
    claim = take(lena)
    assert claim.item == item
    Review.objects.filter(pk=claim.review_id).update(holder=lead)
    claim = adjudicating.held(actor=lead)[0]
    with pytest.raises(Forbidden):
        adjudicating.decide(actor=lead, token=claim.token, value=YES)
    assert Item.objects.get().state == "disputed"


def test_dispute__auditor__neither_claims_nor_decides(run: Run, anna: User, lead: User, lena: User) -> None:
    dispute(run, anna, lead)
    token = take(lena).token
    outsider = make_person("ben", Role.AUDITOR)

    with pytest.raises(Forbidden):
        adjudicating.claim_dispute(actor=outsider)
    with pytest.raises(Forbidden):
        adjudicating.decide(actor=outsider, token=token, value=YES)
    assert reviewing.claim(actor=outsider) == []
    for send in (reviewing.answer, reviewing.send_anyway):
        with pytest.raises(Conflict) as error:
            send(actor=lena, token=token, value=YES)
        assert refused("lease_lost", error)
    assert Label.objects.count() == 2


def test_claim_dispute__held_already__the_same_again(run: Run, anna: User, lead: User, lena: User) -> None:
    dispute(run, anna, lead)
    dispute(run, anna, lead)
    first = take(lena)
    expire(first)

    again = take(lena)

    assert again.token == first.token
    assert again.leased_until > first.leased_until - timedelta(seconds=1)
    assert Review.objects.filter(state="leased", leased_until__gt=Now()).count() == 1


def test_decide__lease_lost_to_another_lead__refused(run: Run, anna: User, lead: User, lena: User) -> None:
    third = make_person("third", Role.AUDIT_LEAD)
    dispute(run, anna, lead)
    late = take(lena)
    expire(late)
    claim = take(third)

    with pytest.raises(Conflict) as error:
        adjudicating.decide(actor=lena, token=late.token, value=YES)

    assert refused("lease_lost", error)
    assert adjudicating.decide(actor=third, token=claim.token, value=NO).item.label == NO


def test_decide__twice_or_badly__once_and_in_words(run: Run, anna: User, lead: User, lena: User) -> None:
    dispute(run, anna, lead)
    token = take(lena).token
    with pytest.raises(Invalid):
        adjudicating.decide(actor=lena, token=token, value="perhaps")
    first = adjudicating.decide(actor=lena, token=token, value=YES)

    assert adjudicating.decide(actor=lena, token=token, value=YES) == first
    with pytest.raises(Conflict) as error:
        adjudicating.decide(actor=lena, token=token, value=NO)

    assert refused("answered", error)
    assert Event.objects.filter(verb="item.adjudicated").count() == 1


def test_undo__own_decision__disputed_again_in_the_same_hands(
    run: Run, anna: User, lead: User, lena: User
) -> None:
    item = dispute(run, anna, lead)
    decision = adjudicating.decide(actor=lena, token=take(lena).token, value=YES)
    assert adjudicating.recent(lena) == [decision]
    assert reviewing.recent(lena) == []

    claim = adjudicating.undo(actor=lena, label_id=decision.pk)

    item.refresh_from_db()
    assert (claim.item, item.state, item.label, item.provenance) == (item, "disputed", "", "")
    assert counters(run) == recounted(run)
    assert adjudicating.recent(lena) == []
    assert Event.objects.get(verb="item.reopened").before == {"item": item.pk, "label": YES}
    with pytest.raises(Conflict) as error:
        adjudicating.undo(actor=lena, label_id=decision.pk)
    assert refused("withdrawn", error)
    assert adjudicating.decide(actor=lena, token=claim.token, value=NO).item.label == NO
    assert counters(run) == recounted(run)


def test_undo__somebody_elses_an_answer_or_a_closed_run__refused(
    run: Run, anna: User, lead: User, lena: User
) -> None:
    dispute(run, anna, lead)
    decision = adjudicating.decide(actor=lena, token=take(lena).token, value=YES)
    own_answer = label_of(lead)

    for person, pk in ((lead, decision.pk), (lead, own_answer.pk)):
        with pytest.raises(NotFound):
            adjudicating.undo(actor=person, label_id=pk)
    with pytest.raises(NotFound):
        reviewing.undo(actor=lena, label_id=decision.pk)
    close_run(actor=lena, run=run)
    with pytest.raises(Conflict) as error:
        adjudicating.undo(actor=lena, label_id=decision.pk)
    assert refused("run_closed", error)
    assert Item.objects.get().label == YES


def label_of(person: User) -> Label:
    """The one answer of this person."""
    return Label.objects.get(person=person)


def test_claim_dispute__run_given__of_that_run_alone(run: Run, anna: User, lead: User, lena: User) -> None:
    dispute(run, anna, lead)
    other = make_run()
    item = dispute(other, anna, lead)

    claim = adjudicating.claim_dispute(actor=lena, run=other)

    assert claim is not None
    assert claim.item == item
    assert adjudicating.claim_dispute(actor=lena, run=make_run()) is None
