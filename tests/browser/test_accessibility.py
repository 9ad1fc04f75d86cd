"""No page has a barrier (axe, WCAG 2.2 AA and best practice) or scrolls sideways: both themes, both sizes."""

import secrets
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from django.urls import URLPattern, URLResolver, get_resolver, resolve
from playwright.sync_api import Page, expect

from tests.browser.conftest import DESKTOP, PHONE, SignedIn, Visitors
from tests.running import RunningDemo

THEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
# Colours change at once with the theme, so that none is judged half-way.
_STAND_STILL = """() => {
  const still = new CSSStyleSheet();
  still.replaceSync("*, *::before, *::after { transition: none !important; }");
  document.adoptedStyleSheets.push(still);
}"""
# Dark differs from light in its colours only; a phone has the colours of the large screen, but for its bars.
_FIND_BARRIERS = """async (theme) => {
  await new Promise(requestAnimationFrame);
  const colours = ["color-contrast", "link-in-text-block"];
  const options = { resultTypes: ["violations"], preload: false };
  const others = Object.fromEntries(colours.map((rule) => [rule, { enabled: false }]));
  const bars = [...document.querySelectorAll(".rail, .subnav")];
  const asked = {
    light: [[document, options]],
    dark: [[document, { ...options, runOnly: colours }]],
    phone: [[document, { ...options, rules: others }], [bars, { ...options, runOnly: colours }]],
  }[theme].filter(([where]) => where.length !== 0);
  const found = [];
  for (const [where, how] of asked) found.push(...(await axe.run(where, how)).violations);
  return found.flatMap(({ id, nodes }) => nodes.map((node) => (
    `${id}: ${node.target.join(" ")} | ${node.html.slice(0, 160)} | ${node.failureSummary.slice(0, 240)}`
  )));
}"""
_SIDEWAYS = """() => {
  const width = document.documentElement.scrollWidth;
  if (width <= innerWidth) return [];
  const widest = [...document.querySelectorAll("body *")]
    .filter((element) => element.getBoundingClientRect().right > innerWidth + 1)
    .map((element) => element.outerHTML.slice(0, 100));
  return [`${width} px wide: ${widest.slice(0, 5).join(" … ")}`];
}"""


def _nothing(page: Page) -> None:
    """The page as it opens."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A page in one state: who looks at it, where it is, and what she does there first.

    path: may hold names of `states` in braces. status: what the address answers.
    """

    title: str
    person: str
    path: str
    act: Callable[[Page], None] = _nothing
    status: int = 200


def click(role: Any, name: str) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        page.get_by_role(role, name=name, exact=True).first.click()

    return act


def send(button: str, **fields: str) -> Callable[[Page], None]:
    """Fill in fields by their names, send the form, and wait for the answer."""

    def act(page: Page) -> None:
        for name, text in fields.items():
            page.locator(f"main [name={name}]").first.fill(text)
        with page.expect_navigation():
            page.get_by_role("main").get_by_role("button", name=button).click()

    return act


def look_up(text: str) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        page.locator("#search").fill(text)
        with page.expect_navigation():
            page.locator("#search").press("Enter")

    return act


def open_menu(page: Page) -> None:
    page.locator("summary.menu__name").click()


