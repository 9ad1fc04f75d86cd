"""The processes of this clone: who runs, and what an earlier crash left behind. Needs no Django."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from opsportal.demo.environment import FOLDER, VAR

RUN = VAR / "run"
SUPERVISOR_PID = RUN / "supervisord.pid"


def running_supervisor() -> int | None:
    """The process that already runs the demo of this clone, if there is one."""
    pid = _read_pid(SUPERVISOR_PID)
    commands = {member: command for member, _, command in _processes()}
    return pid if pid in commands and "supervisor" in commands[pid] and _is_ours(commands[pid]) else None


def stop_leftovers() -> list[str]:
    """Kill what a crashed demo of this clone left running; the names of the programs that were."""
    return [
        path.stem for path in sorted(RUN.glob("*.pid")) if path != SUPERVISOR_PID and kill_group(path.stem)
    ]


def kill_group(name: str) -> bool:
    """Kill every process of the group that `name` was last started in; whether there was one.

    A process counts only if its command line names this clone: numbers of dead processes are used again.
    """
    group = _read_pid(RUN / f"{name}.pid")
    found = False
    for _ in range(50):
        members = [pid for pid, of, command in _processes() if of == group and _is_ours(command)]
        if not members:
            break
        found = True
        for pid in members:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    return found


def remember_group(name: str) -> None:
    """Write down that this process leads the group of `name`."""
    (RUN / f"{name}.pid").write_text(str(os.getpid()))


def _is_ours(command: str) -> bool:
    return f"{FOLDER}/" in command


def _read_pid(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _processes() -> Iterator[tuple[int, int, str]]:
    """Every process that is no zombie: its number, its group and its command line."""
    if not Path("/proc/self/stat").exists():
        listing = subprocess.run(
            ["ps", "-A", "-o", "pid=,pgid=,command="], capture_output=True, text=True, check=True
        ).stdout
        for line in listing.splitlines():
            pid, group, command = line.split(maxsplit=2)
            yield int(pid), int(group), command
        return
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):  # it ended in the meantime
            # `pid (name) state parent group …`, where the name may hold spaces and brackets.
            state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if state != "Z":
                yield int(entry.name), int(group), command
