"""Evil patterns and long texts: how long a match takes at most. `python -m tests.benchmarks.rules`"""

import random
import time
from collections.abc import Callable

from opsportal.audits.conditions import BYTES_MAX, compiled, parse
from opsportal.core.errors import Invalid
from opsportal.predictions.dictionary import FeatureDictionary

EVIL = [
    "(a+)+$",
    "(a|aa)+$",
    "(x+x+)+y",
    "(a?){40}a{40}b",
    "(?:x.{1,20}){2}q",
    "[ax][bx].{20}[xy].{20}q",
    r"(\pL{1,300}){3}",
    "((a{100}){100}){100}",
    "(?=a)b",
    r"(a)\1",
]
_CHANCE = random.Random(1)  # noqa: S311  the same every time
# The last one leaves RE2's automaton the least to remember.
TEXTS = [
    "a" * BYTES_MAX,
    "x" * BYTES_MAX,
    "ä" * BYTES_MAX,
    "".join(_CHANCE.choice("abxyz ") for _ in range(BYTES_MAX)),
]
TIMES = 5


class _Row:
    score, product_id, surface, features = 0.5, "", "", "{}"

    def __init__(self, text: str) -> None:
        self.text = text


def main() -> None:
    """Print the slowest reading and the slowest match of each pattern, in CPU milliseconds."""
    worst = 0.0
    for pattern in EVIL:
        raw = {"field": "text", "is": "matches", "value": pattern}
        reading, refused = _read(raw)
        worst = max(worst, reading)
        if refused:
            print(f"{pattern:28} refused in {reading:6.2f} ms: {refused}")
            continue
        matching = max(_match(raw, text) for text in TEXTS)
        worst = max(worst, matching)
        steps = compiled(pattern, case_sensitive=False)._regexp.ProgramSize()
        print(f"{pattern:28} {steps:4} steps, read in {reading:6.2f} ms, matched in {matching:6.2f} ms")
    print(f"slowest of all: {worst:.1f} ms (wanted: 50)")


def _read(raw: object) -> tuple[float, str]:
    started, refused = time.process_time(), ""
    try:
        parse(raw, FeatureDictionary(features=()))
    except Invalid as error:
        refused = error.message
    return (time.process_time() - started) * 1000, refused


def _match(raw: object, text: str) -> float:
    condition = parse(raw, FeatureDictionary(features=()))
    return _slowest(lambda: condition.matches(_Row(text), ""))


def _slowest(work: Callable[[], object]) -> float:
    found = 0.0
    for _ in range(TIMES):
        started = time.process_time()
        work()
        found = max(found, (time.process_time() - started) * 1000)
    return found


if __name__ == "__main__":
    main()
