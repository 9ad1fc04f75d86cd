"""What an item's answers amount to: open, settled, or waiting for an audit lead. One rule for every verb.

Everything here is part of the caller's transaction, which holds the item's lock.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import F
from django.db.models.functions import Now

from opsportal.accounts.models import User
from opsportal.audits.models import Item, Label, Provenance, Review, Run, Stream
from opsportal.audits.services.leasing import Token
from opsportal.core.errors import NotFound

# Whoever decides between answers has no other queue; lower than any sample.
ADJUDICATION_PRIORITY = -100
_PENDING = (Review.State.OPEN, Review.State.LEASED)


def lock_review(lease: Token) -> tuple[datetime, Review] | None:
    """Lock the item of a token's review; the database's time, and the review with item (and its run) and run.

    None if it is gone. What the review itself says may be old by then: only a conditional UPDATE knows.
    """
    review = (
        Review.objects.select_related("item", "run")
        .select_for_update(of=("item",), no_key=True)
        .annotate(now=Now())
        .filter(pk=lease.review_id, run=lease.run_id)
        .first()
    )
    if review is None:
        return None
    review.item.run = review.run
    return review.now, review


def lock_item(item_id: int) -> Item:
    """The item with its run, locked. Raises NotFound if it was erased."""
    item = (
        Item.objects.select_related("run")
        .select_for_update(of=("self",), no_key=True)
        .filter(pk=item_id)
        .first()
    )
    if item is None:
        raise NotFound("This item is no longer there.")
    return item


def is_short(item: Item) -> bool:
    """Whether the (locked) item still waits for answers."""
    return item.state == Item.State.OPEN


def add_review(item: Item, reviews: Sequence[Review], **fields: Any) -> Review:
    """One more review of the item; as urgent as its others unless said, its place by chance."""
    return Review.objects.create(
        **{
            "priority": min((review.priority for review in reviews), default=0),
            **fields,
            "run": item.run,
            "item": item,
            "number": max((review.number for review in reviews), default=0) + 1,
            "shuffle": secrets.randbits(62),
        }
    )


def add_extra_review(review: Review, person: User, nonce: str) -> Review:
    """A review that was done beside the one that was lost, for the same item."""
    return add_review(
        review.item,
        list(Review.objects.filter(item=review.item_id)),
        state=Review.State.DONE,
        holder=person,
        token=nonce,
    )


def settle(
    item: Item, standing: Sequence[Label], *, answered: int = 0, needed: int = 0, by: int | None = None
) -> None:
    """Bring the item into the state that its standing answers (oldest first) give it, and the run's counters.

    While reviews are pending it is open; then settled if all agree, else disputed, with a review for a
    lead. A single answer that differs from the model's gets a second look where the run wants that. A
    known answer is settled by whoever answers first. answered, needed: by how much the run's counts of
    reviews have changed already. by: who has just answered, and needs no other review of the item. The
    run's row comes last, since every answer of the run wants it.
    """
    reviews = list(Review.objects.filter(item=item))
    looks = [review for review in reviews if review.kind == Review.Kind.LABEL]
    if beside := [look for look in looks if look.state == Review.State.LEASED and look.holder_id == by]:
        # Taken after the lease had expired under which the answer came after all.
        Review.objects.filter(pk__in=[look.pk for look in beside]).update(
            state=Review.State.OPEN, holder=None, token="", leased_at=None, leased_until=None
        )
    if not standing:
        # Nobody differs from the model any more, and nobody has begun to look again.
        idle = [look for look in looks if look.second_look and look.state == Review.State.OPEN]
        needed -= _void(idle)
    pending = any(look.state in _PENDING for look in looks)
    if not pending and _wants_second_look(item, standing):
        add_review(item, reviews, second_look=True)
        pending, needed = True, needed + 1
    before = item.state
    state, label = _outcome(item, standing, pending=pending)
    if state == Item.State.DISPUTED and before != state:
        add_review(item, reviews, kind=Review.Kind.ADJUDICATION, priority=ADJUDICATION_PRIORITY)
    elif before == Item.State.DISPUTED and before != state:
        _void(
            [
                review
                for review in reviews
                if review.kind == Review.Kind.ADJUDICATION and review.state in _PENDING
            ]
        )
    write(item, state, label, Provenance.HUMAN)
    count(item.run_id, before=before, after=state, answered=answered, needed=needed)


def write(item: Item, state: str, label: str, provenance: str) -> None:
    """Store the state of an item, if it is a new one."""
    settled = state == Item.State.SETTLED
    if (item.state, item.label) == (state, label) and (item.provenance == provenance or not settled):
        return
    item.state, item.label, item.provenance = state, label, provenance if settled else ""
    Item.objects.filter(pk=item.pk).update(
        state=item.state,
        label=item.label,
        provenance=item.provenance,
        settled_at=Now() if settled else None,
    )


def count(run_id: int, *, before: str, after: str, answered: int = 0, needed: int = 0) -> None:
    """Move the run's counters by what happened to one item."""
    changes = {
        "reviews_done": answered,
        "reviews_needed": needed,
        "settled": (after == Item.State.SETTLED) - (before == Item.State.SETTLED),
        "to_adjudicate": (after == Item.State.DISPUTED) - (before == Item.State.DISPUTED),
    }
    moved = {name: F(name) + change for name, change in changes.items() if change}
    if moved:
        Run.objects.filter(pk=run_id).update(**moved)


def _wants_second_look(item: Item, standing: Sequence[Label]) -> bool:
    """One person says the model is wrong, and the run wants that confirmed. `Cannot tell` says nothing."""
    return (
        item.run.second_look_at_errors
        and item.stream != Stream.GOLD
        and len(standing) == 1
        and standing[0].value not in {"", item.predicted}
    )


def _outcome(item: Item, standing: Sequence[Label], *, pending: bool) -> tuple[str, str]:
    values = [label.value for label in standing]
    if values and item.stream == Stream.GOLD:
        return Item.State.SETTLED, values[0]
    if pending or not values:
        return Item.State.OPEN, ""
    if len(set(values)) == 1:
        return Item.State.SETTLED, values[0]
    return Item.State.DISPUTED, ""


def _void(reviews: Sequence[Review]) -> int:
    """End reviews that nobody needs any more; how many."""
    if not reviews:
        return 0
    return Review.objects.filter(pk__in=[review.pk for review in reviews], state__in=_PENDING).update(
        state=Review.State.VOID, leased_until=None
    )
