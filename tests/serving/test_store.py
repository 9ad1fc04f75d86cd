"""The scripts: fenced, counted, atomic."""

import random

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsportal.serving.store import Entry, Refused, Store, StoreDown, StoreSpoilt, digest_of, entry_hash

SOURCE = "source"


@pytest.fixture
def filled(serving_store: Store) -> Store:
    """An empty published store of epoch 1 at revision 0."""
    staging = serving_store.open_staging(epoch=1)
    serving_store.stage(staging, [], epoch=1, raise_to=0)
    serving_store.swap(staging, after="0-0", source=SOURCE)
    return serving_store


def contents(store: Store) -> dict[tuple[str, str], str]:
    return {(kind, key): value for kind in "pct" for page in store.scan(kind) for key, value in page}


def digest(entries: dict[tuple[str, str], str]) -> str:
    hashes = 0
    for (kind, key), value in entries.items():
        if not value.endswith("|"):
            hashes ^= entry_hash(kind, key, value)
    return digest_of(hashes)


def test_push__without_a_head__refused_and_nothing_written(serving_store: Store, store: redis.Redis) -> None:
    with pytest.raises(Refused, match="absent"):
        serving_store.push([Entry("p", "P1", 1, "b,*,0,0,1")], epoch=1, raise_to=1)

    assert store.keys() == []


@pytest.mark.parametrize("epoch", [0, 2])
def test_push__of_another_epoch__refused(filled: Store, epoch: int) -> None:
    with pytest.raises(Refused, match="epoch"):
        filled.push([Entry("p", "P1", 1, "b,*,0,0,1")], epoch=epoch, raise_to=1)

    assert contents(filled) == {}


def test_push__older_or_same_revision__ignored(filled: Store) -> None:
    filled.push([Entry("p", "P1", 5, "b,*,0,0,5")], epoch=1, raise_to=5)

    for late in (Entry("p", "P1", 4, "b,*,0,0,4"), Entry("p", "P1", 5, "b,*,0,0,6"), Entry("p", "P1", 1, "")):
        assert filled.push([late], epoch=1).applied == 0

    assert contents(filled) == {("p", "P1"): "5|b,*,0,0,5"}


def test_push__removal__leaves_a_tombstone_that_keeps_late_writes_out(filled: Store) -> None:
    filled.push([Entry("p", "P1", 1, "b,*,0,0,1")], epoch=1)
    written = filled.push([Entry("p", "P1", 3, "")], epoch=1, raise_to=3)

    filled.push([Entry("p", "P1", 2, "b,*,0,0,2")], epoch=1)

    assert contents(filled) == {("p", "P1"): "3|"}
    assert (written.products, written.digest) == (0, "0" * 16)


def test_push__batches__head_rises_with_the_last_only(filled: Store) -> None:
    assert filled.push([Entry("p", "P1", 7, "b,*,0,0,1")], epoch=1).revision == 0
    assert filled.push([Entry("p", "P2", 7, "b,*,0,0,2")], epoch=1, raise_to=7).revision == 7
    assert filled.push([], epoch=1, raise_to=3).revision == 7


def test_push__log__tells_replicas_what_changed(filled: Store, store: redis.Redis) -> None:
    filled.push([Entry("p", "P1", 1, "b,*,0,0,1"), Entry("c", "f" * 32, 1, "")], epoch=1, raise_to=1)

    changes = [fields for _, fields in store.xrange("{ops}:log")][-2:]  # type: ignore[union-attr]
    assert changes == [
        {b"revision": b"1", b"kind": b"p", b"key": b"P1", b"value": b"b,*,0,0,1"},
        {b"revision": b"1", b"kind": b"c", b"key": b"f" * 32, b"value": b""},
    ]


keys = st.sampled_from([("p", "A"), ("p", "B"), ("c", "A"), ("t", "A"), ("p", "ä🦊")])
pushes = st.lists(st.tuples(keys, st.integers(1, 30), st.booleans()), max_size=40)


