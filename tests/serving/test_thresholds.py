"""Published thresholds reach rankers like everything else: fenced, counted, compared, repaired."""

from datetime import UTC, datetime

import pytest
import redis
from django.conf import LazySettings
from django.db import OperationalError, transaction
from django.test import Client

from opsportal.audits.models import Threshold
from opsportal.audits.selectors.desired import threshold_text
from opsportal.client import DirectReader, StoreNotReady, parse_thresholds
from opsportal.client import Threshold as Served
from opsportal.core import clock
from opsportal.events import services as events
from opsportal.events.models import Change, Revision
from opsportal.serving import decisions
from opsportal.serving.models import Drift, Projection, Rebuild
from opsportal.serving.selectors import store_status
from opsportal.serving.services import compare, heartbeat, project
from opsportal.serving.store import Entry, Store
from tests.audits.making import make_person, make_run
from tests.explanations.making import make_version
from tests.serving.making import block
from tests.serving.test_decisions_api import make_key

pytestmark = pytest.mark.django_db
SINCE = datetime(2026, 11, 20, 8, tzinfo=UTC)


def publish(value: float = 0.42, *, version: str = "1") -> Threshold:
    """A published threshold of the model `survival`, in a revision of its own."""
    run = make_run(state="closed")
    with transaction.atomic():
        row = Threshold.objects.create(
            version=make_version(version=version),
            run=run,
            label="survived",
            goal=Threshold.Goal.PRECISION,
            target=0.9,
            state=Threshold.State.PUBLISHED,
            value=value,
            author=make_person("author"),
            decided_by=make_person("decider"),
            created_at=clock.now(),
            published_at=SINCE,
        )
        events.allocate_revision(kind=Change.Kind.THRESHOLD, keys=["survival"])
    return row


def test_project__published__readers_get_it_and_the_revision_is_live(
    reader: DirectReader, store: redis.Redis
) -> None:
    project()
    row = publish(0.1 + 0.2)

    project()

    reading = reader.thresholds(["survival", "other"])
    served = Served("1", 0.1 + 0.2, int(SINCE.timestamp()), row.pk)
    assert reading.thresholds == {"survival": [served]}
    assert reader.thresholds().thresholds == reading.thresholds
    assert (reading.head.revision, reading.head.thresholds, reader.head().thresholds) == (1, 1, 1)
    assert 0 <= reading.age_seconds < 5
    assert store.hgetall("{ops}:t") == {
        b"survival": b"1|1,0.30000000000000004,%d,%d" % (SINCE.timestamp(), row.pk)
    }
    assert Revision.objects.filter(live_at=None).count() == 0
    assert store_status().thresholds == 1


def test_project__two_versions__both_under_their_model(reader: DirectReader) -> None:
    publish(0.4)
    publish(0.6, version="2.0+b")

    project()

    found = reader.thresholds(["survival"]).thresholds["survival"]
    assert [(threshold.version, threshold.value) for threshold in found] == [("1", 0.4), ("2.0+b", 0.6)]


def test_project__undone__a_tombstone_is_left_and_counts_fall(
    reader: DirectReader, store: redis.Redis
) -> None:
    row = publish()
    project()
    with transaction.atomic():
        Threshold.objects.filter(pk=row.pk).update(state=Threshold.State.UNDONE)
        events.allocate_revision(kind=Change.Kind.THRESHOLD, keys=["survival"])

    project()

    assert store.hgetall("{ops}:t") == {b"survival": b"2|"}
    assert reader.thresholds().thresholds == {}
    assert reader.head().thresholds == 0
    assert compare(repair=False).clean


@pytest.mark.parametrize("fields", [("thresholds", "threshold_fields"), ("threshold_fields",)])
def test_project__store_of_an_earlier_version__decisions_go_on_and_it_is_filled_anew(
    reader: DirectReader, store: redis.Redis, fields: tuple[str, ...]
) -> None:
    block("P1")
    publish()
    project()
    # As an earlier version left it: it skipped what it did not know.
    store.hdel("{ops}:head", *fields)
    store.delete("{ops}:t")

    assert list(reader.read(["P1"]).rules) == ["P1"]
    with pytest.raises(StoreNotReady, match="no thresholds yet"):
        reader.thresholds(["survival"])
    outcome = project()

    assert outcome.rebuilt == "The store was filled by an earlier version."
    assert list(reader.thresholds().thresholds) == ["survival"]
    assert compare(repair=False).clean


def test_heartbeat__store_of_an_earlier_version__filled_anew(store: redis.Redis) -> None:
    project()
    store.hdel("{ops}:head", "thresholds", "threshold_fields")

    heartbeat()

    assert [rebuild.reason for rebuild in Rebuild.objects.order_by("id")] == [
        "The store was empty.",
        "The store was filled by an earlier version.",
    ]


