"""The store becomes what the database wants, whatever state it was in."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
import redis
import time_machine
from django.conf import LazySettings
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from opsportal.client import DirectReader, decide
from opsportal.core import clock
from opsportal.events import services as events
from opsportal.events.models import Change, Event, Head, Revision
from opsportal.predictions.pseudonyms import customer_key
from opsportal.serving.models import Projection, Rebuild
from opsportal.serving.selectors import store_status
from opsportal.serving.services import StoreOfAnotherDatabase, project, projecting, want_rebuild
from opsportal.serving.services.lease import take
from opsportal.serving.store import Entry, Store, StoreDown
from tests.serving.making import block, boost, opt_out, unblock

pytestmark = pytest.mark.django_db


def rules(reader: DirectReader, *products: str) -> dict[str, str]:
    return {key: value for key, value in reader.read(products).rules.items() if value}


def test_project__first_time__fills_the_empty_store(reader: DirectReader) -> None:
    row = block("P1")[0]
    opt_out("c-1", purposes=["personalisation", "sharing"])

    outcome = project()

    reading = reader.read(["P1", "P2"], customer_key("c-1"))
    assert outcome.rebuilt == "The store was empty."
    assert reading.rules == {"P1": f"b,*,{int(row.starts_at.timestamp())},0,{row.pk}"}
    assert reading.purposes == "personalisation,sharing"
    assert (reading.head.revision, reading.head.products, reading.head.customers) == (2, 1, 1)


def test_project__nothing_ever_happened__publishes_an_empty_list(reader: DirectReader) -> None:
    project()

    assert reader.read(["P1"]).rules == {}
    assert store_status().state == "live"


def test_project__change__pushed_alone_and_live_at_set(reader: DirectReader) -> None:
    block("P1")
    project()
    boost("P2", factor=1.5)
    assert Revision.objects.get(number=2).live_at is None

    outcome = project()

    assert (outcome.keys, outcome.rebuilt, outcome.revision) == (1, "", 2)
    assert set(rules(reader, "P1", "P2")) == {"P1", "P2"}
    assert Revision.objects.filter(live_at=None).count() == 0
    revision = Revision.objects.get(number=2)
    assert revision.live_at is not None
    assert revision.live_at >= revision.at


def test_project__withdrawn__gone_from_the_store(reader: DirectReader) -> None:
    block("P1")
    project()
    unblock("P1")

    project()

    assert rules(reader, "P1") == {}
    assert reader.head().products == 0


def test_project__nothing_to_do__two_queries_and_no_write(
    django_assert_num_queries: DjangoAssertNumQueries, serving_store: Store
) -> None:
    block("P1")
    project()
    before = serving_store.state()

    with django_assert_num_queries(2):
        outcome = project()

    assert outcome.keys == 0
    assert serving_store.state() == before


def test_project__many_pages__all_pushed(monkeypatch: pytest.MonkeyPatch, reader: DirectReader) -> None:
    project()
    monkeypatch.setattr(projecting, "PAGE", 7)
    monkeypatch.setattr("opsportal.serving.services.desired.PAGE", 7)
    monkeypatch.setattr("opsportal.serving.services.desired.BATCH", 3)
    products = [f"P{number:03}" for number in range(21)]
    block(*products)
    block("Q1", "Q2")

    outcome = project()

    assert outcome.keys == 23
    assert set(rules(reader, *products, "Q1", "Q2")) == {*products, "Q1", "Q2"}
    project_again(reader)


def project_again(reader: DirectReader) -> None:
    before = reader.head()
    want_rebuild(actor=None, reason="again")
    project()
    after = reader.head()
    assert (after.digest, after.products) != ("", 0)
    assert (after.products, after.customers) == (before.products, before.customers)


def test_project__small_change_behind_a_large_one__overtakes_it(
    monkeypatch: pytest.MonkeyPatch, reader: DirectReader, serving_store: Store
) -> None:
    project()
    monkeypatch.setattr("opsportal.serving.services.desired.BATCH", 2)
    block(*(f"P{number}" for number in range(10)))
    seen: list[list[str]] = []
    push = serving_store.push

    def pushing(entries: list[Entry], *, epoch: int, raise_to: int | None = None) -> object:
        if not seen:
            block("urgent")
        written = push(entries, epoch=epoch, raise_to=raise_to)
        seen.append([entry.key for entry in entries])
        return written

    monkeypatch.setattr(serving_store, "push", pushing)

    project()

    assert seen[1] == ["urgent"]
    assert reader.head().revision == 2
    assert Revision.objects.filter(live_at=None).count() == 0


def test_project__somebody_else_holds_the_lease__busy() -> None:
    project()
    block("P1")

    with take() as held:
        assert held is not None
        outcome = project()

    assert outcome.busy
    assert not project().busy


def test_take__holder_was_killed__free_after_its_time() -> None:
    Projection.objects.update_or_create(
        pk=1, defaults={"lease_token": "killed", "leased_until": clock.now() - timedelta(milliseconds=50)}
    )

    with take() as held:
        assert held is not None


def test_project__flushed__filled_anew(reader: DirectReader, store: redis.Redis) -> None:
    block("P1")
    project()
    store.flushall()

    assert project().rebuilt == "The store was empty."
    assert set(rules(reader, "P1")) == {"P1"}


def test_project__store_went_back__filled_anew(reader: DirectReader, store: redis.Redis) -> None:
    block("P1")
    project()
    old = {key: store.dump(key) for key in (b"{ops}:head", b"{ops}:p", b"{ops}:log")}
    block("P2")
    project()
    for key, content in old.items():
        store.restore(key, 0, content, replace=True)  # type: ignore[arg-type]

    assert project().rebuilt == "The store had gone back to an earlier state."
    assert set(rules(reader, "P1", "P2")) == {"P1", "P2"}


def test_project__head_spoilt_by_hand__filled_anew(reader: DirectReader, store: redis.Redis) -> None:
    block("P1")
    project()
    for spoil in (
        lambda: store.hset("{ops}:head", "revision", "many"),
        lambda: (store.delete("{ops}:head"), store.set("{ops}:head", "x")),
        lambda: (store.delete("{ops}:log"), store.set("{ops}:log", "x"), store.delete("{ops}:head")),
    ):
        spoil()

        assert project().rebuilt
        assert set(rules(reader, "P1")) == {"P1"}


def test_project__hash_of_another_type__filled_anew(reader: DirectReader, store: redis.Redis) -> None:
    block("P1")
    project()
    store.delete("{ops}:p")
    store.set("{ops}:p", "x")
    block("P2")

    assert project().rebuilt
    assert set(rules(reader, "P1", "P2")) == {"P1", "P2"}


def test_project__database_was_restored__new_epoch_wins(reader: DirectReader) -> None:
    block("P1")
    project()
    row = Projection.objects.get(pk=1)
    block("P2")
    project()
    # As after a restore: the newer revision never happened.
    unblock("P2")
    Revision.objects.filter(number__gt=1).delete()
    Change.objects.filter(revision__gt=1).delete()
    Head.objects.update(revision=1)
    Projection.objects.update(revision=row.revision, digest=row.digest)

    outcome = project()

    assert outcome.rebuilt == "The store was ahead of the database."
    assert set(rules(reader, "P1", "P2")) == {"P1"}
    assert (reader.head().epoch, reader.head().revision) == (2, 1)
    assert Event.objects.filter(verb="serving.epoch_raised").count() == 1


def test_project__store_of_another_database__left_alone_until_told(
    reader: DirectReader, serving_store: Store
) -> None:
    block("P1")
    project()
    Projection.objects.all().delete()

    with pytest.raises(StoreOfAnotherDatabase):
        project()
    assert set(rules(reader, "P1")) == {"P1"}
    assert "another database" in store_status().error

    want_rebuild(actor=None, reason="This one is right.")
    project()
    assert reader.head().epoch == 2
    assert store_status().state == "live"


def test_raise_epoch__store_follows(reader: DirectReader) -> None:
    project()
    events.raise_epoch(actor=None, reason="test")

    project()

    assert reader.head().epoch == 2


def test_want_rebuild__recorded_and_done_once(reader: DirectReader) -> None:
    project()
    want_rebuild(actor=None, reason="Somebody asked.")

    assert project().rebuilt == "Somebody asked."
    assert project().rebuilt == ""
    assert Event.objects.filter(verb="serving.rebuild_wanted").count() == 1
    assert [record.reason for record in Rebuild.objects.all()] == ["Somebody asked.", "The store was empty."]
    assert all(record.finished_at for record in Rebuild.objects.all())


def test_project__pushes_during_a_rebuild__survive_the_swap(
    monkeypatch: pytest.MonkeyPatch, reader: DirectReader, serving_store: Store
) -> None:
    block("P1", "P2")
    project()
    stage = serving_store.stage
    seen: list[int] = []

    def staging(keys: object, entries: list[Entry], **options: object) -> object:
        written = stage(keys, entries, **options)  # type: ignore[arg-type]
        if len(seen) == 0:
            seen.append(1)
            block("urgent")
            unblock("P1")
        return written

    monkeypatch.setattr(serving_store, "stage", staging)
    monkeypatch.setattr(projecting, "KEEP_UP_SECONDS", 0.0)
    want_rebuild(actor=None, reason="test")

    project()

    assert set(rules(reader, "P1", "P2", "urgent")) == {"P2", "urgent"}
    assert reader.head().revision == 3
    assert Revision.objects.filter(live_at=None).count() == 0


@pytest.mark.parametrize("flush_at", [1, 2, 3])
def test_project__flushed_in_the_middle_of_a_rebuild__starts_again(
    monkeypatch: pytest.MonkeyPatch,
    reader: DirectReader,
    serving_store: Store,
    store: redis.Redis,
    flush_at: int,
) -> None:
    monkeypatch.setattr("opsportal.serving.services.desired.BATCH", 2)
    block("P1", "P2", "P3", "P4")
    stage, calls = serving_store.stage, []

    def staging(keys: object, entries: list[Entry], **options: object) -> object:
        calls.append(1)
        if len(calls) == flush_at:
            store.flushall()
        return stage(keys, entries, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(serving_store, "stage", staging)

    project()

    assert set(rules(reader, "P1", "P2", "P3", "P4")) == {"P1", "P2", "P3", "P4"}


def test_project__store_down__remembered_then_healed(settings: LazySettings, dead_store_url: str) -> None:
    block("P1")
    alive = settings.REDIS_URL
    settings.REDIS_URL = dead_store_url

    with pytest.raises(StoreDown):
        project()

    status = store_status()
    assert (status.state, status.pending, status.error) == ("stale", 1, "The store cannot be reached.")
    settings.REDIS_URL = alive
    project()
    status = store_status()
    assert (status.state, status.pending, status.error) == ("live", 0, "")


def test_store_status__asks_only_the_database(
    settings: LazySettings, dead_store_url: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    project()
    settings.REDIS_URL = dead_store_url

    with django_assert_max_num_queries(5):
        assert store_status().state == "live"


def test_store_status__nobody_publishes__stale() -> None:
    assert store_status().state == "unknown"
    project()

    with time_machine.travel(clock.now() + timedelta(seconds=12), tick=False):
        assert store_status().state == "stale"


def test_store_status__revision_on_its_way__behind() -> None:
    project()
    block("P1")

    status = store_status()

    assert (status.state, status.pending, status.revision, status.store_revision) == ("behind", 1, 1, 0)
    assert 0 <= status.lag_seconds < 5


def test_windows__flip_at_their_second__with_nothing_running(reader: DirectReader) -> None:
    moment = clock.this_second()
    block("later", starts=moment + timedelta(seconds=60), ends=moment + timedelta(seconds=120))
    boost("now", starts=moment, ends=moment + timedelta(seconds=60))
    project()

    def at(seconds: float) -> tuple[list[str], dict[str, float]]:
        reading = reader.read(["later", "now"])
        when = moment.timestamp() + seconds
        decision = decide(["later", "now"], surface="home", now=when, rules=reading.rules)
        return decision.blocked, decision.boosts

    assert at(59.999) == ([], {"now": 2.0})
    assert at(60) == (["later"], {})
    assert at(119.999) == (["later"], {})
    assert at(120) == ([], {})


steps = st.lists(
    st.tuples(
        st.sampled_from(["block", "unblock", "boost", "opt_out", "project", "flush", "rebuild", "down"]),
        st.sampled_from(["A", "B", "C"]),
    ),
    max_size=12,
)


@given(steps)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_project__whatever_happened__store_equals_desired_state(
    serving_store: Store, history: list[tuple[str, str]]
) -> None:
    serving_store.redis.flushdb()
    Projection.objects.all().delete()
    actions: dict[str, Callable[[str], object]] = {
        "block": lambda key: (
            block(f"{key}{Head.objects.filter(pk=1).count()}", surface="*") if not _blocked(key) else None
        ),
        "unblock": lambda key: unblock(f"{key}1", f"{key}0"),
        "boost": boost,
        "opt_out": lambda key: opt_out(f"{key}{Revision.objects.count()}"),
        "project": lambda _: project(),
        "flush": lambda _: serving_store.redis.flushdb(),
        "rebuild": lambda _: want_rebuild(actor=None, reason="test"),
        "down": lambda _: Projection.objects.update(revision=0),
    }
    for action, key in history:
        actions[action](key)

    project()

    from opsportal.serving.services import compare

    assert compare(repair=False).clean
    assert Revision.objects.filter(live_at=None).count() == 0


def _blocked(key: str) -> bool:
    from opsportal.overrides.models import Block

    return Block.objects.filter(product_id__in=[f"{key}0", f"{key}1"], closed_at=None).exists()


@pytest.mark.django_db(transaction=True)
def test_project__eight_threads_at_once__every_change_arrives_once(reader: DirectReader) -> None:
    project()
    errors: list[Exception] = []

    def write(number: int) -> None:
        try:
            for step in range(5):
                block(f"P{number}-{step}")
                project()
        except Exception as error:  # noqa: BLE001  the main thread judges
            errors.append(error)
        finally:
            connection.close()

    block("first")
    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    project()

    assert errors == []
    products = [f"P{number}-{step}" for number in range(8) for step in range(5)]
    assert set(rules(reader, *products)) == set(products)
    assert reader.head().products == 41
    assert Revision.objects.filter(live_at=None).count() == 0
