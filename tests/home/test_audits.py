"""What audits want and say: in the rail, on the home page, in the search and in the activity."""

from collections.abc import Callable

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from opsportal.accounts.models import User
from opsportal.accounts.permissions import Role
from opsportal.audits.figures import Figure
from opsportal.audits.models import Estimate, Run
from opsportal.audits.services import adjudicating, closing, reviewing
from opsportal.core import clock
from opsportal.events import services as events
from tests.audits.making import make_items, make_run
from tests.conftest import make_person
from tests.home.deciding import words

ClientFor = Callable[[User], Client]


@pytest.fixture
def nora(db: None) -> User:
    """A second auditor."""
    return make_person("nora", Role.AUDITOR)


def waiting_in_rail(browser: Client) -> int:
    """The number beside “Audits” on any page."""
    return int(browser.get("/").context["frame"].audits_waiting)


def answer(person: User, run: Run, value: str) -> None:
    [claim] = reviewing.claim(actor=person, run=run)
    reviewing.answer(actor=person, token=claim.token, value=value)


def store_rate(run: Run, rate: Figure) -> None:
    """Figures of a closed run, as far as the home page reads them."""
    figures = {"error_rate": {"name": rate.name, "value": rate.value, "low": rate.low, "high": rate.high}}
    Estimate.objects.create(run=run, figures=figures, method="test", made_at=clock.now())


def test_home__nothing_audited__says_nothing_of_audits(otto: User, client_for: ClientFor) -> None:
    page = client_for(otto).get("/")

    assert "Reviews waiting" not in words(page)


def test_home__each_role__sees_what_it_can_do(
    otto: User, nora: User, lena: User, ana: User, client_for: ClientFor
) -> None:
    run = make_run(title="Survival, week 45")
    make_items(run, 1, reviews=2)
    make_items(run, 2)
    for value, person in (("survived", otto), ("did not survive", nora)):
        while not run.run_items.filter(answers__person=person, reviews__number=2).exists():
            answer(person, run, value)

    pages = {person.username: words(client_for(person).get("/")) for person in (otto, nora, lena, ana)}

    assert "Disputes 1 People disagree; you decide" in pages["lena"]
    assert "Runs to close 0" in pages["lena"]
    assert "Reviews waiting" in pages["otto"]
    assert "Disputes" not in pages["otto"]
    assert "Reviews waiting" not in pages["ana"]
    for page in pages.values():
        assert "Latest error rate – No run is closed yet" in page
    assert waiting_in_rail(client_for(ana)) == 0
    assert waiting_in_rail(client_for(lena)) >= 1


def test_home__all_labelled__is_to_close_and_then_has_a_rate(
    otto: User, lena: User, client_for: ClientFor
) -> None:
    run = make_run(title="Survival, week 45")
    make_items(run, 1)
    assert waiting_in_rail(client_for(otto)) == 1
    answer(otto, run, "survived")
    assert waiting_in_rail(client_for(otto)) == 0
    assert "Runs to close 1 All labelled" in words(client_for(lena).get("/"))

    closing.close_run(actor=lena, run=run)
    store_rate(run, Figure(name="error_rate", value=0.125, low=0.1, high=0.15))

    page = words(client_for(otto).get("/"))
    assert "Latest error rate 12.5 %" in page.replace("\N{NO-BREAK SPACE}", " ")
    assert "Survival, week 45" in page
    assert adjudicating.claim_dispute(actor=lena) is None


def test_home__ten_times_as_many_runs__takes_as_many_queries(lena: User, client_for: ClientFor) -> None:
    browser = client_for(lena)

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            browser.get("/")
        return len(queries)

    make_items(make_run(), 1)
    count()
    one = count()
    for _ in range(9):
        make_items(make_run(), 1)

    assert count() == one


def test_search__run_by_number_and_by_words__is_found(otto: User, client_for: ClientFor) -> None:
    run = make_run(title="Survival, week 45")

    by_number = client_for(otto).post("/search/", {"q": f"run {run.pk}"})
    by_words = client_for(otto).post("/search/", {"q": "week 45"})
    nothing = client_for(otto).post("/search/", {"q": f"run {run.pk + 1}"})

    assert by_number.headers["Location"] == run.get_absolute_url()
    assert f'href="{run.get_absolute_url()}"' in by_words.content.decode()
    assert "There is no such thing" in words(nothing)


def test_activity__audits__lead_to_their_pages(otto: User, client_for: ClientFor) -> None:
    for subject, number in (("run", 7), ("policy", 8), ("rule", 9), ("threshold", 10), ("run", "several")):
        with transaction.atomic():
            events.record(
                actor=None, verb="x.y", subject_type=subject, subject_id=number, summary=f"{subject} {number}"
            )

    entries = client_for(otto).get("/activity/?group=audits").context["entries"]

    assert [entry.url for entry in entries] == [
        "",
        "/audits/thresholds/10/",
        "/audits/rules/9/",
        "/audits/policies/8/",
        "/audits/runs/7/",
    ]
