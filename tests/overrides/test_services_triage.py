"""Triage, windows and risk: what each item would do, found out before anything happens."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.core.errors import Conflict, Forbidden, Invalid
from opsportal.events.models import Event
from opsportal.overrides import services
from opsportal.overrides.models import Action, Block, Boost, Kind, OptOut, State, Submission, Surface
from opsportal.overrides.services import Intent
from opsportal.overrides.services.applying import due_on
from opsportal.predictions.models import Impressions, Product
from opsportal.predictions.pseudonyms import customer_key
from tests.overrides.asking import saved

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def block(**fields: Any) -> Intent:
    return Intent(kind=Kind.BLOCK, **{"reason": "Test.", "reason_code": "safety", **fields})


def boost(**fields: Any) -> Intent:
    window = {"ends_at": clock.this_second() + 7 * DAY, "factor": 2.0}
    return Intent(kind=Kind.BOOST, **{"reason": "Test.", "reason_code": "campaign", **window, **fields})


def opt_out(*purposes: str, **fields: Any) -> Intent:
    return Intent(
        kind=Kind.OPT_OUT,
        purposes=purposes or ["personalisation"],
        channel="phone",
        **{"reason": "Test.", **fields},
    )


def triage(submission: Submission) -> list[tuple[str, str]]:
    return list(submission.items.order_by("row").values_list("triage", "note"))


def words(submission: Submission) -> list[str]:
    return [word for word, _note in triage(submission)]


# -- Triage ---------------------------------------------------------------------------------


def test_triage__each_word__with_its_note(
    root: User, lena: User, seen: list[str], settings: Settings
) -> None:
    services.request_targets(actor=root, intent=block(), texts=["00701"])
    services.request_targets(actor=root, intent=block(ends_at=clock.this_second() + DAY), texts=["00702"])
    settings.APPROVAL_MIN_ITEMS = 2
    waiting = services.request_targets(actor=root, intent=block(), texts=["00703", "00704"])

    draft = services.draft_targets(
        actor=root, intent=block(), texts=["00700", "00701", "00702", "00703", "new", "=1", "00700"]
    )

    first = Block.objects.order_by("id").values_list("id", flat=True)
    assert triage(draft)[:2] == [("new", ""), ("unchanged", f"Blocked already (block {first[0]}).")]
    assert triage(draft)[2][0] == "changed"
    assert triage(draft)[2][1].endswith(f"(block {first[1]}).")
    assert triage(draft)[3:] == [
        ("pending", f"Waiting for approval in submission #{waiting.pk} by root."),
        ("unknown", "Not seen in the log yet."),
        ("invalid", "The ID starts with '=', as a spreadsheet formula does."),
        ("unchanged", "The same ID as in row 1."),
    ]


def test_triage__letter_case__different_products(root: User) -> None:
    services.request_targets(actor=root, intent=block(), texts=["85123A"])

    draft = services.draft_targets(actor=root, intent=block(), texts=["85123a", "85123A"])

    assert words(draft) == ["unknown", "unchanged"]


def test_triage__conflicts__are_hinted_both_ways(root: User, seen: list[str]) -> None:
    services.request_targets(actor=root, intent=block(), texts=["00701"])
    services.request_targets(actor=root, intent=boost(), texts=["00702"])

    boosted = services.draft_targets(actor=root, intent=boost(), texts=["00701"])
    blocked = services.draft_targets(actor=root, intent=block(), texts=["00702"])

    assert triage(boosted)[0][0] == triage(blocked)[0][0] == "new"
    assert "the boost has no effect until the block ends" in triage(boosted)[0][1]
    assert "the block wins" in triage(blocked)[0][1]


def test_triage__block_of_everywhere__covers_a_surface(root: User, search: Surface) -> None:
    services.request_targets(actor=root, intent=block(), texts=["p"])
    services.request_targets(actor=root, intent=block(surface="search"), texts=["q"])

    narrower = services.draft_targets(actor=root, intent=block(surface="search"), texts=["p"])
    wider = services.draft_targets(actor=root, intent=block(), texts=["q"])

    assert (words(narrower), words(wider)) == (["unchanged"], ["unknown"])


def test_triage__boost_that_a_later_one_beats__is_not_there_already(root: User) -> None:
    services.request_targets(actor=root, intent=boost(factor=2.0), texts=["p"])
    services.request_targets(actor=root, intent=boost(factor=3.0), texts=["p"])

    again = services.draft_targets(actor=root, intent=boost(factor=2.0), texts=["p"])

    assert words(again) == ["changed"]


def test_triage__at_application__is_found_out_anew(root: User, seen: list[str]) -> None:
    first = services.draft_targets(actor=root, intent=block(), texts=["00701", "00702"])
    second = services.draft_targets(actor=root, intent=block(), texts=["00701"])

    services.submit(actor=root, submission_id=first.pk)
    applied = services.submit(actor=root, submission_id=second.pk)

    assert applied.revision is None
    assert words(applied) == ["unchanged"]
    assert Block.objects.count() == 2


# -- Windows --------------------------------------------------------------------------------


def test_window__start_in_the_past__is_now(root: User) -> None:
    with time_machine.travel(NOON, tick=False):
        services.request_targets(actor=root, intent=block(starts_at=NOON - DAY), texts=["p"])

    assert Block.objects.get().starts_at == NOON


def test_window__fractions_of_a_second__are_dropped(root: User) -> None:
    end = NOON + timedelta(hours=1, microseconds=999_999)
    with time_machine.travel(NOON + timedelta(microseconds=500_000), tick=False):
        services.request_targets(actor=root, intent=block(ends_at=end), texts=["p"])

    row = Block.objects.get()
    assert (row.starts_at, row.ends_at) == (NOON, NOON + timedelta(hours=1))


def test_window__wider_one__takes_the_place_of_those_inside(root: User) -> None:
    with time_machine.travel(NOON, tick=False):
        services.request_targets(
            actor=root, intent=block(starts_at=NOON + DAY, ends_at=NOON + 2 * DAY), texts=["p"]
        )
        wider = services.request_targets(actor=root, intent=block(ends_at=NOON + 3 * DAY), texts=["p"])

    row = Block.objects.get(closed_at=None)
    assert (row.submission, row.ends_at) == (wider, NOON + 3 * DAY)
    assert Block.objects.get(closed_by=wider).starts_at == NOON + DAY


@pytest.mark.parametrize(
    ("intent", "place"),
    [
        (lambda: boost(ends_at=NOON + 90 * DAY + timedelta(seconds=1)), "ends_at"),
        (lambda: boost(ends_at=None), "ends_at"),
        (lambda: boost(starts_at=NOON + DAY, ends_at=NOON + DAY), "ends_at"),
        (lambda: block(ends_at=NOON), "ends_at"),
        (lambda: block(starts_at=NOON + 2 * DAY, ends_at=NOON + DAY), "ends_at"),
        (lambda: block(surface="moon"), "surface"),
        (lambda: block(reason="  "), "reason"),
        (lambda: boost(factor=float("nan")), "factor"),
        (lambda: boost(factor=float("inf")), "factor"),
        (lambda: boost(factor=10.01), "factor"),
        (lambda: boost(factor=0.09), "factor"),
        (lambda: opt_out(received_at=NOON + DAY), "received_at"),
        (lambda: Intent(kind=Kind.OPT_OUT, channel="phone", reason="Test."), "purposes"),
    ],
)
def test_intent__that_breaks_a_rule__names_the_field(
    root: User, intent: Callable[[], Intent], place: str
) -> None:
    before = saved()

    with time_machine.travel(NOON, tick=False), pytest.raises(Invalid) as refusal:
        services.draft_targets(actor=root, intent=intent(), texts=["p"])

    assert [problem.path for problem in refusal.value.errors] == [place]
    assert saved() == before


def test_window__exactly_90_days__is_possible(root: User) -> None:
    with time_machine.travel(NOON, tick=False):
        services.request_targets(actor=root, intent=boost(ends_at=NOON + 90 * DAY), texts=["p"])

    assert Boost.objects.get().ends_at == NOON + 90 * DAY


def test_window__ended_long_ago__is_tidied_away_once(root: User) -> None:
    with time_machine.travel(NOON, tick=False):
        services.request_targets(actor=root, intent=block(ends_at=NOON + DAY), texts=["p"])
    with time_machine.travel(NOON + 2 * DAY, tick=False):
        assert services.tidy() == 0
    with time_machine.travel(NOON + 2 * DAY + timedelta(seconds=1), tick=False):
        assert (services.tidy(), services.tidy()) == (1, 0)

    row = Block.objects.get()
    assert (row.closed_at, row.closed_by) == (NOON + DAY, None)


@pytest.mark.parametrize(
    ("received", "due"),
    [
        (datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 23, tzinfo=UTC)),  # Monday
        (datetime(2026, 3, 6, tzinfo=UTC), datetime(2026, 3, 27, tzinfo=UTC)),  # Friday
        (datetime(2026, 3, 7, tzinfo=UTC), datetime(2026, 3, 27, tzinfo=UTC)),  # Saturday
        (datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 3, 27, tzinfo=UTC)),  # Sunday
    ],
)
def test_due_on__fifteen_business_days(received: datetime, due: datetime) -> None:
    assert due_on(received) == due.date()


def test_due_on__late_in_the_evening__counts_from_the_day_of_the_portals_zone(settings: Settings) -> None:
    settings.TIME_ZONE = "America/New_York"

    assert due_on(datetime(2026, 3, 3, 1, tzinfo=UTC)) == datetime(2026, 3, 23, tzinfo=UTC).date()


# -- Risk and approval ----------------------------------------------------------------------


@pytest.fixture
def shown(db: None) -> None:
    """`top` made 30 % of last week's impressions on search, and 15 % of all."""
    for product, surface, count in (("top", "search", 30), ("rest", "search", 70), ("rest", "home", 100)):
        Product.objects.get_or_create(product_id=product)
        Impressions.objects.create(product_id=product, surface=surface, day=clock.now().date(), shown=count)


