"""A temporary PostgreSQL cluster, gone when the tests are: `python -m tests.postgres COMMAND …`."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

# Nothing has to survive a crash, and the races of the suite open many connections at once.
_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "400",
    "listen_addresses": "",
}


def find_binaries() -> Path | None:
    """The folder with initdb and pg_ctl: on PATH, or the newest of Debian's; None where there is none."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in folders), key=lambda path: int(path.parent.name), default=None)


@contextmanager
def temporary_cluster(binaries: Path, settings: Mapping[str, str] = _SETTINGS) -> Iterator[str]:
    """Start a cluster that listens on a Unix socket only; yields its DATABASE_URL and removes it afterwards.

    settings: in place of some of the fast but unsafe ones; benchmarks want what production has.
    PostgreSQL refuses to run as root, so root hands it to the account `postgres`, which its package creates.
    """
    as_owner = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    # /tmp rather than $TMPDIR: the path of a Unix socket may hold 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if as_owner:
            owner = pwd.getpwnam("postgres")
            os.chown(folder, owner.pw_uid, owner.pw_gid)

        def run(program: str, *arguments: str) -> None:
            finished = subprocess.run(
                [*as_owner, str(binaries / program), *arguments],
                cwd=folder,
                # The server keeps its standard output open: a pipe would never end.
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
                check=False,
            )
            if finished.returncode:
                log = folder / "log"
                detail = (finished.stderr or b"").decode() or (log.read_text() if log.exists() else "")
                raise RuntimeError(f"{program} failed: {detail.strip()}")

        # Being told to end must end the server too, which is nobody's child.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        data = str(folder / "data")
        run(
            "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        )
        wanted = {**_SETTINGS, **settings}
        options = " ".join(f"-c {name}={value or chr(39) * 2}" for name, value in wanted.items())
        run("pg_ctl", "-D", data, "-l", str(folder / "log"), "-w", "-o", f"{options} -k {folder}", "start")
        try:
            yield f"postgresql://postgres@{quote(str(folder), safe='')}/postgres"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")


def main() -> int:
    """Run the command with TEST_DATABASE_URL set; its exit code."""
    binaries = find_binaries()
    if binaries is None:
        sys.exit("No PostgreSQL found (initdb is neither on PATH nor under /usr/lib/postgresql).")
    with temporary_cluster(binaries) as url:
        return subprocess.run(
            sys.argv[1:], env={**os.environ, "TEST_DATABASE_URL": url}, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
