"""A rule of the demo is applied and taken back; a new one is written by keyboard and without scripts."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitors

TITLE = "Defects and repairs"
WORKER_MS = 90_000


def open_rule(page: Page, title: str) -> None:
    page.goto("/audits/rules/")
    page.get_by_role("link", name=title, exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(title)


def test_rule__applied_and_reverted__by_a_lead(visit: Visitors) -> None:
    page = visit("lena")
    open_rule(page, TITLE)
    expect(page.locator("#state")).to_have_text("Proven")
    page.get_by_role("link", name="Show examples").click()
    expect(page.locator(".example-list li").first).to_be_visible()

    page.get_by_label("Reason").fill("Defects are never good news.")
    page.get_by_role("button", name="Apply the rule").click()

    # The page asks by itself until the worker is done, which begins with what the demo wants explained.
    expect(page.locator("#state")).to_have_text("Acceptance sample", timeout=WORKER_MS)
    expect(page.get_by_role("main")).to_contain_text("They are shown blind.")

    page.get_by_text("Take it back").click()
    page.get_by_label("Reason").fill("Only to see how it is undone.")
    page.get_by_role("button", name="Revert the rule").click()

    expect(page.locator("#state")).to_have_text("Reverted", timeout=WORKER_MS)
    expect(page.get_by_role("main")).to_contain_text("Taken back: Only to see how it is undone.")


def test_rule__not_proven__says_what_is_missing(visit: Visitors) -> None:
    page = visit("lena")

    open_rule(page, "Somebody has a problem")

    expect(page.get_by_text("It may not be applied.")).to_be_visible()
    expect(page.get_by_role("button", name="Apply the rule")).to_have_count(0)


def test_new_rule__without_scripts__with_another_row(visit: Visitors) -> None:
    page = visit("lena", scripts=False)
    page.goto("/audits/rules/new/?model=reviews")

    page.get_by_label("Title").fill("Refunds")
    page.get_by_label("Row 1: field").select_option(label="Text")
    page.get_by_label("Row 1: comparison").select_option(label="contains the words")
    page.get_by_label("Row 1: value").fill("refund")
    page.get_by_role("button", name="Add a row").click()
    page.get_by_label("Row 4: joined by").select_option(label="or")
    page.get_by_label("Row 4: field").select_option(label="Text")
    page.get_by_label("Row 4: comparison").select_option(label="matches")
    page.get_by_label("Row 4: value").fill("money (is )?back(")
    page.get_by_label("The label should be").select_option(index=1)
    page.get_by_role("button", name="Write the rule").click()

    expect(page.get_by_text("is never closed")).to_be_visible()
    page.get_by_label("Row 4: value").fill("money (is )?back")
    page.get_by_role("button", name="Write the rule").click()
    expect(page.get_by_role("main")).to_contain_text(
        "Where the text contains the words “refund” or the text matches /money (is )?back/i"
    )
