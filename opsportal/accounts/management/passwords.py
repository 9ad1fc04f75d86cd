"""How commands come by a password without it standing in the list of processes."""

import getpass
import sys


def read_password() -> str:
    """Asked for at a terminal, else the first line of standard input."""
    return getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
