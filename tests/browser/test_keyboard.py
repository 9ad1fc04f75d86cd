"""Everything works without a mouse, and one always sees where one is."""

from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Ranker, Visitors
from tests.browser.test_blocks import expect_live
from tests.running import RunningDemo

FreshIds = Callable[[int], list[str]]
# More stops than any page of ours has before its main button.
_STOPS_MAX = 80

# Empty when the element that has the focus lies in view and looks different without it; else its markup.
_HIDES_FOCUS = """() => {
  const element = document.activeElement;
  if (!element || element === document.body) return "nothing has the focus";
  const box = element.getBoundingClientRect();
  const inView = box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth;
  const look = () => ["", "::before", "::after"].map((part) => {
    const style = getComputedStyle(element, part);
    return [style.outline, style.boxShadow, style.borderColor].join();
  }).join();
  const focused = look();
  // Leaving a date and time would begin again at its first part.
  if (element.type === "datetime-local") {
    const { outlineStyle, boxShadow } = getComputedStyle(element);
    return inView && (outlineStyle !== "none" || boxShadow !== "none") ? "" : element.outerHTML;
  }
  element.blur();
  const unfocused = look();
  element.focus({ preventScroll: true });
  return inView && focused !== unfocused ? "" : element.outerHTML.slice(0, 300);
}"""


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until the target has the focus; it must be seen at every stop."""
    for _ in range(_STOPS_MAX):
        page.keyboard.press("Tab")
        assert page.evaluate(_HIDES_FOCUS) == ""
        if target.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{_STOPS_MAX} stops did not lead to {target}")


def test_keyboard_alone__signs_in_blocks_and_undoes(
    visit: Visitors, portal: RunningDemo, ranker: Ranker, fresh_ids: FreshIds
) -> None:
    product = fresh_ids(1)
    page = visit()
    keys = page.keyboard
    page.goto("/account/sign-in/")

    name = page.get_by_label("Name")
    if not name.evaluate("element => element === document.activeElement"):
        tab_to(page, name)
    keys.type("ana")
    tab_to(page, page.get_by_label("Password"))
    keys.type(portal.users["ana"])
    keys.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Home")).to_be_visible()
    page.wait_for_load_state()  # the keys are heard once the scripts are there

    keys.press("/")
    expect(page.get_by_role("searchbox", name="Search for")).to_be_focused()
    keys.press("Escape")
    keys.press("g")
    keys.press("b")
    expect(page.get_by_role("heading", level=1, name="Blocks")).to_be_visible()
    page.wait_for_load_state()

    keys.press("n")
    expect(page.get_by_role("heading", level=1, name="Block products")).to_be_visible()
    page.wait_for_load_state()
    products = page.get_by_label("Product IDs")
    if not products.evaluate("element => element === document.activeElement"):
        tab_to(page, products)
    keys.type(product[0])
    tab_to(page, page.get_by_label("Reason", exact=True))
    keys.type("Only with the keyboard.")
    tab_to(page, page.get_by_role("button", name="Block these products"))
    keys.press("Enter")
    expect_live(page)
    assert ranker.blocked(product) == product

    keys.press("u")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Undid #")
    expect_live(page)
    assert ranker.blocked(product) == []


def test_keys_in_a_list__move_tick_and_open(visit: Visitors) -> None:
    page = visit("ana")
    page.goto("/overrides/blocks/")
    links = page.locator("tbody .row-link")

    page.keyboard.press("j")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("j")
    expect(links.nth(1)).to_be_focused()
    assert page.evaluate(_HIDES_FOCUS) == ""
    page.keyboard.press("k")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("x")
    expect(page.locator("tbody [name=ids]").nth(0)).to_be_checked()
    target = links.nth(0).get_attribute("href")
    links.nth(0).focus()
    page.keyboard.press("Enter")

    assert target
    page.wait_for_url(f"**{target}")


def test_keys_help__opens_closes_and_turns_single_letters_off(visit: Visitors) -> None:
    page = visit("ana")
    page.goto("/overrides/blocks/")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")

    page.keyboard.press("?")
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Turn single-letter keys off").click()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.keyboard.press("/")

    expect(page.get_by_role("searchbox", name="Search for")).not_to_be_focused()


def test_skip_link__is_the_first_stop_and_leads_to_the_content(visit: Visitors) -> None:
    page = visit("ana")
    page.goto("/overrides/blocks/")

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    assert page.evaluate(_HIDES_FOCUS) == ""
    page.keyboard.press("Enter")

    expect(page.get_by_role("main")).to_be_focused()
