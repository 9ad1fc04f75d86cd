"""Revisions: allocated under a lock, without gaps, in the order in which they commit."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction
from django.db.models import F, Value

from opsportal.accounts.models import User
from opsportal.events import services
from opsportal.events.models import Change, Event, Head, Revision
from opsportal.predictions.models import Product

PRODUCT = Change.Kind.PRODUCT


def changes() -> dict[str, int]:
    return dict(Change.objects.values_list("key", "revision"))


def test_allocate_revision__for_keys__marks_each_with_the_newest(db: None) -> None:
    with transaction.atomic():
        services.allocate_revision(kind=PRODUCT, keys=["a", "b"])
        second = services.allocate_revision(kind=PRODUCT, keys=["b", "c"])

    assert second is not None
    assert (second.number, second.keys, second.live_at) == (2, 2, None)
    assert changes() == {"a": 1, "b": 2, "c": 2}
    assert Head.objects.get().revision == 2


def test_allocate_revision__for_a_queryset__does_the_same_in_one_statement(db: None) -> None:
    Product.objects.bulk_create([Product(pk=name) for name in ("85123A", "85123a", "ü ☃")])
    with transaction.atomic():
        services.allocate_revision(kind=PRODUCT, keys=["85123A"])
        second = services.allocate_revision(
            kind=PRODUCT, keys=Product.objects.values(key=F("product_id")).order_by()
        )

    assert second is not None
    assert second.keys == 3
    assert changes() == {"85123A": 2, "85123a": 2, "ü ☃": 2}


def test_allocate_revision__same_key_of_both_kinds__keeps_them_apart(db: None) -> None:
    with transaction.atomic():
        services.allocate_revision(kind=PRODUCT, keys=["a"])
        services.allocate_revision(kind=Change.Kind.CUSTOMER, keys=["a"])

    assert list(Change.objects.order_by("revision").values_list("kind", "revision")) == [("p", 1), ("c", 2)]


@pytest.mark.parametrize("keys", [[], Product.objects.none().values(key=Value(""))], ids=["list", "queryset"])
def test_allocate_revision__without_keys__allocates_nothing(db: None, keys: list[str]) -> None:
    with transaction.atomic():
        revision = services.allocate_revision(kind=PRODUCT, keys=keys)

    assert revision is None
    assert not Revision.objects.exists()
    assert Head.objects.get().revision == 0


@pytest.mark.django_db(transaction=True)
def test_allocate_revision__transaction_rolls_back__leaves_no_gap() -> None:
    with transaction.atomic():
        services.allocate_revision(kind=PRODUCT, keys=["a"])
        transaction.set_rollback(True)
    with transaction.atomic():
        revision = services.allocate_revision(kind=PRODUCT, keys=["b"])

    assert revision is not None
    assert revision.number == 1
    assert changes() == {"b": 1}


@pytest.mark.django_db(transaction=True)
def test_allocate_revision__outside_a_transaction__is_refused() -> None:
    with pytest.raises(RuntimeError, match="inside the transaction"):
        services.allocate_revision(kind=PRODUCT, keys=["a"])

    assert not Change.objects.exists()


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_allocate_revision__a_second_writer__waits_so_that_a_reader_never_misses_a_late_commit() -> None:
    """The trap of `id > cursor` feeds: number 1 commits after a reader has seen number 2."""
    first_holds, second_done = threading.Event(), threading.Event()

    def slow() -> None:
        with transaction.atomic():
            services.allocate_revision(kind=PRODUCT, keys=["slow"])
            first_holds.set()
            assert not second_done.wait(0.3), "the second writer committed before the first"
        connection.close()

    def fast() -> None:
        first_holds.wait()
        with transaction.atomic():
            services.allocate_revision(kind=PRODUCT, keys=["fast"])
        second_done.set()
        connection.close()

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(slow), pool.submit(fast)]:
            future.result()

    assert changes() == {"slow": 1, "fast": 2}


def test_raise_epoch__records_who_and_why(root: User) -> None:
    services.raise_epoch(actor=root, reason="restored from a backup")

    event = Event.objects.get()
    assert Head.objects.get().epoch == 2
    assert (event.verb, event.actor, event.reason) == (
        "serving.epoch_raised",
        root,
        "restored from a backup",
    )
