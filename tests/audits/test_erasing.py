"""Who opts out of profiling is forgotten by audits, too; what people saw of predictions is, after a while."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import close_old_connections, connection, transaction
from pytest_django import Settings

from opsportal.accounts.models import User
from opsportal.accounts.permissions import Role
from opsportal.audits.models import (
    Application,
    Correction,
    Decline,
    Export,
    FrameFile,
    Item,
    Label,
    Provenance,
    Review,
    Rule,
    Run,
)
from opsportal.audits.services import adjudicating, closing, erasing, reviewing
from opsportal.audits.tasks import tidy
from opsportal.core import clock
from opsportal.core.errors import Conflict
from opsportal.events import outbox
from opsportal.events.models import Event, OutboxMessage
from opsportal.overrides.models import Kind
from opsportal.predictions import services as predictions
from opsportal.predictions.pseudonyms import customer_key
from opsportal.predictions.services.suppressing import hold_off_erasing
from tests.audits.making import make_items, make_policy, make_run, make_stratum
from tests.conftest import make_person
from tests.overrides.filling import applied

pytestmark = pytest.mark.django_db

COUNTERS = ("items", "settled", "reviews_needed", "reviews_done", "to_adjudicate", "erased")


@pytest.fixture
def nora(db: None) -> User:
    return make_person("nora", Role.AUDITOR)


def counters(run: Run) -> dict[str, int]:
    run.refresh_from_db()
    return {name: getattr(run, name) for name in COUNTERS}


def opt_out(customer_id: str) -> None:
    """As `suppress` with the erasing that follows it."""
    predictions.suppress([customer_key(customer_id)])
    erasing.erase_suppressed("1")


def answered(person: User, run: Run, value: str) -> Item:
    [claim] = reviewing.claim(actor=person, run=run)
    reviewing.answer(actor=person, token=claim.token, value=value)
    return claim.item


# -- Opting out ---------------------------------------------------------------------------------


def test_opt_out__of_personalisation__leaves_a_message_and_erases_items(priya: User) -> None:
    run = make_run()
    [_theirs] = make_items(run, 1, customer_id="C-1", text="secret")
    [others] = make_items(run, 1, customer_id="C-2")

    submission = applied(priya, "C-1", kind=Kind.OPT_OUT, live=False, purposes=["personalisation"])

    assert OutboxMessage.objects.filter(task="audits.erase").get().key == str(submission.pk)
    outbox.drain(lane="audits.")
    assert list(Item.objects.all()) == [others]
    assert counters(run) == {
        "items": 1,
        "settled": 0,
        "reviews_needed": 1,
        "reviews_done": 0,
        "to_adjudicate": 0,
        "erased": 1,
    }
    event = Event.objects.get(verb="audits.erased")
    assert event.after == {"items": 1, "corrections": 0, "customers": 1}
    assert customer_key("C-1") not in str(event.__dict__)


def test_erase__whatever_became_of_the_item__counters_are_those_of_what_is_left(
    otto: User, nora: User, lena: User
) -> None:
    run = make_run()
    stratum = make_stratum(run, frame=100, drawn=5)
    for customer in ("disputed", "settled", "half"):
        make_items(run, 1, stratum=stratum, customer_id=customer, reviews=2)
    make_items(run, 1, stratum=stratum, customer_id="open")
    for person, values in ((otto, ("survived",) * 3), (nora, ("did not survive", "survived"))):
        of_two = Item.objects.filter(run=run).order_by("pk")[: len(values)]
        for item, value in zip(of_two, values, strict=True):
            answer_of(person, item, value)
    assert counters(run) == {
        "items": 4,
        "settled": 1,
        "reviews_needed": 7,
        "reviews_done": 5,
        "to_adjudicate": 1,
        "erased": 0,
    }

    opt_out("disputed")
    assert counters(run) == {
        "items": 3,
        "settled": 1,
        "reviews_needed": 5,
        "reviews_done": 3,
        "to_adjudicate": 0,
        "erased": 1,
    }
    opt_out("settled")
    opt_out("half")

    assert counters(run) == {
        "items": 1,
        "settled": 0,
        "reviews_needed": 1,
        "reviews_done": 0,
        "to_adjudicate": 0,
        "erased": 3,
    }
    assert (Label.objects.count(), Review.objects.count()) == (0, 1)
    assert adjudicating.claim_dispute(actor=lena) is None


def test_erase__closed_run__corrections_and_downloads_go_with_the_items(otto: User, lena: User) -> None:
    run = make_run()
    make_items(run, 1, customer_id="C-1")
    item = answered(otto, run, "did not survive")
    closing.close_run(actor=lena, run=run)
    Correction.objects.create(
        model=run.model,
        prediction_id=item.prediction_id,
        customer_key=item.customer_key,
        predicted="survived",
        label="did not survive",
        provenance=Provenance.HUMAN,
        item=item,
        made_at=clock.now(),
    )
    Export.objects.create(run=run, format="parquet", content=b"PAR1", wanted_at=clock.now())

    opt_out("C-1")

    assert not Correction.objects.exists()
    assert not Export.objects.exists()
    assert counters(run)["erased"] == 1


def test_erase__corrections_by_rules__go_with_their_customers(lena: User) -> None:
    application = make_application(lena)
    for number, customer in enumerate(("C-1", "C-1", "C-2")):
        Correction.objects.create(
            model=application.rule.model,
            prediction_id=f"p-{number}",
            customer_key=customer_key(customer),
            predicted="survived",
            label="did not survive",
            provenance=Provenance.RULE,
            application=application,
            made_at=clock.now(),
        )

    opt_out("C-1")

    assert set(Correction.objects.values_list("prediction_id", flat=True)) == {"p-2"}
    assert Event.objects.get(verb="audits.erased").after == {"items": 0, "corrections": 2, "customers": 1}


def test_erase__many__in_batches_each_with_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "CUSTOMERS_BATCH", 2)
    monkeypatch.setattr(erasing, "ROWS_BATCH", 3)
    first, second = make_run(), make_run()
    for customer in range(5):
        for run in (first, second):
            make_items(run, 2, customer_id=f"C-{customer}")
    predictions.suppress([customer_key(f"C-{customer}") for customer in range(4)])

    assert erasing.erase_suppressed("1") == 16
    assert erasing.erase_suppressed("1") == 0

    assert [counters(run)["items"] for run in (first, second)] == [2, 2]
    assert [counters(run)["erased"] for run in (first, second)] == [8, 8]
    told = [event.after for event in Event.objects.filter(verb="audits.erased")]
    assert told == [{"items": 8, "corrections": 0, "customers": 2}] * 2


def test_erase__withdrawn_meanwhile__nothing_is_erased() -> None:
    make_items(make_run(), 1, customer_id="C-1")
    predictions.suppress([customer_key("C-1")])
    predictions.unsuppress([customer_key("C-1")])

    assert erasing.erase_suppressed("1") == 0

    assert Item.objects.count() == 1


def test_fill__opted_out_since_it_was_drawn__is_left_out_and_counted() -> None:
    run = make_run()
    predictions.suppress([customer_key("C-1")])

    assert make_items(run, 2, customer_id="C-1") == []
    make_items(run, 1, customer_id="C-2")

    assert counters(run) == {
        "items": 1,
        "settled": 0,
        "reviews_needed": 1,
        "reviews_done": 0,
        "to_adjudicate": 0,
        "erased": 2,
    }


def test_answer__for_an_item_that_was_erased__is_refused(otto: User) -> None:
    run = make_run()
    make_items(run, 1, customer_id="C-1")
    [claim] = reviewing.claim(actor=otto, run=run)

    opt_out("C-1")

    with pytest.raises(Conflict):
        reviewing.answer(actor=otto, token=claim.token, value="survived")
    assert not Label.objects.exists()


# -- Races on PostgreSQL ------------------------------------------------------------------------


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_erase__while_a_run_is_filled__waits_and_erases_what_came() -> None:
    run = make_run()
    checked, done = threading.Event(), threading.Event()

    def draw() -> None:
        with transaction.atomic():
            hold_off_erasing()
            make_items(run, 1, customer_id="C-1")
            checked.set()
            done.wait(0.3)

    def erase() -> None:
        checked.wait(5)
        predictions.suppress([customer_key("C-1")])
        erasing.erase_suppressed("1")
        done.set()

    at_once(draw, erase)

    assert not Item.objects.exists()
    assert counters(run)["erased"] == 1


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_erase__while_people_answer__counters_stay_those_of_the_rows(otto: User, nora: User) -> None:
    run = make_run()
    for customer in range(20):
        make_items(run, 1, customer_id=f"C-{customer}", reviews=2)

    def work(person: User) -> Callable[[], None]:
        def label() -> None:
            while claims := reviewing.claim(actor=person, run=run):
                try:
                    reviewing.answer(actor=person, token=claims[0].token, value="survived")
                except Conflict:
                    continue

        return label

    def erase() -> None:
        for customer in range(0, 20, 2):
            opt_out(f"C-{customer}")

    at_once(work(otto), work(nora), erase)

    assert counters(run) == {
        "items": 10,
        "settled": Item.objects.filter(state=Item.State.SETTLED).count(),
        "reviews_needed": Review.objects.count(),
        "reviews_done": Label.objects.count(),
        "to_adjudicate": 0,
        "erased": 10,
    }
    assert counters(run)["reviews_done"] == 20


# -- Retention ----------------------------------------------------------------------------------


def test_tidy__old_runs__show_nothing_any_more_and_keep_their_labels(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, otto: User
) -> None:
    monkeypatch.setattr(erasing, "ROWS_BATCH", 2)
    settings.AUDIT_RETENTION = timedelta(days=30)
    old, new = make_run(), make_run()
    for run, days in ((old, 31), (new, 29)):
        make_items(run, 3, customer_id="C-1", text="a text", features='{"age": 3}', product_id="P-1")
        Run.objects.filter(pk=run.pk).update(drawn_at=clock.now() - timedelta(days=days))
    labelled = answered(otto, old, "survived")

    tidy()

    columns = ("text", "features", "product_id", "customer_key")
    assert set(Item.objects.filter(run=old).values_list(*columns)) == {("", "{}", "", "")}
    assert Item.objects.filter(run=new, text="a text", features='{"age": 3}').count() == 3
    assert Item.objects.get(pk=labelled.pk).label == "survived"
    event = Event.objects.get(verb="audits.expired")
    assert (event.actor, event.after) == (None, {"items": 3, "days": 30})
    tidy()
    assert Event.objects.filter(verb="audits.expired").count() == 1


def test_tidy__downloads_and_candidates__go_when_nobody_needs_them(settings: Settings) -> None:
    run, drawing = make_run(), make_run(state=Run.State.DRAWING)
    moment = clock.now()
    for name, made in (("old", moment - timedelta(minutes=61)), ("new", moment - timedelta(minutes=59))):
        Export.objects.create(run=run, format=name, wanted_at=made, made_at=made)
    for each in (run, drawing):
        FrameFile.objects.create(run=each, name="a.parquet", candidates=[{"customer_key": ""}])

    tidy()

    assert set(Export.objects.values_list("format", flat=True)) == {"new"}
    assert FrameFile.objects.get(run=run).candidates == []
    assert FrameFile.objects.get(run=drawing).candidates != []


def test_tidy__old_corrections__forget_the_customer_alone(settings: Settings, lena: User) -> None:
    settings.AUDIT_RETENTION = timedelta(days=30)
    application = make_application(lena)
    for name, days in (("old", 31), ("new", 29)):
        Correction.objects.create(
            model=application.rule.model,
            prediction_id=name,
            customer_key=customer_key("C-1"),
            predicted="survived",
            label="did not survive",
            provenance=Provenance.RULE,
            application=application,
            made_at=clock.now() - timedelta(days=days),
        )

    tidy()

    left = dict(Correction.objects.values_list("prediction_id", "customer_key"))
    assert left == {"old": "", "new": customer_key("C-1")}


# -- Pieces -------------------------------------------------------------------------------------


def answer_of(person: User, item: Item, value: str) -> None:
    """Answer this very item: whatever else comes first is given back."""
    passed: list[Decline] = []
    while True:
        [claim] = reviewing.claim(actor=person, run=item.run)
        if claim.item == item:
            break
        passed.append(reviewing.skip(actor=person, token=claim.token, reason="other"))
    Decline.objects.filter(pk__in=[decline.pk for decline in passed]).delete()
    reviewing.answer(actor=person, token=claim.token, value=value)


def make_application(author: User) -> Application:
    policy = make_policy()
    rule = Rule.objects.create(
        model=policy.model,
        title="Rule",
        condition={},
        label="survived",
        author=author,
        created_at=clock.now(),
    )
    return Application.objects.create(
        rule=rule,
        terms={},
        state=Application.State.ACCEPTED,
        author=author,
        reason="Test.",
        created_at=clock.now(),
    )


def at_once(*works: Callable[[], None]) -> None:
    """Run each in a thread with its own connection; what one raises is raised here."""
    failed: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  told below
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    close_old_connections()
    assert failed == []
