"""The search of the top bar says what an ID is, and never looks a customer up unseen."""

import logging
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.events import services as events
from opsportal.events.models import Event, Revision
from opsportal.overrides.models import Block, Boost, OptOut
from opsportal.predictions.models import Impressions, Product
from opsportal.predictions.pseudonyms import customer_key
from tests.home.deciding import block, boost, draft_opt_out, opt_out, words

ClientFor = Callable[[User], Client]


def search(browser: Client, text: str, **fields: str) -> str:
    """What the answer to a search says."""
    response = browser.post("/search/", {"q": text, **fields})
    assert response.status_code == 200, response
    return words(response)


def lookups() -> list[tuple[str, str]]:
    """Who looked which customer up."""
    return list(Event.objects.filter(verb="customer.looked_up").values_list("actor_name", "subject_id"))


@pytest.mark.parametrize("how", ["#{}", "# {}", "submission {}", "Submission #{}"])
def test_search__submission_by_name__opens_it(ana: User, as_ana: Client, how: str) -> None:
    submission = block(ana, "A")

    response = as_ana.post("/search/", {"q": how.format(submission.pk)})

    assert response.status_code == 302
    assert response.headers["Location"] == f"/overrides/submissions/{submission.pk}/"


def test_search__override_by_name__opens_it(ana: User, max: User, as_ana: Client) -> None:
    block(ana, "A")
    boost(max, "A")
    opt_out(ana, "C-1")
    cases = {
        f"block {Block.objects.get().pk}": "blocks",
        f"Boost #{Boost.objects.get().pk}": "boosts",
        f"opt-out {OptOut.objects.get().pk}": "opt-outs",
        f"opt out {OptOut.objects.get().pk}": "opt-outs",
    }

    for text, kind in cases.items():
        location = as_ana.post("/search/", {"q": text}).headers["Location"]
        assert location == f"/overrides/{kind}/{text.rpartition(' ')[2].removeprefix('#')}/"


@pytest.mark.parametrize("text", ["#999", "block 999", "opt-out 999", "#" + "9" * 19, "boost " + "9" * 19])
def test_search__number_of_nothing__says_so(as_ana: Client, text: str) -> None:
    assert "There is no such thing" in search(as_ana, text)
    assert lookups() == []


def test_search__opt_out_without_the_capability__does_not_exist(
    ana: User, max: User, client_for: ClientFor
) -> None:
    submission = opt_out(ana, "C-1")
    browser = client_for(max)

    for text in (f"#{submission.pk}", f"opt-out {OptOut.objects.get().pk}"):
        assert "There is no such thing" in search(browser, text)
    assert "Nobody has seen this ID" in search(browser, "C-1")
    assert "Nobody has seen this ID" in search(browser, "C-1", customer="on")
    assert lookups() == []


def test_search__bare_number__lists_every_meaning(ana: User, as_ana: Client) -> None:
    submission = block(ana, "A")
    Product.objects.create(product_id=str(submission.pk))

    text = search(as_ana, str(submission.pk))

    assert f"Submission #{submission.pk}: Blocked 1 product everywhere" in text
    assert "Everywhere: shown as the model ranks it, no rule touches it" in text
    assert "It may also be a customer ID." in text
    assert lookups() == []


def test_search__product__every_rule_with_the_winner_and_why(ana: User, max: User, as_ana: Client) -> None:
    boost(max, "00701", factor=3, surface="search")
    boost(max, "00701", factor=1.5)
    text = search(as_ana, "00701")
    assert "On Search page: its score counts ×3" in text
    assert "A boost for this surface beats one for everywhere." in text
    assert "On every other surface: its score counts ×1.5" in text

    block(ana, "00701", ends_at=clock.this_second() + timedelta(days=1))

    text = search(as_ana, "00701")
    assert "On Search page: not shown to anybody" in text
    assert "On every other surface: not shown to anybody" in text
    assert text.count("A block beats every boost.") == 3


def test_search__product__its_impressions_and_history(ana: User, as_ana: Client) -> None:
    product = Product.objects.create(product_id="00701", title="Teapot")
    other = Product.objects.create(product_id="00702")
    day = clock.now().date()
    # So many that blocking the first product needs no second person.
    Impressions.objects.create(product=other, surface="search", day=day, shown=5_000)
    for back in (0, 3, 30):
        Impressions.objects.create(
            product=product, surface="search", day=day - timedelta(days=back), shown=200, clicked=10
        )
    block(ana, "00701")

    text = search(as_ana, "00701").replace("\xa0", " ")

    assert "Teapot" in text
    assert "400 20 clicked (5 %)" in text
    assert "by ana, safety or recall" in text


def test_search__upper_and_lower_case__are_different_products(as_ana: Client) -> None:
    Product.objects.create(product_id="85123A")

    text = search(as_ana, "85123a")

    assert "No customer with this ID has opted out" in text
    assert "Product 85123A" not in text


def test_search__beginning_of_an_id__offers_the_products(as_ana: Client) -> None:
    Product.objects.bulk_create(Product(product_id=f"007{number:02}") for number in range(20))
    Product.objects.create(product_id="1")

    text = search(as_ana, "007")

    assert "Products that begin so 00700 00701 00702 00703 00704 00705" in text


