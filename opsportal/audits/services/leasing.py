"""Leases on reviews: who holds what, until when, and the tokens that prove it.

Times are the database's; nobody's wrong clock lengthens or ends a lease. A lease that has expired still
belongs to its holder until somebody else takes the review: only then is it lost.
"""

import hmac
import secrets
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from django.conf import settings
from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils.crypto import salted_hmac

from opsportal.audits.models import Item, Review, Run
from opsportal.core.errors import Conflict

LEASE = timedelta(minutes=10)
# The one on the screen and the one after it.
HELD_MOST = 2
# The code of the refusal after which an answer may still be sent as an extra review.
LEASE_LOST = "lease_lost"
_SALT = "opsportal.audits.lease"
# Any number will do that nothing else locks by; the person's number is the other half of the key.
_PERSON_LOCK = 0x6F70_7333
# Run, review, what is random, and the proof that we made it: 24 bytes, 32 characters.
_TOKEN = struct.Struct(">IHI8s6s")
_TOKEN_LENGTH = 32
# What PostgreSQL takes for half of the key of an advisory lock.
_RUN_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Claim:
    """A review in somebody's hands. token: 32 characters, opaque; every answer needs it."""

    token: str
    review_id: int
    item: Item
    run: Run
    leased_until: datetime


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says. nonce: its random part, which is all that the database keeps of it."""

    run_id: int
    review_id: int
    nonce: str
    proof: bytes

    @classmethod
    def read(cls, text: str) -> Self:
        """Take a token apart. Raises Conflict (`lease_lost`) for what never was one."""
        try:
            if len(text) != _TOKEN_LENGTH:
                raise ValueError
            run_id, high, low, nonce, proof = _TOKEN.unpack(urlsafe_b64decode(text.encode("ascii")))
            if run_id > _RUN_MAX:
                raise ValueError
        except (ValueError, struct.error):
            raise lost() from None
        return cls(run_id, high << 32 | low, _encode(nonce), proof)

    def was_given_to(self, person_id: int) -> bool:
        """Whether this person once held the review under this token, whoever holds it now."""
        keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
        return any(
            hmac.compare_digest(self.proof, _proof(self.run_id, self.review_id, self.nonce, person_id, key))
            for key in keys
        )


def token_of(review: Review) -> str:
    """The token of a review for the person who holds it."""
    review_id, nonce = review.pk, review.token
    proof = _proof(review.run_id, review_id, nonce, review.holder_id or 0, settings.SECRET_KEY)
    packed = _TOKEN.pack(
        review.run_id, review_id >> 32, review_id & 0xFFFF_FFFF, urlsafe_b64decode(nonce + "="), proof
    )
    return urlsafe_b64encode(packed).decode("ascii")


def new_nonce() -> str:
    """64 random bits in 11 characters."""
    return _encode(secrets.token_bytes(8))


def lost(message: str = "") -> Conflict:
    """The refusal for whoever no longer holds the review; the screen keeps the answer."""
    return Conflict(message or "Somebody else has taken this item in the meantime.", code=LEASE_LOST)


def claim_of(review: Review) -> Claim:
    """The claim that a leased review (with item and run loaded) is."""
    if review.leased_until is None:  # the schema has seen to that
        raise ValueError(f"review {review.pk} is not leased")
    return Claim(token_of(review), review.pk, review.item, review.run, review.leased_until)


def lock_person(person_id: int) -> None:
    """Let nobody else change what this person holds before the transaction ends.

    Two tabs of one person would otherwise take three reviews, or two of one item. SQLite's writing
    transactions take turns anyway.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_PERSON_LOCK, person_id])


def held_by(person_id: int, kind: Review.Kind) -> "QuerySet[Review]":
    """What the person holds, longest first, with items and runs; also what expired and nobody took."""
    return (
        Review.objects.filter(holder=person_id, state=Review.State.LEASED, kind=kind)
        .select_related("item", "run")
        # SQLite tells no two moments within a millisecond apart; then the order of the queue does.
        .order_by("leased_at", "priority", "shuffle")
    )


