"""The overview, the page of a run before and after it is closed, its people, items and comparison."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from opsportal.accounts.models import User
from opsportal.audits.models import Decline, Item, Review, Run, Stream
from opsportal.audits.selectors.comparing import difference_of
from opsportal.audits.selectors.plotting import interval_text, scale_of, value_text
from opsportal.audits.selectors.runs import progress_of
from opsportal.audits.selectors.waiting import waiting_for, waiting_on
from opsportal.core import clock
from opsportal.events.models import Event
from tests.audits.making import make_items, make_policy, make_run
from tests.audits.resulting import close, estimate, figure, make_results, settle
from tests.explanations.making import make_prediction, make_version

SignIn = Callable[[User], Client]
HOSTILE = "<script>alert(1)</script>"

pytestmark = pytest.mark.django_db


def words(client: Client, url: str, status: int = 200) -> str:
    """The page's source, with narrow and unbreakable spaces as plain ones."""
    response = client.get(url)
    assert response.status_code == status, response.content[:500]
    return response.content.decode().replace("\u00a0", " ")


# -- What waits -----------------------------------------------------------------------------


def test_waiting__each_role__sees_its_own(lena: User, otto: User, ana: User) -> None:
    run = make_run()
    items = make_items(run, 2)

    assert [waiting_for(person) for person in (lena, otto, ana)] == [1, 1, 0]
    Run.objects.filter(pk=run.pk).update(to_adjudicate=2)
    assert [waiting_for(person) for person in (lena, otto, ana)] == [3, 1, 0]
    Run.objects.filter(pk=run.pk).update(to_adjudicate=0)
    settle(items, "survived", people=[otto])
    # Nothing is left to label; whoever leads may close the run.
    assert [waiting_for(person) for person in (lena, otto, ana)] == [1, 0, 0]
    assert [one.title for one in waiting_on(lena).to_close] == [run.title]


def test_waiting__only_own_answers_left__waits_for_others(lena: User, otto: User) -> None:
    run = make_run()
    item = make_items(run, 1, reviews=2)[0]
    settle([item], "survived", people=[otto])
    Item.objects.filter(pk=item.pk).update(state=Item.State.OPEN, label="", settled_at=None)

    assert Review.objects.filter(state=Review.State.OPEN).count() == 1
    assert waiting_for(otto) == 0
    assert [one.pk for one in waiting_on(lena).to_label] == [run.pk]


def test_waiting__run_for_named_reviewers__waits_for_them_alone(lena: User, otto: User) -> None:
    make_items(make_run(reviewers=[lena]), 1)

    assert (waiting_for(lena), waiting_for(otto)) == (1, 0)


# -- The overview ---------------------------------------------------------------------------


def test_overview__nothing_there__says_what_would_be(client_for: SignIn, ana: User) -> None:
    page = words(client_for(ana), "/audits/")

    assert "No model is audited yet" in page
    assert "Nothing waits for you." in page


def test_overview__closed_runs__shows_the_newest_rate_and_the_trend(client_for: SignIn, ana: User) -> None:
    policy = make_policy()
    for title, rate in (("Older", 0.05), ("Newer", 0.02)):
        run = make_run(policy, state="closed", title=title)
        estimate(run, make_results(error_rate=figure(value=rate, low=rate / 2, high=2 * rate)))

    page = words(client_for(ana), "/audits/")

    assert '<p class="figure">2.0 %</p>' in page
    assert "wrong, 1.0 to 4.0 % (95&nbsp;%)" in page
    assert page.index(">Older</a>") < page.index(">Newer</a>", page.index("The same as a table"))


def test_overview__ten_times_as_many_runs__asks_as_often(client_for: SignIn, lena: User) -> None:
    client = client_for(lena)
    # The first request of a session writes it.
    client.get("/audits/")
    counts = []
    for more in (1, 9):
        for _ in range(more):
            policy = make_policy()
            estimate(make_run(policy, state="closed"))
            make_items(make_run(policy), 1)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            client.get("/audits/")
        counts.append(len(queries))

    assert counts[0] == counts[1]


# -- A run before it is closed --------------------------------------------------------------


