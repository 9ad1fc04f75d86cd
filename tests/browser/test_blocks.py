"""An agent's change reaches the rankers, and can be taken back."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.conftest import Ranker, Visitors

FreshIds = Callable[[int], list[str]]


def expect_live(page: Page) -> None:
    """The stepper and the badge of a submission turn live without a reload."""
    expect(page.locator("#delivery .stepper__step--done").filter(has_text="Live")).to_be_visible()
    expect(page.locator("#state")).to_have_text("Live")


def test_paste_of_300__triage_applied_and_undone__rankers_obey(
    visit: Visitors, ranker: Ranker, fresh_ids: FreshIds
) -> None:
    new, waiting, blocked = fresh_ids(295), fresh_ids(500), fresh_ids(2)
    ranker.block(waiting)
    ranker.block(blocked)
    page = visit("ana")
    page.goto("/overrides/blocks/")

    # 295 that are new, 2 that are blocked, 2 that wait, and 1 that is no ID.
    page.get_by_role("link", name="Block products").click()
    page.get_by_label("Product IDs").fill("\n".join([*new, *blocked, *waiting[:2], "x" * 129]))
    expect(page.get_by_role("status").filter(has_text="300 IDs")).to_be_visible()
    page.get_by_label("Reason", exact=True).fill("The supplier asked us to stop at once.")
    page.get_by_role("button", name="Block these products").click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("Block 295 products everywhere")
    counts = page.locator(".triage-counts li")
    expect(counts).to_have_text(
        [
            re.compile(r"Cannot be used\s+1$"),
            re.compile(r"Not seen yet\s+295$"),
            re.compile(r"Already waiting\s+2$"),
            re.compile(r"No change\s+2$"),
        ]
    )
    assert ranker.blocked(new) == []

    page.get_by_role("button", name="Block 295 products").click()

    expect(page.locator("[data-toast]")).to_contain_text("Blocked 295 products everywhere")
    expect_live(page)
    assert ranker.blocked([*new, *blocked, *waiting[:2]]) == [*new, *blocked]

    page.get_by_role("main").get_by_role("button", name="Undo").click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("Undid #")
    expect_live(page)
    assert ranker.blocked([*new, *blocked]) == blocked


def test_triage__row_left_out__is_not_blocked(visit: Visitors, ranker: Ranker, fresh_ids: FreshIds) -> None:
    first, second, third = fresh_ids(3)
    page = visit("ana")
    page.goto("/overrides/blocks/new/")
    page.get_by_label("Product IDs").fill(f"{first}, {second}\t{third}")
    page.get_by_label("Reason", exact=True).fill("Two of three are wrong.")
    page.get_by_role("button", name="Block these products").click()

    page.get_by_role("row").filter(has_text=second).get_by_role("button", name="Leave out").click()
    expect(page.locator(".triage-counts li").filter(has_text="Left out")).to_contain_text("1")
    page.get_by_role("button", name="Block 2 products").click()

    expect_live(page)
    assert ranker.blocked([first, second, third]) == [first, third]


def test_one_product__takes_effect_at_once__toast_undoes_it(
    visit: Visitors, ranker: Ranker, fresh_ids: FreshIds
) -> None:
    product = fresh_ids(1)
    page = visit("ana")
    page.goto("/overrides/blocks/new/")
    page.get_by_label("Product IDs").fill(product[0])
    page.get_by_label("Surface").select_option("Home page, left")
    page.get_by_label("Reason", exact=True).fill("The photo shows another jacket.")
    page.get_by_role("button", name="Block these products").click()

    expect_live(page)
    assert ranker.blocked(product) == product
    assert ranker.blocked(product, "home-right") == []

    page.locator("[data-toast]").get_by_role("button", name="Undo").click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("Undid #")
    expect_live(page)
    assert ranker.blocked(product) == []


def test_wrong_fields__nothing_typed_is_lost__first_wrong_one_has_the_focus(
    visit: Visitors, fresh_ids: FreshIds
) -> None:
    [product] = fresh_ids(1)
    page = visit("ana")
    page.goto("/overrides/blocks/new/")

    page.get_by_label("Product IDs").fill(product)
    page.get_by_label("Ends").fill("2020-01-01T00:00")
    page.get_by_label("Ticket").fill("CS-1")
    page.get_by_role("button", name="Block these products").click()

    expect(page.get_by_label("Reason", exact=True)).to_have_attribute("aria-invalid", "true")
    expect(page.locator("[aria-invalid=true]").first).to_be_focused()
    expect(page.get_by_label("Product IDs")).to_have_value(product)
    expect(page.get_by_label("Ends")).to_have_value("2020-01-01T00:00")
    expect(page.get_by_label("Ticket")).to_have_value("CS-1")


def test_withdraw_and_extend__from_the_page_of_a_block__take_effect(
    visit: Visitors, ranker: Ranker, fresh_ids: FreshIds
) -> None:
    product = fresh_ids(1)
    block = ranker.block(product)["items"][0]["override_id"]
    page = visit("ana")
    page.goto(f"/overrides/blocks/{block}/")

    page.get_by_role("link", name="Change the end").click()
    dialog = page.get_by_role("dialog", name="Change the end")
    dialog.get_by_role("button", name="1 week").click()
    dialog.get_by_label("Reason", exact=True).fill("The supplier needs a week.")
    dialog.get_by_role("button", name="Change the end").click()
    expect_live(page)

    page.goto(f"/overrides/blocks/{block}/")
    expect(page.locator(".facts")).to_contain_text("in 7 days")
    page.get_by_role("link", name="Withdraw").click()
    dialog = page.get_by_role("dialog", name="Withdraw it")
    dialog.get_by_label("Reason", exact=True).fill("Cleared.")
    dialog.get_by_role("button", name="Withdraw it now").click()
    expect_live(page)

    assert ranker.blocked(product) == []
