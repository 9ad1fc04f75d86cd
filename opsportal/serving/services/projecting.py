"""Bring the store up to date: one idempotent function, run by Celery, by the tick and by the push loop."""

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from opsportal.core import clock
from opsportal.events import outbox
from opsportal.events import services as events
from opsportal.events.models import Change, Head, Revision
from opsportal.serving.models import Drift, Projection, Rebuild
from opsportal.serving.services import lease
from opsportal.serving.services.desired import (
    PAGE,
    all_changes,
    changes_after,
    end_of,
    entries_of,
    in_batches,
)
from opsportal.serving.services.drift import note_drift
from opsportal.serving.store import (
    BATCH,
    Keys,
    Refused,
    State,
    Store,
    StoreDown,
    StoreSpoilt,
    Written,
    connect,
)

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

log = structlog.get_logger(__name__)

ROUNDS = 8
SWAP_TRIES = 10
KEEP_UP_SECONDS = 0.3


class StoreOfAnotherDatabase(Exception):
    """The store was filled by another database, which nobody told us to replace. Fit for a person."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a projection did. `busy`: another process is at it. `rebuilt`: why the store was filled anew."""

    revision: int
    keys: int = 0
    rebuilt: str = ""
    busy: bool = False


@dataclass(frozen=True, slots=True)
class _Situation:
    """The database and the store side by side, read in an order that makes a lead of the store real."""

    projection: Projection
    state: State | None
    spoilt: bool
    head: Head

    @property
    def settled(self) -> bool:
        """Whether the store holds the newest revision and the database knows it."""
        state, projection, head = self.state, self.projection, self.head
        return (
            state is not None
            and not state.lost
            and not state.outdated
            and not projection.rebuild_wanted
            and projection.failing_since is None
            and state.source == projection.source
            and state.epoch == head.epoch == projection.epoch
            and state.revision == head.revision == projection.revision
        )

    @property
    def foreign(self) -> bool:
        """Whether another database filled the store."""
        return self.state is not None and self.state.source != self.projection.source

    @property
    def needs_epoch(self) -> bool:
        """Whether the store is ahead of us, so that it takes a higher epoch to replace it."""
        state, head = self.state, self.head
        if state is None or state.epoch < head.epoch:
            return False
        return state.epoch > head.epoch or state.revision > head.revision or self.foreign

    @property
    def rebuild_reason(self) -> str:
        """Why pushing the changes is not enough; empty when it is."""
        state, projection, head = self.state, self.projection, self.head
        if projection.rebuild_wanted:
            return projection.rebuild_wanted
        if self.spoilt:
            return "The store was not as we write it."
        if state is None:
            return "The store was empty."
        if state.epoch != head.epoch or self.foreign:
            return "The store was of another epoch."
        if state.revision > head.revision:
            return "The store was ahead of the database."
        if state.revision < projection.revision:
            return "The store had gone back to an earlier state."
        if state.lost:
            return "The store had lost entries."
        if state.outdated:
            return "The store was filled by an earlier version."
        return ""


def project() -> Outcome:
    """Push what the store lacks; fill it anew when its head is absent, foreign in epoch, or ahead.

    Safe to run at any time, any number of times, in any number of processes: a lease of 8 s by the
    database's clock lets one of them work, and the store's fence ignores what comes late.
    Sets `Revision.live_at` by the database's clock. Remembers a failure for the serving page, then
    raises StoreDown or StoreOfAnotherDatabase. Cost when there is nothing to do: two queries and
    one round trip to the store.
    """
    store = connect()
    keys, rebuilt = 0, ""
    try:
        for _ in range(ROUNDS):
            # Looked at again after the lease was given up: a change whose nudge found us busy is not lost.
            if (situation := _look(store)).settled:
                return Outcome(situation.head.revision, keys, rebuilt)
            try:
                with lease.take() as held:
                    if held is None:
                        return Outcome(situation.projection.revision, keys, rebuilt, busy=True)
                    done, why = _bring_up_to_date(store, held)
            except Refused as refusal:
                # Flushed or replaced under our hands: the next look finds out what it needs.
                log.warning("store.refused", status=refusal.status)
            except StoreSpoilt as error:
                Projection.objects.filter(pk=1).update(rebuild_wanted=str(error)[:100])
            except lease.LeaseLost:
                return Outcome(situation.projection.revision, keys, rebuilt, busy=True)
            else:
                keys, rebuilt = keys + done, rebuilt or why
    except (StoreDown, StoreOfAnotherDatabase) as error:
        remember_failure(str(error))
        raise
    return Outcome(Projection.objects.get(pk=1).revision, keys, rebuilt)


