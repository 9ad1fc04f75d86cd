"""The processes of this clone: who runs, and what an earlier crash left behind. Needs no Django."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from opsportal.demo.environment import FOLDER, VAR

RUN = VAR / "run"
SUPERVISOR_PID = RUN / "supervisord.pid"


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    group: int
    command: str
    # Its working directory, or where the system does not tell it, its command line with the path of Python.
    place: str

    @property
    def is_ours(self) -> bool:
        return f"{FOLDER}/" in f"{self.place}/"


def running_supervisor() -> int | None:
    """The process that already runs the demo of this clone, if there is one."""
    noted = _read_pid(SUPERVISOR_PID)
    for process in _processes():
        if process.pid == noted and process.is_ours and "supervisor" in process.command:
            return noted
    return None


def stop_leftovers() -> list[str]:
    """Kill what a crashed demo of this clone left running; the names of the programs that were."""
    return [
        path.stem for path in sorted(RUN.glob("*.pid")) if path != SUPERVISOR_PID and kill_group(path.stem)
    ]


def kill_group(name: str) -> bool:
    """Kill every process of the group that `name` was last started in; whether there was one.

    A process counts only if it belongs to this clone: numbers of dead processes are used again.
    """
    group = _read_pid(RUN / f"{name}.pid")
    found = False
    for _ in range(50):
        members = [process for process in _processes() if process.group == group and process.is_ours]
        if not members:
            break
        found = True
        for process in members:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.02)
    return found


def remember_group(name: str) -> None:
    """Write down that this process leads the group of `name`."""
    (RUN / f"{name}.pid").write_text(str(os.getpid()))


def _read_pid(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _processes() -> Iterator[_Process]:
    """Every process that is no zombie."""
    if not Path("/proc/self/stat").exists():
        listing = subprocess.run(
            ["ps", "-A", "-o", "pid=,pgid=,command="], capture_output=True, text=True, check=True
        ).stdout
        for line in listing.splitlines():
            pid, group, command = line.split(maxsplit=2)
            yield _Process(int(pid), int(group), command, command)
        return
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):  # it ended in the meantime, or is somebody else's
            # `pid (name) state parent group …`, where the name may hold spaces and brackets.
            state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            if state == "Z":
                continue
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            yield _Process(int(entry.name), int(group), command, str((entry / "cwd").readlink()))
