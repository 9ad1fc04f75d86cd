"""The demo as a whole: two at once, whatever ends comes back, and a killed one can be started again."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.running import RunningDemo, copy_portal, load_demo, running_demo

pytestmark = pytest.mark.faults

PROGRAMS = ("store", "web", "pusher", "worker", "beat", "explainer", "auditor")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A portal whose demo was loaded and never run."""
    folder = copy_portal(tmp_path_factory.mktemp("loaded"))
    load_demo(folder)
    return folder


def until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_demo__two_clones_at_once__both_answer_and_stop(loaded: Path, tmp_path: Path) -> None:
    with (
        running_demo(copy_portal(tmp_path / "one", loaded=loaded)) as one,
        running_demo(copy_portal(tmp_path / "two", loaded=loaded)) as two,
    ):
        answers = [httpx.get(f"{demo.url}/account/sign-in/").status_code for demo in (one, two)]
        groups = [demo.pid_of(program) for demo in (one, two) for program in PROGRAMS]

    assert answers == [200, 200]
    assert one.redis_url != two.redis_url
    assert one.api_key != two.api_key
    assert one.users["ana"] != two.users["ana"]
    assert [pid for pid in groups if is_alive(pid)] == []


def test_demo__programs_killed__are_started_again_and_explain(loaded: Path, tmp_path: Path) -> None:
    def restarted(demo: RunningDemo, before: dict[str, int]) -> bool:
        return all(demo.pid_of(name) != pid and is_alive(demo.pid_of(name)) for name, pid in before.items())

    with running_demo(copy_portal(tmp_path / "demo", loaded=loaded)) as demo:
        before = {name: demo.kill(name) for name in PROGRAMS}

        until(lambda: restarted(demo, before), seconds=30, what="every program runs again")
        until(lambda: answers(demo), seconds=30, what="the pages answer again")
        until(
            lambda: explanation_of(demo, "titanic-450") is not None,
            seconds=90,
            what="a prediction that nobody has looked at is explained",
        )


def test_demo__supervisor_killed__starts_again_with_the_same_logins(loaded: Path, tmp_path: Path) -> None:
    folder = copy_portal(tmp_path / "demo", loaded=loaded)
    with running_demo(folder) as first:
        left_running = [first.pid_of(program) for program in PROGRAMS]
        first.supervisor.send_signal(signal.SIGKILL)
        first.supervisor.wait()

    with running_demo(folder) as second:
        assert [pid for pid in left_running if is_alive(pid)] == []
        assert (second.api_key, second.users) == (first.api_key, first.users)

    assert "Stopped what an earlier crash left running" in (folder / "demo.log").read_text()


def answers(demo: RunningDemo) -> bool:
    try:
        return httpx.get(f"{demo.url}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def explanation_of(demo: RunningDemo, prediction_id: str) -> dict[str, object] | None:
    """The explanation, which must add up; None while it is being computed."""
    answer = httpx.get(
        f"{demo.url}/api/v1/predictions/{prediction_id}/explanation",
        headers={"Authorization": f"Api-Key {demo.api_key}"},
        timeout=10,
    )
    if answer.status_code == 202:
        return None
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    assert abs(float(str(found["residual"]))) < 1e-6
    return found
