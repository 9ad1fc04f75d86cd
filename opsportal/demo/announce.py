"""Wait until the pages answer, then tell the person at the terminal where they are. Needs no Django."""

import json
import time
import urllib.error
import urllib.request

from opsportal.demo.environment import FOLDER, VAR

_PATIENCE_SECONDS = 90


def main() -> None:
    """Print the addresses and logins of var/demo.json once they work, or where to look for the reason."""
    demo = json.loads((VAR / "demo.json").read_text(encoding="utf-8"))
    if wait_until_ready():
        print(banner(demo), flush=True)
    else:
        print(f"\nThe portal does not answer yet. The logs in {VAR / 'log'} say why.\n", flush=True)


def wait_until_ready() -> bool:
    """Poll /readyz until the pages answer, or for a minute and a half; whether they do."""
    url = json.loads((VAR / "demo.json").read_text(encoding="utf-8"))["url"]
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not _answers(f"{url}/readyz"):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def banner(demo: dict[str, object]) -> str:
    """What a person needs to begin."""
    users = demo["users"]
    assert isinstance(users, dict)  # noqa: S101  written by the demo command
    password = next(iter(users.values()))
    return "\n".join(
        [
            "",
            f"  Opsportal is ready:  {demo['url']}",
            f"  Sign in as           {', '.join(users)}",
            f"  with the password    {password}",
            f"  API key              {demo['api_key']}",
            f"  The same in          {(VAR / 'demo.json').relative_to(FOLDER)}    logs: var/log/",
            "  Ctrl-C stops everything.",
            "",
        ]
    )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  http on loopback
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    main()
