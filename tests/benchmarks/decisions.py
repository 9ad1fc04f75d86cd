"""How fast POST /api/v1/decisions answers.

    python -m tests.benchmarks.decisions var/demo.json --candidates 500 --seconds 5 --clients 8

Needs a running `make demo`. One client first, for the latency; then several, for the throughput.
The clients share the machine's cores with the portal, so the figures are a lower bound.
"""

import argparse
import http.client
import json
import multiprocessing
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests.benchmarks.portal import percentile


def ask(url: str, api_key: str, candidates: int, seconds: float) -> list[float]:
    """Ask over one connection for that long; return how long each answer took, in seconds."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    product_ids = [f"P{number:012d}" for number in range(candidates)]
    body = json.dumps({"surface": "home-left", "product_ids": product_ids, "customer_id": "c-1"})
    headers = {"Authorization": f"Api-Key {api_key}", "Content-Type": "application/json"}
    taken = []
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        connection.request("POST", "/api/v1/decisions", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != http.client.OK:
            raise RuntimeError(content.decode())
        taken.append(time.perf_counter() - began)
    return taken


def measure(demo: dict[str, str], candidates: int, seconds: float, clients: int) -> None:
    """Print latency and throughput for one client and for several."""
    for count in (1, clients):
        with multiprocessing.Pool(count) as pool:
            arguments = [(demo["url"], demo["api_key"], candidates, seconds)] * count
            taken = [one for many in pool.starmap(ask, arguments) for one in many]
        print(
            f"{count} client{'s' if count > 1 else ''}, {candidates} candidates: "
            f"p50 {percentile(taken, 0.5) * 1000:.2f} ms, p99 {percentile(taken, 0.99) * 1000:.2f} ms, "
            f"{len(taken) / seconds:.0f} answers a second"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("demo", type=Path, help="the var/demo.json of a running portal")
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--clients", type=int, default=8)
    given = parser.parse_args()
    content = json.loads(given.demo.read_text(encoding="utf-8"))
    measure(content, given.candidates, given.seconds, given.clients)
