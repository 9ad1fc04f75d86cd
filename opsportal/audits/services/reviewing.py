"""The review queue: take an item, say what it is, pass it over, think better of it.

An answer leaves no event: Label rows are its trail, and nothing in them is ever changed.
"""

from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from opsportal.accounts.models import User
from opsportal.audits.models import Decline, Label, Provenance, Review, Run
from opsportal.audits.services import leasing, settling
from opsportal.audits.services.closing import hold_off_closing
from opsportal.audits.services.leasing import HELD_MOST, LEASE, LEASE_LOST, Claim, Token
from opsportal.core import clock
from opsportal.core.errors import Conflict, Forbidden, Invalid, NotFound

__all__ = [
    "HELD_MOST",
    "LEASE",
    "LEASE_LOST",
    "NOTE_MAX",
    "UNDO_MOST",
    "Claim",
    "answer",
    "claim",
    "held",
    "recent",
    "release",
    "renew",
    "send_anyway",
    "skip",
    "undo",
]

NOTE_MAX = 500
# So many of a person's last answers can be taken back.
UNDO_MOST = 20
_LABEL = Review.Kind.LABEL
# What is asked for first, when nobody names a run.
_ORDER = [Run.Kind.ACCEPTANCE, Run.Kind.AUDIT, Run.Kind.TARGETED, Run.Kind.REFERRED]


def claim(*, actor: User, run: Run | None = None, count: int = 1) -> list[Claim]:
    """Lease up to `count` more reviews to the person for ten minutes; fewer or none when there is no more.

    Of the given run, else of the oldest open run with work for this person (acceptance samples first).
    Nobody holds more than two: who does already gets those again, longest held first, with a fresh lease.
    Leases that have expired are taken only when nothing is open. A few indexed statements, however long
    the queue. Raises Forbidden, NotFound (a run this person does not review), Conflict (`not_open`; or
    `holds_enough`: both are items of another run).
    """
    _check(actor)
    if run is not None:
        _check_run(actor, run)
    runs = [run] if run else open_runs(actor)
    with transaction.atomic():
        leasing.lock_person(actor.pk)
        taken = leasing.take_many(actor.pk, runs, _LABEL, count)
        if not taken and not leasing.has_room(actor.pk, _LABEL):
            return _held_again(actor, run, count)
    return [leasing.claim_of(review) for review in taken]


def held(*, actor: User, run: Run | None = None) -> list[Claim]:
    """What the person holds, of this run if one is given, longest held first. Nothing is renewed."""
    rows = leasing.held_by(actor.pk, _LABEL).filter(run__state=Run.State.OPEN)
    return [leasing.claim_of(row) for row in (rows.filter(run=run) if run else rows)]


def renew(*, actor: User, tokens: Iterable[str]) -> list[str]:
    """Hold these for another ten minutes; the tokens that are still held. The rest is lost to others.

    For the heartbeat of a page, once a minute.
    """
    with transaction.atomic():
        leasing.lock_person(actor.pk)
        return leasing.renew(actor.pk, list(tokens))


def release(*, actor: User, tokens: Iterable[str]) -> None:
    """Let others have these at once. What was answered or lost before is passed over."""
    leasing.give_back(actor.pk, list(tokens))


def answer(*, actor: User, token: str, value: str, note: str = "", item_id: int | None = None) -> Label:
    """Say what the held item is (empty: it cannot be told); the label, with its item and run.

    The same answer again returns the same label and changes nothing. In one transaction the item is
    settled when enough people agree, given to an audit lead when they differ, or given a second look
    when the run wants one at every difference from the model. Locks the item; the run's counters last.
    item_id: the item that is meant, if the caller knows. Raises Forbidden, NotFound (the token is of
    another item), Invalid, Conflict (`lease_lost`: send_anyway may still take it; `answered`: another value
    under this token, or under another; `withdrawn`; `run_closed`).
    """
    _check(actor)
    lease = Token.read(token)
    with transaction.atomic():
        now, review, answers = _begin(lease)
        if item_id is not None and item_id != review.item_id:
            raise NotFound("This token belongs to another item.")
        if again := same_answer(answers, review, lease, actor, value):
            return again
        check_answer(review.run, value, note)
        if review.kind != _LABEL or not leasing.finish(lease, actor.pk):
            raise leasing.lost()
        label = _store(actor, review, lease, answers, now=now, value=value, note=note)
        settling.settle(review.item, [*_standing(answers), label], answered=1, by=actor.pk)
    return label


