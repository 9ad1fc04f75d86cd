"""Write the audit trail and allocate revisions; both only inside the caller's transaction."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import F, QuerySet

from opsportal.core import clock
from opsportal.core.bulk import insert_from
from opsportal.events.chain import chain_hash
from opsportal.events.models import ChainHead, Change, Event, Head, Revision

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

SYSTEM = "system"
TOUCH_BATCH = 2_000


def record(
    *,
    actor: "AbstractBaseUser | None",
    verb: str,
    subject_type: str,
    subject_id: object,
    summary: str,
    reason: str = "",
    before: Any = None,
    after: Any = None,
) -> Event:
    """Append one event to the chain; `actor` None means the system itself.

    Call it last in the transaction: it locks the chain's head, which every other writer needs.
    `before` and `after` are plain JSON. Never pass a raw customer ID. Raises RuntimeError outside
    a transaction.
    """
    _require_transaction()
    head = ChainHead.objects.select_for_update().get_or_create(pk=1)[0]
    event = Event(
        sequence=head.sequence + 1,
        at=clock.now(),
        actor_id=actor.pk if actor else None,
        actor_name=actor.get_username() if actor else SYSTEM,
        verb=verb,
        subject_type=subject_type,
        subject_id=str(subject_id),
        summary=summary[:300],
        reason=reason,
        before=before,
        after=after,
        previous_hash=head.hash,
    )
    event.hash = chain_hash(event)
    event.save(force_insert=True)
    ChainHead.objects.filter(pk=1).update(sequence=event.sequence, hash=event.hash)
    return event


def lock_head() -> Head:
    """Lock the row that hands out revisions until the transaction ends, and return it.

    Take it before checking what a revision depends on: who holds it is the only writer of desired
    state. Lock order: submission, head, chain. Raises RuntimeError outside a transaction.
    """
    _require_transaction()
    return Head.objects.select_for_update().get_or_create(pk=1)[0]


def allocate_revision(*, kind: Change.Kind, keys: "QuerySet[Any] | Iterable[str]") -> Revision | None:
    """Allocate the next revision and mark `keys` (distinct) as changed by it; None when there are no keys.

    keys: key texts, or a queryset whose rows have a `key`, which costs one statement whatever its
    size. The revision row with `live_at` null is also the outbox message of the projection. Locks
    the head. Raises RuntimeError outside a transaction.
    """
    head = lock_head()
    number = head.revision + 1
    if isinstance(keys, QuerySet):
        total = insert_from(
            Change, keys, update_on=("kind", "key"), kind=kind.value, key=F("key"), revision=number
        )
    else:
        changes = [Change(kind=kind, key=key, revision=number) for key in keys]
        total = len(changes)
        Change.objects.bulk_create(
            changes,
            batch_size=TOUCH_BATCH,
            update_conflicts=True,
            unique_fields=["kind", "key"],
            update_fields=["revision"],
        )
    if not total:
        return None
    Head.objects.filter(pk=1).update(revision=number)
    return Revision.objects.create(number=number, at=clock.now(), keys=total)


def raise_epoch(*, actor: "AbstractBaseUser | None", reason: str, above: int = 0) -> Head:
    """Start a new epoch, so that this database wins over whatever newer state the store holds.

    `above` is the epoch that the store is in, if that is higher than ours.
    """
    with transaction.atomic():
        head = lock_head()
        before = head.epoch
        head.epoch = max(before, above) + 1
        head.save(update_fields=["epoch"])
        record(
            actor=actor,
            verb="serving.epoch_raised",
            subject_type="store",
            subject_id="store",
            summary=f"Started epoch {head.epoch}",
            reason=reason,
            before={"epoch": before},
            after={"epoch": head.epoch},
        )
    return head


def _require_transaction() -> None:
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("Events and revisions are written inside the transaction of what they describe.")
