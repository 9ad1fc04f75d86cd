"""Boosts move products for a time; opt-outs reach the rankers without the customer's ID being kept."""

from collections.abc import Callable
from urllib.parse import unquote

from playwright.sync_api import expect

from tests.browser.conftest import Ranker, Visitors
from tests.browser.test_blocks import expect_live

FreshIds = Callable[[int], list[str]]


def test_boost__with_factor_and_end__moves_the_product_up(
    visit: Visitors, ranker: Ranker, fresh_ids: FreshIds
) -> None:
    weak, strong = fresh_ids(2)
    page = visit("max")
    page.goto("/overrides/boosts/")

    page.get_by_role("link", name="Boost products").click()
    page.get_by_label("Product IDs").fill(weak)
    page.get_by_label("Factor").fill("2.5")
    expect(page.get_by_text("the score counts 2.5 times")).to_be_visible()
    page.get_by_role("button", name="1 week").click()
    page.get_by_label("Reason", exact=True).fill("Booked by the brand.")
    page.get_by_role("button", name="Boost these products").click()

    expect_live(page)
    ranking = ranker.post(
        "rank",
        surface="home-left",
        items=[{"product_id": strong, "score": 0.4}, {"product_id": weak, "score": 0.2}],
    )
    assert [(item["product_id"], item["boost"]) for item in ranking["items"]] == [(weak, 2.5), (strong, 1.0)]


def test_opt_out__recorded__reaches_rankers_and_the_id_stays_nowhere(
    visit: Visitors, ranker: Ranker, fresh_ids: FreshIds
) -> None:
    [customer] = fresh_ids(1)
    page = visit("ana")
    page.goto("/overrides/opt-outs/")

    page.get_by_role("link", name="Record an opt-out").click()
    page.get_by_label("Customer IDs").fill(customer)
    page.get_by_label("Reason", exact=True).fill("Asked on the phone.")
    page.get_by_role("button", name="Record the opt-out").click()

    expect_live(page)
    assert not ranker.personalizes(customer)
    assert customer not in page.content()

    page.goto("/overrides/opt-outs/")
    page.get_by_label("Customer ID").fill(customer)
    page.get_by_role("button", name="Has this customer opted out?").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Opt-out of c·")
    assert customer not in page.content()
    for address in ("/activity/", "/overrides/opt-outs/", "/overrides/submissions/", "/"):
        page.goto(address)
        assert customer not in page.content()
    assert [address for address in visit.watch_of(page).addresses if customer in unquote(address)] == []
