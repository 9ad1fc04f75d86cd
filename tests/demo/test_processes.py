"""Whose processes the demo may end: its own, and only while they are its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from opsportal.demo import processes

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with a folder for notes about processes."""
    folder = tmp_path.resolve()
    run = folder / "var" / "run"
    run.mkdir(parents=True)
    monkeypatch.setattr(processes, "FOLDER", folder)
    monkeypatch.setattr(processes, "RUN", run)
    monkeypatch.setattr(processes, "SUPERVISOR_PID", run / "supervisord.pid")
    return folder


@contextmanager
def sleeping(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(SLEEP, cwd=folder, process_group=0)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_stop_leftovers__left_by_a_crash__kills_and_names_them(clone: Path) -> None:
    with sleeping(clone) as process:
        (clone / "var/run/worker.pid").write_text(str(process.pid))

        assert processes.stop_leftovers() == ["worker"]

        assert process.wait(timeout=5) == -9


def test_stop_leftovers__number_used_by_a_stranger__leaves_it_alone(
    clone: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with sleeping(tmp_path_factory.mktemp("elsewhere")) as process:
        (clone / "var/run/worker.pid").write_text(str(process.pid))

        assert processes.stop_leftovers() == []

        assert process.poll() is None


def test_stop_leftovers__no_such_process__says_nothing(clone: Path) -> None:
    (clone / "var/run/worker.pid").write_text("not a number")

    assert processes.stop_leftovers() == []


def test_running_supervisor__number_of_another_program__is_not_ours(clone: Path) -> None:
    (clone / "var/run/supervisord.pid").write_text(str(os.getpid()))

    assert processes.running_supervisor() is None
