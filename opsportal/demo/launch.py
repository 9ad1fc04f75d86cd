"""Become one program of the demo: `python -m opsportal.demo.launch NAME COMMAND …`. Needs no Django."""

import os
import sys
import time

from opsportal.demo.processes import RUN, kill_group, remember_group

# What loads so much that the pages would come seconds later if it started with them.
_AFTER_THE_PAGES = ("explainer", "auditor")

# A program that cannot start is tried about once a second, not hundreds of times.
_SETTLED_SECONDS = 3
_PAUSE_SECONDS = 1


def main() -> None:
    """End what the program's last start left running, note the new group, and become the program.

    Waits for the pages first where `_AFTER_THE_PAGES` says so, and for a second when it was just started.
    """
    name, *command = sys.argv[1:]
    note = RUN / f"{name}.pid"
    if note.exists() and 0 <= time.time() - note.stat().st_mtime < _SETTLED_SECONDS:
        time.sleep(_PAUSE_SECONDS)
    kill_group(name)
    remember_group(name)
    if name in _AFTER_THE_PAGES:
        from opsportal.demo.announce import wait_until_ready  # noqa: PLC0415  the others start without it

        wait_until_ready()
    os.execv(command[0], command)  # noqa: S606  the supervisor's own configuration says what to run


if __name__ == "__main__":
    main()
