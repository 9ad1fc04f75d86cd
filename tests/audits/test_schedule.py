"""Runs of periods: exactly one for each, whoever ticks."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection

from opsportal.accounts.models import User
from opsportal.audits.models import Period, Run
from opsportal.audits.periods import last_ended, span_at
from opsportal.audits.services.policies import set_active
from opsportal.audits.services.runs import start_run
from opsportal.audits.services.scheduling import start_due_runs
from opsportal.core.errors import Forbidden, Invalid
from opsportal.events.models import Event, OutboxMessage
from tests.audits.making import WEEK_BEGINS, WEEK_ENDS, make_policy
from tests.audits.test_drawing import log_predictions
from tests.explanations.making import make_version

MONDAY = datetime(2026, 11, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("period", "moment", "name", "starts", "ends"),
    [
        ("daily", datetime(2026, 11, 24, 13, tzinfo=UTC), "2026-11-23", (2026, 11, 23), (2026, 11, 24)),
        ("daily", datetime(2027, 1, 1, tzinfo=UTC), "2026-12-31", (2026, 12, 31), (2027, 1, 1)),
        ("weekly", datetime(2026, 11, 24, 13, tzinfo=UTC), "2026-W47", (2026, 11, 16), (2026, 11, 23)),
        ("weekly", datetime(2026, 11, 23, tzinfo=UTC), "2026-W47", (2026, 11, 16), (2026, 11, 23)),
        ("weekly", datetime(2027, 1, 4, tzinfo=UTC), "2026-W53", (2026, 12, 28), (2027, 1, 4)),
        ("monthly", datetime(2026, 11, 24, 13, tzinfo=UTC), "2026-10", (2026, 10, 1), (2026, 11, 1)),
        ("monthly", datetime(2028, 3, 1, tzinfo=UTC), "2028-02", (2028, 2, 1), (2028, 3, 1)),
    ],
)
def test_last_ended__boundaries__are_those_of_utc(
    period: Period, moment: datetime, name: str, starts: tuple[int, int, int], ends: tuple[int, int, int]
) -> None:
    span = last_ended(period, moment)

    assert span == (name, datetime(*starts, tzinfo=UTC), datetime(*ends, tzinfo=UTC))
    assert (
        span_at(period, span.starts_at) == span_at(period, span.ends_at - timedelta(microseconds=1)) == span
    )


def test_last_ended__a_moment_before_midnight__is_still_the_week_before() -> None:
    moment = datetime(2026, 11, 23, tzinfo=UTC) - timedelta(microseconds=1)

    assert last_ended(Period.WEEKLY, moment).name == "2026-W46"


@pytest.mark.django_db
def test_tick__period_has_ended__starts_one_run_and_never_another() -> None:
    policy = make_policy(created_at=WEEK_BEGINS)
    with time_machine.travel(MONDAY - timedelta(seconds=1), tick=False):
        assert start_due_runs() == []
    with time_machine.travel(MONDAY, tick=False):
        started = start_due_runs()
        assert start_due_runs() == []
    with time_machine.travel(MONDAY + timedelta(days=6), tick=False):
        assert start_due_runs() == []

    run = Run.objects.get()
    assert started == [run]
    assert (run.policy, run.period, run.starts_at, run.ends_at) == (
        policy,
        "2026-W45",
        WEEK_BEGINS,
        WEEK_ENDS,
    )
    assert (run.state, run.created_by) == ("drawing", None)
    assert OutboxMessage.objects.filter(task="audits.draw", key=str(run.pk)).count() == 1
    assert Event.objects.filter(verb="run.started").count() == 1


@pytest.mark.django_db
def test_tick__weeks_were_missed__catches_up_the_latest_only() -> None:
    make_policy(created_at=WEEK_BEGINS)
    with time_machine.travel(MONDAY + timedelta(weeks=5), tick=False):
        start_due_runs()

    assert [run.period for run in Run.objects.all()] == ["2026-W50"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "more", [{"active": False}, {"period": "by_hand"}, {"created_at": MONDAY + timedelta(seconds=1)}]
)
def test_tick__paused_by_hand_or_too_young__starts_nothing(more: dict[str, Any]) -> None:
    make_policy(**{"created_at": WEEK_BEGINS, **more})
    with time_machine.travel(MONDAY + timedelta(days=1), tick=False):
        assert start_due_runs() == []

    assert not Run.objects.exists()


@pytest.mark.django_db
def test_tick__failed_or_cancelled_run__stays_the_run_of_its_period() -> None:
    make_policy(created_at=WEEK_BEGINS)
    with time_machine.travel(MONDAY, tick=False):
        (run,) = start_due_runs()
        Run.objects.filter(pk=run.pk).update(state="failed")
        assert start_due_runs() == []


@pytest.mark.django_db
def test_start__same_period_again__gives_the_run_that_is_there() -> None:
    policy = make_policy()
    first, second = (
        start_run(actor=None, policy=policy, starts_at=WEEK_BEGINS, ends_at=WEEK_ENDS, period="2026-W45")
        for _ in range(2)
    )

    assert first == second
    assert Event.objects.filter(verb="run.started").count() == OutboxMessage.objects.count() == 1


@pytest.mark.django_db
def test_start__by_hand__starts_another_each_time(lena: User) -> None:
    policy = make_policy()
    for _ in range(2):
        start_run(actor=lena, policy=policy, starts_at=WEEK_BEGINS, ends_at=WEEK_ENDS)

    assert Run.objects.count() == 2
    assert Run.objects.latest("pk").title == f"{policy.title}, 2 Nov 2026 to 8 Nov 2026"


@pytest.mark.django_db
def test_start__not_an_audit_lead_or_no_period__is_refused(ana: User, lena: User) -> None:
    policy = make_policy()
    with pytest.raises(Forbidden):
        start_run(actor=ana, policy=policy, starts_at=WEEK_BEGINS, ends_at=WEEK_ENDS)
    with pytest.raises(Invalid):
        start_run(actor=lena, policy=policy, starts_at=WEEK_ENDS, ends_at=WEEK_ENDS)

    assert not Run.objects.exists()


@pytest.mark.django_db
def test_start__policy_changes_later__keeps_what_it_said() -> None:
    policy = make_policy(sizing="size", size=12, strata=["surface"])
    run = start_run(actor=None, policy=policy, starts_at=WEEK_BEGINS, ends_at=WEEK_ENDS)
    policy.size, policy.strata, policy.labels = 99, [], []
    policy.save()

    run.refresh_from_db()
    assert (run.plan["size"], run.plan["strata"], len(run.labels)) == (12, ["surface"], 2)


@pytest.mark.django_db(transaction=True)
@pytest.mark.postgres
def test_tick__eight_beats_at_once__start_one_run() -> None:
    make_policy(created_at=WEEK_BEGINS)
    barrier = threading.Barrier(8)
    found: list[list[Run]] = []

    def tick() -> None:
        try:
            barrier.wait(10)
            found.append(start_due_runs())
        finally:
            connection.close()

    with time_machine.travel(MONDAY, tick=True):
        beats = [threading.Thread(target=tick) for _ in range(8)]
        for beat in beats:
            beat.start()
        for beat in beats:
            beat.join(30)

    assert len(found) == 8
    run = Run.objects.get()
    assert {one.pk for runs in found for one in runs} == {run.pk}
    assert Event.objects.filter(verb="run.started").count() == 1
    assert OutboxMessage.objects.filter(task="audits.draw").count() == 1


@pytest.mark.django_db
def test_pause__and_resume__is_written_down_once(lena: User, ana: User) -> None:
    policy = make_policy()
    with pytest.raises(Forbidden):
        set_active(actor=ana, policy=policy, active=False)
    for _ in range(2):
        set_active(actor=lena, policy=policy, active=False)
    policy.refresh_from_db()
    assert not policy.active
    set_active(actor=lena, policy=policy, active=True)

    assert [event.verb for event in Event.objects.order_by("sequence")] == ["policy.paused", "policy.resumed"]


@pytest.mark.django_db
def test_command__policy__draws_and_says_what_was_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    version = make_version()
    log_predictions(version, 100)
    make_policy(version.model, name="weekly", sizing="size", size=10)

    call_command("draw_audit", "weekly", "--from", "2026-11-02", "--to", "2026-11-08")

    said = capsys.readouterr().out
    assert "Drew 10 items from 100 predictions; 0 left out" in said
    assert "All predictions: 10 of 100" in said
    assert Run.objects.get().state == "open"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing"], "There is no policy “nothing”. There are: weekly."),
        (["weekly", "--from", "2026-11-02"], "Give both --from and --to, or neither."),
        (["weekly", "--from", "2026-11-09", "--to", "2026-11-02"], "--to lies before --from."),
        (["weekly", "--from", "2026-11-02", "--to", "2026-11-02"], "There is nothing to draw from"),
    ],
)
def test_command__cannot_be_done__says_why(arguments: list[str], sentence: str) -> None:
    make_policy(make_version().model, name="weekly")

    with pytest.raises(CommandError, match=sentence):
        call_command("draw_audit", *arguments)
