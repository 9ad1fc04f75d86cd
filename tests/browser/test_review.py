"""Reviewers label by keyboard alone, think better of it, and lose nothing; a lead decides between answers."""

import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import PHONE, Visitors
from tests.browser.test_accessibility import barriers
from tests.running import RunningDemo

# A run of each title for otto alone, and one about which two people disagree.
_PREPARE = """
from opsportal.accounts.models import User
from opsportal.audits.models import Run, Stream
from opsportal.audits.services import reviewing
from opsportal.audits.services.filling import NewItem
from opsportal.audits.services.runs import start_chosen_run
from opsportal.core import clock
from opsportal.predictions.models import Model

people = {user.username: user for user in User.objects.all()}
model = Model.objects.order_by("pk")[0]
labels = [
    {"value": "pos", "title": "Positive", "key": "1", "guideline": "Would buy it again."},
    {"value": "neg", "title": "Negative", "key": "2", "guideline": "Would not."},
]
hostile = "</p><script>document.title='broken'</script>\\u2028\\u202egnirts <img src=x onerror=alert(1)> "

def start(title, count, reviewers, text="Text {}: does what it says.", **more):
    items = [
        NewItem(
            prediction_id=f"{title}-{number}", version_id=None, predicted_at=clock.now(), score=0.81,
            predicted="pos", text=text.format(number), product_id="men-9", features='{"stars": 4}',
            stream=Stream.SUSPECT,
        )
        for number in range(count)
    ]
    run = start_chosen_run(
        actor=people["lena"], kind=Run.Kind.TARGETED, model=model, title=title, labels=labels,
        guidelines="What does the writer feel?", items=items, blind=True,
        reviewers=[people[name] for name in reviewers], **more,
    )
    print(f"{title}={run.pk}")
    return run

start("keys", 21, ["otto"])
start("lost", 4, ["otto"])
start("plain", 3, ["otto"])
start("hostile", 1, ["otto"], text=hostile + "long " * 2_000, sensitive=True)
disputed = start("disputed", 2, ["nora", "sam"], reviews=2)
for name, value in (("nora", "pos"), ("sam", "neg")):
    while claims := reviewing.claim(actor=people[name], run=disputed):
        reviewing.answer(actor=people[name], token=claims[0].token, value=value, note="My reading.")
"""


