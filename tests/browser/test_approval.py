"""Above the thresholds a second person decides, never the author."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.conftest import Ranker, Visitors
from tests.browser.test_blocks import expect_live

FreshIds = Callable[[int], list[str]]


def ask_for(page: Page, product_ids: list[str]) -> None:
    page.goto("/overrides/blocks/new/")
    page.get_by_label("Product IDs").fill("\n".join(product_ids))
    page.get_by_label("Reason", exact=True).fill("The whole brand is recalled.")
    page.get_by_role("button", name="Block these products").click()
    page.get_by_role("button", name=f"Ask for approval of {len(product_ids)} blocks").click()
    expect(page.locator("#state")).to_have_text("Waiting for approval")


def test_approval__by_a_second_person__takes_effect_for_both(
    visit: Visitors, ranker: Ranker, fresh_ids: FreshIds
) -> None:
    products = fresh_ids(500)
    ana, lena = visit("ana"), visit("lena")

    ask_for(ana, products)

    number = ana.url.rstrip("/").rpartition("/")[2]
    expect(ana.get_by_role("button", name="Approve")).to_have_count(0)
    assert ranker.blocked(products) == []

    lena.goto("/")
    lena.get_by_role("main").locator(f'a[href="/overrides/submissions/{number}/"]').first.click()
    lena.get_by_label("Comment").fill("Seen the recall.")
    lena.get_by_role("button", name="Approve").click()

    expect_live(lena)
    ana.reload()
    expect(ana.locator("#state")).to_have_text("Live")
    expect(ana.get_by_role("main")).to_contain_text("Seen the recall.")
    assert ranker.blocked(products) == products


def test_approval__forged_by_the_author__is_not_found_and_changes_nothing(
    visit: Visitors, ranker: Ranker, fresh_ids: FreshIds
) -> None:
    products = fresh_ids(500)
    page = visit("ana")
    ask_for(page, products)

    token = page.locator("main [name=csrfmiddlewaretoken]").first.get_attribute("value") or ""
    answer = page.request.post(
        f"{page.url}approve/",
        form={"csrfmiddlewaretoken": token, "version": "1"},
        headers={"Origin": page.url.split("/overrides")[0]},
    )

    assert answer.status == 404
    page.reload()
    expect(page.locator("#state")).to_have_text("Waiting for approval")
    assert ranker.blocked(products) == []


def test_rejection__without_a_comment__asks_for_one__then_tells_the_author(
    visit: Visitors, fresh_ids: FreshIds
) -> None:
    ana, lena = visit("ana"), visit("lena")
    ask_for(ana, fresh_ids(500))

    lena.goto(ana.url)
    lena.get_by_role("button", name="Reject").click()
    expect(lena.get_by_label("Comment")).to_be_focused()
    lena.get_by_label("Comment").fill("Only the coats are recalled.")
    lena.get_by_role("button", name="Reject").click()

    expect(lena.locator("#state")).to_have_text("Rejected")
    ana.reload()
    expect(ana.locator("#state")).to_have_text("Rejected")
    expect(ana.get_by_role("main")).to_contain_text("Only the coats are recalled.")
