"""What really goes wrong with real processes: kill -9, SIGSTOP, FLUSHALL, an empty restart."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from django.conf import LazySettings
from django.db import connection

from opsportal.client import DirectReader, StoreError
from opsportal.core import clock
from opsportal.demo.ports import free_port
from opsportal.demo.store import server_command
from opsportal.events.models import Revision
from opsportal.serving import decisions
from opsportal.serving.selectors import store_status
from opsportal.serving.services import compare, project
from tests.serving.making import block, unblock

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[2]
HEALED_WITHIN = 60
BACK_WITHIN = 60


class StoreServer:
    """A store of its own that a test may stop, freeze and empty."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            server_command(port=self.port, folder=self._folder), stdout=subprocess.DEVNULL
        )
        client = redis.Redis.from_url(self.url)
        wait_until(lambda: answers(client), 10)
        client.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@pytest.fixture
def server(tmp_path: Path, settings: LazySettings) -> Iterator[StoreServer]:
    server = StoreServer(tmp_path)
    settings.REDIS_URL = server.url
    settings.STORE_TIMEOUT_SECONDS = 0.5
    decisions.forget()
    yield server
    server.thaw()
    server.kill()


@pytest.fixture
def start_pusher(server: StoreServer) -> Iterator[Callable[[], "subprocess.Popen[bytes]"]]:
    """Start `manage.py push --loop` on the tests' database."""
    started = []

    def start() -> "subprocess.Popen[bytes]":
        pusher = subprocess.Popen(
            [sys.executable, "manage.py", "push", "--loop"],
            cwd=ROOT,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "opsportal.settings",
                "DATABASE_URL": database_url(),
                "REDIS_URL": server.url,
                "LOG_LEVEL": "ERROR",
            },
        )
        started.append(pusher)
        return pusher

    yield start
    for pusher in started:
        pusher.kill()
        pusher.wait()


@pytest.fixture
def reader(server: StoreServer) -> Iterator[DirectReader]:
    reader = DirectReader(server.url, timeout=0.3)
    yield reader
    reader.close()