def test_open_run__half_labelled__shows_progress_and_no_rate(
    client_for: SignIn, lena: User, otto: User
) -> None:
    run = make_run(make_policy(sizing="width", half_width=0.05, expected_error=0.1))
    items = make_items(run, 120, frame=5_000)
    settle(items[:50], "did not survive", people=[otto])

    page = words(client_for(lena), f"/audits/runs/{run.pk}/")
    progress = progress_of(run, user=lena)

    assert (progress.settled, progress.labelled, progress.needed) == (0, 50, 120)
    assert progress.more == "70 more for ±5 points"
    assert "70 more for ±5 points" in page
    assert "50 of 120" in page
    assert "Error rate" not in page
    assert "did not survive" not in page.lower()
    assert "70 of 120 items will be left unlabelled" in page
    assert "<strong>otto</strong>" in page


def test_open_run__second_looks_and_disputes__are_counted(lena: User, otto: User) -> None:
    run = make_run()
    first, second, _third = make_items(run, 3, reviews=2)
    settle([first], "survived", people=[otto])
    Item.objects.filter(pk=first.pk).update(state=Item.State.OPEN, label="", settled_at=None)
    Item.objects.filter(pk=second.pk).update(state=Item.State.DISPUTED)

    progress = progress_of(run, user=lena)

    assert (progress.second_looks, progress.disputed) == (2, 1)
    assert progress.second_words == "2, 1 for an audit lead"


def test_open_run__item_that_everybody_declined__is_told_to_leads_alone(
    client_for: SignIn, lena: User, otto: User
) -> None:
    run = make_run()
    item, _other = make_items(run, 2)
    for person in (lena, otto):
        Decline.objects.create(item=item, person=person, reason=Decline.Reason.SKILL, at=clock.now())

    told = [words(client_for(person), f"/audits/runs/{run.pk}/") for person in (lena, otto)]

    sentence = "1 item: nobody is left who may label it."
    assert [sentence in page for page in told] == [True, False]


def test_targeted_run__open__says_how_items_were_chosen(client_for: SignIn, ana: User) -> None:
    run = make_run(
        kind=Run.Kind.TARGETED, plan={"words": ["Of 90 predictions the 5 most suspicious were chosen."]}
    )

    page = words(client_for(ana), f"/audits/runs/{run.pk}/")

    assert "How the items were chosen" in page
    assert "Of 90 predictions the 5 most suspicious were chosen." in page


def test_open_run__auditor__sees_only_own_work(client_for: SignIn, lena: User, otto: User) -> None:
    run = make_run()
    first, second = make_items(run, 2)
    settle([first], "survived", people=[lena])
    settle([second], "survived", people=[otto])

    page = words(client_for(otto), f"/audits/runs/{run.pk}/")

    assert "<strong>otto</strong>" in page
    assert "<strong>lena</strong>" not in page
    assert "End this run" not in page


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("drawing", "4,200 of 10,000"),
        ("failed", "The file changed."),
        ("cancelled", "This run was given up"),
    ],
)
def test_run__every_other_state__says_what_is_the_matter(
    state: str, said: str, client_for: SignIn, ana: User
) -> None:
    run = make_run(state=state, problem="The file changed.", rows_total=10_000, rows_done=4_200)

    assert said in words(client_for(ana), f"/audits/runs/{run.pk}/")


def test_run__unknown__is_not_found(client_for: SignIn, ana: User) -> None:
    words(client_for(ana), "/audits/runs/99999999999999999999/", 404)


def test_close__lead__leads_to_a_page_that_waits(client_for: SignIn, lena: User) -> None:
    run = make_run()
    make_items(run, 2)

    response = client_for(lena).post(f"/audits/runs/{run.pk}/close/", follow=True)

    run.refresh_from_db()
    assert run.state == Run.State.CLOSED
    assert "The figures are being computed" in response.content.decode()


def test_close__twice__says_so(client_for: SignIn, lena: User) -> None:
    run = estimate(make_run(state="closed"))

    response = client_for(lena).post(f"/audits/runs/{run.pk}/close/", follow=True)

    assert "is closed, not open." in response.content.decode()
    assert not Event.objects.filter(verb="run.closed").exists()


