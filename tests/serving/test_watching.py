"""Drift of every kind is found, repaired, counted, and nothing else is touched."""

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
import redis
from django.conf import LazySettings
from django.core.management import CommandError, call_command

from opsportal.client import DirectReader
from opsportal.core import clock
from opsportal.events.models import Event
from opsportal.predictions.pseudonyms import customer_key
from opsportal.serving.models import Drift, Projection, Rebuild
from opsportal.serving.services import check, compare, heartbeat, project, watching
from opsportal.serving.store import Entry, Store, StoreDown
from tests.serving.making import block, opt_out, unblock

pytestmark = pytest.mark.django_db

PRODUCTS = [f"P{number}" for number in range(10)]


@pytest.fixture(autouse=True)
def _published() -> None:
    block(*PRODUCTS)
    opt_out("c-1")
    block("withdrawn")
    project()
    unblock("withdrawn")
    project()


SPOIL: dict[str, Any] = {
    "missing": lambda store: store.hdel("{ops}:p", "P1"),
    "missing customer": lambda store: store.hdel("{ops}:c", customer_key("c-1")),
    "extra": lambda store: store.hset("{ops}:p", "planted", "1|b,*,0,0,9"),
    "extra from the future": lambda store: store.hset("{ops}:p", "planted", "999999|b,*,0,0,9"),
    "extra tombstone": lambda store: store.hset("{ops}:p", "planted", "999999|"),
    "extra without sense": lambda store: store.hset("{ops}:p", b"\xff\x00", b"\xfe"),
    "altered": lambda store: store.hset("{ops}:p", "P1", "1|b,home,0,0,1"),
    "altered to a tombstone": lambda store: store.hset("{ops}:p", "P1", "999999|"),
    "tombstone from the future": lambda store: store.hset("{ops}:p", "withdrawn", "999999|"),
    "resurrected": lambda store: store.hset("{ops}:p", "withdrawn", "1|b,*,0,0,9"),
}


@pytest.mark.parametrize("how", SPOIL)
def test_compare__drift__found_repaired_and_recorded(
    store: redis.Redis, serving_store: Store, reader: DirectReader, how: str
) -> None:
    before = dict(page for kind in "pc" for batch in serving_store.scan(kind) for page in batch)
    SPOIL[how](store)

    found = compare(repair=True)

    assert not found.clean
    assert found.repaired == found.missing + found.extra + found.altered == 1
    after = dict(page for kind in "pc" for batch in serving_store.scan(kind) for page in batch)
    assert {key: value for key, value in after.items() if not value.endswith("|")} == {
        key: value for key, value in before.items() if not value.endswith("|")
    }
    assert Drift.objects.count() == 1
    assert Event.objects.filter(verb="serving.drift_repaired").count() == 1
    assert Rebuild.objects.count() == 1, "only the first fill"
    assert compare(repair=False).clean
    assert reader.head().products == 10
    # Nothing keeps later pushes out.
    block("planted")
    project()
    assert compare(repair=False).clean


def test_compare__without_repair__changes_nothing(store: redis.Redis) -> None:
    store.hdel("{ops}:p", "P1")

    found = compare(repair=False)

    assert (found.missing, found.repaired) == (1, 0)
    assert not store.hexists("{ops}:p", "P1")
    assert Drift.objects.count() == 0


def test_compare__many_kinds_at_once__each_counted(store: redis.Redis) -> None:
    store.hdel("{ops}:p", "P1", "P2")
    store.hset("{ops}:p", mapping={"planted": "1|b,*,0,0,9", "P3": "7|", "P4": "x", "P5": ""})

    found = compare(repair=True)

    assert (found.missing, found.extra, found.altered) == (2, 1, 3)
    assert {drift.kind: drift.keys for drift in Drift.objects.all()} == {
        "missing": 2,
        "extra": 1,
        "altered": 3,
    }


def test_compare__too_much_to_repair__filled_anew(
    monkeypatch: pytest.MonkeyPatch, store: redis.Redis, reader: DirectReader
) -> None:
    monkeypatch.setattr(watching, "REPAIR_MAX", 3)
    store.hdel("{ops}:p", *PRODUCTS[:5])

    compare(repair=True)

    assert Rebuild.objects.count() == 2
    assert reader.head().products == 10
    assert compare(repair=False).clean


@pytest.mark.parametrize("field", ["digest", "products", "customer_fields", "thresholds", "threshold_fields"])
def test_compare__head_altered__filled_anew(store: redis.Redis, field: str) -> None:
    store.hset("{ops}:head", field, "7")

    assert compare(repair=True).head_wrong
    assert Rebuild.objects.count() == 2
    assert compare(repair=False).clean