@pytest.fixture(scope="module")
def runs(portal: RunningDemo) -> dict[str, str]:
    """Title → number of the runs prepared for these tests."""
    own = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    command = [sys.executable, "manage.py", "shell", "-v0", "-c", _PREPARE]
    done = subprocess.run(command, cwd=portal.folder, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(line.split("=") for line in done.stdout.split())


@contextmanager
def _database(portal: RunningDemo) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(portal.folder / "var" / "opsportal.sqlite3", timeout=20)
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def _labels(portal: RunningDemo, run: str) -> list[tuple[str, str]]:
    """(value, note) of the answers of a run that stand, in their order."""
    with _database(portal) as database:
        return database.execute(
            "SELECT value, note FROM audits_label WHERE run_id = ? AND withdrawn_at IS NULL ORDER BY id",
            (run,),
        ).fetchall()


def _open(page: Page, run: str) -> None:
    page.goto(f"/audits/review/?run={run}")
    expect(page.locator("[data-item]")).to_be_focused()  # the script is there
    page.wait_for_load_state("networkidle")  # and so is the item after this one


def _item(page: Page) -> str:
    expect(page.locator("[data-item]")).to_be_visible()
    return page.locator("[data-item] .review-item__text").inner_text()


def _held(portal: RunningDemo, run: str) -> int:
    """How many reviews of the run are in otto's hands."""
    with _database(portal) as database:
        found = database.execute(
            "SELECT count(*) FROM audits_review WHERE state = 'leased' AND run_id = ?"
            " AND holder_id = (SELECT id FROM accounts_user WHERE username = 'otto')",
            (run,),
        ).fetchone()
    return int(found[0])


def _label(page: Page, words: str) -> Locator:
    return page.get_by_role("group", name="Labels").get_by_role("button", name=words)


def _answer(page: Page, key: str) -> None:
    """Press a label's key, once there is an item to label."""
    expect(page.locator("[data-item]")).to_be_visible()
    before = page.locator("[data-item]").get_attribute("data-token")
    page.keyboard.press(key)
    expect(page.locator(f'[data-item][data-token="{before}"]')).to_have_count(0)


def test_keyboard_alone__twenty_items__with_note_skip_and_two_undone(
    visit: Visitors, portal: RunningDemo, runs: dict[str, str]
) -> None:
    page = visit("otto")
    keys = page.keyboard
    _open(page, runs["keys"])
    announced = page.locator("#announce")

    # The next item is there in the same turn, before anything was sent.
    painted = page.evaluate("""() => {
      const before = document.querySelector("[data-item]").dataset.token;
      document.querySelector('[data-key="1"]').click();
      return document.querySelector("[data-item]")?.dataset.token !== before;
    }""")
    assert painted
    expect(announced).to_have_text("Labelled Positive. Next item, number 2.")
    for number in range(2, 11):
        _answer(page, "12"[number % 2])
    expect(page.locator("[data-progress]")).to_contain_text("10 of 21")

    keys.press("n")
    keys.type("Irony, 1 think.")
    keys.press("Enter")
    expect(page.locator("[data-item]")).to_be_focused()
    noted = _item(page)
    _answer(page, "2")
    expect(page.get_by_label("Note for whoever")).to_be_hidden()

    skipped = _item(page)
    keys.press("s")
    expect(page.get_by_role("dialog", name="Skip this item")).to_be_visible()
    keys.press("1")
    expect(page.get_by_role("dialog", name="Skip this item")).to_be_hidden()
    assert _item(page) != skipped

    last = _item(page)
    _answer(page, "c")
    keys.press("u")
    expect(page.locator("[data-item] .review-item__text")).to_have_text(last)
    expect(_label(page, "Cannot tell")).to_have_attribute("data-before", "")
    keys.press("Backspace")
    expect(page.locator("[data-item] .review-item__text")).to_have_text(noted)
    expect(page.get_by_label("Note for whoever")).to_have_value("Irony, 1 think.")
    expect(announced).to_contain_text("Taken back")
    keys.press(" ")
    expect(page.locator("[data-context]")).to_have_attribute("open", "")

    for number in range(11, 21):
        _answer(page, "12"[number % 2])
        if number == 12:
            keys.press("h")
            expect(page.locator(".review-last")).to_contain_text("the model said Positive")
            expect(page.locator(".review-last").get_by_role("button", name="Undo")).to_have_count(0)
    expect(page.get_by_role("heading", name="20 items labelled in")).to_be_visible()
    stored = _labels(portal, runs["keys"])
    assert len(stored) == 20
    assert sorted(note for _, note in stored if note) == ["Irony, 1 think."]


def test_answer__not_saved__comes_back_with_its_words_and_is_sent_again(
    visit: Visitors, portal: RunningDemo, runs: dict[str, str]
) -> None:
    page = visit("otto")
    visit.watch_of(page).listens = False  # the browser reports requests that fail on purpose
    _open(page, runs["lost"])
    first = _item(page)

    page.route("**/review/answer/", lambda route: route.abort())
    page.keyboard.press("n")
    page.keyboard.type("Worth keeping.")
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Not saved: Negative.")
    assert _item(page) == first
    expect(page.get_by_label("Note for whoever")).to_have_value("Worth keeping.")
    page.unroute("**/review/answer/")
    alert.get_by_role("button", name="Try again").click()
    expect(page.locator("[data-progress]")).to_contain_text("1 of 4")
    assert _labels(portal, runs["lost"]) == [("neg", "Worth keeping.")]

    # Somebody else takes the item that is in view.
    second = _item(page)
    with _database(portal) as database:
        database.execute(
            "UPDATE audits_review SET token = 'AAAAAAAAAAA', leased_until = '2000-01-01',"
            " holder_id = (SELECT id FROM accounts_user WHERE username = 'lena')"
            " WHERE run_id = ? AND state = 'leased' AND item_id ="
            " (SELECT id FROM audits_item WHERE run_id = ? AND text = ?)",
            (runs["lost"], runs["lost"], second),
        )
    page.keyboard.press("1")
    expect(alert).to_contain_text("Not saved: Positive.")
    assert _item(page) == second
    alert.get_by_role("button", name="Send it anyway").click()
    expect(page.locator(".review-last")).to_contain_text("Positive")
    assert _labels(portal, runs["lost"]) == [("neg", "Worth keeping."), ("pos", "")]


def test_phone__hostile_text__is_blurred_then_text_and_labels_are_in_reach(
    visit: Visitors, runs: dict[str, str]
) -> None:
    page = visit("otto", size=PHONE)
    _open(page, runs["hostile"])
    text = page.locator("[data-item] .review-item__text")

    expect(page.locator(".review-item__content")).to_have_css("filter", re.compile("blur"))
    page.locator(".review-blur").click()
    expect(page.locator(".review-item__content")).to_have_css("filter", "none")
    expect(text).to_contain_text("<script>document.title='broken'</script>")
    expect(text).to_contain_text("[U+202E]gnirts")
    expect(page.locator("[data-item] img")).to_have_count(0)
    assert page.title().startswith("Review")
    label = _label(page, "Positive")
    box = label.bounding_box()
    assert box
    assert box["y"] > PHONE["height"] / 2
    page.reload()
    expect(page.locator(".review-item__content")).to_have_css("filter", "none")


def test_without_scripts__plain_forms_label_skip_and_undo(
    visit: Visitors, portal: RunningDemo, runs: dict[str, str]
) -> None:
    page = visit("otto", scripts=False)
    page.goto(f"/audits/review/?run={runs['plain']}")

    first = _item(page)
    _label(page, "Positive").click()
    second = _item(page)
    assert second != first
    page.get_by_role("button", name="Undo the last answer").click()
    assert _item(page) == first
    _label(page, "Negative").click()
    page.get_by_role("link", name="Skip", exact=True).click()
    page.get_by_role("button", name="Something is missing or broken").click()
    assert _item(page) not in {first, second}
    _label(page, "Cannot tell").click()

    expect(page.get_by_role("heading", name="2 items labelled in")).to_be_visible()
    assert _labels(portal, runs["plain"]) == [("neg", ""), ("", "")]


def test_lead__decides_between_answers_and_takes_it_back(
    visit: Visitors, portal: RunningDemo, runs: dict[str, str]
) -> None:
    page = visit("lena")
    page.goto(f"/audits/review/decide/?run={runs['disputed']}")
    expect(page.locator("[data-item]")).to_be_focused()
    expect(page.locator(".review-side")).to_have_count(2)
    token = page.locator("[data-item]").get_attribute("data-token")

    page.keyboard.press("t")
    expect(page.get_by_role("checkbox", name="The guidelines are unclear here")).to_be_checked()
    page.keyboard.press("1")
    expect(page.locator(".review-last")).to_be_visible()
    expect(page.locator(f'[data-item][data-token="{token}"]')).to_have_count(0)
    page.keyboard.press("u")
    expect(page.locator("#announce")).to_contain_text("Taken back")
    expect(page.locator("[data-item][data-before]")).to_be_visible()
    page.keyboard.press("2")
    expect(page.locator("[data-item]:not([data-before])")).to_be_visible()

    page.wait_for_load_state("networkidle")
    visit.watch_of(page).listens = False
    assert barriers(page) == []


def test_review_screen__with_everything_open__has_no_barrier_and_hands_back_what_it_held(
    visit: Visitors, portal: RunningDemo, runs: dict[str, str]
) -> None:
    page = visit("otto")
    _open(page, runs["lost"])
    page.keyboard.press(" ")
    page.keyboard.press("n")
    expect(page.get_by_label("Note for whoever")).to_be_focused()

    visit.watch_of(page).listens = False
    assert barriers(page) == []

    assert _held(portal, runs["lost"]) == 2
    page.goto("/audits/")
    deadline = time.monotonic() + 10
    while _held(portal, runs["lost"]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
