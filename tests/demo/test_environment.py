"""The demo's secrets and addresses: made once, private, moved when they must be."""

import stat
from pathlib import Path

import pytest

from opsportal.demo import environment
from opsportal.demo.ports import free_port, is_free


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone whose demo has never run."""
    monkeypatch.setattr(environment, "VAR", tmp_path / "var")
    monkeypatch.setattr(environment, "ENV_FILE", tmp_path / "var" / "demo.env")
    return tmp_path


def test_prepare__first_run__writes_private_secrets(clone: Path) -> None:
    environment.prepare()

    variables = environment.read_env()
    assert set(variables) == {"DEBUG", "SECRET_KEY", "CUSTOMER_KEY", "REDIS_URL", "CELERY_BROKER_URL"}
    assert len(variables["SECRET_KEY"]) >= 50
    assert len(variables["CUSTOMER_KEY"]) == 64
    assert stat.S_IMODE((clone / "var" / "demo.env").stat().st_mode) == 0o600
    assert stat.S_IMODE((clone / "var").stat().st_mode) == 0o700


def test_prepare__again__keeps_everything(clone: Path) -> None:
    environment.prepare()
    before = environment.read_env()

    environment.prepare()

    assert environment.read_env() == before


def test_move_store__port_taken__moves_store_and_broker_only(clone: Path) -> None:
    environment.prepare()
    before = environment.read_env()

    environment.move_store(20_001)

    after = environment.read_env()
    assert environment.store_port() == 20_001
    assert after["REDIS_URL"] == "redis://127.0.0.1:20001/0"
    assert after["CELERY_BROKER_URL"] == "redis://127.0.0.1:20001/1"
    assert after["SECRET_KEY"] == before["SECRET_KEY"]


def test_free_port__below_outgoing_connections() -> None:
    port = free_port()

    assert 20_000 <= port < 30_000
    assert is_free(port)