def database_url() -> str:
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return os.environ["TEST_DATABASE_URL"].rpartition("/")[0] + f"/{name}"


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float) -> float:
    """Wait for the condition; return how long it took. Fails the test after `seconds`."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            pytest.fail(f"not within {seconds} s")
        time.sleep(0.02)
    return time.monotonic() - started


def is_blocked(reader: DirectReader, *products: str) -> bool:
    try:
        rules = reader.read(products).rules
    except StoreError:
        return False
    return all(rules.get(product) for product in products)


def test_flush_and_empty_restart__heal_by_themselves(
    server: StoreServer, reader: DirectReader, start_pusher: Callable[[], "subprocess.Popen[bytes]"]
) -> None:
    block("P1", "P2")
    start_pusher()
    wait_until(lambda: is_blocked(reader, "P1", "P2"), HEALED_WITHIN)

    redis.Redis.from_url(server.url).flushall()
    wait_until(lambda: is_blocked(reader, "P1", "P2"), HEALED_WITHIN)
    server.kill()
    server.start()
    wait_until(lambda: is_blocked(reader, "P1", "P2"), HEALED_WITHIN)

    assert compare(repair=False).clean


def test_frozen_store__saved_and_answered_meanwhile__live_within_5_s_of_its_return(
    server: StoreServer, reader: DirectReader, start_pusher: Callable[[], "subprocess.Popen[bytes]"]
) -> None:
    block("P1")
    start_pusher()
    wait_until(lambda: is_blocked(reader, "P1"), HEALED_WITHIN)
    server.freeze()

    block("P2")
    basis = decisions.consult(["P1", "P2"], None)
    assert (set(basis.rules), basis.from_database) == ({"P1", "P2"}, True)
    wait_until(lambda: store_status().state == "stale", BACK_WITHIN)
    assert Revision.objects.get(number=2).live_at is None

    server.thaw()
    wait_until(lambda: is_blocked(reader, "P1", "P2"), BACK_WITHIN)
    wait_until(lambda: store_status().state == "live", BACK_WITHIN)


def test_stopped_store__live_within_5_s_of_its_return(
    server: StoreServer, reader: DirectReader, start_pusher: Callable[[], "subprocess.Popen[bytes]"]
) -> None:
    start_pusher()
    wait_until(lambda: store_status().state == "live", HEALED_WITHIN)
    server.kill()
    block("P1")
    wait_until(lambda: store_status().state == "stale", BACK_WITHIN)

    server.start()

    wait_until(lambda: is_blocked(reader, "P1"), BACK_WITHIN)


def test_pusher_killed_in_the_middle__the_next_one_finishes(
    server: StoreServer, reader: DirectReader, start_pusher: Callable[[], "subprocess.Popen[bytes]"]
) -> None:
    project()
    products = [f"P{number:05}" for number in range(8_000)]
    block(*products)
    client = redis.Redis.from_url(server.url)
    pusher = start_pusher()
    wait_until(lambda: 0 < client.hlen("{ops}:p") < len(products), HEALED_WITHIN)

    pusher.kill()
    pusher.wait()
    assert reader.head().revision == 0, "the head does not promise what was not finished"
    start_pusher()
    wait_until(lambda: reader.head().revision == 1, HEALED_WITHIN)

    assert reader.head().products == len(products)
    assert compare(repair=False).clean
    assert Revision.objects.filter(live_at=None).count() == 0


def test_reader__during_flushes_rebuilds_and_pushes__never_accepts_a_part(
    server: StoreServer, start_pusher: Callable[[], "subprocess.Popen[bytes]"]
) -> None:
    products = [f"P{number:04}" for number in range(1_000)]
    block(*products)
    start_pusher()
    reader = DirectReader(server.url, timeout=1)
    wait_until(lambda: is_blocked(reader, *products), HEALED_WITHIN)
    client = redis.Redis.from_url(server.url)
    readings, wrong = [0], [0]
    stop = threading.Event()

    def read() -> None:
        own = DirectReader(server.url, timeout=1)
        while not stop.is_set():
            try:
                rules = own.read(products).rules
            except StoreError:
                continue
            readings[0] += 1
            wrong[0] += len(rules) != len(products)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for number in range(5):
            client.flushall()
            block(f"other-{number}")
            wait_until(lambda: is_blocked(reader, f"other-{number}"), HEALED_WITHIN)  # noqa: B023
            client.delete("{ops}:p")
            wait_until(lambda: is_blocked(reader, *products), HEALED_WITHIN)
    finally:
        stop.set()
        thread.join()

    assert readings[0] > 0
    assert wrong[0] == 0


def test_sigterm__pusher_ends_cleanly(
    server: StoreServer, reader: DirectReader, start_pusher: Callable[[], "subprocess.Popen[bytes]"]
) -> None:
    block("P1")
    pusher = start_pusher()
    wait_until(lambda: is_blocked(reader, "P1"), HEALED_WITHIN)

    pusher.send_signal(signal.SIGTERM)

    assert pusher.wait(timeout=5) == 0


def test_pusher__fast_without_any_broker(
    server: StoreServer, reader: DirectReader, start_pusher: Callable[[], "subprocess.Popen[bytes]"]
) -> None:
    start_pusher()
    wait_until(lambda: store_status().state == "live", HEALED_WITHIN)
    times = []
    for number in range(20):
        block(f"P{number}")
        times.append(wait_until(lambda: is_blocked(reader, f"P{number}"), 2))  # noqa: B023

    assert sorted(times)[10] < 0.5


def test_scheduled_start_and_end__flip_with_nothing_running(
    server: StoreServer, reader: DirectReader
) -> None:
    moment = clock.this_second()
    block("P1", starts=moment + timedelta(seconds=2), ends=moment + timedelta(seconds=3))
    project()

    from opsportal.client import decide

    def blocked() -> bool:
        rules = reader.read(["P1"]).rules
        now = clock.now().timestamp()
        return bool(decide(["P1"], surface="home", now=now, rules=rules).blocked)

    seen = {}
    while (now := clock.now()) < moment + timedelta(seconds=4):
        seen[(now - moment).total_seconds()] = blocked()
        time.sleep(0.05)

    assert not any(state for at, state in seen.items() if at < 1.95 or at > 3.05)
    assert all(state for at, state in seen.items() if 2.05 < at < 2.95)


def test_withdrawn_while_the_store_was_away__stays_withdrawn(
    server: StoreServer, reader: DirectReader, start_pusher: Callable[[], "subprocess.Popen[bytes]"]
) -> None:
    block("P1", "P2")
    project()
    server.kill()
    unblock("P1")
    server.start()

    start_pusher()

    wait_until(lambda: is_blocked(reader, "P2"), HEALED_WITHIN)
    assert not is_blocked(reader, "P1")
