"""Finding overrides again, and changing many at once."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, expect

from tests.browser.conftest import Ranker, Visitors
from tests.browser.test_blocks import expect_live

FreshIds = Callable[[int], list[str]]


def test_list__filtered_as_one_types__bulk_withdrawn(
    visit: Visitors, ranker: Ranker, fresh_ids: FreshIds
) -> None:
    products, others = fresh_ids(3), fresh_ids(2)
    ranker.block([*products, *others])
    page = visit("ana")
    page.goto("/overrides/blocks/")

    page.get_by_label("Product ID").press_sequentially(products[0][:8])
    # The address follows the last answer: no other will take the ticks away.
    expect(page).to_have_url(re.compile(f"q={products[0][:8]}"))
    expect(page.locator("tbody tr")).to_have_count(3)
    page.get_by_label("Tick all on this page").check()
    expect(page.locator(".bulk-bar")).to_contain_text("3 blocks")
    page.get_by_role("button", name="Withdraw…").click()
    page.get_by_label("Reason", exact=True).fill("Cleared by the supplier.")
    page.get_by_role("button", name="Withdraw 3 blocks").click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("Withdraw 3 blocks")
    assert ranker.blocked(products) == products
    page.get_by_role("button", name="Withdraw 3 blocks").click()

    expect_live(page)
    assert ranker.blocked([*products, *others]) == others


def test_list__filter_chip_removed__shows_everything_again(visit: Visitors, fresh_ids: FreshIds) -> None:
    page = visit("ana")
    page.goto(f"/overrides/blocks/?q={fresh_ids(1)[0]}")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()

    page.locator(".chip").first.click()

    expect(page.locator("tbody tr").first).to_be_visible()
    expect(page).to_have_url(re.compile(r"/overrides/blocks/\??$"))


def test_list__compact_rows_chosen__are_kept_on_the_next_page(visit: Visitors) -> None:
    page = visit("ana")
    page.goto("/overrides/blocks/")

    page.get_by_role("button", name="Compact rows").click()
    page.goto("/overrides/boosts/")

    expect(page.locator("html")).to_have_attribute("data-density", "compact")
    expect(page.get_by_role("button", name="Compact rows")).to_have_attribute("aria-pressed", "true")


def test_import__bad_row_is_named_and_left_out__the_rest_goes_live(
    visit: Visitors, ranker: Ranker, fresh_ids: FreshIds
) -> None:
    products = fresh_ids(20)
    rows = ["product_id,title", *(f"{product},a name" for product in products)]
    rows.insert(7, "x" * 129 + ",too long")
    file = FilePayload(name="recall.csv", mimeType="text/csv", buffer="\r\n".join(rows).encode("utf-8-sig"))
    page = visit("ana")
    page.goto("/overrides/import/")

    page.get_by_label("CSV file").set_input_files(file)
    page.get_by_label("Reason", exact=True).fill("Recall of the winter line.")
    page.get_by_role("button", name="Check this file").click()

    # A worker checks it; the page comes again by itself.
    expect(page.get_by_text("1 row cannot be used").first).to_be_visible()
    bad = page.locator("#group-invalid")
    expect(bad.get_by_role("row")).to_have_count(2)
    expect(bad).to_contain_text("129")
    expect(bad.locator(".triage__row")).to_have_text("8")
    expect(page.get_by_role("button", name="Block 20 products")).to_have_count(0)
    page.get_by_role("button", name="Leave out the 1 row that cannot be used").click()
    page.get_by_role("button", name="Block 20 products").click()

    expect_live(page)
    assert ranker.blocked(products) == products


def test_export__of_a_filtered_list__holds_its_rows(
    visit: Visitors, ranker: Ranker, fresh_ids: FreshIds
) -> None:
    products = fresh_ids(2)
    ranker.block(products)
    page = visit("ana")
    page.goto(f"/overrides/blocks/?q={products[0][:8]}")

    with page.expect_download() as download:
        page.get_by_role("link", name="Export CSV").click()

    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    assert [product for product in products if product in text] == products
    assert len(text.splitlines()) == 3


@pytest.mark.parametrize("what", ["product", "submission", "customer"])
def test_search__any_id__leads_to_what_it_is(
    visit: Visitors, ranker: Ranker, fresh_ids: FreshIds, what: str
) -> None:
    [name] = fresh_ids(1)
    page = visit("ana")
    match what:
        case "product":
            ranker.block([name])
        case "submission":
            name = f"#{ranker.block([name])['submission']}"
        case _:
            ranker.post(
                "opt-outs",
                customer_ids=[name],
                purposes=["personalisation"],
                channel="phone",
                reason="Prepared for a browser test.",
            )
    page.goto("/")

    page.get_by_role("searchbox", name="Search for").fill(name)
    page.get_by_role("searchbox", name="Search for").press("Enter")

    match what:
        case "product":
            expect(page.get_by_role("heading", name="Everywhere: not shown to anybody")).to_be_visible()
        case "submission":
            expect(page).to_have_url(re.compile(rf"/overrides/submissions/{name[1:]}/$"))
        case _:
            expect(page.get_by_role("heading", name="This customer has opted out")).to_be_visible()
    assert [url for url in visit.watch_of(page).addresses if name in url and what == "customer"] == []
