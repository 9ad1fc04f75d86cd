"""The entries that the database wants the store to hold, read in bounded pieces."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from django.db.models import Q

from opsportal.audits.selectors.desired import desired_thresholds
from opsportal.events.models import Change
from opsportal.overrides import selectors as overrides
from opsportal.serving.store import BATCH, Entry

PAGE = 20_000


class Changed(NamedTuple):
    """A key and the latest revision that touched it."""

    kind: str
    key: str
    revision: int


def end_of(revision: int) -> Changed:
    """The place behind every change of a revision, to go on from: no kind sorts behind `z`."""
    return Changed("z", "", revision)


def entries_of(changes: Sequence[Changed]) -> list[Entry]:
    """What each key shall hold now. The rules may be newer than the revision, never older."""
    return [
        Entry(change.kind, change.key, change.revision, rules.get(change.key, ""))
        for kind in Change.Kind.values
        if (of_kind := [change for change in changes if change.kind == kind])
        for rules in [rules_of(kind, [change.key for change in of_kind])]
        for change in of_kind
    ]


def rules_of(kind: str, keys: Sequence[str]) -> dict[str, str]:
    """The rules of the keys that have any."""
    if kind == Change.Kind.PRODUCT:
        return overrides.desired_products(keys)
    if kind == Change.Kind.THRESHOLD:
        return desired_thresholds(keys)
    return overrides.desired_customers(keys)


def changes_after(last: Changed, limit: int) -> list[Changed]:
    """Up to `limit` changes behind `last`, in the order of revisions.

    A key only ever moves towards the end of this order, so whoever reads on until a page is not
    full has seen every change that was there at the start.
    """
    behind = Q(revision__gt=last.revision) | Q(revision=last.revision) & (
        Q(kind__gt=last.kind) | Q(kind=last.kind, key__gt=last.key)
    )
    rows = Change.objects.filter(behind, revision__gte=last.revision)
    rows = rows.order_by("revision", "kind", "key")
    return [Changed(*row) for row in rows.values_list("kind", "key", "revision")[:limit]]


def all_changes(kind: str) -> Iterator[list[Changed]]:
    """Every key of a kind that was ever touched, in batches, in the order of keys."""
    last = ""
    while True:
        rows = Change.objects.filter(kind=kind, key__gt=last).order_by("key")
        page = [Changed(*row) for row in rows.values_list("kind", "key", "revision")[:PAGE]]
        yield from in_batches(page)
        if len(page) < PAGE:
            return
        last = page[-1].key


def in_batches(changes: Sequence[Changed]) -> Iterator[list[Changed]]:
    """The changes in lists of at most BATCH."""
    iterator = iter(changes)
    while batch := list(islice(iterator, BATCH)):
        yield batch
