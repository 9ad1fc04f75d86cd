"""The audit trail: one chain, append-only, and every tampering shows."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.management import call_command
from django.db import DatabaseError, close_old_connections, connection, transaction
from django.db.models import QuerySet

from opsportal.accounts.models import User
from opsportal.events import selectors, services
from opsportal.events.chain import GENESIS, chain_hash
from opsportal.events.models import ChainHead, Event


def write_events(actor: User | None, count: int) -> list[Event]:
    with transaction.atomic():
        return [
            services.record(
                actor=actor,
                verb="test.done",
                subject_type="test",
                subject_id=number,
                summary=f"Did {number}",
                reason="because",
                before={"factor": 1.5, "ids": ["00701"]},
                after={"none": None, "text": "naïve ☃"},
            )
            for number in range(count)
        ]


def allow_tampering() -> None:
    """Take away the trigger, as somebody who owns the tables could."""
    on_table = " ON events_event" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TRIGGER events_are_append_only{on_table}")


@pytest.mark.django_db(transaction=True)
def test_record__outside_a_transaction__is_refused() -> None:
    with pytest.raises(RuntimeError, match="inside the transaction"):
        services.record(actor=None, verb="test.done", subject_type="test", subject_id=1, summary="Did it")

    assert not Event.objects.exists()


def test_record__several_events__chains_each_to_the_one_before(ana: User) -> None:
    first, second = write_events(ana, 2)

    assert (first.sequence, first.previous_hash) == (1, GENESIS)
    assert (second.sequence, second.previous_hash) == (2, first.hash)
    assert second.actor_name == "ana"
    assert selectors.verify_chain() == selectors.ChainProof(events=2, broken_at=None, problem="")


def test_record__by_the_system__says_so(db: None) -> None:
    (event,) = write_events(None, 1)

    assert (event.actor, event.actor_name) == (None, "system")


def test_update__of_a_written_event__is_refused_by_the_schema(ana: User) -> None:
    write_events(ana, 1)

    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        Event.objects.update(summary="Did nothing")

    assert Event.objects.get().summary == "Did 0"


def test_verify__others_write_meanwhile__is_no_break(ana: User, monkeypatch: pytest.MonkeyPatch) -> None:
    write_events(ana, 3)

    def busy(event: Event) -> str:
        if event.sequence == 1:
            monkeypatch.setattr(selectors, "chain_hash", chain_hash)
            write_events(ana, 2)
        return chain_hash(event)

    monkeypatch.setattr(selectors, "chain_hash", busy)

    assert selectors.verify_chain().broken_at is None
    assert selectors.verify_chain() == selectors.ChainProof(events=5, broken_at=None, problem="")


def test_verify__head_set_back__is_found(ana: User) -> None:
    first, _second = write_events(ana, 2)
    ChainHead.objects.update(sequence=1, hash=first.hash)

    assert selectors.verify_chain().broken_at == 3


@pytest.mark.postgres
def test_delete__of_a_written_event__is_refused_by_the_schema(ana: User) -> None:
    write_events(ana, 1)

    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        Event.objects.all().delete()

    assert Event.objects.count() == 1


@pytest.mark.parametrize(
    ("tamper", "broken_at", "problem"),
    [
        (lambda events: events.filter(sequence=2).update(summary="Did more"), 2, "its content was changed"),
        (lambda events: events.filter(sequence=2).update(after={"text": "x"}), 2, "its content was changed"),
        (lambda events: events.filter(sequence=2).delete(), 2, "an event is missing"),
        (lambda events: events.filter(sequence=4).delete(), 4, "the newest events are missing"),
        (
            lambda events: events.filter(sequence=3).update(previous_hash="f" * 64),
            3,
            "it does not follow the event before it",
        ),
    ],
    ids=["edited", "edited JSON", "removed", "cut off", "relinked"],
)
def test_verify_events__after_tampering__names_the_first_wrong_event(
    ana: User,
    tamper: Callable[[QuerySet[Event]], object],
    broken_at: int,
    problem: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_events(ana, 4)
    allow_tampering()
    tamper(Event.objects.all())

    with pytest.raises(SystemExit, match="1"):
        call_command("verify_events")

    assert selectors.verify_chain().broken_at == broken_at
    assert capsys.readouterr().err == f"The chain is broken at event {broken_at}: {problem}.\n"


def test_verify_events__whole_chain__says_how_many(ana: User, capsys: pytest.CaptureFixture[str]) -> None:
    write_events(ana, 3)

    call_command("verify_events")

    assert capsys.readouterr().out == "The chain of 3 events is whole.\n"


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_record__by_many_writers_at_once__never_forks_the_chain() -> None:
    def write(_: int) -> None:
        try:
            write_events(None, 3)
        finally:
            close_old_connections()
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))

    assert selectors.verify_chain() == selectors.ChainProof(events=120, broken_at=None, problem="")
    assert ChainHead.objects.get().sequence == 120
