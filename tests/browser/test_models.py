"""A data scientist registers a model from a browser, and anybody reads what matters to it."""

import json
import re
import secrets
from collections.abc import Callable

import pytest
from playwright.sync_api import FilePayload, Page, expect

from tests.browser.conftest import PHONE, Visitors
from tests.explanations.making import TITANIC, TITANIC_DICTIONARY

FreshName = Callable[[], str]
# A worker that has not loaded the numeric libraries yet needs some seconds for that.
_CHECK_MS = 60_000


@pytest.fixture
def fresh_name() -> FreshName:
    """`fresh_name()`: the name of a model that nobody has used."""
    return lambda: f"model-{secrets.token_hex(4)}"


def payload(name: str, content: bytes) -> FilePayload:
    """A file to choose."""
    return FilePayload(name=name, mimeType="application/octet-stream", buffer=content)


def fill_in(page: Page, name: str, content: bytes, dictionary: str) -> None:
    """Fill in the form that is open."""
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Version", exact=True).fill("1")
    page.get_by_label("Model file").set_input_files(payload("model.txt", content))
    page.get_by_label("Dictionary file").set_input_files(payload("features.json", dictionary.encode()))


def test_upload__good_model__turns_ready_by_itself(visit: Visitors, fresh_name: FreshName) -> None:
    name = fresh_name()
    page = visit("dana")
    page.goto("/models/")

    page.get_by_role("link", name="Register a model").click()
    fill_in(page, name, TITANIC, json.dumps(TITANIC_DICTIONARY))
    page.get_by_label("Threshold").fill("0.5")
    page.get_by_role("button", name="Register this model").click()

    expect(page).to_have_url(re.compile(rf"/models/{name}/1/$"))
    expect(page.locator("#state")).to_have_text("Ready", timeout=_CHECK_MS)
    expect(page.get_by_role("complementary", name="Facts")).to_contain_text("from 0.5 on: survived")


def test_upload__refused__keeps_what_was_typed_and_points_at_the_place(
    visit: Visitors, fresh_name: FreshName
) -> None:
    name = fresh_name()
    page = visit("dana")
    page.goto("/models/new/")
    broken = {"features": [{"name": "age", "type": "sum"}]}

    fill_in(page, name, b"\x80\x04\x95\x05.", json.dumps(broken))
    page.get_by_role("button", name="Register this model").click()

    expect(page.get_by_role("alert")).to_contain_text("choose the model’s file again")
    expect(page.get_by_text("This is a pickle (protocol 4).")).to_be_visible()
    expect(page.get_by_text("features[0].type: This must be one of")).to_be_visible()
    expect(page.get_by_label("Name", exact=True)).to_have_value(name)
    expect(page.get_by_label("Or paste the dictionary")).to_have_value(json.dumps(broken))

    # The text of the dictionary is mended where it stands; only the model's file is chosen again.
    page.get_by_label("Or paste the dictionary").fill(json.dumps(TITANIC_DICTIONARY))
    page.get_by_label("Model file").set_input_files(payload("model.txt", TITANIC))
    page.get_by_role("button", name="Register this model").click()
    expect(page).to_have_url(re.compile(rf"/models/{name}/1/$"))


def test_upload__dictionary_that_misses_a_feature__is_refused_with_the_reason(
    visit: Visitors, fresh_name: FreshName
) -> None:
    features = [feature for feature in TITANIC_DICTIONARY["features"] if feature["name"] != "age"]
    page = visit("dana")
    page.goto("/models/new/")

    fill_in(page, fresh_name(), TITANIC, json.dumps({**TITANIC_DICTIONARY, "features": features}))
    page.get_by_role("button", name="Register this model").click()

    expect(page.locator("#state")).to_have_text("Refused", timeout=_CHECK_MS)
    expect(page.get_by_text("The model needs the feature “age”")).to_be_visible()


def open_titanic(page: Page) -> None:
    """The oldest version of the Titanic's model, once its importance is there: the demo asks for it last."""
    page.goto("/models/?model=titanic")
    page.get_by_role("main").get_by_role("table").get_by_role("link").last.click()
    for _ in range(120):
        # A choice made before the scripts are there would be lost.
        page.wait_for_load_state("load")
        if page.locator("#drawing circle").count() > 0:
            return
        page.wait_for_timeout(1_000)
        page.reload()


def test_version__another_feature_by_keyboard__draws_its_effect(visit: Visitors) -> None:
    page = visit("dana")
    open_titanic(page)
    drawing = page.locator("#drawing")

    page.get_by_label("Feature", exact=True).focus()
    page.keyboard.type("Age")

    expect(page).to_have_url(re.compile(r"\?feature=age$"))
    expect(drawing.locator(".scatter")).to_be_visible()
    expect(page.get_by_label("Feature", exact=True)).to_be_focused()


def test_version__without_scripts__reads_and_draws(visit: Visitors) -> None:
    page = visit("dana", scripts=False)
    open_titanic(page)

    page.get_by_label("Feature", exact=True).select_option(label="Age")
    page.get_by_role("button", name="Show", exact=True).click()

    expect(page).to_have_url(re.compile(r"feature=age"))
    expect(page.locator(".scatter")).to_be_visible()
    expect(page.get_by_role("table", name="Mean size of the effect")).to_be_visible()


def test_version__on_a_phone__has_bars_and_numbers(visit: Visitors) -> None:
    page = visit("ana", size=PHONE)
    open_titanic(page)

    bars = page.get_by_role("table", name="Mean size of the effect")
    expect(bars.get_by_role("row", name="Sex")).to_be_visible()
    expect(page.get_by_role("link", name="Register a new version")).to_have_count(0)
