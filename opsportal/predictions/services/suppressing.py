"""Keep no predictions about customers who opted out of profiling."""

from collections.abc import Iterable

from django.db import connection

from opsportal.core import clock
from opsportal.events import outbox
from opsportal.predictions.models import Suppression
from opsportal.predictions.selectors import batches, suppressed_among

ERASE_TASK = "predictions.erase"
# Whatever else keeps something of predictions.
ERASE_ELSEWHERE_TASKS = ("audits.erase",)
_BATCH = 2_000
# Any number will do that nothing else locks by.
_INTAKE_LOCK = 0x6F70_7331


def suppress(customer_keys: Iterable[str]) -> int:
    """Take in nothing more about these customers; how many of them were not suppressed before.

    Part of the caller's transaction, which must also call ask_to_erase: what is there already is erased
    by workers. Repeats are harmless.
    """
    keys = set(customer_keys)
    new = keys - suppressed_among(keys)
    moment = clock.now()
    rows = (Suppression(customer_key=key, since=moment) for key in new)
    Suppression.objects.bulk_create(rows, batch_size=_BATCH, ignore_conflicts=True)
    return len(new)


def ask_to_erase(key: object) -> None:
    """Leave messages in the caller's transaction: workers erase what is there of all who opted out."""
    for task in (ERASE_TASK, *ERASE_ELSEWHERE_TASKS):
        outbox.send(task=task, key=key)


def unsuppress(customer_keys: Iterable[str]) -> int:
    """Take in predictions about these customers again; how many were suppressed. What was erased stays so."""
    return sum(Suppression.objects.filter(pk__in=batch).delete()[0] for batch in batches(customer_keys))


def hold_off_erasing() -> None:
    """Let no erasing begin before the caller's transaction ends. Call it before asking who is suppressed.

    Without it, predictions that were checked before an opt-out could be saved after its erasing.
    """
    _lock_intake("pg_advisory_xact_lock_shared")


def wait_for_intakes() -> None:
    """Wait until every transaction that may have checked its customers before now has ended."""
    _lock_intake("pg_advisory_xact_lock")


def _lock_intake(function: str) -> None:
    # On SQLite all writing transactions take turns anyway.
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {function}(%s)", [_INTAKE_LOCK])
