"""Notice when the store stops being what the database wants, and repair it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from django.db.models import Q
from django.db.models.functions import Now

from opsportal.events.models import Change, Head
from opsportal.serving.models import Drift, Projection
from opsportal.serving.services.desired import Changed, all_changes, entries_of
from opsportal.serving.services.drift import note_drift
from opsportal.serving.services.projecting import project, remember_failure
from opsportal.serving.store import (
    BATCH,
    Entry,
    Refused,
    State,
    Store,
    StoreDown,
    StoreSpoilt,
    connect,
    digest_of,
    entry_hash,
)

log = structlog.get_logger(__name__)

# Up to so many entries the check compares them all; it takes well under a second.
COMPARE_IN_CHECK = 50_000
# The loop and beat both ask; the second one of a pair has nothing to add.
COMPARE_AGAIN = timedelta(seconds=15)
REPAIR_MAX = 5_000

_KINDS = {kind.value for kind in Change.Kind}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison of all entries found. `head_wrong`: the head's own numbers do not add up."""

    compared: int = 0
    missing: int = 0
    extra: int = 0
    altered: int = 0
    repaired: int = 0
    head_wrong: bool = False

    @property
    def clean(self) -> bool:
        """Whether the store was as the database wants it."""
        return not (self.missing or self.extra or self.altered or self.head_wrong)


@dataclass(slots=True)
class _Suspicion:
    """What the walk over both sides gathers."""

    compared: int = 0
    hashes: int = 0
    with_rules: Counter[str] = field(default_factory=Counter)
    confirmed: list[tuple[Entry, str | None]] = field(default_factory=list)


def heartbeat() -> None:
    """Tell readers that the publisher is alive, and notice a store that was flushed or has gone back.

    Raises what `project` raises.
    """
    projection = Projection.objects.get_or_create(pk=1)[0]
    head = Head.objects.get_or_create(pk=1)[0]
    try:
        state = connect().beat(epoch=head.epoch, source=projection.source)
    except StoreDown as error:
        remember_failure(str(error))
        raise
    except StoreSpoilt:
        state = None
    if (
        state is None
        or (state.epoch, state.source) != (head.epoch, projection.source)
        or state.revision < projection.revision
        or state.outdated
    ):
        project()
        return
    Projection.objects.filter(pk=1).update(heartbeat_at=Now())
    if projection.failing_since is not None:
        project()


def check() -> bool:
    """Compare the store's head and sizes with what was last pushed, and small stores entirely.

    Repairs what is wrong. Returns whether all was well. Raises what `project` raises.
    """
    store = connect()
    outcome = project()
    if outcome.busy or outcome.rebuilt:
        return not outcome.rebuilt
    try:
        if not _numbers_agree(store):
            log.warning("store.numbers_differ")
            note_drift(Counter({Drift.Kind.ALTERED: 1}))
            _rebuild_now("Its counts or its digest were not what was pushed.")
            return False
    except StoreDown as error:
        remember_failure(str(error))
        raise
    projection = Projection.objects.get(pk=1)
    if projection.products + projection.customers + projection.thresholds > COMPARE_IN_CHECK:
        return True
    lately = Projection.objects.filter(Q(compared_at=None) | Q(compared_at__lt=Now() - COMPARE_AGAIN), pk=1)
    if not lately.update(compared_at=Now()):
        return True
    return compare(repair=True).clean


def compare(*, repair: bool) -> Comparison:
    """Compare every entry of the store with the database, in bounded memory, while pushes go on.

    A difference counts only if it is still there when both sides are read once more and the store
    claims to be that far. With `repair`, values are put back unless they have changed since, and a
    store whose own numbers are wrong, or with more than 5,000 differences, is filled anew; what was
    found is recorded. Cost: one pass over both sides. Raises what `project` raises.
    """
    store = connect()
    try:
        found, spoilt = _compare(store), False
    except StoreDown as error:
        remember_failure(str(error))
        raise
    except StoreSpoilt:
        found, spoilt = None, True
    if found is None:
        if repair:
            # Refuses to touch the store of another database; rebuilds an empty one by itself.
            project()
            if spoilt:
                _rebuild_now("The store was not as we write it.")
        return Comparison(head_wrong=True)
    suspicion, head_wrong = found
    kinds = Counter(_drift_kind(entry, value) for entry, value in suspicion.confirmed)
    repaired = 0
    if repair and not (head_wrong or len(suspicion.confirmed) > REPAIR_MAX):
        repaired = _repair(store, suspicion.confirmed)
    elif repair:
        _rebuild_now("Its counts or its digest were wrong." if head_wrong else "Too many entries were wrong.")
        repaired = len(suspicion.confirmed)
    if repair:
        if kinds or head_wrong:
            note_drift(kinds or Counter({Drift.Kind.ALTERED: 1}))
        Projection.objects.filter(pk=1).update(compared_at=Now())
    return Comparison(
        compared=suspicion.compared,
        missing=kinds[Drift.Kind.MISSING],
        extra=kinds[Drift.Kind.EXTRA],
        altered=kinds[Drift.Kind.ALTERED],
        repaired=repaired,
        head_wrong=head_wrong,
    )


def _compare(store: Store) -> tuple[_Suspicion, bool] | None:
    """All differences, and whether the head is wrong; None when the store is empty or not ours."""
    before = store.state()
    if before is None or before.source != Projection.objects.get_or_create(pk=1)[0].source:
        return None
    suspicion = _Suspicion()
    for kind in sorted(_KINDS, reverse=True):
        for batch in all_changes(kind):
            _compare_wanted(store, kind, entries_of(batch), suspicion)
        for page in store.scan(kind):
            _compare_held(store, kind, [key for key, _ in page], suspicion)
        if len(suspicion.confirmed) > REPAIR_MAX:
            return suspicion, False
    after = store.state()
    quiet = (
        after is not None
        and (before.epoch, before.revision) == (after.epoch, after.revision)
        and Head.objects.get(pk=1).revision == after.revision
    )
    return suspicion, bool(quiet and after and not _adds_up(store, after, suspicion))


