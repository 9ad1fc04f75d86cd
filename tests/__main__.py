"""Run the whole suite: on SQLite with a real store and browser, then on PostgreSQL.

`python -m tests ARGUMENTS` passes the arguments on to pytest. CI=true turns skips into failures.
"""

import os
import subprocess
import sys

from tests.browsers import find_chromium
from tests.postgres import find_binaries, temporary_cluster

# pytest's exit code for "no test was collected": fine for one part when arguments choose a few tests.
_NOTHING_COLLECTED = 5


def run_pytest(title: str, marks: str, database_url: str = "", *, more_workers: int = 0) -> int:
    """Run one part of the suite, with a worker a processor and some more; pytest's exit code."""
    print(f"\n== {title}", flush=True)
    environment = {**os.environ, "TEST_DATABASE_URL": database_url}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rs",
        "-n",
        str((os.cpu_count() or 1) + more_workers),
        "--dist",
        "loadgroup",
        "-m",
        marks,
        *sys.argv[1:],
    ]
    code = subprocess.run(command, env=environment, check=False).returncode
    return 0 if code == _NOTHING_COLLECTED and sys.argv[1:] else code


def main() -> int:
    """Run every part that this machine can run, and say which it cannot and why."""
    skipped: list[str] = []
    failed: list[str] = []

    if find_chromium() is None:
        skipped.append("browser tests: no Chromium found (Debian: apt-get install chromium)")
    # Tests in a browser wait for pages half of the time. Each worker has a portal of its own.
    if run_pytest("SQLite, embedded store, browser", "not postgres and not benchmark", more_workers=1):
        failed.append("SQLite")

    title, marks = "PostgreSQL", "not browser and not benchmark and not faults"
    if url := os.environ.get("TEST_DATABASE_URL"):
        if run_pytest(title, marks, url):
            failed.append(title)
    elif binaries := find_binaries():
        with temporary_cluster(binaries) as temporary_url:
            if run_pytest(title, marks, temporary_url):
                failed.append(title)
    else:
        skipped.append(
            "PostgreSQL: no server binaries found and TEST_DATABASE_URL is not set "
            "(Debian: apt-get install postgresql)"
        )

    print()
    for line in skipped:
        print(f"Skipped {line}")
    if skipped and os.environ.get("CI") == "true":
        failed.append("skips, which CI=true does not allow")
    print(f"Failed: {', '.join(failed)}" if failed else "Everything that could run here passed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
