"""A running portal as people and rankers meet it: forms with their CSRF tokens, the API with its key."""

import json
import math
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urljoin

import httpx

FORM = re.compile(r'<form[^>]*method="post"[^>]*>.*?</form>', re.DOTALL)
ACTION = re.compile(r'<form[^>]*\baction="([^"]*)"')
HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


class Portal:
    """One portal, from the var/demo.json that `make demo` writes."""

    def __init__(self, demo_file: Path) -> None:
        demo = json.loads(demo_file.read_text(encoding="utf-8"))
        self.url: str = demo["url"]
        self.redis_url: str = demo["redis_url"]
        self._users: dict[str, str] = demo["users"]
        self._api = httpx.Client(
            base_url=f"{self.url}/api/v1/",
            headers={"Authorization": f"Api-Key {demo['api_key']}"},
            timeout=60,
        )

    def sign_in(self, name: str) -> "Person":
        """A signed-in browser of one of the demo people."""
        return Person(self.url).sign_in(name, self._users[name])

    def blocked(self, product_ids: Sequence[str], surface: str = "home-left") -> list[str]:
        """Which of the products the rankers must not show now."""
        answer = self._api.post("decisions", json={"surface": surface, "product_ids": list(product_ids)})
        answer.raise_for_status()
        return list(answer.json()["blocked"])

    def submission(self, pk: int) -> dict[str, Any]:
        """A submission as the API tells it."""
        answer = self._api.get(f"submissions/{pk}")
        answer.raise_for_status()
        return dict(answer.json())


class Person:
    """A browser without JavaScript."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, follow_redirects=False, timeout=120)

    def sign_in(self, name: str, password: str) -> Self:
        """Sign in by the form. Raises RuntimeError when it is refused."""
        self.send("/account/sign-in/", username=name, password=password)
        return self

    def get(self, path: str) -> httpx.Response:
        """Open a page."""
        return self._client.get(path)

    def send(
        self, page: str, action: str = "", files: dict[str, Any] | None = None, **fields: str
    ) -> httpx.Response:
        """Open `page`, fill in the form whose action ends in `action`, and send it.

        Raises RuntimeError unless the answer leads on to another page.
        """
        forms = {urljoin(page, _action_of(form)): form for form in FORM.findall(self.get(page).text)}
        wanted = action or page.partition("?")[0]
        target = next(target for target in forms if target.partition("?")[0].endswith(wanted))
        hidden = dict(HIDDEN.findall(forms[target]))
        answer = self._client.post(target, data={**hidden, **fields}, files=files)
        if answer.status_code != httpx.codes.FOUND:
            raise RuntimeError(f"{target} answered {answer.status_code}")
        return answer


def number_in(answer: httpx.Response) -> int:
    """The number of the submission that an answer leads to."""
    return int(answer.headers["location"].rstrip("/").rpartition("/")[2])


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0–1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def wait_until(condition: Callable[[], bool], seconds: float = 300) -> None:
    """Ask every 20 ms until it holds. Raises TimeoutError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)


def _action_of(form: str) -> str:
    found = ACTION.search(form)
    return found.group(1) if found else ""