def test_cancel__without_reason__keeps_the_run(client_for: SignIn, lena: User) -> None:
    run = make_run()

    response = client_for(lena).post(f"/audits/runs/{run.pk}/cancel/", {"reason": " "})

    run.refresh_from_db()
    assert (response.status_code, run.state) == (400, Run.State.OPEN)
    assert "Say why the run is given up." in response.content.decode()


def test_progress__run_has_come_further__has_the_page_loaded_anew(client_for: SignIn, ana: User) -> None:
    run = make_run()
    headers = {"HX-Request": "true"}
    client = client_for(ana)

    same = client.get(f"/audits/runs/{run.pk}/progress/?was=open", headers=headers)
    further = client.get(f"/audits/runs/{run.pk}/progress/?was=drawing", headers=headers)

    assert "HX-Refresh" not in same.headers
    assert further.headers["HX-Refresh"] == "true"


# -- What a closed run says -----------------------------------------------------------------


def test_closed_run__figures__are_told_with_formula_and_source(client_for: SignIn, ana: User) -> None:
    run = estimate(make_run(state="closed", title="November"))

    page = words(client_for(ana), f"/audits/runs/{run.pk}/")

    assert "An estimated 2.0 % of decisions are wrong." in page
    assert "95 % sure, from 300 labels: between 1.0 and 4.0 %." in page
    assert "About 60 of 3,000 predictions, at least 30 and at most 120." in page
    assert "Without people&#x27;s own errors" in page
    assert "Hájek" in page
    assert "Wilson, JASA 22, 1927" in page
    assert "more than elsewhere" in page
    assert "Ten items were left unlabelled." in page
    assert "1 stands out" in page


def test_closed_run__no_error_found__tells_the_bound_alone(client_for: SignIn, ana: User) -> None:
    none = figure(value=0.0, low=None, high=0.00994, kind="upper")
    run = estimate(make_run(state="closed"), make_results(error_rate=none, error_rate_powered=None))

    page = words(client_for(ana), f"/audits/runs/{run.pk}/")

    assert "No error was found: the rate is below 1.00 %." in page
    assert "at most 30 of 3,000 predictions" in page


def test_closed_run__no_rate__tells_why(client_for: SignIn, ana: User) -> None:
    nothing = figure(value=None, low=None, high=None, sentence="Nobody labelled anything.", n=0)
    bare = make_results(
        error_rate=nothing, error_rate_powered=None, error_rate_corrected=None, classes=[], confusion=[],
        strata=[], segments=[], agreement=None, people=[], pooled=None, notes=[],
    )  # fmt: skip
    run = estimate(make_run(state="closed"), bare)

    page = words(client_for(ana), f"/audits/runs/{run.pk}/")

    assert "Nobody labelled anything." in page
    assert "None" not in page


def test_closed_run__hostile_words__are_shown_as_text(client_for: SignIn, lena: User) -> None:
    policy = make_policy(labels=[{"value": HOSTILE, "title": HOSTILE, "key": "1", "guideline": ""}])
    run = make_run(policy, title=HOSTILE)
    items = make_items(run, 2, text=HOSTILE, predicted=HOSTILE)
    settle(items, HOSTILE, people=[lena])
    results = make_results(notes=[HOSTILE], focus=HOSTILE)
    estimate(close(run), results)
    client = client_for(lena)

    for place in ("", "people/", "items/"):
        page = words(client, f"/audits/runs/{run.pk}/{place}")
        assert HOSTILE not in page
        assert "&lt;script&gt;" in page


# -- People ---------------------------------------------------------------------------------


def test_people__lead__sees_everybody(client_for: SignIn, lena: User) -> None:
    run = estimate(make_run(state="closed"))

    page = words(client_for(lena), f"/audits/runs/{run.pk}/people/")

    assert "Chance explains a tenth of the difference." in page
    assert "lena and otto" in page
    assert "strict" in page
    assert "28 of 30" in page


def test_people__auditor__sees_own_row_alone(client_for: SignIn, otto: User) -> None:
    run = estimate(make_run(state="closed"))

    page = words(client_for(otto), f"/audits/runs/{run.pk}/people/")

    assert "<strong>otto</strong>" in page
    assert "lena" not in page


def test_people__open_run__has_nothing_to_show(client_for: SignIn, lena: User) -> None:
    page = words(client_for(lena), f"/audits/runs/{make_run().pk}/people/")

    assert "Nothing to show yet" in page