def open_keys(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()


def tick_and_withdraw(page: Page) -> None:
    page.locator("[name=ids]").first.check()
    with page.expect_navigation():
        page.get_by_role("button", name="Withdraw…").click()


def tick(page: Page) -> None:
    page.locator("[name=ids]").first.check()


def refuse_rebuild(page: Page) -> None:
    click("link", "Rebuild the store")(page)
    with page.expect_navigation():
        page.get_by_role("dialog").get_by_role("button", name="Rebuild the store").click()


def unfold(page: Page) -> None:
    for fold in page.get_by_role("main").locator("summary").all():
        fold.click()


def wait_for_reasons(page: Page) -> None:
    """Everything that comes by itself is there; a worker may have to start first."""
    patience = 120_000
    expect(page.locator(".reasons__table")).to_be_visible(timeout=patience)
    expect(page.locator(".force__plot svg .force-bar-blocks").first).to_be_attached()
    expect(page.locator(".second-opinion .notice__title")).to_be_visible(timeout=patience)
    page.locator("main details:not([open]) > summary").first.click()


def wait_for_answer(page: Page) -> None:
    expect(page.locator("#answer .before-after")).to_be_visible(timeout=120_000)


def ask_what_if(page: Page) -> None:
    page.get_by_label("Fare").fill("80")
    page.get_by_role("button", name="Ask the model").click()
    wait_for_answer(page)


def fill_in_letter(page: Page) -> None:
    expect(page.locator(".sheet")).to_be_visible(timeout=120_000)
    page.get_by_label("Customer’s name").fill("\u4e2d")
    expect(page.locator(".letter__lacking")).to_be_visible()


def click_together(page: Page) -> None:
    with page.expect_navigation():
        page.get_by_role("button", name="Explain these together").click()


def put_side_by_side(page: Page) -> None:
    click_together(page)
    area = page.locator("[data-stack-plot] svg .force-bar-array-area-pos").first
    expect(area).to_be_attached(timeout=120_000)


STOPS = [
    Stop("sign in", "", "/account/sign-in/"),
    Stop("sign in, session ended", "", "/account/sign-in/?ended"),
    Stop("sign in, refused", "", "/account/sign-in/", send("Sign in", username="nobody", password="wrong")),
    Stop("not found, signed out", "", "/nowhere/", status=404),
    Stop("not found", "ana", "/nowhere/", status=404),
    Stop("bad request", "ana", "/overrides/blocks/?q=%00", status=400),
    Stop("home of an agent", "ana", "/"),
    Stop("home of an approver", "lena", "/"),
    Stop("home of an administrator", "root", "/"),
    Stop("menu open", "ana", "/", open_menu),
    Stop("keys", "ana", "/", open_keys),
    Stop("search", "ana", "/search/"),
    Stop("search, nothing found", "ana", "/", look_up("Nobody-Knows-This")),
    Stop("search, product", "ana", "/", look_up("men-9")),
    Stop("search, product shared", "max", "/search/?product=men-2"),
    Stop("search, customer", "priya", "/", look_up("C-10234")),
    Stop("activity", "otto", "/activity/?text=Recall"),
    Stop("activity, nothing matches", "otto", "/activity/?text=nothing-like-this"),
    Stop("account", "ana", "/account/"),
    Stop(
        "account, refused",
        "ana",
        "/account/",
        send("Change the password", current="not mine", password="short", again="shorter"),
    ),
    Stop("keys of machines", "root", "/account/keys/"),
    Stop("new key", "root", "/account/keys/new/"),
    Stop("new key, refused", "root", "/account/keys/new/", send("Make the key", name=" ", days="1")),
    Stop("key revoked?", "root", "/account/keys/", click("link", "Revoke Demo")),
    Stop("blocks", "ana", "/overrides/blocks/?q=men-"),
    Stop("blocks, ticked", "ana", "/overrides/blocks/?q=men-", tick),
    Stop("blocks, to withdraw", "ana", "/overrides/blocks/?q=men-", tick_and_withdraw),
    Stop("blocks, read only", "dana", "/overrides/blocks/?state=all&q=men-"),
    Stop("blocks, nothing matches", "ana", "/overrides/blocks/?q=nothing-like-this"),
    Stop("new block", "ana", "/overrides/blocks/new/"),
    Stop("new block, refused", "ana", "/overrides/blocks/new/", send("Block these products")),
    Stop("block", "ana", "/overrides/blocks/{block}/"),
    Stop("block, to withdraw", "ana", "/overrides/blocks/{block}/", click("link", "Withdraw")),
    Stop("block, to extend", "ana", "/overrides/blocks/{block}/", click("link", "Change the end")),
    Stop("block, withdrawn", "ana", "/overrides/blocks/{withdrawn}/"),
    Stop("boosts", "max", "/overrides/boosts/"),
    Stop("new boost", "max", "/overrides/boosts/new/"),
    Stop("new boost, refused", "max", "/overrides/boosts/new/", send("Boost these products")),
    Stop("boost", "max", "/overrides/boosts/{boost}/"),
    Stop("opt-outs", "priya", "/overrides/opt-outs/"),
    Stop("opt-outs, ticked", "priya", "/overrides/opt-outs/", tick),
    Stop("opt-outs, find", "ana", "/overrides/opt-outs/", send("Has this customer", customer_id="nobody")),
    Stop("new opt-out", "ana", "/overrides/opt-outs/new/"),
    Stop("new opt-out, refused", "ana", "/overrides/opt-outs/new/", send("Record the opt-out")),
    Stop("opt-out", "priya", "/overrides/opt-outs/{opt_out}/"),
    Stop("import", "ana", "/overrides/import/"),
    Stop("import, refused", "ana", "/overrides/import/", send("Check this file")),
    Stop("submissions", "lena", "/overrides/submissions/?kind=boost"),
    Stop("submissions, none", "lena", "/overrides/submissions/?q=nothing-like-this"),
    Stop("submission, draft", "ana", "/overrides/submissions/{draft}/"),
    Stop("submission, checking", "ana", "/overrides/submissions/{checking}/"),
    Stop("submission, waiting", "ana", "/overrides/submissions/{waiting}/"),
    Stop("submission, to decide", "lena", "/overrides/submissions/{waiting}/"),
    Stop("submission, reject", "lena", "/overrides/submissions/{waiting}/", send("Reject")),
    Stop("submission, applied", "ana", "/overrides/submissions/{applied}/"),
    Stop("submission, failed", "ana", "/overrides/submissions/{failed}/"),
    Stop("submission, given up", "ana", "/overrides/submissions/{cancelled}/"),
    Stop("models", "dana", "/models/"),
    Stop("models, one name", "ana", "/models/?model=titanic"),
    Stop("new model", "dana", "/models/new/?model=titanic"),
    Stop("new model, refused", "dana", "/models/new/", send("Register this model")),
    Stop("model version", "dana", "/models/titanic/2026.2/", unfold),
    Stop("model version, read only", "ana", "/models/credit/2026.1/?feature=purpose"),
    Stop("explain", "ana", "/explain/"),
    Stop("explain, found", "ana", "/explain/?words=ayoub"),
    Stop("explain, a customer", "ana", "/explain/", send("Find the customer", customer_id="passenger-867")),
    Stop("explain, nothing matches", "ana", "/explain/?prediction_id=nothing-like-this"),
    Stop("explain, refused", "ana", "/explain/?product_id==1&since=2026-11-02", status=400),
    Stop("search, a name", "ana", "/", look_up("Ayoub")),
    Stop("prediction", "ana", "/explain/titanic-867/", wait_for_reasons),
    Stop("prediction, confident and wrong", "dana", "/explain/titanic-698/", wait_for_reasons),
    Stop("second opinion", "ana", "/explain/titanic-867/second-opinion/"),
    Stop("alternatives", "ana", "/explain/titanic-867/alternatives/"),
    Stop("what if", "ana", "/explain/titanic-867/what-if/"),
    Stop("what if, asked", "ana", "/explain/titanic-867/what-if/", ask_what_if),
    Stop("what if, refused", "ana", "/explain/titanic-867/what-if/", send("Ask the model")),
    Stop("compare", "ana", "/explain/titanic-867/compare/"),
    Stop("compare, two", "ana", "/explain/titanic-867/compare/?with=titanic-698", wait_for_answer),
    Stop("compare, refused", "ana", "/explain/titanic-867/compare/?with=nobody", status=400),
    Stop("letter", "ana", "/explain/titanic-867/letter/", fill_in_letter),
    Stop("side by side", "ana", "/explain/?model=titanic&version=2026.2", put_side_by_side),
    Stop("side by side, which version", "ana", "/explain/?model=titanic", click_together),
    Stop("prediction of a text", "ana", "/explain/review-058-01/", wait_for_reasons),
    Stop("audits", "lena", "/audits/"),
    Stop("audits, of a viewer's eyes", "vera", "/audits/"),
    Stop("run, open", "lena", "/audits/runs/{open_run}/"),
    Stop("run, closed", "lena", "/audits/runs/{closed_run}/"),
    Stop("run, people", "lena", "/audits/runs/{closed_run}/people/"),
    Stop("run, items", "lena", "/audits/runs/{closed_run}/items/"),
    Stop("runs, compared", "dana", "/audits/compare/"),
    Stop("corrections", "dana", "/audits/corrections/"),
    Stop("prediction, to send in", "ana", "/audits/refer/review-058-01/"),
    Stop("policies", "otto", "/audits/policies/"),
    Stop("policy", "lena", "/audits/policies/{policy}/"),
    Stop("new policy", "lena", "/audits/policies/new/"),
    Stop("policy, to change", "lena", "/audits/policies/{policy}/edit/"),
    Stop("likely errors, to look for", "lena", "/audits/targeted/new/?run={closed_run}"),
    Stop("rules", "otto", "/audits/rules/"),
    Stop("rule, proven", "lena", "/audits/rules/{rule}/"),
    Stop("rule, not proven", "lena", "/audits/rules/{weak_rule}/"),
    Stop("rule, examples", "lena", "/audits/rules/{rule}/examples/"),
    Stop("new rule", "lena", "/audits/rules/new/?model=reviews"),
    Stop("rule, to change", "lena", "/audits/rules/{rule}/edit/"),
    Stop("thresholds", "dana", "/audits/thresholds/"),
    Stop("threshold", "lena", "/audits/thresholds/{threshold}/"),
    Stop("new threshold", "lena", "/audits/thresholds/new/"),
    Stop("review", "otto", "/audits/review/"),
    Stop("decide", "lena", "/audits/review/decide/"),
    Stop("activity, of audits", "lena", "/activity/?group=audits"),
    Stop("serving", "ana", "/serving/"),
    Stop("serving, to rebuild", "root", "/serving/", click("link", "Rebuild the store")),
    Stop("serving, rebuild refused", "root", "/serving/", refuse_rebuild),
    Stop("support", "root", "/admin/"),
    Stop("support, people", "root", "/admin/accounts/user/"),
    Stop("support, submissions", "root", "/admin/overrides/submission/"),
    Stop("support, submission", "root", "/admin/overrides/submission/{applied}/change/"),
]


# Routes that show no page of their own: they act and lead elsewhere, hold a fragment, or give a file.
NO_PAGES = {
    "accounts-password",
    "accounts-sign-out",
    "accounts-time-zone",
    "activity-export",
    "api-schema",
    "audits-adjudicate-answer",
    "audits-adjudicate-next",
    "audits-adjudicate-reveal",
    "audits-adjudicate-undo",
    "audits-corrections-export",
    "audits-policy-draw",
    "audits-policy-pause",
    "audits-review-answer",
    "audits-review-anyway",
    "audits-review-next",
    "audits-review-release",
    "audits-review-renew",
    "audits-review-reveal",
    "audits-review-skip",
    "audits-review-undo",
    "audits-rule-apply",
    "audits-rule-decide",
    "audits-rule-preview",
    "audits-rule-retire",
    "audits-rule-revert",
    "audits-run-cancel",
    "audits-run-close",
    "audits-run-export",
    "audits-run-export-progress",
    "audits-run-figures",
    "audits-run-labels",
    "audits-run-progress",
    "audits-threshold-ask",
    "audits-threshold-decide",
    "audits-threshold-delivery",
    "audits-threshold-undo",
    "explain-again",
    "explain-copied",
    "explain-progress",
    "healthz",
    "models-measure",
    "overrides-export",
    "overrides-submission-apply",
    "overrides-submission-approve",
    "overrides-submission-cancel",
    "overrides-submission-delivery",
    "overrides-submission-drop",
    "overrides-submission-edit",
    "overrides-submission-progress",
    "overrides-submission-reject",
    "overrides-submission-retry",
    "overrides-submission-undo",
    "overrides-submissions-export",
    "readyz",
    "serving-pill",
    "serving-rebuild",
    "serving-retry",
}
# Pages that are reached by sending a form: the stops named here show them.
SENT = {
    "accounts-key-revoke": "key revoked?",
    "overrides-bulk": "blocks, to withdraw",
    "explain-stack": "side by side",
    "explain-together": "side by side, which version",
    "overrides-opt-out-find": "opt-outs, find",
}


def routes(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, str | None]]:
    """Every (route, name) of the URLconf."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, prefix + str(pattern.pattern))
        elif isinstance(pattern, URLPattern):
            yield prefix + str(pattern.pattern), pattern.name


@pytest.fixture(scope="session")
def states(portal: RunningDemo, signed_in: SignedIn) -> dict[str, int]:
    """The numbers of a submission and an override in every state, and of the demo's audits."""
    ana = signed_in("ana")
    prefix = secrets.token_hex(4)

    def draft(name: str, count: int) -> int:
        answer = ana.post(
            "/overrides/blocks/new/",
            data={
                "product_ids": "\n".join(
                    [f"{prefix}-{name}-{i}" for i in range(count)] + ["men-9", "x" * 129]
                ),
                "surface": "*",
                "reason_code": "quality",
                "reason": "Prepared for a browser test.",
            },
        )
        assert answer.status_code == 302, answer.text
        return int(answer.headers["Location"].rstrip("/").rpartition("/")[2])

    found = {name: draft(name, 4) for name in ("draft", "checking", "applied", "failed", "cancelled")}
    found["waiting"] = draft("waiting", 500)
    for name, command in (("applied", "apply"), ("cancelled", "cancel"), ("waiting", "apply")):
        answer = ana.post(f"/overrides/submissions/{found[name]}/{command}/", data={"version": "1"})
        assert answer.status_code == 302, answer.text

    # No request leaves these two behind: one lasts for a moment, the other takes a fault.
    with sqlite3.connect(portal.folder / "var" / "opsportal.sqlite3", timeout=20) as database:
        for state, error in (("checking", ""), ("failed", "The database was locked for too long.")):
            database.execute(
                "UPDATE overrides_submission SET state = ?, error = ?, rows_done = 2 WHERE id = ?",
                (state, error, found[state]),
            )
        for name, table, where in (
            ("block", "block", "closed_at IS NULL AND ends_at IS NULL"),
            ("withdrawn", "boost", "closed_at IS NOT NULL"),
            ("boost", "boost", "closed_at IS NULL"),
            ("opt_out", "optout", "closed_at IS NULL"),
        ):
            row = database.execute(f"SELECT id FROM overrides_{table} WHERE {where} ORDER BY id").fetchone()  # noqa: S608
            found[name] = row[0]
        for name, table, where in (
            ("open_run", "run", "period <> '' AND state = 'open'"),
            ("closed_run", "run", "period <> '' AND state = 'closed' ORDER BY id DESC"),
            ("policy", "policy", "1"),
            ("rule", "rule", "title = 'Defects and repairs'"),
            ("weak_rule", "rule", "title = 'Somebody has a problem'"),
            ("threshold", "threshold", "1"),
        ):
            row = database.execute(f"SELECT id FROM audits_{table} WHERE {where}").fetchone()  # noqa: S608
            found[name] = row[0]
    database.close()
    return found


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: stop.title)
def test_page__in_both_themes_and_sizes__has_no_barrier(
    visit: Visitors, states: dict[str, int], stop: Stop
) -> None:
    page = visit(stop.person)
    answer = page.goto(stop.path.format_map(states))
    assert answer
    assert answer.status == stop.status
    stop.act(page)
    page.wait_for_load_state()
    visit.watch_of(page).listens = False

    found = barriers(page)
    assert not found, "\n".join(found)


