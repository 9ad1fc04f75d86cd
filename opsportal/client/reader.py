"""Read the serving store: one round trip, one consistent moment, and never a partial list.

What is missing is never taken for empty: a store without a complete head, or with fewer entries than its
head says, raises StoreNotReady, and one that does not answer in time raises StoreUnavailable. The
caller then keeps what it had last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import ConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from opsportal.client.engine import UNREADABLE
from opsportal.client.thresholds import Threshold, parse_thresholds

SCHEMA = "1"
HEAD_FIELDS = (
    "schema",
    "epoch",
    "revision",
    "products",
    "customers",
    "product_fields",
    "customer_fields",
    "digest",
    "heartbeat_at",
)
# A store that an earlier version of the portal filled has none: products and customers are read all the same.
THRESHOLD_FIELDS = ("thresholds", "threshold_fields")


class StoreError(Exception):
    """The store could not be read; keep what you had last."""


class StoreUnavailable(StoreError):
    """The store is down, or did not answer within the timeout."""


class StoreNotReady(StoreError):
    """The store answers, but holds no complete list of a schema we know."""


@dataclass(frozen=True, slots=True)
class StoreHead:
    """What the publisher says about the whole store.

    products, customers, thresholds: entries with rules. digest: 64 bits over all of them, 16 hex digits.
    heartbeat_at: when the publisher was last in touch, epoch seconds by the store's clock.
    """

    epoch: int
    revision: int
    products: int
    customers: int
    digest: str
    heartbeat_at: float
    thresholds: int = 0


@dataclass(frozen=True, slots=True)
class ThresholdReading:
    """The published thresholds of the asked models that have any, at one moment of the store.

    read_at: epoch seconds by the store's clock.
    """

    head: StoreHead
    read_at: float
    thresholds: Mapping[str, list[Threshold]]

    @property
    def age_seconds(self) -> float:
        """Seconds since the publisher was last in touch, by the store's clock alone."""
        return max(0.0, self.read_at - self.head.heartbeat_at)


@dataclass(frozen=True, slots=True)
class Reading:
    """The rules of the asked products that have any, at one moment of the store.

    purposes: what the asked customer opted out of. read_at: epoch seconds by the store's clock.
    """

    head: StoreHead
    read_at: float
    rules: Mapping[str, str]
    purposes: str

    @property
    def age_seconds(self) -> float:
        """Seconds since the publisher was last in touch, by the store's clock alone."""
        return max(0.0, self.read_at - self.head.heartbeat_at)