def test_search__product_by_address__can_be_shared(max: User, client_for: ClientFor) -> None:
    Product.objects.create(product_id="a&b c")
    browser = client_for(max)

    page = browser.get("/search/", {"product": "a&b c"})

    assert page.status_code == 200
    assert "no rule touches it" in words(page)
    assert "?product=a%26b+c" in page.content.decode()


def test_search__address_without_a_product__says_what_one_can_look_for(as_ana: Client) -> None:
    assert "What you can look for" in words(as_ana.get("/search/"))
    assert "Nobody has seen this ID" in words(as_ana.get("/search/?product=nothing"))
    assert lookups() == []


def test_search__customer__shows_the_opt_out_and_records_who_looked(ana: User, as_ana: Client) -> None:
    opt_out(ana, "C-1", purposes=("personalisation", "sharing"))
    Revision.objects.update(live_at=clock.now())

    text = search(as_ana, " C-1 ")

    assert "This customer has opted out, and the rankers know" in text
    assert "No personalisation, sharing" in text
    assert lookups() == [("ana", customer_key("C-1"))]
    event = Event.objects.get(verb="customer.looked_up")
    assert "C-1" not in f"{event.summary}{event.reason}{event.before}{event.after}"


def test_search__customer_not_live_yet__says_so(ana: User, as_ana: Client) -> None:
    opt_out(ana, "C-1")

    assert "Saved, not yet live" in search(as_ana, "C-1")


def test_search__customer_withdrawn__says_since_when(ana: User, as_ana: Client) -> None:
    opt_out(ana, "C-1")
    OptOut.objects.update(closed_at=clock.now())

    assert "The opt-out was withdrawn just now" in search(as_ana, "C-1")


def test_search__customer_with_a_draft__names_it(
    ana: User, as_ana: Client, priya: User, client_for: ClientFor
) -> None:
    submission = draft_opt_out(ana, "C-1")

    assert f"#{submission.pk} by ana : Record the opt-out of 1 customer" in search(as_ana, "C-1")
    assert f"#{submission.pk}" not in search(client_for(priya), "C-1")


def test_search__known_product__is_looked_up_as_a_customer_only_when_asked(ana: User, as_ana: Client) -> None:
    Product.objects.create(product_id="00701")
    opt_out(ana, "00701")

    first = search(as_ana, "00701")
    assert "opted out" not in first
    assert lookups() == []

    second = search(as_ana, "00701", customer="on")
    assert "This customer has opted out" in second
    assert "no rule touches it" in second
    assert lookups() == [("ana", customer_key("00701"))]


def test_search__recording_fails__shows_nothing(
    ana: User, as_ana: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    opt_out(ana, "C-1")

    def fail(**fields: object) -> None:
        raise RuntimeError("no trail")

    monkeypatch.setattr(events, "record", fail)
    as_ana.raise_request_exception = False
    response = as_ana.post("/search/", {"q": "C-1"})

    assert response.status_code == 500
    assert b"opted out" not in response.content


def test_find_opt_out__is_recorded_like_a_search(ana: User, as_ana: Client) -> None:
    opt_out(ana, "C-1")

    response = as_ana.post("/overrides/opt-outs/find/", {"customer_id": "C-1"})

    assert response.status_code == 302
    assert lookups() == [("ana", customer_key("C-1"))]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", 400),
        ("   ", 400),
        ("x" * 201, 400),
        ("x" * 200, 200),
        ("\u202eevil", 200),
        ("=1+1", 200),
        ("' OR 1=1 --", 200),
        ("🫖 teapot", 200),
        ("١٢٣", 200),
        ("<script>alert(1)</script>", 200),
        ("%_%", 200),
    ],
)
def test_search__odd_text__is_answered_calmly(as_ana: Client, text: str, status: int) -> None:
    response = as_ana.post("/search/", {"q": text})

    assert response.status_code == status
    assert "<script>alert" not in response.content.decode()


def test_search__customer_id__reaches_no_address_and_no_log(
    ana: User, as_ana: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="opsportal"), caplog.at_level(logging.DEBUG, logger="django"):
        response = as_ana.post("/search/", {"q": "SECRET-CUSTOMER"})

    assert response.status_code == 200
    assert "SECRET-CUSTOMER" not in "".join(
        record.getMessage() for record in caplog.records if record.name != "django.db.backends"
    )
    assert 'href="' not in response.content.decode().partition("SECRET-CUSTOMER")[0][-40:]


def test_search__without_role__does_not_exist(as_mallory: Client) -> None:
    assert as_mallory.post("/search/", {"q": "00701"}).status_code == 404
    assert as_mallory.get("/search/?product=00701").status_code == 404
    assert lookups() == []


def test_search__signed_out__leads_to_sign_in(client: Client) -> None:
    response = client.post("/search/", {"q": "C-1"})

    assert response.status_code == 302
    assert response.headers["Location"] == "/account/sign-in/?next=%2Fsearch%2F"


def test_search__many_rules__take_as_many_queries_as_one(ana: User, max: User, as_ana: Client) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            search(as_ana, "00701")
        return len(queries)

    boost(max, "00701", factor=1.1)
    search(as_ana, "00701")
    one = count()
    for number in range(2, 11):
        boost(max, "00701", factor=number)

    assert count() == one
    assert one <= 30
