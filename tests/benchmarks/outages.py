"""How the portal feels while the store is frozen, stopped, flushed or its worker killed, and how it heals.

    python -m tests.benchmarks.outages var/demo.json

Needs a running `make demo`, whose processes it freezes and kills. Writes and reads through HTTP only.
"""

import argparse
import os
import secrets
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import redis

from tests.benchmarks.portal import Person, Portal, number_in, percentile, wait_until

PAGES = (
    "/",
    "/overrides/blocks/",
    "/overrides/blocks/new/",
    "/overrides/opt-outs/",
    "/overrides/submissions/",
    "/activity/",
    "/serving/",
    "/account/",
)
ROUNDS = 8


def measure(portal: Portal) -> None:
    """Run each outage and print what was seen."""
    ana = portal.sign_in("ana")
    _during(portal, ana, "frozen for a while", lambda pid: os.kill(pid, signal.SIGSTOP), _thaw)
    supervisor = psutil.Process(_store(portal).info("server")["process_id"]).ppid()
    _during(portal, ana, "stopped, then started empty", _stop(supervisor), lambda _pid: _thaw(supervisor))
    _flush(portal, ana)
    _kill_workers(portal, ana)


def _during(
    portal: Portal,
    ana: Person,
    name: str,
    harm: Callable[[int], None],
    mend: Callable[[int], None],
) -> None:
    pid = _store(portal).info("server")["process_id"]
    harm(pid)
    times: list[float] = []
    product, first = "", 0
    for turn in range(ROUNDS):
        for page in PAGES:
            began = time.perf_counter()
            answer = ana.get(page)
            times.append(time.perf_counter() - began)
            if answer.status_code >= 500:
                raise RuntimeError(f"{page} answered {answer.status_code}")
        product = f"O{secrets.token_hex(4)}-{turn}"
        began = time.perf_counter()
        pk = _block(ana, product)
        times.append(time.perf_counter() - began)
        first = first or pk
    wait_until(lambda: "Saved. Not live yet" in ana.get(f"/overrides/submissions/{first}/").text)
    mend(pid)
    mended = time.perf_counter()
    wait_until(lambda: _stored(portal, product))
    print(
        f"store {name}: {len(times)} pages and forms, p50 {percentile(times, 0.5) * 1000:.0f} ms, "
        f"p95 {percentile(times, 0.95) * 1000:.0f} ms, no 5xx; the page said “Saved. Not live yet”; "
        f"in the store {time.perf_counter() - mended:.1f} s after it was back"
    )


def _flush(portal: Portal, ana: Person) -> None:
    product = f"O{secrets.token_hex(4)}"
    _block(ana, product)
    wait_until(lambda: _stored(portal, product))
    _store(portal).flushall()
    began = time.perf_counter()
    wait_until(lambda: _stored(portal, product))
    print(f"FLUSHALL: whole again after {time.perf_counter() - began:.1f} s")


def _kill_workers(portal: Portal, ana: Person) -> None:
    pid = _store(portal).info("server")["process_id"]
    for process in psutil.Process(pid).parent().children(recursive=True):  # type: ignore[union-attr]
        line = " ".join(process.cmdline())
        if " worker" in line or " push" in line:
            process.kill()
    product = f"O{secrets.token_hex(4)}"
    began = time.perf_counter()
    _block(ana, product)
    wait_until(lambda: _stored(portal, product))
    print(f"worker and pusher killed -9: the next block was live after {time.perf_counter() - began:.1f} s")


def _block(ana: Person, product: str) -> int:
    return number_in(
        ana.send(
            "/overrides/blocks/new/", product_ids=product, surface="*", reason_code="other", reason="Outage"
        )
    )


def _stored(portal: Portal, product: str) -> bool:
    """Whether the store itself holds the block, behind a head."""
    try:
        with _store(portal).pipeline(transaction=True) as pipe:
            pipe.exists("{ops}:head")
            pipe.hget("{ops}:p", product)
            head, value = pipe.execute()
    except redis.RedisError:
        return False
    return bool(head and value)


def _store(portal: Portal) -> "redis.Redis":
    return redis.Redis.from_url(portal.redis_url, socket_timeout=1, socket_connect_timeout=1)


def _thaw(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)


def _stop(supervisor: int) -> Callable[[int], None]:
    """Kill the store while its supervisor sleeps, so that it stays away."""

    def stop(pid: int) -> None:
        os.kill(supervisor, signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)

    return stop


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("demo", type=Path, help="the var/demo.json of a running portal")
    measure(Portal(parser.parse_args().demo))