def want_rebuild(*, actor: "AbstractBaseUser | None", reason: str) -> None:
    """Have the store filled anew from the database by the next projection, and record who wanted it."""
    with transaction.atomic():
        Projection.objects.get_or_create(pk=1)
        Projection.objects.filter(pk=1).update(rebuild_wanted=reason[:100])
        events.record(
            actor=actor,
            verb="serving.rebuild_wanted",
            subject_type="store",
            subject_id="store",
            summary="Asked for the store to be filled anew",
            reason=reason,
        )
        outbox.nudge("serving.project")


def remember_failure(sentence: str) -> None:
    """Note that the store could not be brought up to date, and since when; the serving page shows it."""
    row = Projection.objects.filter(pk=1)
    if row.filter(failing_since=None).update(failing_since=Now(), last_error=sentence[:500]):
        log.warning("store.failing", error=sentence)
    else:
        row.exclude(last_error=sentence[:500]).update(last_error=sentence[:500])


def _look(store: Store) -> _Situation:
    # The projection is read before the store and the head after it: a store that is seen behind the
    # one or ahead of the other really is.
    projection = Projection.objects.get_or_create(pk=1)[0]
    try:
        state, spoilt = store.state(), False
    except StoreSpoilt:
        state, spoilt = None, True
    return _Situation(projection, state, spoilt, Head.objects.get_or_create(pk=1)[0])


def _bring_up_to_date(store: Store, held: lease.Lease) -> tuple[int, str]:
    situation = _look(store)
    reason = situation.rebuild_reason
    if reason:
        keys = _rebuild(store, held, situation, reason)
        if situation.state is not None and situation.state.lost:
            note_drift(Counter({Drift.Kind.MISSING: situation.state.lost}))
        return keys, reason
    assert situation.state is not None  # noqa: S101  an absent state is a reason to rebuild
    written, keys = _push_changes(store, held, epoch=situation.head.epoch, after=situation.state.revision)
    _settle(held, epoch=situation.head.epoch, written=written)
    return keys, ""


def _push_changes(store: Store, held: lease.Lease, *, epoch: int, after: int) -> tuple[Written, int]:
    """Push every change behind revision `after`; the head's revision rises with the last batch."""
    target, last, keys = _newest_revision(), end_of(after), 0
    while True:
        page = changes_after(last, PAGE)
        full = len(page) == PAGE
        if page:
            last = page[-1]
            target = max(target, last.revision)
        batches = list(in_batches(page)) or [[]]
        ahead = target
        for number, batch in enumerate(batches, start=1):
            final = number == len(batches) and not full
            entries = entries_of(batch)
            written = store.push(entries, epoch=epoch, raise_to=target if final else None)
            keys += len(entries)
            if final:
                return written, keys
            held.renew()
            ahead = _push_ahead(store, epoch=epoch, after=ahead)


def _push_ahead(store: Store, *, epoch: int, after: int) -> int:
    """Let small changes overtake a large push: push what came after revision `after`, if it is one batch.

    Returns the last revision that is live that way. The head's revision stays, since it promises
    everything before it too.
    """
    page = changes_after(end_of(after), BATCH + 1)
    if not 0 < len(page) <= BATCH:
        return after
    # A page that is not full holds all keys of its revisions.
    newest = page[-1].revision
    store.push(entries_of(page), epoch=epoch)
    Revision.objects.filter(number__gt=after, number__lte=newest, live_at=None).update(live_at=Now())
    return newest