@given(pushes, st.randoms(use_true_random=False))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_push__reordered_and_repeated__newest_wins_and_numbers_add_up(
    serving_store: Store, changes: list[tuple[tuple[str, str], int, bool]], random: random.Random
) -> None:
    serving_store.redis.flushdb()
    staging = serving_store.open_staging(epoch=1)
    serving_store.swap(staging, after="0-0", source=SOURCE)
    newest: dict[tuple[str, str, int], Entry] = {}
    for (kind, key), revision, removed in changes:
        # One key has one content at one revision.
        rules = "" if (revision + removed) % 3 == 0 else f"b,*,0,0,{revision}"
        newest.setdefault((kind, key, revision), Entry(kind, key, revision, rules))
    schedule = [*newest.values(), *newest.values()]
    random.shuffle(schedule)

    for entry in schedule:
        serving_store.push([entry], epoch=1, raise_to=entry.revision)

    expected = {}
    for entry in sorted(newest.values(), key=lambda entry: entry.revision):
        expected[entry.kind, entry.key] = entry.value
    held = contents(serving_store)
    state = serving_store.state()
    assert held == expected
    assert state is not None
    assert state.digest == digest(held)
    assert state.products == sum(kind == "p" and value[-1] != "|" for (kind, _), value in held.items())
    assert state.customers == sum(kind == "c" and value[-1] != "|" for (kind, _), value in held.items())
    assert state.thresholds == sum(kind == "t" and value[-1] != "|" for (kind, _), value in held.items())
    fields = (state.product_fields, state.customer_fields, state.threshold_fields)
    assert fields == serving_store.lengths()


def test_swap__replays_what_was_pushed_meanwhile(filled: Store) -> None:
    filled.push([Entry("p", "P1", 1, "b,*,0,0,1"), Entry("p", "P2", 1, "b,*,0,0,2")], epoch=1, raise_to=1)
    after = filled.last_log_id()
    staging = filled.open_staging(epoch=1)
    filled.stage(
        staging, [Entry("p", "P1", 1, "b,*,0,0,1"), Entry("p", "P2", 1, "b,*,0,0,2")], epoch=1, raise_to=1
    )
    filled.push([Entry("p", "P1", 2, ""), Entry("p", "P3", 2, "b,*,0,0,3")], epoch=1, raise_to=2)

    written = filled.swap(staging, after=after, source=SOURCE)

    held = contents(filled)
    assert held == {("p", "P1"): "2|", ("p", "P2"): "1|b,*,0,0,2", ("p", "P3"): "2|b,*,0,0,3"}
    assert (written.revision, written.applied, written.digest) == (2, 2, digest(held))


def test_swap__tombstones_left_out__late_writes_still_kept_out(filled: Store) -> None:
    staging = filled.open_staging(epoch=1)
    filled.stage(staging, [], epoch=1, raise_to=9)
    filled.swap(staging, after=filled.last_log_id(), source=SOURCE)

    assert filled.push([Entry("p", "P1", 8, "b,*,0,0,1")], epoch=1).applied == 0
    assert filled.push([Entry("p", "P1", 10, "b,*,0,0,1")], epoch=1).applied == 1


def test_swap__empty_staging__makes_the_store_empty_but_complete(filled: Store) -> None:
    filled.push([Entry("p", "P1", 1, "b,*,0,0,1")], epoch=1, raise_to=1)
    staging = filled.open_staging(epoch=2)
    filled.stage(staging, [], epoch=2, raise_to=1)

    written = filled.swap(staging, after="0-0", source=SOURCE)

    assert contents(filled) == {}
    assert (written.products, written.revision) == (0, 1)


def test_swap__live_keys__do_not_expire(filled: Store, store: redis.Redis) -> None:
    staging = filled.open_staging(epoch=1)
    filled.stage(staging, [Entry("p", "P1", 1, "b,*,0,0,1"), Entry("c", "f" * 32, 1, "training")], epoch=1)
    assert store.ttl(staging.products) > 0

    filled.swap(staging, after=filled.last_log_id(), source=SOURCE)

    assert {key: store.ttl(key) for key in store.scan_iter()} == {
        b"{ops}:head": -1,
        b"{ops}:p": -1,
        b"{ops}:c": -1,
        b"{ops}:log": -1,
    }


def test_swap__of_an_older_epoch__refused(filled: Store) -> None:
    newer = filled.open_staging(epoch=3)
    filled.swap(newer, after="0-0", source=SOURCE)
    older = filled.open_staging(epoch=2)

    with pytest.raises(Refused, match="epoch"):
        filled.swap(older, after="0-0", source=SOURCE)