def send_anyway(*, actor: User, token: str, value: str, note: str = "") -> Label:
    """Store an answer that came after the lease was lost, as an extra review; the label.

    Only for whoever was given the token, and while the item is still short of answers. Raises what
    `answer` raises; Conflict (`not_needed`) when the item needs no more, and then nothing is stored.
    """
    _check(actor)
    lease = Token.read(token)
    with transaction.atomic():
        now, review, answers = _begin(lease)
        if again := same_answer(answers, review, lease, actor, value):
            return again
        check_answer(review.run, value, note)
        if review.kind != _LABEL or not lease.was_given_to(actor.pk):
            raise leasing.lost("This item was never given to you.")
        extra = 0
        if not leasing.finish(lease, actor.pk):
            if not settling.is_short(review.item):
                raise Conflict("This item needs no more answers; nothing was stored.", code="not_needed")
            review = settling.add_extra_review(review, actor, lease.nonce)
            extra = 1
        label = _store(actor, review, lease, answers, now=now, value=value, note=note)
        settling.settle(review.item, [*_standing(answers), label], answered=1, needed=extra, by=actor.pk)
    return label


def skip(*, actor: User, token: str, reason: str, note: str = "") -> Decline:
    """Pass the held item over, for this person alone: others get it at once, and it counts as nothing.

    Raises Forbidden, Invalid (reason, note), Conflict (`lease_lost`).
    """
    _check(actor)
    if reason not in Decline.Reason.values:
        words = ", ".join(Decline.Reason.values)
        raise Invalid.at("reason", "unknown", f"The reason must be one of: {words}.")
    check_note(note)
    lease = Token.read(token)
    with transaction.atomic():
        review = Review.objects.select_related("item__run").filter(pk=lease.review_id, kind=_LABEL).first()
        if review is None or not leasing.pass_on(lease, actor.pk):
            raise leasing.lost()
        declined, _ = Decline.objects.get_or_create(
            item=review.item, person=actor, defaults={"reason": reason, "note": note, "at": clock.now()}
        )
    return declined


def recent(actor: User, limit: int = UNDO_MOST) -> list[Label]:
    """The person's last answers that stand, newest first, with items and runs; at most twenty."""
    return list(_own(actor).select_related("item", "run")[: min(limit, UNDO_MOST)])


def undo(*, actor: User, label_id: int) -> Claim:
    """Take one of one's last twenty answers back and hold the item again.

    What the answer had settled is open again, and a lead is not asked any more. If the person holds two
    items already, the later of them is given back. Locks what `answer` locks. Raises Forbidden, NotFound,
    Conflict (`run_closed`, `decided`: a lead has decided about the item; `too_late`: not of the last
    twenty; `withdrawn`: twice).
    """
    _check(actor)
    label = Label.objects.filter(pk=label_id, person=actor, adjudicates=False).first()
    if label is None:
        raise NotFound("There is no such answer of yours.")
    with transaction.atomic():
        hold_off_closing(label.run_id)
        leasing.lock_person(actor.pk)
        item = settling.lock_item(label.item_id)
        if item.run.state != Run.State.OPEN:
            raise closed(item.run)
        check_undo(label, _own(actor))
        if item.provenance == Provenance.ADJUDICATED:
            raise Conflict("An audit lead has decided about this item.", code="decided")
        Label.objects.filter(pk=label.pk).update(withdrawn_at=Now())
        leasing.hand_back(label.review, actor.pk)
        answers = Label.objects.filter(item=item, adjudicates=False).order_by("pk")
        settling.settle(item, _standing(list(answers)), answered=-1)
        review = Review.objects.select_related("item", "run").get(pk=label.review_id)
    return leasing.claim_of(review)


def open_runs(actor: User) -> list[Run]:
    """Open runs that this person reviews, in the order in which they are worked off: by kind, then age."""
    runs = Run.objects.filter(Q(reviewers=None) | Q(reviewers=actor.pk), state=Run.State.OPEN)
    return sorted(runs.order_by("pk"), key=lambda run: _ORDER.index(Run.Kind(run.kind)))


# -- Pieces ---------------------------------------------------------------------------------


def _begin(lease: Token) -> tuple[datetime, Review, list[Label]]:
    """Hold off closing, lock the item, and read (now, review with item and run, all its answers)."""
    hold_off_closing(lease.run_id)
    found = settling.lock_review(lease)
    if found is None:
        raise leasing.lost("This item is no longer there.")
    now, review = found
    return now, review, list(Label.objects.filter(item=review.item_id, adjudicates=False).order_by("pk"))


