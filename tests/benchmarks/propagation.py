"""How long it takes from a person's click until rankers obey it.

    python -m tests.benchmarks.propagation var/demo.json --changes 100

Needs a running `make demo`. Blocks products one after another by the form (sign-in, CSRF token and
all) as ana, and asks POST /api/v1/decisions until each is no longer offered. Two clocks: from the moment the
answer to the form is there, when the change is committed, and from the moment the form is sent.
"""

import argparse
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.portal import Portal, percentile

P50_GOAL, P99_GOAL = 0.5, 2.0
PATIENCE = 30


def measure(portal: Portal, changes: int) -> bool:
    """Make the changes, print the percentiles, and say whether the goals are met."""
    ana = portal.sign_in("ana")
    batch = secrets.token_hex(4)
    from_commit, from_click, forms = [], [], []
    for number in range(changes):
        product = f"bench-{batch}-{number}"
        if portal.blocked([product]):
            raise RuntimeError(f"{product} is blocked before anybody blocked it")
        page = ana.get("/overrides/blocks/new/")
        page.raise_for_status()
        clicked = time.perf_counter()
        ana.send(
            "/overrides/blocks/new/",
            product_ids=product,
            surface="*",
            reason_code="quality",
            reason="Benchmark of the delivery",
        )
        committed = time.perf_counter()
        while not portal.blocked([product]):
            if time.perf_counter() - committed > PATIENCE:
                raise TimeoutError(f"{product} is still offered after {PATIENCE} s")
        visible = time.perf_counter()
        forms.append(committed - clicked)
        from_commit.append(visible - committed)
        from_click.append(visible - clicked)
    print(f"{changes} blocks by the form, one after another")
    _show("open and send the form", forms)
    _show("commit to visible", from_commit)
    _show("click to visible", from_click)
    return percentile(from_commit, 0.5) <= P50_GOAL and percentile(from_commit, 0.99) <= P99_GOAL


def _show(name: str, seconds: Sequence[float]) -> None:
    figures = (f"{label} {percentile(seconds, share):.3f} s" for label, share in _SHARES.items())
    print(f"{name + ':':<24}{', '.join(figures)}")


_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("demo", type=Path, help="the var/demo.json of a running portal")
    parser.add_argument("--changes", type=int, default=100)
    arguments = parser.parse_args()
    sys.exit(0 if measure(Portal(arguments.demo), arguments.changes) else 1)