def test_swap__older_revision_of_the_same_epoch__never_goes_back(filled: Store) -> None:
    filled.push([Entry("p", "P1", 5, "b,*,0,0,1")], epoch=1, raise_to=5)
    staging = filled.open_staging(epoch=1)
    filled.stage(staging, [], epoch=1, raise_to=3)
    newest = filled.last_log_id()

    assert filled.swap(staging, after=newest, source=SOURCE).revision == 5


def test_swap__somebody_else_swapped_meanwhile__refused(filled: Store) -> None:
    after = filled.last_log_id()
    mine, theirs = filled.open_staging(epoch=1), filled.open_staging(epoch=1)
    filled.swap(theirs, after=after, source=SOURCE)

    with pytest.raises(Refused, match="behind"):
        filled.swap(mine, after=after, source=SOURCE)


def test_swap__staging_gone__refused(filled: Store) -> None:
    staging = filled.open_staging(epoch=1)
    filled.drop_staging(staging)

    with pytest.raises(Refused, match="lost"):
        filled.swap(staging, after="0-0", source=SOURCE)


def test_beat__own_epoch_and_source__moves_the_heartbeat(filled: Store, store: redis.Redis) -> None:
    store.hset("{ops}:head", "heartbeat_at", "1.0")

    state = filled.beat(epoch=1, source=SOURCE)

    assert state is not None
    assert state.heartbeat_at > 1


def test_beat__absent_or_foreign_head__left_alone(filled: Store, store: redis.Redis) -> None:
    store.hset("{ops}:head", "heartbeat_at", "1.0")
    for epoch, source in ((2, SOURCE), (1, "somebody else")):
        state = filled.beat(epoch=epoch, source=source)
        assert state is not None
        assert state.heartbeat_at == 1.0
    store.flushdb()

    assert filled.beat(epoch=1, source=SOURCE) is None
    assert store.keys() == []


def test_repair__value_still_as_found__put_back_without_touching_the_head(
    filled: Store, store: redis.Redis
) -> None:
    written = filled.push([Entry("p", "P1", 1, "b,*,0,0,1")], epoch=1, raise_to=1)
    store.hset("{ops}:p", mapping={"P1": "9|", "planted": "1|b,*,0,0,9"})

    repaired = filled.repair(
        [(Entry("p", "P1", 1, "b,*,0,0,1"), "9|"), (Entry("p", "planted", 0, ""), "1|b,*,0,0,9")], epoch=1
    )

    state = filled.state()
    assert repaired == 2
    assert contents(filled) == {("p", "P1"): "1|b,*,0,0,1"}
    assert state is not None
    assert (state.digest, state.products) == (written.digest, 1)


def test_repair__value_changed_since__left_alone(filled: Store) -> None:
    filled.push([Entry("p", "P1", 2, "b,*,0,0,2")], epoch=1, raise_to=2)

    assert filled.repair([(Entry("p", "P1", 1, "b,*,0,0,1"), None)], epoch=1) == 0
    assert contents(filled) == {("p", "P1"): "2|b,*,0,0,2"}


def test_state__head_of_another_shape__spoilt(filled: Store, store: redis.Redis) -> None:
    store.hset("{ops}:head", "epoch", "many")
    with pytest.raises(StoreSpoilt):
        filled.state()
    store.set("{ops}:head", "x")
    with pytest.raises(StoreSpoilt):
        filled.state()


def test_every_step__store_down__says_so_in_a_sentence(dead_store_url: str) -> None:
    dead = Store(dead_store_url, "{ops}", 0.2)

    for step in (
        dead.state,
        dead.last_log_id,
        lambda: dead.push([], epoch=1),
        lambda: dead.values("p", ["a"]),
    ):
        with pytest.raises(StoreDown, match=r"^The store cannot be reached\.$"):
            step()


def test_push__full_or_read_only_server__counts_as_down(filled: Store, store: redis.Redis) -> None:
    store.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreDown):
            filled.push([Entry("p", "P1", 1, "b,*,0,0,1")], epoch=1, raise_to=1)
    finally:
        store.config_set("maxmemory", "0")
    store.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(StoreDown):
            filled.push([Entry("p", "P1", 1, "b,*,0,0,1")], epoch=1, raise_to=1)
    finally:
        store.replicaof("NO", "ONE")
