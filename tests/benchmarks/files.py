"""How long a CSV file takes from its approval until rankers obey it, and how the web feels meanwhile.

    python -m tests.benchmarks.files var/demo.json --rows 10000

Needs a running `make demo`. Uploads as ana, approves as lena, reads through POST /api/v1/decisions;
meanwhile max opens pages and priya records opt-outs by the form, one after another.
"""

import argparse
import secrets
import threading
import time
from pathlib import Path

from tests.benchmarks.portal import Person, Portal, number_in, percentile, wait_until

PAGES = (
    "/",
    "/overrides/blocks/",
    "/overrides/boosts/",
    "/overrides/submissions/",
    "/activity/",
    "/serving/",
)
PAUSE = 0.05


class Visitor(threading.Thread):
    """Somebody at work: opens pages or sends forms until told to stop, and keeps the times."""

    def __init__(self, person: Person, *, writes: bool) -> None:
        super().__init__(daemon=True)
        self.seconds: list[float] = []
        self.failures: list[str] = []
        self.stopped = threading.Event()
        self._person, self._writes = person, writes

    def run(self) -> None:
        turn = 0
        while not self.stopped.wait(PAUSE):
            began = time.perf_counter()
            try:
                self._act(turn)
            except Exception as error:  # noqa: BLE001 whatever a visitor meets is a finding
                self.failures.append(repr(error))
            self.seconds.append(time.perf_counter() - began)
            turn += 1

    def _act(self, turn: int) -> None:
        if self._writes:
            self._person.send(
                "/overrides/opt-outs/new/",
                customer_ids=f"bench-{secrets.token_hex(6)}",
                purposes="personalisation",
                channel="phone",
                reason_code="privacy",
                reason="Load while a file is applied",
            )
        else:
            answer = self._person.get(PAGES[turn % len(PAGES)])
            if answer.status_code >= 500:
                raise RuntimeError(f"{answer.url} answered {answer.status_code}")


def measure(portal: Portal, rows: int) -> None:
    """Upload, check, approve and wait until live; print one line per step."""
    batch = secrets.token_hex(4)
    products = [f"F{batch}-{number:07d}" for number in range(rows)]
    content = "product_id\n" + "\n".join(products) + "\n"
    ana, lena = portal.sign_in("ana"), portal.sign_in("lena")
    visitors = [
        Visitor(portal.sign_in("max"), writes=False),
        Visitor(portal.sign_in("priya"), writes=True),
    ]
    for visitor in visitors:
        visitor.start()

    began = time.perf_counter()
    answer = ana.send(
        "/overrides/import/?kind=block",
        action="/overrides/import/",
        files={"file": ("products.csv", content.encode(), "text/csv")},
        surface="*",
        reason_code="quality",
        reason="Benchmark of a file",
    )
    pk = number_in(answer)
    page = f"/overrides/submissions/{pk}/"
    print(f"{rows:,} rows received after {time.perf_counter() - began:.1f} s")
    wait_until(lambda: portal.submission(pk)["state"] == "draft")
    print(f"checked after {time.perf_counter() - began:.1f} s")
    ana.send(page, action="/apply/")

    approved = time.perf_counter()
    lena.send(page, action="/approve/", comment="Benchmark")
    sample = [products[0], products[rows // 2], products[-1]]
    wait_until(lambda: portal.blocked(sample) == sample)
    obeyed = time.perf_counter() - approved
    wait_until(lambda: portal.submission(pk)["delivery"]["live_at"] is not None)
    print(f"first, middle and last obeyed {obeyed:.1f} s after the approval")
    print(f"all live {time.perf_counter() - approved:.1f} s after the approval")

    for visitor, name in zip(visitors, ("pages", "forms (open and send)"), strict=True):
        visitor.stopped.set()
        visitor.join()
        print(
            f"meanwhile {len(visitor.seconds)} {name}: p50 {percentile(visitor.seconds, 0.5) * 1000:.0f} ms, "
            f"p95 {percentile(visitor.seconds, 0.95) * 1000:.0f} ms, {len(visitor.failures)} failed"
        )
        for failure in visitor.failures[:3]:
            print("  ", failure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("demo", type=Path, help="the var/demo.json of a running portal")
    parser.add_argument("--rows", type=int, default=10_000)
    arguments = parser.parse_args()
    measure(Portal(arguments.demo), arguments.rows)