def take(person_id: int, run_id: int, kind: Review.Kind) -> int | None:
    """Lease the next open review of the run to the person, in one statement; its number, or None.

    Next by (priority, shuffle), from an index. Never an item that the person labelled, declined or
    holds, and nothing for whoever holds two. On PostgreSQL rows that others are just taking are skipped,
    not waited for. Call lock_person first, in the same transaction.
    """
    postgres = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        cursor.execute(
            _TAKE_POSTGRES if postgres else _TAKE_SQLITE,
            [person_id, new_nonce(), person_id, kind, run_id, kind, person_id, person_id, person_id],
        )
        row = cursor.fetchone()
    return row[0] if row else None


def take_many(person_id: int, runs: Sequence[Run], kind: Review.Kind, most: int) -> list[Review]:
    """Lease up to `most` reviews of these runs, worked off in their order; with items and runs.

    What has expired is looked for only when nothing is open. Nothing for whoever holds two.
    """
    taken = _take_in_order(person_id, runs, kind, most)
    if not taken and runs and has_room(person_id, kind) and reopen_expired([run.pk for run in runs]):
        taken = _take_in_order(person_id, runs, kind, most)
    reviews = Review.objects.select_related("item").in_bulk(taken) if taken else {}
    by_pk = {run.pk: run for run in runs}
    for review in reviews.values():
        review.run = review.item.run = by_pk[review.run_id]
    return [reviews[pk] for pk in taken]


def has_room(person_id: int, kind: Review.Kind) -> bool:
    """Whether the person holds fewer reviews of this kind than two."""
    held = Review.objects.filter(holder=person_id, state=Review.State.LEASED, kind=kind)
    return held.count() < HELD_MOST


def _take_in_order(person_id: int, runs: Sequence[Run], kind: Review.Kind, most: int) -> list[int]:
    taken: list[int] = []
    for run in runs:
        while len(taken) < most and (pk := take(person_id, run.pk, kind)):
            taken.append(pk)
    return taken


def renew(person_id: int, tokens: Iterable[str]) -> list[str]:
    """Lease again, for the full time, what nobody took; the tokens that are still held, in their order.

    A lease that was given back or swept up returns as long as there is room for it. Part of the caller's
    transaction; call lock_person first.
    """
    wanted = {text: _read_or_none(text) for text in tokens}
    rows = {
        (review.pk, review.token): review
        for review in Review.objects.filter(
            pk__in=[token.review_id for token in wanted.values() if token],
            holder=person_id,
            state__in=[Review.State.OPEN, Review.State.LEASED],
            run__state=Run.State.OPEN,
        )
    }
    still: list[str] = []
    for text, token in wanted.items():
        review = rows.get((token.review_id, token.nonce)) if token else None
        if review and (review.state == Review.State.LEASED or _has_room(review)) and _lease_again(review):
            still.append(text)
    return still


def give_back(person_id: int, tokens: Iterable[str]) -> int:
    """Let others have these reviews at once; how many. An answer that is on its way still counts."""
    read = [token for text in tokens if (token := _read_or_none(text))]
    return _reopen(
        Review.objects.filter(
            pk__in=[token.review_id for token in read],
            token__in=[token.nonce for token in read],
            holder=person_id,
            state=Review.State.LEASED,
        )
    )


def reopen_expired(run_ids: Sequence[int] | None = None) -> int:
    """Let others have what has expired, everywhere or in these runs; how many reviews. Reads an index."""
    expired = Review.objects.filter(state=Review.State.LEASED, leased_until__lt=Now())
    return _reopen(expired if run_ids is None else expired.filter(run__in=run_ids))


def finish(token: Token, person_id: int) -> bool:
    """Mark the review as done if this token still holds it, or nobody has taken it since; whether it did.

    Part of the caller's transaction. Evaluated again under the row's lock: of two who try, one succeeds.
    """
    return bool(_current(token, person_id).update(state=Review.State.DONE, leased_until=None))


def pass_on(token: Token, person_id: int) -> bool:
    """Give the review up for good if this token still holds it; whether it did."""
    return bool(
        _current(token, person_id).update(
            state=Review.State.OPEN, holder=None, token="", leased_at=None, leased_until=None
        )
    )


