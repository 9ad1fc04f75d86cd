"""`manage.py demo` refuses with a sentence what it cannot do."""

import socket
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from opsportal.demo import supervisor
from opsportal.demo.management.commands import demo


def test_demo__without_debug__refuses() -> None:
    with pytest.raises(CommandError, match="only with DEBUG=true"):
        call_command("demo")


@pytest.mark.parametrize("port", ["0", "80", "65536", "eighty", "8000 ", "-1", "٨٠٠٠"])
def test_demo__port_out_of_range__refuses(
    port: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DEBUG = True
    monkeypatch.setenv("PORT", port)

    with pytest.raises(CommandError, match="PORT must be a number from 1024 to 65535"):
        call_command("demo")


def test_demo__port_in_use__names_another(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.DEBUG = True
    monkeypatch.setattr(demo, "RUN", tmp_path)
    monkeypatch.setattr(demo, "running_supervisor", lambda: None)
    monkeypatch.setattr(demo, "stop_leftovers", list)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("PORT", str(port))

        with pytest.raises(CommandError, match=f"Port {port} is in use. Choose another one: PORT={port + 1}"):
            call_command("demo")


def test_demo__running_already__says_how_to_stop_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.DEBUG = True
    monkeypatch.setattr(demo, "RUN", tmp_path)
    monkeypatch.setattr(demo, "running_supervisor", lambda: 4711)

    with pytest.raises(CommandError, match="kill 4711"):
        call_command("demo")


def test_programs__every_one_is_restarted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(supervisor, "VAR", tmp_path)
    monkeypatch.setattr(supervisor, "store_port", lambda: 20_001)

    configuration = supervisor.configuration(8001)

    assert list(supervisor.programs(8001)) == [
        "store",
        "web",
        "pusher",
        "worker",
        "beat",
        "explainer",
        "auditor",
    ]
    assert configuration.count("autorestart = true") == 7
    assert "programs = store,web,pusher,worker,beat,explainer,auditor" in configuration


def test_programs__explainer__alone_serves_the_queue_of_those_who_load_models(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(supervisor, "VAR", tmp_path)
    monkeypatch.setattr(supervisor, "store_port", lambda: 20_001)

    programs = supervisor.programs(8001)

    serving = [name for name, command in programs.items() if "explain" in ",".join(command).split(",")]
    assert serving == ["explainer"]
    assert [name for name, command in programs.items() if "audit" in ",".join(command).split(",")] == [
        "auditor"
    ]
    assert "prefork" in programs["explainer"]
