"""From the look-up to the letter: an agent asks what if, compares, writes, and sees many side by side."""

import re
import time
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Dialog, Page, expect

from tests.browser.conftest import PHONE, SignedIn, Visitors
from tests.browser.test_keyboard import tab_to
from tests.running import RunningDemo

pytestmark = pytest.mark.usefixtures("explained")
AYOUB, VESTROM = "titanic-867", "titanic-698"
PATIENCE_MS = 120_000


@pytest.fixture(scope="module")
def explained(portal: RunningDemo, signed_in: SignedIn) -> None:
    """The demo's worker is warm from here on: Miss Ayoub and Miss Vestrom are explained."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    for name in (AYOUB, VESTROM):
        while "reasons__table" not in signed_in("ana").get(f"/explain/{name}/progress/").text:
            assert time.monotonic() < deadline, portal.log("explainer")
            time.sleep(0.5)


def _answer(page: Page) -> None:
    expect(page.locator("#answer .before-after")).to_be_visible(timeout=PATIENCE_MS)


def test_agent__looks_up_asks_what_if_and_writes__the_letter_holds_what_was_typed(
    visit: Visitors, tmp_path: Path
) -> None:
    page = visit("ana")
    page.goto("/explain/")
    page.get_by_label("Words, such as a name").fill("ayoub")
    page.get_by_role("button", name="Find", exact=True).click()
    page.locator(".found .row-link").filter(has_text=AYOUB).click()
    page.get_by_role("link", name="What if…").click()

    page.get_by_label("Class").select_option("0")
    page.get_by_role("button", name="Ask the model").click()

    _answer(page)
    expect(page.get_by_role("heading", level=2).first).to_contain_text("The model would say")
    expect(page.locator(".what-if__changes")).to_contain_text(re.compile("third.*first", re.IGNORECASE))
    expect(page.locator(".differences tbody tr").filter(has_text="changed")).to_have_count(1)
    expect(page.locator(".differences__total")).to_contain_text("Altogether")
    assert re.search(r"\?changes=\d+$", page.url)

    page.get_by_role("navigation", name="Where this is").get_by_role("link", name=AYOUB).click()
    page.get_by_role("link", name="Letter to the customer").click()
    page.wait_for_load_state("load")
    page.get_by_label("Customer’s name").fill("Miss Banoura Ayoub")
    expect(page.locator(".sheet")).to_contain_text("Dear Miss Banoura Ayoub,")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the PDF").click()

    assert download.value.suggested_filename == f"letter-{AYOUB}.pdf"
    download.value.save_as(tmp_path / "letter.pdf")
    assert (tmp_path / "letter.pdf").read_bytes().startswith(b"%PDF-")
    page.goto("/activity/?group=predictions")
    expect(page.locator(".trail__summary").first).to_have_text(
        f"Made a letter to the customer about prediction {AYOUB}"
    )
    assert [url for url in visit.watch_of(page).addresses if "Banoura" in url] == []


def test_what_if__wrong_number__the_first_wrong_field_has_the_focus_and_nothing_is_lost(
    visit: Visitors,
) -> None:
    page = visit("ana")
    page.goto(f"/explain/{AYOUB}/what-if/")

    page.get_by_label("Class").select_option("0")
    page.get_by_label("Fare").fill("999999")
    page.get_by_role("button", name="Ask the model").click()

    expect(page.get_by_label("Fare")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Fare")).to_be_focused()
    expect(page.get_by_label("Fare")).to_have_value("999999")
    expect(page.get_by_label("Class")).to_have_value("0")


def test_keyboard__alone__asks_what_if_and_prints_the_letter(visit: Visitors) -> None:
    page = visit("ana")
    page.goto(f"/explain/{AYOUB}/what-if/")
    keys = page.keyboard

    tab_to(page, page.get_by_label("Class"))
    keys.press("ArrowUp")
    tab_to(page, page.get_by_role("button", name="Ask the model"))
    keys.press("Enter")
    _answer(page)

    page.goto(f"/explain/{AYOUB}/letter/")
    tab_to(page, page.get_by_label("Customer’s name"))
    keys.type("Miss Ayoub")
    expect(page.locator(".sheet")).to_contain_text("Dear Miss Ayoub,")
    tab_to(page, page.get_by_label("Say the score, too"))
    keys.press("Space")
    expect(page.locator(".sheet")).to_contain_text("that it calculated was")
    page.add_init_script("window.print = () => document.documentElement.setAttribute('data-printed', '')")
    tab_to(page, page.get_by_role("button", name="Print"))
    keys.press("Enter")

    expect(page.locator("html[data-printed]")).to_be_attached()
    expect(page.locator(".sheet")).to_contain_text("Dear Miss Ayoub,")


def test_paper__holds_the_letter_alone(visit: Visitors) -> None:
    page = visit("ana", theme="dark")
    page.goto(f"/explain/{AYOUB}/letter/")
    expect(page.locator(".sheet")).to_be_visible()

    page.emulate_media(media="print")

    for gone in (".letter__form", ".page-header", ".rail", ".topbar"):
        expect(page.locator(gone)).to_be_hidden()
    expect(page.locator(".sheet")).to_be_visible()


def _with_alternatives(client: httpx.Client) -> str:
    """The path of a credit application whose decision a few changes would turn."""
    paths = re.findall(r'href="(/explain/[^/"]+/)"', client.get("/explain/?model=credit").text)
    deadline = time.monotonic() + PATIENCE_MS / 1000
    for path in dict.fromkeys(paths):
        while "are being searched" in (page := client.get(f"{path}alternatives/").text):
            assert time.monotonic() < deadline
        if 'name="alternative"' in page:
            return str(path)
    raise AssertionError("no decision of the demo can be turned")


def test_alternative__chosen__is_explained(visit: Visitors, signed_in: SignedIn) -> None:
    page = visit("ana")
    page.goto(f"{_with_alternatives(signed_in('ana'))}alternatives/")

    page.get_by_role("button", name="Explain this what-if").first.click()

    _answer(page)
    expect(page.locator("#answer")).to_contain_text("The decision would be another one")


def test_compare__two_passengers__the_differences_stand_side_by_side(visit: Visitors) -> None:
    page = visit("ana")
    page.goto(f"/explain/{AYOUB}/compare/")

    page.get_by_label("Prediction ID").fill(VESTROM)
    page.get_by_role("button", name="Compare").click()

    _answer(page)
    expect(page.locator("#answer")).to_contain_text("The difference is made of")
    expect(page.locator(".differences thead")).to_contain_text(VESTROM)


def _side_by_side(page: Page) -> None:
    page.goto("/explain/?model=titanic&version=2026.2")
    page.get_by_role("button", name="Explain these together").click()
    expect(page.locator("[data-stack-plot] svg path.force-bar-array-area-pos").first).to_be_attached(
        timeout=PATIENCE_MS
    )


def test_stack__of_a_look_up__is_drawn_ordered_and_opens_a_prediction(visit: Visitors) -> None:
    page = visit("ana")
    alerts: list[str] = []

    def note_alert(dialog: Dialog) -> None:
        alerts.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", note_alert)
    _side_by_side(page)
    areas = page.locator("[data-stack-plot] svg path.force-bar-array-area-pos")
    expect(page.get_by_role("heading", level=1)).to_have_text("200 predictions side by side")
    expect(page.get_by_text("These are the 200 newest")).to_be_visible()
    layers = areas.count()
    before = areas.first.get_attribute("d")

    page.get_by_label("Order").select_option(label="By score")
    expect(areas.first).not_to_have_attribute("d", before or "")
    page.get_by_label("Order").select_option(label="Sex")
    page.get_by_label("Show").select_option(label="Sex alone")
    expect(areas).to_have_count(1)
    page.get_by_label("Show").select_option(label="All effects")
    expect(areas).to_have_count(layers)
    box = page.locator("[data-stack-plot] svg").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator("[data-stack-hint]")).to_have_text(re.compile(r"^.+: [\d.<>]+\s?%$"))
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    expect(page).to_have_url(re.compile(r"/explain/titanic-\d+/$"))
    assert alerts == []


def test_stack__theme_changed_while_it_is_drawn__takes_its_colours(visit: Visitors) -> None:
    page = visit("ana")
    _side_by_side(page)
    area = page.locator("[data-stack-plot] svg path.force-bar-array-area-pos").first
    key = page.locator(".force-stack__up")
    light = key.evaluate("element => getComputedStyle(element).color")
    expect(area).to_have_css("fill", light)

    page.emulate_media(color_scheme="dark")

    expect(key).not_to_have_css("color", light)
    expect(area).to_have_css("fill", key.evaluate("element => getComputedStyle(element).color"))


def test_stack__several_versions__asks_which(visit: Visitors) -> None:
    page = visit("ana")
    page.goto("/explain/?model=titanic")

    page.get_by_role("button", name="Explain these together").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Which version?")
    page.get_by_role("button", name=re.compile("2026.1")).click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("predictions side by side")


def test_phone__pages__do_not_scroll_sideways(visit: Visitors) -> None:
    page = visit("ana", size=PHONE)
    for path in ("what-if/", "letter/", f"compare/?with={VESTROM}", "alternatives/"):
        page.goto(f"/explain/{AYOUB}/{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path


def test_without_scripts__what_if_letter_and_table_work(visit: Visitors) -> None:
    page = visit("ana", scripts=False)
    page.goto(f"/explain/{AYOUB}/what-if/")

    page.get_by_label("Fare").fill("80")
    page.get_by_role("button", name="Ask the model").click()
    while page.get_by_role("link", name="Look again").count():
        page.get_by_role("link", name="Look again").click()
    expect(page.locator(".differences tbody tr").first).to_be_visible()

    page.goto(f"/explain/{AYOUB}/letter/")
    page.get_by_label("Customer’s name").fill("Miss Ayoub")
    page.get_by_role("button", name="Show it like this").click()
    expect(page.locator(".sheet")).to_contain_text("Dear Miss Ayoub,")

    page.goto("/explain/?model=titanic&version=2026.2")
    page.get_by_role("button", name="Explain these together").click()
    while page.get_by_role("link", name="Look again").count():
        page.get_by_role("link", name="Look again").click()
    expect(page.locator("[data-stack-plot]")).to_be_hidden()
    expect(page.locator(".table tbody tr")).to_have_count(200)