def hand_back(review: Review, person_id: int) -> None:
    """Lease a review that is done to the person who did it, under a new token.

    Whatever they hold beyond one other item is given back, the latest first. Part of the caller's
    transaction; call lock_person first.
    """
    others = list(held_by(person_id, Review.Kind(review.kind)).values_list("pk", flat=True))
    if surplus := others[HELD_MOST - 1 :]:
        _reopen(Review.objects.filter(pk__in=surplus, state=Review.State.LEASED))
    Review.objects.filter(pk=review.pk).update(
        state=Review.State.LEASED,
        holder=person_id,
        token=new_nonce(),
        leased_at=Now(),
        leased_until=Now() + LEASE,
    )


def _current(token: Token, person_id: int) -> "QuerySet[Review]":
    return Review.objects.filter(
        pk=token.review_id,
        run=token.run_id,
        token=token.nonce,
        holder=person_id,
        state__in=[Review.State.OPEN, Review.State.LEASED],
    )


def _has_room(review: Review) -> bool:
    held = Review.objects.filter(holder=review.holder_id, state=Review.State.LEASED, kind=review.kind)
    items = list(held.values_list("item_id", flat=True))
    return len(items) < HELD_MOST and review.item_id not in items


def _lease_again(review: Review) -> bool:
    same = Q(pk=review.pk, token=review.token, holder=review.holder_id, state=review.state)
    return bool(Review.objects.filter(same).update(state=Review.State.LEASED, leased_until=Now() + LEASE))


def _reopen(leased: "QuerySet[Review]") -> int:
    """Token and holder stay, so that a late answer counts unless somebody else was faster."""
    # In an order, and past rows that others are changing: two sweeps never wait for each other in a circle.
    rows = leased.order_by("pk")
    if connection.features.has_select_for_update_skip_locked:
        rows = rows.select_for_update(of=("self",), skip_locked=True)
    return Review.objects.filter(pk__in=rows.values("pk"), state=Review.State.LEASED).update(
        state=Review.State.OPEN, leased_until=None
    )


def _read_or_none(text: str) -> Token | None:
    try:
        return Token.read(text)
    except Conflict:
        return None


def _proof(run_id: int, review_id: int, nonce: str, person_id: int, key: Any) -> bytes:
    value = f"{run_id}.{review_id}.{nonce}.{person_id}"
    return salted_hmac(_SALT, value, secret=key, algorithm="sha256").digest()[:6]


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode("ascii").rstrip("=")


_TAKE = """
UPDATE audits_review
SET state = 'leased', holder_id = %s, token = %s, leased_at = {now}, leased_until = {later}
WHERE state = 'open' AND {most} > (
  SELECT COUNT(*) FROM audits_review AS held
  WHERE held.holder_id = %s AND held.state = 'leased' AND held.kind = %s
) AND id = (
  SELECT next.id FROM audits_review AS next
  WHERE next.run_id = %s AND next.kind = %s AND next.state = 'open'
    AND NOT EXISTS (
      SELECT 1 FROM audits_label AS mine
      WHERE mine.item_id = next.item_id AND mine.person_id = %s AND mine.withdrawn_at IS NULL)
    AND NOT EXISTS (
      SELECT 1 FROM audits_decline AS mine WHERE mine.item_id = next.item_id AND mine.person_id = %s)
    AND NOT EXISTS (
      SELECT 1 FROM audits_review AS mine
      WHERE mine.item_id = next.item_id AND mine.holder_id = %s AND mine.state = 'leased')
  ORDER BY next.priority, next.shuffle LIMIT 1{skipping})
RETURNING id
"""
_SECONDS = int(LEASE.total_seconds())
_TAKE_POSTGRES = _TAKE.format(
    now="STATEMENT_TIMESTAMP()",
    later=f"STATEMENT_TIMESTAMP() + INTERVAL '{_SECONDS} seconds'",
    skipping=" FOR UPDATE OF next SKIP LOCKED",
    most=HELD_MOST,
)
_TAKE_SQLITE = _TAKE.format(
    now="STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')",
    later=f"STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW', '+{_SECONDS} seconds')",
    skipping="",
    most=HELD_MOST,
)
