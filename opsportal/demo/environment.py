"""What is this clone's alone: its folder var/, its secrets, its store's address. Needs no Django."""

import os
import secrets
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from opsportal.demo.ports import free_port

FOLDER = Path(__file__).resolve().parents[2]
VAR = FOLDER / "var"
ENV_FILE = VAR / "demo.env"


def prepare() -> None:
    """Create var/demo.env with fresh secrets unless it is there. Run before the settings are read."""
    VAR.mkdir(mode=0o700, exist_ok=True)
    if ENV_FILE.exists():
        return
    write_env(
        {
            "DEBUG": "true",
            "SECRET_KEY": secrets.token_urlsafe(50),
            "CUSTOMER_KEY": secrets.token_hex(32),
            **store_urls(free_port()),
        }
    )


def store_urls(port: int) -> dict[str, str]:
    """Where the store and the broker are: two databases of one server."""
    return {
        "REDIS_URL": f"redis://127.0.0.1:{port}/0",
        "CELERY_BROKER_URL": f"redis://127.0.0.1:{port}/1",
    }


def store_port() -> int:
    """The port that this clone's store had last time."""
    return urlsplit(read_env()["REDIS_URL"]).port or 0


def move_store(port: int) -> None:
    """Remember another port for the store, because a stranger listens on the old one."""
    write_env({**read_env(), **store_urls(port)})


def read_env() -> dict[str, str]:
    """The variables of var/demo.env."""
    lines = ENV_FILE.read_text(encoding="utf-8").splitlines()
    return {name: value for name, found, value in (line.partition("=") for line in lines) if found}


def write_env(variables: dict[str, str]) -> None:
    """Replace var/demo.env."""
    write_private(ENV_FILE, "".join(f"{name}={value}\n" for name, value in variables.items()))


def write_private(path: Path, text: str) -> None:
    """Replace a file that only its owner may read; a crash leaves the old one or the new one, never half."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # created with mode 600
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(path)