def _rebuild(store: Store, held: lease.Lease, situation: _Situation, reason: str) -> int:
    """Fill a staging set from the database and swap it in; return how many entries it holds."""
    wanted = situation.projection.rebuild_wanted
    epoch = _epoch_to_use(situation)
    # We hold the lease, so whoever began these is gone.
    Rebuild.objects.filter(finished_at=None).update(finished_at=clock.now(), error="It was broken off.")
    record = Rebuild.objects.create(
        started_at=clock.now(),
        reason=reason,
        revision=_newest_revision(),
        entries_total=Change.objects.count(),
    )
    log.info("store.rebuild", reason=reason, entries=record.entries_total)
    try:
        staging = store.open_staging(epoch=epoch)
        live = _LiveSet(store, held, situation, epoch)
        revision = record.revision
        for kind in Change.Kind.values:
            for batch in all_changes(kind):
                store.stage(staging, [entry for entry in entries_of(batch) if entry.rules], epoch=epoch)
                record.entries_done += len(batch)
                held.renew()
                if live.keep_up():
                    record.save(update_fields=["entries_done"])
        written = _swap(store, held, staging, situation, epoch=epoch, revision=revision)
        _settle(held, epoch=epoch, written=written)
    except Exception as error:
        record.error = str(error)[:500] or type(error).__name__
        raise
    finally:
        record.finished_at = clock.now()
        record.save()
    Projection.objects.filter(pk=1, rebuild_wanted=wanted).update(rebuild_wanted="")
    return record.entries_done


class _LiveSet:
    """What readers see while a rebuild goes on: if it is sound, changes keep being pushed to it.

    The swap replays them from the log, so an urgent block does not wait for a large rebuild.
    """

    def __init__(self, store: Store, held: lease.Lease, situation: _Situation, epoch: int) -> None:
        self._store, self._held, self._epoch = store, held, epoch
        state = situation.state
        self._revision = (
            state.revision
            if state is not None
            and not situation.foreign
            and not state.lost
            and not state.outdated
            and state.epoch == epoch
            and situation.projection.revision <= state.revision <= situation.head.revision
            else None
        )
        self._looked = time.monotonic()

    def keep_up(self) -> bool:
        """Push what is new, at most every 0.3 s; return whether it was time to look."""
        if time.monotonic() - self._looked < KEEP_UP_SECONDS:
            return False
        if self._revision is not None and _newest_revision() > self._revision:
            try:
                written, _ = _push_changes(self._store, self._held, epoch=self._epoch, after=self._revision)
            except (Refused, StoreSpoilt):
                self._revision = None
            else:
                _settle(self._held, epoch=self._epoch, written=written)
                self._revision = written.revision
        self._looked = time.monotonic()
        return True


def _swap(
    store: Store, held: lease.Lease, staging: Keys, situation: _Situation, *, epoch: int, revision: int
) -> Written:
    """Bring the staging set up to date until the rest is small enough to be replayed within the swap."""
    for _ in range(SWAP_TRIES):
        after, target = store.last_log_id(), _newest_revision()
        last = end_of(revision)
        while page := changes_after(last, PAGE):
            last = page[-1]
            target = max(target, last.revision)
            for batch in in_batches(page):
                store.stage(staging, entries_of(batch), epoch=epoch)
                held.renew()
            if len(page) < PAGE:
                break
        store.stage(staging, [], epoch=epoch, raise_to=target)
        revision = target
        try:
            return store.swap(
                staging, after=after, source=situation.projection.source, force=situation.spoilt
            )
        except Refused as refusal:
            if refusal.status != "behind":
                raise
    raise Refused("behind")


def _epoch_to_use(situation: _Situation) -> int:
    if not situation.needs_epoch:
        return situation.head.epoch
    if situation.foreign and not situation.projection.rebuild_wanted:
        raise StoreOfAnotherDatabase(
            "The store was filled by another database. If this one is right, fill the store anew: "
            "manage.py push --full --new-epoch."
        )
    assert situation.state is not None  # noqa: S101  only a state can be ahead
    head = events.raise_epoch(
        actor=None,
        reason="The store was ahead of the database, which is right.",
        above=situation.state.epoch,
    )
    return head.epoch


def _settle(held: lease.Lease, *, epoch: int, written: Written) -> None:
    """Note what the store holds now, and when its revisions became live."""
    with transaction.atomic():
        Revision.objects.filter(number__lte=written.revision, live_at=None).update(live_at=Now())
        Projection.objects.filter(Q(lease_token=held.token), pk=1).update(
            epoch=epoch,
            revision=written.revision,
            products=written.products,
            customers=written.customers,
            thresholds=written.thresholds,
            digest=written.digest,
            pushed_at=Now(),
            heartbeat_at=Now(),
            failing_since=None,
            last_error="",
        )


def _newest_revision() -> int:
    return Head.objects.values_list("revision", flat=True).get(pk=1)
