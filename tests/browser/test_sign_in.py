"""Coming in, being refused, and going out again."""

from playwright.sync_api import expect

from tests.browser.conftest import Visitors
from tests.running import RunningDemo


def test_sign_in__right_password__arrives_where_one_wanted_to_go(
    visit: Visitors, portal: RunningDemo
) -> None:
    page = visit()
    page.goto("/activity/")
    expect(page).to_have_url(f"{portal.url}/account/sign-in/?next=%2Factivity%2F")

    page.get_by_label("Name").fill("dana")
    page.get_by_label("Password").fill(portal.users["dana"])
    page.get_by_role("button", name="Sign in").click()

    expect(page).to_have_url(f"{portal.url}/activity/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Activity")


def test_sign_in__wrong_password__says_so_and_keeps_the_name(visit: Visitors) -> None:
    page = visit()
    page.goto("/account/sign-in/")

    page.get_by_label("Name").fill("otto")
    page.get_by_label("Password").fill("not this one")
    page.get_by_role("button", name="Sign in").click()

    expect(page.get_by_role("alert")).to_be_focused()
    expect(page.get_by_label("Name")).to_have_value("otto")
    expect(page.get_by_label("Password")).to_have_value("")