# -- Items ----------------------------------------------------------------------------------


def test_items__closed__are_filtered(client_for: SignIn, lena: User, otto: User) -> None:
    run = make_run()
    right, wrong, untold, left = make_items(run, 4)
    suspect = make_items(run, 1, stream=Stream.SUSPECT)[0]
    settle([right, suspect], "survived", people=[otto])
    settle([wrong], "did not survive", people=[otto])
    settle([untold], "")
    Item.objects.filter(pk=left.pk).update(state=Item.State.VOID)
    close(run)
    everything = {item.prediction_id for item in (right, wrong, untold, left, suspect)}
    client = client_for(lena)

    def shown(query: str) -> set[str]:
        page = words(client, f"/audits/runs/{run.pk}/items/?{query}")
        return {prediction_id for prediction_id in everything if f"<span>{prediction_id}<" in page}

    assert shown("") == everything
    assert shown("show=errors") == {wrong.prediction_id}
    assert shown("show=right") == {right.prediction_id, suspect.prediction_id}
    assert shown("show=cannot_tell") == {untold.prediction_id}
    assert shown("show=unlabelled") == {left.prediction_id}
    assert shown("stream=suspect") == {suspect.prediction_id}
    assert shown("show=nonsense") == everything


def test_items__open__shows_neither_decisions_nor_streams(client_for: SignIn, lena: User) -> None:
    run = make_run()
    settle(make_items(run, 1), "did not survive", people=[lena])
    make_items(run, 1, stream=Stream.GOLD, gold="did not survive")

    page = words(client_for(lena), f"/audits/runs/{run.pk}/items/?stream=gold").lower()

    assert "did not survive" not in page
    assert "known answer" not in page
    assert page.count("<tr>") == 3


def test_items__prediction_is_there__leads_to_it(client_for: SignIn, ana: User) -> None:
    run = make_run()
    item = make_items(run, 1)[0]
    make_prediction(make_version(), prediction_id=item.prediction_id, score=0.9)
    close(run)

    page = words(client_for(ana), f"/audits/runs/{run.pk}/items/")

    assert f'href="/explain/{item.prediction_id}/"' in page


def test_items__more_than_a_page__asks_as_often(client_for: SignIn, lena: User, otto: User) -> None:
    client = client_for(lena)
    # The first request of a session writes it.
    client.get("/audits/")
    counts = []
    page = ""
    for number in (1, 60):
        run = make_run()
        settle(make_items(run, number), "survived", people=[otto])
        close(run)
        with CaptureQueriesContext(connection) as queries:
            page = words(client, f"/audits/runs/{run.pk}/items/")
        counts.append(len(queries))

    assert counts[0] == counts[1]
    assert "50 items on this page" in page


# -- Two runs -------------------------------------------------------------------------------


def test_difference__two_wilson_intervals__is_newcombes() -> None:
    # Newcombe 1998, table II, example (a): 56/70 against 48/80, method 10.
    first = figure(value=48 / 80, low=0.4905, high=0.7003)
    second = figure(value=56 / 70, low=0.6918, high=0.8770)

    difference = difference_of(first, second)

    assert difference.value == pytest.approx(0.2)
    assert difference.low == pytest.approx(0.0524, abs=2e-4)
    assert difference.high == pytest.approx(0.3339, abs=2e-4)


def test_difference__nothing_found_on_one_side__widens_the_one_sided_bound() -> None:
    # Of 0 in 100: one-sided 1 − 0.05^(1/100), two-sided 1 − 0.025^(1/100).
    none = figure(value=0.0, low=None, high=1 - 0.05**0.01, kind="upper")
    exactly = figure(value=0.0, low=0.0, high=0.0)

    difference = difference_of(exactly, none)

    assert difference.high == pytest.approx(1 - 0.025**0.01)
    assert difference.low == 0.0


def test_compare__clear_difference__says_so(client_for: SignIn, ana: User) -> None:
    policy = make_policy()
    first, second = (make_run(policy, state="closed", title=title) for title in ("October", "November"))
    estimate(first, make_results(error_rate=figure(value=0.02, low=0.01, high=0.03)))
    estimate(second, make_results(error_rate=figure(value=0.1, low=0.08, high=0.12)))

    page = words(client_for(ana), f"/audits/compare/?first={first.pk}&second={second.pk}")

    assert "“November” has more errors than “October”: by 8.00 percentage points" in page
    assert "between 5.76 and 10.24 with 95 % confidence" in page
    assert "Newcombe" in page


