"""The keys of machines in memory: a request with a known key asks no database."""

import hashlib
import re
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import Error, transaction
from django.db.models import Q

from opsportal.accounts.models import ApiKey, User
from opsportal.core.clock import now
from opsportal.core.errors import Unavailable

log = structlog.get_logger(__name__)

TOKEN = re.compile(r"opk_([a-z0-9]{10})_([A-Za-z0-9]{43,64})", re.ASCII)
REFRESH_SECONDS = 2.0
# A key made a moment ago by another process must work, but guesses must not query the database each time.
REFRESH_AFTER_MISS_SECONDS = 0.2
LAST_USED_STEP = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key that was neither revoked nor disowned when the table was last read."""

    id: str
    name: str
    owner: User
    scopes: frozenset[str]
    expires_at: datetime


def token_hash(token: str) -> str:
    """SHA-256 of the whole token, in hex: all that is kept of it."""
    return hashlib.sha256(token.encode()).hexdigest()


class KeyRing:
    """Usable keys by token hash, read again at most every two seconds.

    So a revocation holds everywhere within two seconds and a request, and at once in the process that
    revoked. While the database is away the last known keys go on working; a process that never read any
    knows of no key whether it is good. Safe for threads: one thread reads again, the others use the
    old table meanwhile.
    """

    def __init__(self) -> None:
        self._records: dict[str, KeyRecord] = {}
        self._was_read = False
        self._read_at = float("-inf")
        self._reading = threading.Lock()
        self._used_at: dict[str, datetime] = {}

    def find(self, token: str) -> KeyRecord | None:
        """The key of this token, or None if it is malformed, unknown, revoked or expired.

        Raises Unavailable while the database is away and no table has been read yet.
        """
        if not TOKEN.fullmatch(token):
            return None
        digest = token_hash(token)
        self._refresh(REFRESH_SECONDS)
        record = self._records.get(digest)
        if record is None:
            self._refresh(REFRESH_AFTER_MISS_SECONDS)
            record = self._records.get(digest)
        if record is None and not self._was_read:
            # A 401 would tell a ranker that its good key was revoked.
            raise Unavailable("No key can be checked right now.", headers={"Retry-After": "1"})
        return record if record is not None and record.expires_at > now() else None

    def forget(self) -> None:
        """Read the table again before the next answer."""
        self._read_at = float("-inf")

    def note_use(self, record: KeyRecord) -> None:
        """Write when the key was last used, at most once a minute; a failure is logged, never raised."""
        moment = now()
        if (noted := self._used_at.get(record.id)) and moment - noted < LAST_USED_STEP:
            return
        self._used_at[record.id] = moment
        stale = Q(last_used_at=None) | Q(last_used_at__lt=moment - LAST_USED_STEP)
        try:
            with transaction.atomic():
                ApiKey.objects.filter(stale, id=record.id).update(last_used_at=moment)
        except Error:
            log.warning("key_use_not_noted", key=record.id)

    def _refresh(self, max_age: float) -> None:
        # After `forget` everybody waits for the new table; otherwise only one thread reads.
        must_wait = self._read_at == float("-inf")
        if time.monotonic() - self._read_at < max_age or not self._reading.acquire(blocking=must_wait):
            return
        try:
            if time.monotonic() - self._read_at < max_age:
                return
            started = time.monotonic()
            try:
                self._records = _read_keys()
                self._was_read = True
            except Error:
                log.warning("keys_not_read", known=len(self._records))
            self._read_at = started
        finally:
            self._reading.release()


def _read_keys() -> dict[str, KeyRecord]:
    usable = ApiKey.objects.filter(revoked_at=None, expires_at__gt=now(), owner__is_active=True)
    return {
        key.secret_hash: KeyRecord(
            id=key.id,
            name=key.name,
            owner=key.owner,
            scopes=frozenset(key.scopes),
            expires_at=key.expires_at,
        )
        for key in usable.select_related("owner")
    }


keyring = KeyRing()