def test_risk__large_share_of_impressions__waits(root: User, search: Surface, shown: None) -> None:
    everywhere = services.request_targets(actor=root, intent=block(), texts=["top"])
    Block.objects.all().delete()
    here = services.request_targets(actor=root, intent=block(surface="search"), texts=["top"])

    assert (everywhere.state, everywhere.risk["impression_share"]) == (State.APPLIED, 0.15)
    assert (here.state, here.risk["impression_share"]) == (State.WAITING, 0.3)
    assert here.risk["reasons"] == ["It touches 30.0% of last week's impressions."]


@pytest.mark.parametrize(("items", "state"), [(499, State.APPLIED), (500, State.WAITING)])
def test_risk__number_of_items__waits_from_500(root: User, items: int, state: State) -> None:
    texts = [f"p{number}" for number in range(items)]

    assert services.request_targets(actor=root, intent=block(), texts=texts).state == state


def test_approve__own__refused_by_the_service_and_by_the_schema(root: User, settings: Settings) -> None:
    from django.db import IntegrityError, transaction

    from opsportal.accounts.models import RoleGrant
    from opsportal.accounts.permissions import Role
    from opsportal.overrides.models import Approval

    settings.APPROVAL_MIN_ITEMS = 1
    RoleGrant.objects.create(user=root, role=Role.APPROVER)
    waiting = services.request_targets(actor=root, intent=block(), texts=["p"])

    with pytest.raises(Forbidden):
        services.approve(actor=root, submission_id=waiting.pk, version=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        Approval.objects.create(
            submission=waiting, author=root, approver=root, verdict="approved", version=1, at=clock.now()
        )
    with pytest.raises(IntegrityError), transaction.atomic():
        Submission.objects.filter(pk=waiting.pk).update(decided_by=root)
    with pytest.raises(IntegrityError), transaction.atomic():
        Submission.objects.filter(pk=waiting.pk).update(state=State.APPLIED, applied_at=clock.now())
    assert Block.objects.count() == 0


def test_edit__of_what_waits__voids_what_was_looked_at(root: User, lena: User, settings: Settings) -> None:
    settings.APPROVAL_MIN_ITEMS = 1
    waiting = services.request_targets(actor=root, intent=block(), texts=["p"])

    edited = services.edit(actor=root, submission_id=waiting.pk, version=1, intent=block(reason_code="legal"))

    assert (edited.version, edited.state) == (2, State.WAITING)
    with pytest.raises(Conflict):
        services.approve(actor=lena, submission_id=waiting.pk, version=1)
    services.approve(actor=lena, submission_id=waiting.pk, version=2)
    assert Block.objects.get().reason_code == "legal"


# -- Undo -----------------------------------------------------------------------------------


def test_undo__of_an_undo__is_refused_in_words(root: User) -> None:
    made = services.request_targets(actor=root, intent=block(), texts=["p"])
    undo = services.request_undo(actor=root, submission_id=made.pk)
    before = saved()

    with pytest.raises(Conflict) as refusal:
        services.request_undo(actor=root, submission_id=undo.pk)

    assert refusal.value.code == "undo_of_undo"
    assert saved() == before


def test_undo__of_a_withdrawal__leaves_what_was_made_anew(root: User) -> None:
    services.request_targets(actor=root, intent=block(), texts=["p", "q"])
    rows = dict(Block.objects.values_list("product_id", "id"))
    withdrawal = services.request_changes(
        actor=root, intent=block(action=Action.WITHDRAW), override_ids=list(rows.values())
    )
    services.request_targets(actor=root, intent=block(), texts=["p"])

    services.request_undo(actor=root, submission_id=withdrawal.pk)

    open_rows = dict(Block.objects.filter(closed_at=None).values_list("product_id", "id"))
    assert open_rows["q"] == rows["q"]
    assert open_rows["p"] != rows["p"]


def test_undo__of_an_opt_out__keeps_what_the_customer_asked_for_since(
    root: User, lena: User, seen: list[str]
) -> None:
    first = services.request_targets(actor=root, intent=opt_out("personalisation"), texts=["C-1"])
    services.request_targets(actor=root, intent=opt_out("sharing"), texts=["C-1"])

    undo = services.request_undo(actor=root, submission_id=first.pk)
    services.approve(actor=lena, submission_id=undo.pk, version=1)

    assert OptOut.objects.get(closed_at=None).purposes == ["personalisation", "sharing"]


def test_undo__of_a_wider_opt_out__goes_back_to_the_narrower(root: User, lena: User) -> None:
    services.request_targets(actor=root, intent=opt_out("personalisation"), texts=["C-1"])
    wider = services.request_targets(actor=root, intent=opt_out("sharing"), texts=["C-1"])

    undo = services.request_undo(actor=root, submission_id=wider.pk)
    assert undo.state == State.WAITING
    services.approve(actor=lena, submission_id=undo.pk, version=1)

    assert OptOut.objects.get(closed_at=None).purposes == ["personalisation"]


def test_undo__after_an_hour__needs_approval_where_the_change_did(root: User, lena: User) -> None:
    texts = [f"p{number}" for number in range(500)]
    made = services.request_targets(actor=root, intent=block(), texts=texts)
    services.approve(actor=lena, submission_id=made.pk, version=1)

    with time_machine.travel(clock.now() + timedelta(hours=1, seconds=1)):
        undo = services.request_undo(actor=root, submission_id=made.pk)

    assert undo.state == State.WAITING
    assert Block.objects.filter(closed_at=None).count() == 500


def test_events__of_a_submission__tell_who_what_and_why(root: User, lena: User, settings: Settings) -> None:
    settings.APPROVAL_MIN_ITEMS = 1
    made = services.request_targets(actor=root, intent=block(reason="Recall."), texts=["p"])
    services.approve(actor=lena, submission_id=made.pk, version=1, comment="Checked.")

    told = Event.objects.filter(subject_type="submission", subject_id=str(made.pk)).order_by("sequence")
    assert [(event.actor_name, event.verb, event.reason) for event in told] == [
        ("root", "submission.drafted", "Recall."),
        ("root", "submission.waiting", "Recall."),
        ("lena", "submission.approved", "Checked."),
        ("root", "submission.applied", "Recall."),
    ]


# -- What came in between, and what it costs ------------------------------------------------


@pytest.mark.parametrize("purposes", [["personalisation"], ["personalisation", "sharing"]])
def test_withdrawal__customer_opts_out_again_while_it_waits__keeps_the_opt_out(
    priya: User, lena: User, purposes: list[str]
) -> None:
    with time_machine.travel(NOON, tick=False) as clock_of_test:
        services.request_targets(actor=priya, intent=opt_out(), texts=["C-1", "C-2"])
        withdrawal = services.request_changes(
            actor=priya,
            intent=Intent(kind=Kind.OPT_OUT, action=Action.WITHDRAW, reason="Changed their minds."),
            override_ids=list(OptOut.objects.values_list("id", flat=True)),
        )
        clock_of_test.shift(DAY)
        services.request_targets(actor=priya, intent=opt_out(*purposes), texts=["C-1"])

        services.approve(actor=lena, submission_id=withdrawal.pk, version=1)

    kept = OptOut.objects.get(closed_at=None)
    assert kept.customer_key == customer_key("C-1")
    assert kept.purposes == purposes
    assert sorted(words(withdrawal)) == ["changed", "unchanged"]


def test_undo__customer_opts_out_again_while_it_waits__keeps_the_opt_out(priya: User, lena: User) -> None:
    with time_machine.travel(NOON, tick=False) as clock_of_test:
        first = services.request_targets(actor=priya, intent=opt_out(), texts=["C-1", "C-2"])
        undo = services.request_undo(actor=priya, submission_id=first.pk)
        clock_of_test.shift(DAY)
        services.request_targets(actor=priya, intent=opt_out(), texts=["C-1"])

        services.approve(actor=lena, submission_id=undo.pk, version=1)

    assert OptOut.objects.get(closed_at=None).customer_key == customer_key("C-1")


def test_withdrawal__of_few_among_many__reads_no_table_whole(ana: User) -> None:
    made = services.request_targets(actor=ana, intent=block(), texts=["1", "2"])
    with CaptureQueriesContext(connection) as queries:
        services.request_changes(
            actor=ana,
            intent=block(action=Action.WITHDRAW),
            override_ids=list(Block.objects.filter(submission=made).values_list("id", flat=True)),
        )

    touching = [
        query["sql"]
        for query in queries
        if "overrides_block" in query["sql"] and query["sql"].startswith(("SELECT", "INSERT", "UPDATE"))
    ]
    assert touching
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            for sql in touching:
                cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
                assert not [row for row in cursor.fetchall() if row[3].startswith("SCAN overrides_block")], (
                    sql
                )
