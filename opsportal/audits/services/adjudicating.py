"""Decide between answers that differ: by an audit lead who has not labelled the item, with all in view."""

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from opsportal.accounts.models import User
from opsportal.audits.models import Item, Label, Provenance, Review, Run
from opsportal.audits.services import leasing, reviewing, settling
from opsportal.audits.services.closing import hold_off_closing
from opsportal.audits.services.leasing import Claim, Token
from opsportal.core.errors import Forbidden, NotFound
from opsportal.events import services as events

__all__ = ["Claim", "claim_dispute", "decide", "held", "recent", "undo"]

_ADJUDICATION = Review.Kind.ADJUDICATION


def claim_dispute(*, actor: User, run: Run | None = None) -> Claim | None:
    """Lease the next item that waits for a decision to this lead, of the run or the oldest one; None if none.

    Whoever holds one already gets it again, with a fresh lease. Never an item that they labelled
    themselves or passed over. Raises Forbidden.
    """
    _check(actor)
    disputed = Run.objects.filter(state=Run.State.OPEN, to_adjudicate__gt=0).order_by("pk")
    runs = list(disputed if run is None else disputed.filter(pk=run.pk))
    with transaction.atomic():
        leasing.lock_person(actor.pk)
        for review in leasing.held_by(actor.pk, _ADJUDICATION).filter(run__in=runs)[:1]:
            leasing.renew(actor.pk, [leasing.token_of(review)])
            review.refresh_from_db(fields=["leased_until"])
            return leasing.claim_of(review)
        taken = leasing.take_many(actor.pk, runs, _ADJUDICATION, 1)
    return leasing.claim_of(taken[0]) if taken else None


def held(*, actor: User) -> list[Claim]:
    """What this lead holds, longest held first. Nothing is renewed."""
    return [leasing.claim_of(review) for review in leasing.held_by(actor.pk, _ADJUDICATION)]


def decide(*, actor: User, token: str, value: str, note: str = "") -> Label:
    """Settle a disputed item (empty value: it cannot be told); the decision, with its item and run.

    Any label of the run will do, also one that nobody gave. note: why, or that the guidelines are
    unclear. The same decision again changes nothing. Locks the item; one event. Raises Forbidden (also
    for an item that this lead labelled), Invalid, Conflict (`lease_lost`, `answered`, `withdrawn`,
    `run_closed`).
    """
    _check(actor)
    lease = Token.read(token)
    with transaction.atomic():
        hold_off_closing(lease.run_id)
        found = settling.lock_review(lease)
        if found is None:
            raise leasing.lost("This item is no longer there.")
        now, review = found
        item, run = review.item, review.run
        labels = list(Label.objects.filter(item=item).order_by("pk"))
        if again := reviewing.same_answer(labels, review, lease, actor, value):
            return again
        reviewing.check_answer(run, value, note)
        answers = [label for label in labels if label.withdrawn_at is None]
        if any(label.person_id == actor.pk for label in answers):
            raise Forbidden("Somebody who has not labelled this item decides about it.")
        if review.kind != _ADJUDICATION or not leasing.finish(lease, actor.pk):
            raise leasing.lost()
        decision = Label.objects.create(
            run=run,
            item=item,
            review=review,
            person=actor,
            token=lease.nonce,
            value=value,
            note=note,
            blind=run.blind,
            adjudicates=True,
            seconds=max((now - (review.leased_at or now)).total_seconds(), 0.0),
            at=now,
        )
        settling.write(item, Item.State.SETTLED, value, Provenance.ADJUDICATED)
        settling.count(run.pk, before=Item.State.DISPUTED, after=Item.State.SETTLED)
        events.record(
            actor=actor,
            verb="item.adjudicated",
            subject_type="run",
            subject_id=run.pk,
            summary=f"Decided between {len(answers)} answers in “{run.title}”",
            before={"item": item.pk, "answers": [label.value for label in answers]},
            after={"item": item.pk, "label": value},
        )
    return decision


def recent(actor: User, limit: int = reviewing.UNDO_MOST) -> list[Label]:
    """The lead's last decisions that stand, newest first, with items and runs; at most twenty."""
    return list(_own(actor).select_related("item", "run")[: min(limit, reviewing.UNDO_MOST)])


def undo(*, actor: User, label_id: int) -> Claim:
    """Take one of one's last twenty decisions back and hold the disputed item again.

    Locks the item; one event. Raises Forbidden, NotFound, Conflict (`run_closed`, `too_late`, `withdrawn`).
    """
    _check(actor)
    decision = (
        Label.objects.select_related("review").filter(pk=label_id, person=actor, adjudicates=True).first()
    )
    if decision is None:
        raise NotFound("There is no such decision of yours.")
    with transaction.atomic():
        hold_off_closing(decision.run_id)
        leasing.lock_person(actor.pk)
        item = settling.lock_item(decision.item_id)
        if item.run.state != Run.State.OPEN:
            raise reviewing.closed(item.run)
        reviewing.check_undo(decision, _own(actor))
        Label.objects.filter(pk=decision.pk).update(withdrawn_at=Now())
        leasing.hand_back(decision.review, actor.pk)
        settling.write(item, Item.State.DISPUTED, "", "")
        settling.count(item.run_id, before=Item.State.SETTLED, after=Item.State.DISPUTED)
        review = Review.objects.select_related("item", "run").get(pk=decision.review_id)
        events.record(
            actor=actor,
            verb="item.reopened",
            subject_type="run",
            subject_id=item.run_id,
            summary=f"Took a decision back in “{item.run.title}”",
            before={"item": item.pk, "label": decision.value},
            after={"item": item.pk},
        )
    return leasing.claim_of(review)


def _own(actor: User) -> "QuerySet[Label]":
    return Label.objects.filter(person=actor, adjudicates=True, withdrawn_at=None).order_by("-at", "-pk")


def _check(actor: User) -> None:
    if not actor.can("audits.lead"):
        raise Forbidden("Only an audit lead decides between answers.")