def barriers(page: Page) -> list[str]:
    """What axe finds and what sticks out, in both themes and sizes; colours on the large screen alone.

    A phone has the same ones, and they take axe longer than everything else together.
    """
    page.evaluate(AXE_SCRIPT)
    page.evaluate(_STAND_STILL)
    found: list[str] = []
    for size in (DESKTOP, PHONE):
        page.set_viewport_size(size)
        for theme in THEMES if size is DESKTOP else THEMES[:1]:
            page.emulate_media(color_scheme=theme, reduced_motion="reduce")
            asked = theme if size is DESKTOP else "phone"
            found += [f"{theme} {size['width']}: {text}" for text in page.evaluate(_FIND_BARRIERS, asked)]
        found += [f"{size['width']}: {text}" for text in page.evaluate(_SIDEWAYS)]
    return found


def test_stops__cover_every_route_of_the_portal() -> None:
    named = {
        name
        for route, name in routes(get_resolver().url_patterns)
        if name and not route.startswith(("api/v1/", "admin/"))
    }

    numbers = dict.fromkeys(("block", "withdrawn", "boost", "opt_out", "draft", "checking"), 1)
    numbers |= dict.fromkeys(("waiting", "applied", "failed", "cancelled"), 1)
    numbers |= dict.fromkeys(("open_run", "closed_run", "policy", "rule", "weak_rule", "threshold"), 1)
    seen = {
        resolve(stop.path.format_map(numbers).partition("?")[0]).url_name
        for stop in STOPS
        if not stop.path.startswith(("/nowhere/", "/admin/"))
    }
    assert named == seen | NO_PAGES | set(SENT)
    assert set(SENT.values()) <= {stop.title for stop in STOPS}
