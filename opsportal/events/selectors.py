"""Questions to the audit trail."""

from dataclasses import dataclass

from django.db.models import QuerySet

from opsportal.events.chain import GENESIS, chain_hash
from opsportal.events.models import ChainHead, Event


@dataclass(frozen=True)
class ChainProof:
    """What a walk over the whole chain found: `broken_at` is the first wrong sequence number, or None."""

    events: int
    broken_at: int | None
    problem: str


def timeline(subject_type: str, *subject_ids: object) -> QuerySet[Event]:
    """The events of these subjects, newest first."""
    return Event.objects.filter(
        subject_type=subject_type, subject_id__in=[str(subject_id) for subject_id in subject_ids]
    )


def verify_chain() -> ChainProof:
    """Walk the chain from its first event, while others go on writing; cost one pass over the table.

    Finds an edit, a removal, an insertion and a reordering anywhere, and a cut-off tail by the
    chain's head. Somebody who can rewrite the whole table and the head is found only by a copy of
    the head's hash kept elsewhere.
    """
    expected_sequence, previous = 1, GENESIS
    # The head as it was before the walk must lie on the way, and as it is afterwards not behind its end.
    before = ChainHead.objects.filter(pk=1).first() or ChainHead(sequence=0, hash=GENESIS)
    at_head = GENESIS if before.sequence == 0 else ""
    for event in Event.objects.order_by("sequence").iterator(chunk_size=2_000):
        if event.sequence != expected_sequence:
            return ChainProof(expected_sequence - 1, expected_sequence, "an event is missing")
        if event.previous_hash != previous:
            return ChainProof(expected_sequence - 1, event.sequence, "it does not follow the event before it")
        if event.hash != chain_hash(event):
            return ChainProof(expected_sequence - 1, event.sequence, "its content was changed")
        expected_sequence, previous = expected_sequence + 1, event.hash
        if event.sequence == before.sequence:
            at_head = event.hash
    after = ChainHead.objects.filter(pk=1).first() or ChainHead(sequence=0)
    if at_head != before.hash or after.sequence < expected_sequence - 1:
        return ChainProof(expected_sequence - 1, expected_sequence, "the newest events are missing")
    return ChainProof(expected_sequence - 1, None, "")
