"""A copy of the portal that really runs, for the tests that kill it and the scripts that measure it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from opsportal.demo.ports import free_port

_ROOT = Path(__file__).resolve().parent.parent
_PARTS = ("manage.py", "opsportal", "templates", "static")
# First runs migrate and load; on a busy machine with two cores that takes its time.
_PATIENCE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class RunningDemo:
    """What a script knows of a running demo: the printed addresses, logins and key, and its folder."""

    folder: Path
    url: str
    api_key: str
    redis_url: str
    users: dict[str, str]
    supervisor: "subprocess.Popen[bytes]"

    def pid_of(self, program: str) -> int:
        """The process (and the process group) that a program of the demo has now."""
        return int((self.folder / "var" / "run" / f"{program}.pid").read_text())

    def kill(self, program: str) -> int:
        """`kill -9` of a program with everything it started; the number it had."""
        pid = self.pid_of(program)
        os.killpg(pid, signal.SIGKILL)
        return pid

    def log(self, program: str) -> str:
        """What a program has said so far."""
        return (self.folder / "var" / "log" / f"{program}.log").read_text(errors="replace")


def copy_portal(folder: Path, *, loaded: Path | None = None) -> Path:
    """A copy of the code without any var/, as a fresh clone has it.

    loaded: a portal whose database and models, but not whose secrets, the copy begins with: it need not
    train again.
    """
    folder.mkdir(exist_ok=True)
    for part in _PARTS:
        source = _ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / part)
    if loaded is not None:
        (folder / "var").mkdir(mode=0o700)
        shutil.copy2(loaded / "var" / "opsportal.sqlite3", folder / "var")
        shutil.copytree(loaded / "var" / "models", folder / "var" / "models")
    return folder


def load_demo(folder: Path) -> None:
    """Run `manage.py demo --once` in `folder`: everything is loaded, nothing runs."""
    command = [sys.executable, "manage.py", "demo", "--once"]
    done = subprocess.run(
        command, cwd=folder, env=_own_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the demo cannot be loaded:\n{done.stdout}\n{done.stderr[-3000:]}")


@contextmanager
def running_demo(folder: Path, **environment: str) -> Iterator[RunningDemo]:
    """Run `manage.py demo` in `folder` on a free port until the block ends; yields once it is ready."""
    port = free_port()
    with (folder / "demo.log").open("ab") as output:
        supervisor = subprocess.Popen(
            [sys.executable, "manage.py", "demo"],
            cwd=folder,
            env={**_own_environment(), "PORT": str(port), **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}", supervisor, folder)
        demo = json.loads((folder / "var" / "demo.json").read_text())
        yield RunningDemo(folder=folder, supervisor=supervisor, **demo)
    finally:
        supervisor.send_signal(signal.SIGINT)
        try:
            supervisor.wait(timeout=20)
        except subprocess.TimeoutExpired:
            supervisor.kill()
            supervisor.wait()


def _own_environment() -> dict[str, str]:
    """The settings of the tests must not reach the demo, which makes its own."""
    own = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
    return {name: os.environ[name] for name in own if name in os.environ}


def _wait_until_ready(url: str, supervisor: "subprocess.Popen[bytes]", folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        if supervisor.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the demo does not start:\n{(folder / 'demo.log').read_text()[-3000:]}")
        time.sleep(0.1)