def test_project__store_of_an_earlier_version_of_another_database__never_overwritten(
    store: redis.Redis,
) -> None:
    project()
    store.hdel("{ops}:head", "thresholds", "threshold_fields")
    Projection.objects.update(source="f" * 32)

    with pytest.raises(Exception, match="filled by another database"):
        project()

    assert not store.hexists("{ops}:head", "thresholds")


@pytest.mark.parametrize("how", ["missing", "altered", "extra"])
def test_compare__drift__repaired(reader: DirectReader, store: redis.Redis, how: str) -> None:
    publish()
    project()
    if how == "missing":
        store.hdel("{ops}:t", "survival")
    elif how == "altered":
        store.hset("{ops}:t", "survival", "1|1,0.99,0,1")
    else:
        store.hset("{ops}:t", "planted", "1|1,0.99,0,1")

    found = compare(repair=True)

    assert {"missing": found.missing, "altered": found.altered, "extra": found.extra}[how] == 1
    assert Drift.objects.get().kind == how
    assert compare(repair=False).clean
    assert [threshold.value for threshold in reader.thresholds().thresholds["survival"]] == [0.42]


def test_project__lost_entries__filled_anew_and_never_read_as_none(
    reader: DirectReader, store: redis.Redis
) -> None:
    publish()
    project()
    store.delete("{ops}:t")

    with pytest.raises(StoreNotReady, match="lost entries"):
        reader.thresholds(["survival"])
    assert project().rebuilt == "The store had lost entries."

    assert list(reader.thresholds().thresholds) == ["survival"]


def test_swap__threshold_pushed_meanwhile__replayed(serving_store: Store, store: redis.Redis) -> None:
    project()
    after = serving_store.last_log_id()
    staging = serving_store.open_staging(epoch=1)
    serving_store.stage(staging, [], epoch=1, raise_to=0)
    serving_store.push([Entry("t", "survival", 1, "1,0.5,0,1")], epoch=1, raise_to=1)

    written = serving_store.swap(staging, after=after, source="s")

    assert (written.thresholds, written.applied) == (1, 1)
    assert store.hgetall("{ops}:t") == {b"survival": b"1|1,0.5,0,1"}


@pytest.mark.parametrize("how", ["store", "down", "flushed", "outdated"])
def test_thresholds_route__wherever_it_comes_from__same_answer(
    settings: LazySettings, dead_store_url: str, store: redis.Redis, how: str
) -> None:
    publish(0.42)
    project()
    if how == "down":
        settings.REDIS_URL = dead_store_url
    elif how == "flushed":
        store.flushall()
    elif how == "outdated":
        store.hdel("{ops}:head", "thresholds", "threshold_fields")
    client = Client(headers={"Authorization": f"Api-Key {make_key('serving:read')}"})

    response = client.get("/api/v1/serving/thresholds?model=survival")

    answer = response.json()
    assert response.get("X-Served-From", "") == ("" if how == "store" else "database")
    assert answer["revision"] == 1
    assert answer["thresholds"] == [
        {"model": "survival", "version": "1", "threshold": 0.42, "since": "2026-11-20T08:00:00Z"}
    ]
    assert client.get("/api/v1/serving/thresholds").json()["thresholds"] == answer["thresholds"]
    assert client.get("/api/v1/serving/thresholds?model=other").json()["thresholds"] == []


def test_thresholds_route__both_away__503(
    settings: LazySettings, dead_store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(headers={"Authorization": f"Api-Key {make_key('serving:read')}"})
    settings.REDIS_URL = dead_store_url

    def fail(keys: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(decisions, "desired_thresholds", fail)

    response = client.get("/api/v1/serving/thresholds?model=survival")

    assert (response.status_code, response["Retry-After"]) == (503, "1")


@pytest.mark.parametrize(
    "query",
    ["model=", "model=a%7Cb", "&".join(["model=a"] + [f"model=m{n}" for n in range(100)])],
)
def test_thresholds_route__no_name_of_a_model__refused(query: str) -> None:
    client = Client(headers={"Authorization": f"Api-Key {make_key('serving:read')}"})

    response = client.get(f"/api/v1/serving/thresholds?{query}")

    assert (response.status_code, response.json()["errors"][0]["path"]) == (400, "model")


def test_threshold_text__separators_in_a_version__come_back_whole() -> None:
    text = threshold_text("a,b;c|d%e 1.0+x", 0.5, SINCE, 7)

    assert text.count(",") == 3
    assert ";" not in text
    assert "|" not in text
    assert parse_thresholds(text) == [Served("a,b;c|d%e 1.0+x", 0.5, int(SINCE.timestamp()), 7)]


@pytest.mark.parametrize(
    "text", ["", "?", "1,0.5", "1,nan,0,1", "1,inf,0,1", ",0.5,0,1", "1,x,0,1", "1,0.5,0,y"]
)
def test_parse_thresholds__unreadable__left_out(text: str) -> None:
    good = "2,0.25,0,9"

    assert parse_thresholds(f"{text};{good}") == [Served("2", 0.25, 0, 9)]