class DirectReader:
    """Ask the store itself for each decision. Threads may share a reader; a fork gets its own sockets.

    timeout: seconds to wait for a connection and for an answer. There are no retries.
    """

    def __init__(self, url: str, prefix: str = "{ops}", timeout: float = 0.1) -> None:
        self._head_key, self._products_key, self._customers_key, self._thresholds_key = (
            f"{prefix}:{part}" for part in ("head", "p", "c", "t")
        )
        self._pool = ConnectionPool.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            # The defaults (5 s, 10 retries) would hold a caller for a minute when the server is frozen.
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            decode_responses=False,
        )

    def read(self, product_ids: Sequence[str], customer_key: str | None = None) -> Reading:
        """The rules of `product_ids` and the customer's purposes, all of one moment.

        Raises StoreUnavailable or StoreNotReady.
        """
        commands: list[tuple[Any, ...]] = [
            ("MULTI",),
            ("TIME",),
            ("HMGET", self._head_key, *HEAD_FIELDS, *THRESHOLD_FIELDS),
            ("HLEN", self._products_key),
            ("HLEN", self._customers_key),
        ]
        if product_ids:
            commands.append(("HMGET", self._products_key, *product_ids))
        if customer_key is not None:
            commands.append(("HGET", self._customers_key, customer_key))
        commands.append(("EXEC",))
        clock, fields, product_count, customer_count, *answers = self._ask(commands)
        head = _parse_head(fields, product_count, customer_count)
        purposes = _value(answers.pop()) if customer_key is not None else ""
        rules = {}
        if product_ids:
            rules = {
                product_id: _value(value)
                for product_id, value in zip(product_ids, answers[0], strict=True)
                if value is not None
            }
        return Reading(head, int(clock[0]) + int(clock[1]) / 1e6, rules, purposes)

    def thresholds(self, models: Sequence[str] = ()) -> ThresholdReading:
        """The published thresholds of these models, or of all of them, all of one moment.

        A decision is the positive one from the threshold on (score >= value); a version without one
        keeps the threshold it was registered with. Raises StoreUnavailable or StoreNotReady.
        """
        asked: tuple[Any, ...] = ("HMGET", self._thresholds_key, *models)
        commands: list[tuple[Any, ...]] = [
            ("MULTI",),
            ("TIME",),
            ("HMGET", self._head_key, *HEAD_FIELDS, *THRESHOLD_FIELDS),
            ("HLEN", self._products_key),
            ("HLEN", self._customers_key),
            ("HLEN", self._thresholds_key),
            asked if models else ("HGETALL", self._thresholds_key),
            ("EXEC",),
        ]
        clock, fields, product_count, customer_count, threshold_count, answer = self._ask(commands)
        head = _parse_head(fields, product_count, customer_count)
        try:
            if threshold_count < int(fields[-1] or ""):
                raise StoreNotReady("The store has lost entries.")
        except ValueError as error:
            raise StoreNotReady("The store holds no thresholds yet.") from error
        names = models or [name.decode("utf-8", "replace") for name in answer[::2]]
        values = answer if models else answer[1::2]
        found = {
            name: rules
            for name, value in zip(names, values, strict=True)
            if (rules := parse_thresholds(_value(value)))
        }
        return ThresholdReading(head, int(clock[0]) + int(clock[1]) / 1e6, found)

    def head(self) -> StoreHead:
        """The head of a store that can be read. Raises StoreUnavailable or StoreNotReady."""
        return self.read(()).head

    def close(self) -> None:
        """Close all sockets."""
        self._pool.disconnect()

    def _ask(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answers of one MULTI … EXEC, sent as one piece: a pipeline object costs twice the CPU."""
        try:
            connection: Any = self._pool.get_connection()
            try:
                packed = [chunk for command in commands for chunk in connection.pack_command(*command)]
                connection.send_packed_command([b"".join(packed)])
                answers = [connection.read_response() for _ in commands]
            except BaseException:
                connection.disconnect()
                raise
            finally:
                self._pool.release(connection)
        except ResponseError as error:
            # Loading, wrong types, no permission: it answers, but not as a store.
            raise StoreNotReady(f"The store refused to be read: {type(error).__name__}.") from error
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"The store does not answer: {type(error).__name__}.") from error
        result = answers[-1]
        for answer in result:
            if isinstance(answer, Exception):
                raise StoreNotReady(f"The store refused to be read: {type(answer).__name__}.")
        return list(result)


def _value(value: bytes | None) -> str:
    """The part after `revision|`; a value of another shape is unreadable, which is not the same as empty."""
    if value is None:
        return ""
    _, separator, rest = value.partition(b"|")
    return rest.decode("utf-8", "replace") if separator else UNREADABLE


def _parse_head(fields: Sequence[bytes | None], product_count: int, customer_count: int) -> StoreHead:
    schema, *rest = (field.decode("utf-8", "replace") if field is not None else None for field in fields)
    if schema is None:
        raise StoreNotReady("The store holds no list yet.")
    if schema != SCHEMA:
        raise StoreNotReady(f"The store is of schema {schema[:20]!r}; this client reads schema {SCHEMA}.")
    try:
        numbers = [int(field or "") for field in rest[:6]]
        thresholds = int(rest[8] or 0)
        digest, heartbeat_at = rest[6] or "", float(rest[7] or "")
    except ValueError as error:
        raise StoreNotReady("The store's head is incomplete.") from error
    epoch, revision, products, customers, product_fields, customer_fields = numbers
    # The scripts that write entries keep these counts in the same step, so fewer means that some were lost.
    if product_count < product_fields or customer_count < customer_fields:
        raise StoreNotReady("The store has lost entries.")
    return StoreHead(epoch, revision, products, customers, digest, heartbeat_at, thresholds)
