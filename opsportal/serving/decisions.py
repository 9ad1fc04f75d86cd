"""What rankers are told: from the store, or through the same engine from the database while it is away."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import structlog
from django.conf import settings
from django.db import Error as DatabaseError

from opsportal.audits.selectors.desired import desired_thresholds, published_models
from opsportal.client import (
    DirectReader,
    StoreHead,
    StoreNotReady,
    StoreUnavailable,
    Threshold,
    parse_thresholds,
)
from opsportal.core import clock
from opsportal.core.errors import Invalid, Unavailable
from opsportal.events.models import Head
from opsportal.overrides import selectors as overrides
from opsportal.overrides.models import EVERYWHERE, Surface
from opsportal.overrides.services.surfaces import SLUG
from opsportal.predictions.pseudonyms import customer_key
from opsportal.serving.models import Projection

log = structlog.get_logger(__name__)

PROBE_SECONDS = 1.0
SURFACES_SECONDS = 5.0
SURFACES_AFTER_MISS_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Basis:
    """What an answer stands on: the rules of the asked products, and how old they may be.

    as_of: when the publisher was last known to be in touch. purposes: what the customer opted out of.
    """

    revision: int
    as_of: datetime
    age_seconds: float
    rules: Mapping[str, str]
    purposes: str
    from_database: bool


def consult(product_ids: Sequence[str], customer_id: str | None) -> Basis:
    """The rules of these products and the customer's opt-out, of one moment.

    One round trip to the store. When it is away, asks the database instead; while it stays away, one
    request a second per process waits for it, DECISION_TIMEOUT_SECONDS at most. Raises Unavailable
    when both are away.
    """
    key = customer_key(customer_id) if customer_id is not None else None
    if _breaker.lets_through():
        try:
            reading = _reader().read(product_ids, key)
        except StoreUnavailable as error:
            _breaker.failed()
            log.warning("decisions.store_unavailable", error=str(error))
        except StoreNotReady as error:
            _breaker.worked()
            log.warning("decisions.store_not_ready", error=str(error))
        else:
            _breaker.worked()
            return Basis(
                revision=reading.head.revision,
                as_of=_moment(reading.head.heartbeat_at),
                age_seconds=round(reading.age_seconds, 3),
                rules=reading.rules,
                purposes=reading.purposes,
                from_database=False,
            )
    try:
        return _from_database(product_ids, key)
    except DatabaseError as error:
        raise _both_away() from error


@dataclass(frozen=True, slots=True)
class ThresholdBasis:
    """The published thresholds by model name, and how old they may be; as in Basis."""

    revision: int
    as_of: datetime
    age_seconds: float
    thresholds: Mapping[str, Sequence[Threshold]]
    from_database: bool


def consult_thresholds(models: Sequence[str]) -> ThresholdBasis:
    """The published thresholds of these models, or of all of them, of one moment; waits as `consult` does.

    Raises Unavailable when store and database are both away.
    """
    if _breaker.lets_through():
        try:
            reading = _reader().thresholds(models)
        except StoreUnavailable as error:
            _breaker.failed()
            log.warning("thresholds.store_unavailable", error=str(error))
        except StoreNotReady as error:
            _breaker.worked()
            log.warning("thresholds.store_not_ready", error=str(error))
        else:
            _breaker.worked()
            return ThresholdBasis(
                revision=reading.head.revision,
                as_of=_moment(reading.head.heartbeat_at),
                age_seconds=round(reading.age_seconds, 3),
                thresholds=reading.thresholds,
                from_database=False,
            )
    try:
        revision = _newest_revision()
        rules = desired_thresholds(models or published_models())
    except DatabaseError as error:
        raise _both_away() from error
    return ThresholdBasis(
        revision=revision,
        as_of=clock.now(),
        age_seconds=0.0,
        thresholds={model: parse_thresholds(text) for model, text in rules.items()},
        from_database=True,
    )


def store_head() -> tuple[StoreHead, bool]:
    """The store's head, or what was last pushed when the store is away (second value True).

    Raises Unavailable when the database is away too, or nothing was ever pushed.
    """
    if _breaker.lets_through():
        try:
            head = _reader().head()
        except StoreUnavailable:
            _breaker.failed()
        except StoreNotReady:
            _breaker.worked()
        else:
            _breaker.worked()
            return head, False
    try:
        projection = Projection.objects.filter(pk=1).exclude(heartbeat_at=None).first()
    except DatabaseError as error:
        raise _both_away() from error
    if projection is None or projection.heartbeat_at is None:
        raise Unavailable("Nothing has been published yet.", headers={"Retry-After": "1"})
    head = StoreHead(
        epoch=projection.epoch,
        revision=projection.revision,
        products=projection.products,
        customers=projection.customers,
        digest=projection.digest,
        heartbeat_at=projection.heartbeat_at.timestamp(),
        thresholds=projection.thresholds,
    )
    return head, True


def check_surface(slug: str) -> None:
    """Raise Invalid unless there is such a surface; while the database is away any slug will do."""
    if not SLUG.fullmatch(slug) or not _surfaces.has(slug):
        raise Invalid.at("surface", "unknown_surface", "There is no such surface.")


def forget() -> None:
    """Forget what this process knows of surfaces and of the store's absence."""
    _surfaces.forget()
    _breaker.worked()