def test_compare__overlapping_intervals__does_not_claim_more(client_for: SignIn, ana: User) -> None:
    policy = make_policy()
    first, second = (estimate(make_run(policy, state="closed")) for _ in range(2))

    page = words(client_for(ana), f"/audits/compare/?first={first.pk}&second={second.pk}")

    assert "The labels do not tell" in page
    assert "Their periods overlap" in page


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("first={0}&second={0}", "This is the same run."),
        ("first={0}&second=", "Choose a run."),
        ("first={0}&second=77", "There is no closed run with figures under this number."),
        ("first=x&second={0}", "There is no closed run with figures under this number."),
    ],
)
def test_compare__bad_choice__says_what_is_wrong(
    query: str, said: str, client_for: SignIn, ana: User
) -> None:
    run = estimate(make_run(state="closed"))

    assert said in words(client_for(ana), f"/audits/compare/?{query.format(run.pk)}", 400)


def test_compare__run_without_a_rate__says_why(client_for: SignIn, ana: User) -> None:
    policy = make_policy()
    first, second = (make_run(policy, state="closed") for _ in range(2))
    estimate(first)
    estimate(
        second, make_results(error_rate=figure(value=None, low=None, high=None, sentence="All left out."))
    )

    page = words(client_for(ana), f"/audits/compare/?first={first.pk}&second={second.pk}", 400)

    assert "has no error rate: All left out." in page


def test_compare__only_one_named__waits_for_the_other(client_for: SignIn, ana: User) -> None:
    run = estimate(make_run(state="closed"))

    page = words(client_for(ana), f"/audits/compare/?second={run.pk}")

    assert f'<option value="{run.pk}" selected>' in page
    assert "Choose a run." not in page


# -- Numbers as they are read ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "value", "high", "text", "interval"),
    [
        (0.01, 0.0126, 0.0155, "1.26 %", "1.00 to 1.55 %"),
        (0.1, 0.2, 0.3, "20.0 %", "10.0 to 30.0 %"),
        (0.1, 0.4, 0.8, "40 %", "10 to 80 %"),
        (0.25, 0.25, 0.25, "25.0 %", "exactly"),
        (-0.03, -0.01, 0.01, "−1.0 %", "−3.0 to 1.0 %"),
    ],
)
def test_texts__width_of_the_interval__decides_the_digits(
    low: float, value: float, high: float, text: str, interval: str
) -> None:
    shown = figure(value=value, low=low, high=high)

    assert value_text(shown).replace("\u00a0", " ") == text
    assert interval_text(shown).replace("\u00a0", " ") == interval


def test_texts__one_sided_bound__is_never_shown_better_than_it_is() -> None:
    none = figure(value=0.0, low=None, high=0.01201, kind="upper")
    every = figure(value=1.0, low=0.98799, high=None, kind="lower")

    assert value_text(none).replace("\u00a0", " ") == "below 1.3 %"
    assert value_text(every).replace("\u00a0", " ") == "above 98.7 %"


def test_scale__any_figures__holds_them_between_round_ends() -> None:
    scale = scale_of(
        [figure(value=0.02, low=0.011, high=0.043), None, figure(value=None, low=None, high=None)]
    )

    assert scale.low == 0.0
    assert scale.high == pytest.approx(0.06)
    assert [tick.text for tick in scale.ticks] == ["0\u00a0%", "2\u00a0%", "4\u00a0%", "6\u00a0%"]
    assert scale.at(0.03) == "50.00%"


def test_scale__no_figures__is_that_of_shares() -> None:
    scale = scale_of([None])

    assert (scale.low, scale.high) == (0.0, 1.0)


def test_leases__expired__count_as_work(otto: User, lena: User) -> None:
    run = make_run()
    make_items(run, 1)
    Review.objects.filter(run=run).update(
        state=Review.State.LEASED,
        holder=lena,
        token="t" * 32,
        leased_until=clock.now() - timedelta(minutes=1),
    )

    assert waiting_for(otto) == 1
