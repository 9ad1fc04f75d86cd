"""The reader accepts a whole store or none."""

import os
import signal
import socket
import time
from collections.abc import Iterator

import pytest
import redis

from opsportal.client import DirectReader, StoreNotReady, StoreUnavailable
from opsportal.serving.store import Entry, Store

CUSTOMER = "0" * 32


@pytest.fixture
def writer(store_url: str) -> Store:
    """A store with a block of P1 and an opt-out, published in epoch 1 at revision 2."""
    writer = Store(store_url, "{ops}", 2)
    staging = writer.open_staging(epoch=1)
    entries = [Entry("p", "P1", 1, "b,*,0,0,1"), Entry("c", CUSTOMER, 2, "personalisation")]
    writer.stage(staging, entries, epoch=1, raise_to=2)
    writer.swap(staging, after="0-0", source="test")
    return writer


@pytest.fixture
def reader(store_url: str) -> Iterator[DirectReader]:
    reader = DirectReader(store_url, timeout=0.2)
    yield reader
    reader.close()


def test_read__published_store__rules_of_one_moment(writer: Store, reader: DirectReader) -> None:
    reading = reader.read(["P1", "P2"], CUSTOMER)

    assert dict(reading.rules) == {"P1": "b,*,0,0,1"}
    assert reading.purposes == "personalisation"
    assert (reading.head.epoch, reading.head.revision) == (1, 2)
    assert (reading.head.products, reading.head.customers) == (1, 1)
    assert 0 <= reading.age_seconds < 5


def test_read__without_customer_or_products__only_what_was_asked(writer: Store, reader: DirectReader) -> None:
    assert reader.read([]).rules == {}
    assert reader.read(["P1"]).purposes == ""


def test_read__ids_with_spaces_and_emoji__exact(writer: Store, reader: DirectReader) -> None:
    ids = ["85123A", "85123a", "00701", "a b", "🦊", "x;y,z|"]
    writer.push([Entry("p", product, 3, f"b,*,0,0,{n}") for n, product in enumerate(ids)], epoch=1)

    assert list(reader.read([*ids, "701"]).rules) == ids


def test_read__empty_server__not_ready(reader: DirectReader) -> None:
    with pytest.raises(StoreNotReady, match="no list yet"):
        reader.read(["P1"])


@pytest.mark.parametrize(
    "field", ["schema", "epoch", "revision", "products", "product_fields", "heartbeat_at"]
)
def test_read__head_incomplete__not_ready(
    writer: Store, reader: DirectReader, store: redis.Redis, field: str
) -> None:
    store.hdel("{ops}:head", field)

    with pytest.raises(StoreNotReady):
        reader.read(["P1"])


def test_read__another_schema__not_ready(writer: Store, reader: DirectReader, store: redis.Redis) -> None:
    store.hset("{ops}:head", "schema", "2")

    with pytest.raises(StoreNotReady, match="schema '2'"):
        reader.read(["P1"])


@pytest.mark.parametrize("part", ["p", "c"])
def test_read__lost_entries__not_ready(
    writer: Store, reader: DirectReader, store: redis.Redis, part: str
) -> None:
    store.delete(f"{{ops}}:{part}")

    with pytest.raises(StoreNotReady, match="lost entries"):
        reader.read(["P1"], CUSTOMER)


def test_read__key_of_another_type__not_ready(
    writer: Store, reader: DirectReader, store: redis.Redis
) -> None:
    store.set("{ops}:p", "x")

    with pytest.raises(StoreNotReady):
        reader.read(["P1"])
    # The connection is still in step afterwards.
    store.delete("{ops}:p")
    with pytest.raises(StoreNotReady, match="lost entries"):
        reader.read(["P1"])


def test_read__unreadable_values__on_the_safe_side(
    writer: Store, reader: DirectReader, store: redis.Redis
) -> None:
    store.hset("{ops}:p", "P1", "rubbish")
    store.hset("{ops}:c", CUSTOMER, b"\xff")

    reading = reader.read(["P1"], CUSTOMER)

    assert reading.rules["P1"] == "?"
    assert reading.purposes == "?"


def test_read__refused_connection__unavailable(dead_store_url: str) -> None:
    with pytest.raises(StoreUnavailable):
        DirectReader(dead_store_url).read(["P1"])


def test_read__frozen_server__unavailable_within_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        reader = DirectReader(f"redis://127.0.0.1:{frozen.getsockname()[1]}/0", timeout=0.1)

        with pytest.raises(StoreUnavailable, match="TimeoutError"):
            reader.read(["P1"])


def test_read__server_came_back__works_again(writer: Store, reader: DirectReader, store: redis.Redis) -> None:
    reader.read(["P1"])
    store.client_kill_filter(_type="normal", skipme=True)

    assert reader.read(["P1"]).rules["P1"] == "b,*,0,0,1"


def test_read__after_a_fork__own_connection(writer: Store, reader: DirectReader) -> None:
    reader.read(["P1"])
    child = os.fork()
    if child == 0:
        try:
            fine = reader.read(["P1"]).rules["P1"] == "b,*,0,0,1"
        except Exception:  # noqa: BLE001  the parent judges by the exit code
            fine = False
        os._exit(0 if fine else 1)
    deadline = time.monotonic() + 10
    status = None
    while status is None and time.monotonic() < deadline:
        pid, code = os.waitpid(child, os.WNOHANG)
        status = code if pid else None
        time.sleep(0.01)
    if status is None:
        os.kill(child, signal.SIGKILL)

    assert status == 0
    assert reader.read(["P1"]).rules["P1"] == "b,*,0,0,1"