def _from_database(product_ids: Sequence[str], key: str | None) -> Basis:
    revision = _newest_revision()
    return Basis(
        revision=revision,
        as_of=clock.now(),
        age_seconds=0.0,
        rules=overrides.desired_products(list(dict.fromkeys(product_ids))) if product_ids else {},
        purposes=overrides.desired_customers([key]).get(key, "") if key is not None else "",
        from_database=True,
    )


def _newest_revision() -> int:
    """To be read before the rules, which are then at least as new as the number that goes with them."""
    return Head.objects.filter(pk=1).values_list("revision", flat=True).first() or 0


def _both_away() -> Unavailable:
    return Unavailable("Neither the store nor the database answers.", headers={"Retry-After": "1"})


def _moment(epoch_seconds: float) -> datetime:
    return datetime.fromtimestamp(epoch_seconds, tz=UTC)


def _reader() -> DirectReader:
    return _reader_of(settings.REDIS_URL, settings.STORE_PREFIX, settings.DECISION_TIMEOUT_SECONDS)


@lru_cache(maxsize=8)
def _reader_of(url: str, prefix: str, timeout: float) -> DirectReader:
    return DirectReader(url, prefix, timeout)


class _Breaker:
    """While the store is away, lets one request a second through to see whether it is back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed_until = 0.0

    def lets_through(self) -> bool:
        if not self._closed_until:
            return True
        with self._lock:
            moment = time.monotonic()
            if moment < self._closed_until:
                return False
            self._closed_until = moment + PROBE_SECONDS
            return True

    def failed(self) -> None:
        self._closed_until = time.monotonic() + PROBE_SECONDS

    def worked(self) -> None:
        self._closed_until = 0.0


class _Surfaces:
    """The slugs of all surfaces, read again at most every five seconds; sooner for one that is new to us."""

    def __init__(self) -> None:
        self._reading = threading.Lock()
        self._slugs: frozenset[str] | None = None
        self._read_at = float("-inf")

    def has(self, slug: str) -> bool:
        self._refresh(SURFACES_SECONDS)
        if self._slugs is not None and slug not in self._slugs:
            self._refresh(SURFACES_AFTER_MISS_SECONDS)
        return self._slugs is None or slug in self._slugs

    def forget(self) -> None:
        self._slugs, self._read_at = None, float("-inf")

    def _refresh(self, max_age: float) -> None:
        # Without any table yet everybody waits for it; later one thread reads, the others use the old one.
        if time.monotonic() - self._read_at < max_age:
            return
        if not self._reading.acquire(blocking=self._slugs is None):
            return
        try:
            if time.monotonic() - self._read_at < max_age:
                return
            slugs = Surface.objects.exclude(slug=EVERYWHERE).values_list("slug", flat=True)
            self._slugs = frozenset(slugs)
        except DatabaseError:
            log.warning("decisions.surfaces_not_read")
        finally:
            self._read_at = time.monotonic()
            self._reading.release()


_breaker = _Breaker()
_surfaces = _Surfaces()
