"""The demo's threshold is asked for by one, published by another, read by rankers, and undone."""

import httpx
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitors
from tests.running import RunningDemo


def served(portal: RunningDemo) -> list[dict[str, object]]:
    """What a ranker reads for the model of reviews."""
    headers = {"Authorization": f"Api-Key {portal.api_key}"}
    answer = httpx.get(
        f"{portal.url}/api/v1/serving/thresholds?model=reviews", headers=headers, timeout=15
    ).raise_for_status()
    return list(answer.json()["thresholds"])


def open_proposal(page: Page) -> str:
    """Open the newest threshold of the list; its address."""
    page.goto("/audits/thresholds/")
    page.get_by_role("row").nth(1).get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Threshold")
    return page.url


def test_threshold__published_by_another_and_undone__live_both_times(
    visit: Visitors, portal: RunningDemo
) -> None:
    lead = visit("lena")
    url = open_proposal(lead)
    expect(lead.get_by_role("main")).to_contain_text("sure that at least")
    assert served(portal) == []
    # By keyboard alone.
    lead.get_by_label("Reason").focus()
    lead.keyboard.type("Fewer reviews to read twice.")
    lead.keyboard.press("Tab")
    lead.keyboard.press("Enter")
    expect(lead.get_by_role("main")).to_contain_text("Waiting for an approver")

    approver = visit("vera")
    approver.goto(url)
    expect(approver.get_by_role("main")).to_contain_text("lena asks: Fewer reviews to read twice.")
    approver.get_by_role("button", name="Publish").click()

    # The stepper asks by itself until the store has it.
    stepper = approver.get_by_role("list", name="Delivery")
    expect(stepper.get_by_text("Live", exact=True)).to_be_visible()
    expect(stepper.get_by_label("Done:")).to_have_count(3)
    [held] = served(portal)
    assert held["version"] == "2026.2"
    expect(approver.get_by_role("heading", level=1)).to_contain_text(f"{held['threshold']:.6g}")
    expect(approver.get_by_role("main")).to_contain_text("Not verified on a later run")

    lead.goto(url)
    lead.get_by_label("Reason").fill("Only to see how it is undone.")
    lead.get_by_role("button", name="Undo").click()

    taken_out = lead.get_by_role("list", name="Delivery")
    expect(taken_out.get_by_text("Taken out of the store")).to_be_visible()
    expect(taken_out.get_by_label("Done:")).to_have_count(3)
    assert served(portal) == []


def test_threshold__new_one__without_scripts(visit: Visitors) -> None:
    page = visit("lena", scripts=False)
    page.goto("/audits/thresholds/new/")
    page.get_by_role("main").get_by_role("listitem").first.get_by_role("link").click()

    page.get_by_label("At least, in per cent").fill("99.9")
    page.get_by_label("Recall").check()
    page.get_by_role("button", name="Look for it").click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("Threshold")
    for _ in range(20):
        if page.get_by_text("Look again").count() == 0:
            break
        page.wait_for_timeout(500)
        page.reload()
    expect(page.get_by_role("main")).to_contain_text("sure that at least 99.9")


def test_targeted_run__started__the_worker_fills_it(visit: Visitors) -> None:
    page = visit("lena")
    page.goto("/audits/targeted/new/")

    page.get_by_label("Likely errors").fill("12")
    page.get_by_label("Random look at the rest").fill("8")
    page.get_by_role("button", name="Start").click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("Likely errors after")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Open")
    expect(page.get_by_role("main")).to_contain_text("20")
