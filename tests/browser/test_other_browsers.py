"""Without scripts, on a phone, and while the store does not answer."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE, Ranker, Visitors
from tests.browser.test_blocks import expect_live
from tests.running import RunningDemo

FreshIds = Callable[[int], list[str]]


def reload_until(page: Page, text: str) -> None:
    """A page without scripts does not turn by itself."""
    for _ in range(60):
        if text in page.locator("#state").inner_text():
            return
        page.reload()
    raise AssertionError(f"it never said {text}")


def test_without_scripts__product_blocked_from_sign_in_to_undo(
    visit: Visitors, portal: RunningDemo, ranker: Ranker, fresh_ids: FreshIds
) -> None:
    products = fresh_ids(2)
    page = visit(scripts=False)
    page.goto("/overrides/blocks/")

    page.get_by_label("Name").fill("ana")
    page.get_by_label("Password").fill(portal.users["ana"])
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Block products").click()
    page.get_by_label("Product IDs").fill("\n".join(products))
    page.get_by_label("Reason", exact=True).fill("Without scripts.")
    page.get_by_role("button", name="Block these products").click()
    page.get_by_role("button", name="Block 2 products").click()

    reload_until(page, "Live")
    assert ranker.blocked(products) == products
    page.get_by_role("main").get_by_role("button", name="Undo").click()
    reload_until(page, "Live")
    assert ranker.blocked(products) == []


def test_without_scripts__list_is_filtered_and_bulk_withdrawn(
    visit: Visitors, ranker: Ranker, fresh_ids: FreshIds
) -> None:
    products = fresh_ids(2)
    ranker.block(products)
    page = visit("ana", scripts=False)
    page.goto("/overrides/blocks/")

    page.get_by_label("Product ID").fill(products[0][:8])
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    for box in page.locator("[name=ids]").all():
        box.check()
    page.get_by_role("button", name="Withdraw…").click()
    page.get_by_label("Reason", exact=True).fill("Without scripts.")
    page.get_by_role("button", name="Withdraw 2 blocks").click()
    page.get_by_role("button", name="Withdraw 2 blocks").click()

    reload_until(page, "Live")
    assert ranker.blocked(products) == []


def test_phone__product_blocked_and_found_in_the_list(
    visit: Visitors, ranker: Ranker, fresh_ids: FreshIds
) -> None:
    product = fresh_ids(1)
    page = visit("ana", size=PHONE)
    page.goto("/")

    page.get_by_role("navigation", name="Main").get_by_role("link", name="Overrides").click()
    page.get_by_role("link", name="Block products").click()
    page.get_by_label("Product IDs").fill(product[0])
    page.get_by_label("Reason", exact=True).fill("From the train.")
    page.get_by_role("button", name="Block these products").click()
    expect_live(page)
    page.get_by_role("navigation", name="Overrides").get_by_role("link", name="Blocks").click()

    expect(page.locator("tbody tr").first).to_contain_text(product[0])
    page.locator("tbody .row-link").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"{product[0]} blocked everywhere")
    assert ranker.blocked(product) == product


@contextmanager
def frozen(process: int) -> Iterator[None]:
    """A process that neither answers nor refuses."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def test_store_frozen__change_is_saved_and_turns_live_when_the_store_is_back(
    visit: Visitors, portal: RunningDemo, ranker: Ranker, fresh_ids: FreshIds
) -> None:
    product = fresh_ids(1)
    page = visit("ana")
    page.goto("/overrides/blocks/new/")
    page.get_by_label("Product IDs").fill(product[0])
    page.get_by_label("Reason", exact=True).fill("While the store is frozen.")

    with frozen(portal.pid_of("store")):
        page.get_by_role("button", name="Block these products").click()
        expect(page.locator("#state")).to_have_text("Publishing")
        expect(page.locator("#delivery")).to_contain_text("Not live yet")
        expect(page.locator("#serving-pill")).to_contain_text(re.compile("Behind|Stale"))

    expect_live(page)
    expect(page.locator("#serving-pill")).to_contain_text("Live")
    assert ranker.blocked(product) == product