def test_compare__change_on_its_way__is_no_drift() -> None:
    block("new")
    unblock("P1")

    assert compare(repair=True).clean
    assert Drift.objects.count() == 0


def test_compare__changed_and_pushed_while_comparing__is_no_drift(
    monkeypatch: pytest.MonkeyPatch, serving_store: Store
) -> None:
    values = serving_store.values
    calls: list[int] = []

    def slow_values(kind: str, keys: list[str]) -> object:
        if not calls:
            calls.append(1)
            unblock("P1")
            block("new")
            project()
        return values(kind, keys)

    monkeypatch.setattr(serving_store, "values", slow_values)

    assert compare(repair=True).clean
    assert compare(repair=False).clean


def test_compare__flushed__filled_anew(store: redis.Redis) -> None:
    store.flushall()

    assert not compare(repair=True).clean
    assert compare(repair=False).clean


def test_check__sound_store__says_so_and_records_nothing() -> None:
    assert check()
    assert Drift.objects.count() == 0


@pytest.mark.parametrize("how", SPOIL)
def test_check__small_store__repaired(store: redis.Redis, how: str) -> None:
    SPOIL[how](store)

    assert not check()
    assert compare(repair=False).clean


def test_check__large_store__lost_entries_found_by_the_numbers(
    monkeypatch: pytest.MonkeyPatch, store: redis.Redis
) -> None:
    monkeypatch.setattr(watching, "COMPARE_IN_CHECK", 0)
    store.hdel("{ops}:p", "P1")

    assert not check()
    assert [(drift.kind, drift.keys) for drift in Drift.objects.all()] == [("missing", 1)]
    assert compare(repair=False).clean


def test_check__right_after_another__does_not_compare_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    check()
    monkeypatch.setattr(watching, "compare", lambda **_: pytest.fail("compared again"))

    assert check()
    Projection.objects.update(compared_at=clock.now() - timedelta(minutes=1))
    with pytest.raises(pytest.fail.Exception):
        check()


def test_heartbeat__sound_store__moves_both_clocks(store: redis.Redis, reader: DirectReader) -> None:
    store.hset("{ops}:head", "heartbeat_at", "1.0")
    Projection.objects.update(heartbeat_at=clock.now() - timedelta(minutes=1))

    heartbeat()

    assert reader.read([]).age_seconds < 5
    moved_to = Projection.objects.get().heartbeat_at
    assert moved_to is not None
    assert clock.now() - moved_to < timedelta(seconds=5)


def test_heartbeat__flushed_or_gone_back__healed_at_once(store: redis.Redis, reader: DirectReader) -> None:
    spoils: list[Callable[[], object]] = [
        store.flushall,
        lambda: store.hset("{ops}:head", "revision", "1"),
    ]
    for spoil in spoils:
        spoil()

        heartbeat()

        assert reader.head().products == 10


def test_heartbeat__store_down__remembered(settings: LazySettings, dead_store_url: str) -> None:
    settings.REDIS_URL = dead_store_url

    for step in (heartbeat, check, lambda: compare(repair=True)):
        with pytest.raises(StoreDown):
            step()

    assert Projection.objects.get().failing_since is not None


def test_verify_store__exit_codes(store: redis.Redis, settings: LazySettings, dead_store_url: str) -> None:
    out, err = StringIO(), StringIO()
    call_command("verify_store", stdout=out, stderr=err)
    assert "as the database wants it" in out.getvalue()

    store.hdel("{ops}:p", "P1")
    for options in ([], ["--repair"]):
        with pytest.raises(SystemExit) as exit_code:
            call_command("verify_store", *options, stdout=out, stderr=err)
        assert exit_code.value.code == 1
    assert "1 missing" in err.getvalue()
    call_command("verify_store", stdout=out, stderr=err)

    settings.REDIS_URL = dead_store_url
    with pytest.raises(CommandError, match="cannot be reached"):
        call_command("verify_store")


def test_push__once_and_full_and_new_epoch(reader: DirectReader) -> None:
    block("new")
    out = StringIO()

    call_command("push", stdout=out)
    assert "pushed 1 keys" in out.getvalue()
    call_command("push", "--full", stdout=out)
    assert "Filled the store anew" in out.getvalue()
    call_command("push", "--full", "--new-epoch", stdout=out)

    assert (reader.head().epoch, reader.head().products) == (2, 11)


def test_repair__extra_key__only_if_still_as_found(serving_store: Store) -> None:
    assert serving_store.repair([(Entry("p", "P1", 0, ""), "other")], epoch=1) == 0