def same_answer(answers: list[Label], review: Review, lease: Token, actor: User, value: str) -> Label | None:
    """The answer that this token brought before. Raises Conflict if it says something else."""
    label = next((label for label in answers if label.token == lease.nonce), None)
    if label is None:
        return None
    if label.person_id != actor.pk:
        raise leasing.lost()
    if label.withdrawn_at:
        raise Conflict("You have taken this answer back.", code="withdrawn")
    if label.value != value:
        raise Conflict("You have answered this item differently before.", code="answered")
    label.item, label.run = review.item, review.run
    return label


def _store(
    actor: User, review: Review, lease: Token, answers: list[Label], *, now: datetime, value: str, note: str
) -> Label:
    if any(label.person_id == actor.pk for label in _standing(answers)):
        raise Conflict("You have labelled this item already.", code="answered")
    return Label.objects.create(
        run=review.run,
        item=review.item,
        review=review,
        person=actor,
        token=lease.nonce,
        value=value,
        note=note,
        blind=review.run.blind,
        seconds=_seconds(actor, review, now),
        at=now,
    )


def _seconds(actor: User, review: Review, now: datetime) -> float:
    """How long the person had the item before them: the next one is leased while they look at this one.

    Of a lease that others took since, nobody knows when it began: it was ten minutes long.
    """
    begun = review.leased_at or now - LEASE
    before = (
        Label.objects.filter(person=actor, at__gt=begun).order_by("-at").values_list("at", flat=True).first()
    )
    return max((now - (before or begun)).total_seconds(), 0.0)


def _standing(answers: list[Label]) -> list[Label]:
    return [label for label in answers if label.withdrawn_at is None]


def _held_again(actor: User, run: Run | None, count: int) -> list[Claim]:
    rows = [row for row in leasing.held_by(actor.pk, _LABEL) if run is None or row.run_id == run.pk]
    if not rows:
        raise Conflict(
            f"You hold {HELD_MOST} items of another run. Answer or give them back first.", code="holds_enough"
        )
    tokens = leasing.renew(actor.pk, [leasing.token_of(row) for row in rows[:count]])
    renewed = {claim.token: claim for claim in held(actor=actor)}
    return [renewed[token] for token in tokens]


def _own(actor: User) -> "QuerySet[Label]":
    return Label.objects.filter(person=actor, adjudicates=False, withdrawn_at=None).order_by("-at", "-pk")


def _check(actor: User) -> None:
    if not actor.can("audits.label"):
        raise Forbidden("Your roles do not include labelling.")


def _check_run(actor: User, run: Run) -> None:
    asked = Q(reviewers=None) | Q(reviewers=actor.pk)
    state = Run.objects.filter(asked, pk=run.pk).values_list("state", flat=True).first()
    if state is None:
        raise NotFound("There is no such run for you to review.")
    if state != Run.State.OPEN:
        raise Conflict(f"“{run.title}” is not open.", code="not_open")


def check_undo(label: Label, own: "QuerySet[Label]") -> None:
    """Raise Conflict unless the label is among the newest twenty of one's `own` that stand."""
    if label.pk in own.values_list("pk", flat=True)[:UNDO_MOST]:
        return
    label.refresh_from_db(fields=["withdrawn_at"])
    if label.withdrawn_at:
        raise Conflict("You have taken this back already.", code="withdrawn")
    raise Conflict(f"Only your last {UNDO_MOST} can be taken back.", code="too_late")


def check_answer(run: Run, value: str, note: str) -> None:
    """Raise Conflict unless the run is open, and Invalid unless this can be an answer in it."""
    if run.state != Run.State.OPEN:
        raise closed(run)
    words = [str(label["value"]) for label in run.labels]
    if value and value not in words:
        raise Invalid.at("label", "unknown", f"The label must be one of: {', '.join(words)}.")
    check_note(note)


def check_note(note: str) -> None:
    """Raise Invalid for a note that is too long."""
    if len(note) > NOTE_MAX:
        raise Invalid.at("note", "too_long", f"A note has {NOTE_MAX} characters at most.")


def closed(run: Run) -> Conflict:
    """The refusal for whoever wants to change a run that has ended."""
    state = run.get_state_display().lower()
    return Conflict(f"“{run.title}” is {state}; nothing about it changes any more.", code="run_closed")