def _compare_wanted(store: Store, kind: str, entries: Sequence[Entry], suspicion: _Suspicion) -> None:
    """Look for missing and altered entries among what the database wants."""
    _, values = store.values(kind, [entry.key for entry in entries])
    suspects = []
    for entry, value in zip(entries, values, strict=True):
        suspicion.compared += 1
        if entry.rules:
            suspicion.with_rules[kind] += 1
            suspicion.hashes ^= entry_hash(kind, entry.key, entry.value)
        if not _agrees(entry, value):
            suspects.append(entry.key)
    suspicion.confirmed += _confirm(store, kind, suspects)


def _compare_held(store: Store, kind: str, keys: Sequence[str], suspicion: _Suspicion) -> None:
    """Look for entries that the database knows nothing of."""
    known = set(_changes_of(kind, keys))
    suspicion.confirmed += _confirm(store, kind, [key for key in keys if key not in known])


def _confirm(store: Store, kind: str, keys: Sequence[str]) -> Iterator[tuple[Entry, str | None]]:
    """Those of the keys that really differ: the database is read on both sides of the store."""
    for start in range(0, len(keys), BATCH):
        batch = keys[start : start + BATCH]
        before = _wanted(kind, batch)
        revision, values = store.values(kind, batch)
        after = _wanted(kind, batch)
        for key, value in zip(batch, values, strict=True):
            entry = before[key]
            if entry == after[key] and entry.revision <= revision and not _agrees(entry, value):
                yield entry, value


def _wanted(kind: str, keys: Sequence[str]) -> dict[str, Entry]:
    """What the database wants of each key; revision 0 for a key it knows nothing of."""
    changes = _changes_of(kind, keys)
    wanted = {entry.key: entry for entry in entries_of(list(changes.values()))}
    return {key: wanted.get(key) or Entry(kind, key, 0, "") for key in keys}


def _changes_of(kind: str, keys: Sequence[str]) -> dict[str, Changed]:
    # A key planted by hand may hold what no database column takes.
    possible = [key for key in keys if _is_text(key)]
    found: dict[str, Changed] = {}
    for start in range(0, len(possible), BATCH):
        rows = Change.objects.filter(kind=kind, key__in=possible[start : start + BATCH])
        found |= {key: Changed(kind, key, revision) for key, revision in rows.values_list("key", "revision")}
    return found


def _is_text(key: str) -> bool:
    return "\0" not in key and key.encode(errors="surrogatepass").decode(errors="ignore") == key


def _agrees(entry: Entry, value: str | None) -> bool:
    if value is None:
        return not entry.rules
    if entry.rules or not entry.revision:
        return entry.revision > 0 and value == entry.value
    # A tombstone may be older than the change, but one from the future would keep pushes out.
    revision, separator, rules = value.partition("|")
    return bool(separator) and not rules and revision.isdigit() and int(revision) <= entry.revision


def _drift_kind(entry: Entry, value: str | None) -> Drift.Kind:
    if value is None:
        return Drift.Kind.MISSING
    return Drift.Kind.ALTERED if entry.rules else Drift.Kind.EXTRA


def _adds_up(store: Store, state: State, suspicion: _Suspicion) -> bool:
    """Whether the head's counts and digest are those of what the database wants."""
    missing = Counter(entry.kind for entry, value in suspicion.confirmed if value is None)
    extra = Counter(
        entry.kind for entry, value in suspicion.confirmed if value is not None and not entry.rules
    )
    products, customers, thresholds = store.lengths()
    planned = {
        "p": (state.products, state.product_fields, products),
        "c": (state.customers, state.customer_fields, customers),
        "t": (state.thresholds, state.threshold_fields, thresholds),
    }
    return state.digest == digest_of(suspicion.hashes) and all(
        with_rules == suspicion.with_rules[kind] and fields - missing[kind] <= held <= fields + extra[kind]
        for kind, (with_rules, fields, held) in planned.items()
    )


def _numbers_agree(store: Store) -> bool:
    """Whether the head is what was last pushed and the hashes are as long as it says."""
    before = Projection.objects.get(pk=1)
    try:
        state = store.state()
        lengths = store.lengths()
        again = store.state()
    except StoreSpoilt:
        return False
    after = Projection.objects.get(pk=1)
    if state is None or again is None:
        return False
    moved = (before.revision, state.revision, state.digest) != (after.revision, again.revision, again.digest)
    if moved or state.revision != after.revision:
        # A push is going on; the next check looks again.
        return True
    return (state.products, state.customers, state.thresholds, state.digest) == (
        after.products,
        after.customers,
        after.thresholds,
        after.digest,
    ) and lengths == (state.product_fields, state.customer_fields, state.threshold_fields)


def _repair(store: Store, differences: Sequence[tuple[Entry, str | None]]) -> int:
    repaired = 0
    epoch = Head.objects.get(pk=1).epoch
    for start in range(0, len(differences), BATCH):
        try:
            repaired += store.repair(differences[start : start + BATCH], epoch=epoch)
        except (Refused, StoreSpoilt):
            project()
            break
    return repaired


def _rebuild_now(reason: str) -> None:
    Projection.objects.filter(pk=1).update(rebuild_wanted=reason)
    project()
