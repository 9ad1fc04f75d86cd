"""TCP ports of this machine, for the store that the demo and the tests start."""

import secrets
import socket

# Below the range that systems hand to outgoing connections (from 32768 on Linux, 49152 on macOS), so that
# no passing connection can sit on the store's port while the store restarts.
_FIRST, _LAST = 20_000, 29_999


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that nobody listens on, chosen at random so that two clones rarely meet."""
    for _ in range(100):
        port = _FIRST + secrets.randbelow(_LAST - _FIRST + 1)
        if is_free(port):
            return port
    raise OSError(f"no free TCP port between {_FIRST} and {_LAST}")
