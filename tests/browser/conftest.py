"""A real portal and a real browser. Every test ends by asking whether anything went wrong on the way."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect, sync_playwright

from tests.browser.watching import Watch
from tests.running import RunningDemo, copy_portal, running_demo

DESKTOP = ViewportSize(width=1440, height=900)
PHONE = ViewportSize(width=390, height=844)
# Generous: two cores serve a browser, a web server, workers and the other half of the suite.
_PATIENCE_MS = 60_000
_ARGUMENTS = [
    "--no-sandbox",  # containers run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in this folder."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """The demo with all its processes, people and overrides, in a folder of its own."""
    with running_demo(copy_portal(tmp_path_factory.mktemp("portal"))) as demo:
        yield demo


@pytest.fixture(scope="package")
def browser(chromium_path: str) -> Iterator[Browser]:
    """The system's Chromium, without a window.

    It ends with this folder's tests: while Playwright runs, Django takes the thread for asynchronous.
    """
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_path, args=_ARGUMENTS, chromium_sandbox=False
        )
        yield browser
        browser.close()


SignedIn = Callable[[str], httpx.Client]


@pytest.fixture(scope="session")
def signed_in(portal: RunningDemo) -> Iterator[SignedIn]:
    """`signed_in("ana")`: a client with that person's session and CSRF token; everybody signs in once."""
    clients: dict[str, httpx.Client] = {}

    def client_of(name: str) -> httpx.Client:
        if name not in clients:
            client = clients[name] = httpx.Client(base_url=portal.url, timeout=15)
            client.get("/account/sign-in/")
            token = {"csrfmiddlewaretoken": client.cookies["csrf"]}
            login = {"username": name, "password": portal.users[name]}
            answer = client.post("/account/sign-in/", data=token | login)
            assert answer.status_code == 302, answer.text
            client.headers["X-CSRFToken"] = client.cookies["csrf"]
        return clients[name]

    yield client_of
    for client in clients.values():
        client.close()


class Ranker:
    """Asks and writes over REST, as machines do."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def post(self, route: str, **body: Any) -> dict[str, Any]:
        """The answer's body; anything but success fails the test."""
        answer = self._client.post(route, json=body)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def block(self, product_ids: Sequence[str], **more: Any) -> dict[str, Any]:
        """Block these products everywhere."""
        body = {"reason_code": "quality", "reason": "Prepared for a browser test.", **more}
        return self.post("blocks", product_ids=list(product_ids), **body)

    def blocked(self, product_ids: Sequence[str], surface: str = "home-left") -> list[str]:
        """Which of these products may not be shown there now."""
        return list(self.post("decisions", surface=surface, product_ids=list(product_ids))["blocked"])

    def personalizes(self, customer_id: str) -> bool:
        """Whether the customer may be personalised for."""
        answer = self.post("decisions", surface="home-left", customer_id=customer_id, product_ids=["men-9"])
        return bool(answer["personalize"])


class Visitors:
    """Opens tabs; each call is a browser of its own, with its own cookies."""

    def __init__(self, browser: Browser, portal: RunningDemo, signed_in: SignedIn) -> None:
        self._browser, self._portal, self._signed_in = browser, portal, signed_in
        self.contexts: list[tuple[BrowserContext, Watch]] = []

    def __call__(
        self,
        name: str = "",
        *,
        size: ViewportSize = DESKTOP,
        theme: Literal["light", "dark"] = "light",
        scripts: bool = True,
    ) -> Page:
        """A blank tab in which this person is signed in; nobody without a name."""
        context = self._browser.new_context(
            base_url=self._portal.url,
            viewport=size,
            has_touch=size == PHONE,
            color_scheme=theme,
            reduced_motion="reduce",
            java_script_enabled=scripts,
            locale="en-GB",
            timezone_id="UTC",
        )
        context.set_default_timeout(_PATIENCE_MS)
        self.contexts.append((context, Watch(context)))
        if name:
            for cookie, value in self._signed_in(name).cookies.items():
                context.add_cookies([{"name": cookie, "value": value, "url": self._portal.url}])
        return context.new_page()

    def watch_of(self, page: Page) -> Watch:
        """What has been seen in the browser of this tab."""
        return next(watch for context, watch in self.contexts if context == page.context)


@pytest.fixture
def visit(browser: Browser, portal: RunningDemo, signed_in: SignedIn) -> Iterator[Visitors]:
    """`visit("ana")`: a tab in which that person is signed in.

    Afterwards nothing may have been refused by the policy, failed in a script, or answered 5xx.
    """
    visitors = Visitors(browser, portal, signed_in)
    yield visitors
    troubles = [trouble for _, watch in visitors.contexts for trouble in watch.troubles]
    for context, _ in visitors.contexts:
        context.close()
    assert troubles == []


@pytest.fixture
def ranker(portal: RunningDemo) -> Iterator[Ranker]:
    """What a ranker with the demo's key is told."""
    headers = {"Authorization": f"Api-Key {portal.api_key}"}
    with httpx.Client(base_url=f"{portal.url}/api/v1/", headers=headers, timeout=15) as client:
        yield Ranker(client)


@pytest.fixture
def fresh_ids() -> Callable[[int], list[str]]:
    """`fresh_ids(3)`: product or customer IDs that nobody has used; those of one call begin alike."""

    def ids(count: int) -> list[str]:
        prefix = secrets.token_hex(4).upper()
        return [f"{prefix}-{number:03}" for number in range(1, count + 1)]

    return ids
