"""The serving store: its keys, its connection, and the atomic steps that write it.

All keys share one hash tag, so the store fits on one node of a cluster. Timeouts are short and there
are no retries: whoever writes here is run again by the tick.
"""

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)
from redis.retry import Retry

from opsportal.client.reader import SCHEMA
from opsportal.serving import scripts

BATCH = 500
SCAN_COUNT = 1_000
LOG_LENGTH = 200_000
REPLAY_MAX = 5_000
STAGING_TTL = 900
# The keys of a set: its head, then a hash for each kind of Change.
_PARTS = ("head", "p", "c", "t")

_RETRYABLE = (RedisConnectionError, RedisTimeoutError, ReadOnlyError, OutOfMemoryError, OSError)
_RETRYABLE_WORDS = ("MISCONF", "LOADING", "READONLY", "OOM", "BUSY", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN")


class StoreDown(Exception):
    """The store cannot be written now; the same step may work later. The text is fit for a person."""


class StoreSpoilt(Exception):
    """A key of the store is there, but not as we write it; only a rebuild helps."""


class Refused(Exception):
    """The store's fence refused a step: `status` is absent, epoch, behind or lost."""

    def __init__(self, status: str) -> None:
        super().__init__(f"The store refused the step: {status}.")
        self.status = status


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of the store and the rules it shall hold, as of a revision; no rules make a tombstone."""

    kind: str
    key: str
    revision: int
    rules: str

    @property
    def value(self) -> str:
        return f"{self.revision}|{self.rules}"


@dataclass(frozen=True, slots=True)
class State:
    """What the store's head says. Times are epoch seconds by the store's clock.

    lost: how many fields fewer the hashes were seen to hold than the head says. outdated: whether an
    earlier version of the portal filled the store, which knew nothing of thresholds.
    """

    epoch: int
    revision: int
    products: int
    customers: int
    product_fields: int
    customer_fields: int
    digest: str
    source: str
    built_at: float
    heartbeat_at: float
    thresholds: int = 0
    threshold_fields: int = 0
    lost: int = 0
    outdated: bool = False

    @classmethod
    def parse(cls, fields: dict[str, str], lengths: tuple[int, int, int] | None = None) -> Self:
        """The head from its hash. Raises StoreSpoilt."""
        try:
            if fields["schema"] != SCHEMA:
                raise ValueError(fields["schema"])
            state = cls(
                epoch=int(fields["epoch"]),
                revision=int(fields["revision"]),
                products=int(fields["products"]),
                customers=int(fields["customers"]),
                product_fields=int(fields["product_fields"]),
                customer_fields=int(fields["customer_fields"]),
                digest=fields["digest"],
                source=fields["source"],
                built_at=float(fields["built_at"]),
                heartbeat_at=float(fields["heartbeat_at"]),
                thresholds=int(fields.get("thresholds", 0)),
                threshold_fields=int(fields.get("threshold_fields", 0)),
                lost=0
                if lengths is None
                else max(0, int(fields["product_fields"]) - lengths[0])
                + max(0, int(fields["customer_fields"]) - lengths[1])
                + max(0, int(fields.get("threshold_fields", 0)) - lengths[2]),
                outdated="thresholds" not in fields or "threshold_fields" not in fields,
            )
        except (KeyError, ValueError) as error:
            raise StoreSpoilt from error
        if not 0 < state.epoch < 2**31 or not 0 <= state.revision < 2**53:
            raise StoreSpoilt
        return state


@dataclass(frozen=True, slots=True)
class Written:
    """What a step left behind: the head's numbers, and how many entries it changed."""

    revision: int
    products: int
    customers: int
    thresholds: int
    digest: str
    applied: int


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of one set of keys: the live one, or a staging one."""

    head: str
    products: str
    customers: str
    thresholds: str

    def hash_of(self, kind: str) -> str:
        return {"p": self.products, "c": self.customers, "t": self.thresholds}[kind]

    def as_list(self) -> list[str]:
        return [self.head, self.products, self.customers, self.thresholds]


class Store:
    """The serving store at one address. Every method raises StoreDown when it cannot be reached."""

    def __init__(self, url: str, prefix: str, timeout: float) -> None:
        self.redis: Redis = Redis.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            decode_responses=True,
            # Bytes that somebody else wrote must come back unchanged to be compared and removed.
            encoding_errors="surrogateescape",
        )
        self._prefix = prefix
        self.live = Keys(*(f"{prefix}:{part}" for part in _PARTS))
        self.log = f"{prefix}:log"
        self._push, self._swap, self._beat, self._repair = (
            self.redis.register_script(source)
            for source in (scripts.PUSH, scripts.SWAP, scripts.BEAT, scripts.REPAIR)
        )

    def state(self) -> State | None:
        """What the head says, and whether entries are gone; None when there is none. Raises StoreSpoilt."""
        with _translated(), self.redis.pipeline(transaction=True) as pipe:
            pipe.hgetall(self.live.head)
            pipe.hlen(self.live.products)
            pipe.hlen(self.live.customers)
            pipe.hlen(self.live.thresholds)
            fields, *lengths = pipe.execute()
        products, customers, thresholds = lengths
        return State.parse(fields, (products, customers, thresholds)) if fields else None

    def beat(self, *, epoch: int, source: str) -> State | None:
        """Say that the publisher of this epoch is alive; return the head as it is. Raises StoreSpoilt."""
        with _translated():
            flat = self._beat(keys=[self.live.head], args=[epoch, source])
        return State.parse(dict(zip(flat[::2], flat[1::2], strict=True))) if flat else None

    def push(self, entries: Sequence[Entry], *, epoch: int, raise_to: int | None = None) -> Written:
        """Write entries (at most BATCH) that are newer than what is held; then raise the head's revision.

        Raises Refused when there is no head, or one of another epoch.
        """
        args = [epoch, "" if raise_to is None else raise_to, LOG_LENGTH, "", *_flat(entries)]
        with _translated():
            return _written(self._push(keys=[*self.live.as_list(), self.log], args=args))

    def open_staging(self, *, epoch: int) -> Keys:
        """Begin an empty staging set, which vanishes by itself if it is abandoned."""
        token = secrets.token_hex(4)
        staging = Keys(*(f"{self._prefix}:new:{token}:{part}" for part in _PARTS))
        fields: dict[Any, Any] = {
            "schema": SCHEMA,
            "epoch": epoch,
            "revision": 0,
            "base": 0,
            "digest": "0" * 16,
            **dict.fromkeys(("products", "customers", "thresholds"), 0),
            **dict.fromkeys(("product_fields", "customer_fields", "threshold_fields"), 0),
        }
        with _translated():
            self.redis.hset(staging.head, mapping=fields)
            self.redis.expire(staging.head, STAGING_TTL)
        return staging

    def stage(
        self, staging: Keys, entries: Sequence[Entry], *, epoch: int, raise_to: int | None = None
    ) -> Written:
        """Write entries (at most BATCH) into a staging set, which nobody reads."""
        args = [epoch, "" if raise_to is None else raise_to, "", STAGING_TTL, *_flat(entries)]
        with _translated():
            return _written(self._push(keys=[*staging.as_list(), self.log], args=args))

    def drop_staging(self, staging: Keys) -> None:
        """Remove a staging set that will not be used."""
        with _translated():
            self.redis.unlink(*staging.as_list())

    def last_log_id(self) -> str:
        """The id of the newest log entry, to replay from in `swap`."""
        try:
            with _translated():
                newest: Any = self.redis.xrevrange(self.log, count=1)
        except StoreSpoilt:
            return "0-0"
        return str(newest[0][0]) if newest else "0-0"

    def swap(self, staging: Keys, *, after: str, source: str, force: bool = False) -> Written:
        """Make a staging set the live one, with what was pushed since log id `after` replayed into it.

        Readers see the old set or the new one, never less. Never lowers the epoch, nor the revision
        within an epoch. `force` overwrites a head that cannot be read. Raises Refused: `behind` when
        there is too much to replay, `epoch` when the live set is of a newer epoch, `lost` when the
        staging set is gone.
        """
        keys = [*self.live.as_list(), self.log, *staging.as_list()]
        args: list[str | int] = [after, REPLAY_MAX, "1" if force else "", source, LOG_LENGTH]
        with _translated():
            return _written(self._swap(keys=keys, args=args))

    def repair(self, fixes: Sequence[tuple[Entry, str | None]], *, epoch: int) -> int:
        """Put entries back where the value is still the one found (None: absent); return how many.

        An entry of revision 0 is one the database knows nothing of, and is removed. Raises Refused.
        """
        args: list[bytes | str | int] = [epoch, LOG_LENGTH]
        for entry, found in fixes:
            wanted = entry.value if entry.revision else ""
            held = "-" if found is None else f"={found}"
            args += [entry.kind, _raw(entry.key), _raw(held), wanted]
        with _translated():
            answer = self._repair(keys=[*self.live.as_list(), self.log], args=args)
        if answer[0] != "ok":
            raise Refused(answer[0])
        return int(answer[1])

    def values(self, kind: str, keys: Sequence[str]) -> tuple[int, list[str | None]]:
        """The head's revision and the values of `keys`, of one moment; revision -1 without a head."""
        with _translated(), self.redis.pipeline(transaction=True) as pipe:
            pipe.hget(self.live.head, "revision")
            pipe.hmget(self.live.hash_of(kind), [_raw(key) for key in keys])
            revision, values = pipe.execute()
        return int(revision) if revision and revision.isdigit() else -1, values

    def scan(self, kind: str) -> Iterator[list[tuple[str, str]]]:
        """All entries of a kind, about 1,000 at a time, so that the server never stalls."""
        cursor = 0
        while True:
            with _translated():
                answer: Any = self.redis.hscan(self.live.hash_of(kind), cursor, count=SCAN_COUNT)
            cursor, page = answer
            if page:
                yield list(page.items())
            if not cursor:
                return

    def lengths(self) -> tuple[int, int, int]:
        """How many fields the hashes of products, customers and thresholds hold, tombstones included."""
        with _translated(), self.redis.pipeline(transaction=True) as pipe:
            pipe.hlen(self.live.products)
            pipe.hlen(self.live.customers)
            pipe.hlen(self.live.thresholds)
            products, customers, thresholds = pipe.execute()
        return products, customers, thresholds


def connect() -> Store:
    """The store of the settings; one connection pool a process."""
    return _connect(settings.REDIS_URL, settings.STORE_PREFIX, settings.STORE_TIMEOUT_SECONDS)


@lru_cache(maxsize=8)
def _connect(url: str, prefix: str, timeout: float) -> Store:
    return Store(url, prefix, timeout)


def entry_hash(kind: str, key: str, value: str) -> int:
    """An entry's share of the digest: the first 64 bits of sha1(kind NUL key NUL value)."""
    text = f"{kind}\0{key}\0{value}".encode(errors="surrogateescape")
    return int.from_bytes(hashlib.sha1(text, usedforsecurity=False).digest()[:8], "big")


def digest_of(hashes: int) -> str:
    """The digest as the head writes it: 16 hex digits."""
    return f"{hashes:016x}"


def _raw(text: str) -> bytes:
    """The bytes that `decode_responses` made this text of, also when they were no UTF-8."""
    return text.encode(errors="surrogateescape")


class _translated:
    """Turn what may go away by itself into StoreDown, and a key of another type into StoreSpoilt."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, (RedisError, OSError)) and is_retryable(error):
            raise StoreDown(_sentence(error)) from error
        if isinstance(error, ResponseError) and "WRONGTYPE" in str(error):
            raise StoreSpoilt("A key of the store is of another type.") from error


def is_retryable(error: BaseException) -> bool:
    """Whether an error of the store may go away by itself: lost connection, loading, read-only, full."""
    return isinstance(error, _RETRYABLE) or (
        isinstance(error, ResponseError) and any(word in str(error) for word in _RETRYABLE_WORDS)
    )


def _sentence(error: BaseException) -> str:
    if isinstance(error, RedisTimeoutError | TimeoutError):
        return "The store does not answer in time."
    if isinstance(error, ReadOnlyError):
        return "The store is a read-only replica at the moment."
    if isinstance(error, OutOfMemoryError):
        return "The store is out of memory."
    if isinstance(error, RedisConnectionError | OSError):
        return "The store cannot be reached."
    return "The store refuses writes at the moment."


def _flat(entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        yield from (entry.kind, entry.key, entry.value)


def _written(answer: Sequence[Any]) -> Written:
    if answer[0] != "ok":
        raise Refused(answer[0])
    _, revision, products, customers, thresholds, digest, applied = answer
    return Written(int(revision), products, customers, thresholds, digest, applied)
