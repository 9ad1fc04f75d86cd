"""Who opts out of profiling is forgotten; predictions that are old are, too."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from pytest_django import Settings

from opsportal.accounts.models import User
from opsportal.accounts.permissions import Role
from opsportal.core import clock
from opsportal.events import outbox
from opsportal.events.models import Event, OutboxMessage
from opsportal.explanations.models import Explanation
from opsportal.overrides import services as overrides
from opsportal.overrides.models import Kind, OptOut, State, Submission
from opsportal.predictions import services
from opsportal.predictions.models import ModelVersion, Prediction, PredictionImport, Suppression, Word
from opsportal.predictions.pseudonyms import customer_key
from opsportal.predictions.services import erasing
from opsportal.predictions.tasks import tidy
from tests.conftest import make_person
from tests.explanations.making import make_prediction
from tests.overrides.filling import applied, withdrawn
from tests.predictions.logging import ids, logged

pytestmark = pytest.mark.django_db


def opt_out(actor: User, *customer_ids: str, purposes: Sequence[str] = ("personalisation",)) -> Submission:
    """An applied opt-out."""
    return applied(actor, *customer_ids, kind=Kind.OPT_OUT, live=False, purposes=list(purposes))


def suppressed() -> set[str]:
    """The pseudonyms of customers about whom nothing is taken in."""
    return set(Suppression.objects.values_list("pk", flat=True))


def about(version: ModelVersion, customer_id: str, *prediction_ids: str) -> None:
    """Predictions about a customer, each with a word and an explanation that is asked for."""
    services.take_in(
        actor=None,
        model=version.model.name,
        version=version.version,
        predictions=[logged(prediction_id, customer_id=customer_id) for prediction_id in prediction_ids],
    )
    Explanation.objects.bulk_create(
        Explanation(prediction=row, wanted_at=clock.now())
        for row in Prediction.objects.filter(prediction_id__in=prediction_ids)
    )


# -- Opting out ---------------------------------------------------------------------------------


def test_opt_out__of_personalisation__erases_all_about_the_customer(
    version: ModelVersion, priya: User
) -> None:
    about(version, "C-1", "p-1", "p-2")
    about(version, "C-2", "p-3")
    about(version, "", "p-4")

    submission = opt_out(priya, "C-1")

    assert suppressed() == {customer_key("C-1")}
    assert OutboxMessage.objects.filter(task="predictions.erase").get().key == str(submission.pk)
    outbox.drain()
    assert ids() == {"p-3", "p-4"}
    hanging = ("prediction__prediction_id",)
    assert set(Word.objects.values_list(*hanging, flat=True)) == ids()
    assert set(Explanation.objects.values_list(*hanging, flat=True)) == ids()
    event = Event.objects.get(verb="predictions.erased")
    assert event.after == {"predictions": 2, "customers": 1}
    assert "C-1" not in str(event.__dict__)
    assert customer_key("C-1") not in str(event.__dict__)


def test_opt_out__of_other_purposes__leaves_predictions(version: ModelVersion, priya: User) -> None:
    about(version, "C-1", "p-1")

    opt_out(priya, "C-1", purposes=["training", "sharing"])
    outbox.drain()

    assert (suppressed(), ids()) == (set(), {"p-1"})
    assert not OutboxMessage.objects.filter(task="predictions.erase").exists()


def test_opt_out__widened_to_personalisation__erases(version: ModelVersion, priya: User) -> None:
    about(version, "C-1", "p-1")
    opt_out(priya, "C-1", purposes=["training"])

    opt_out(priya, "C-1")
    outbox.drain()

    assert (suppressed(), ids()) == ({customer_key("C-1")}, set())


def test_opt_out__widening_undone__lets_predictions_in_again(version: ModelVersion, priya: User) -> None:
    opt_out(priya, "C-1", purposes=["training"])
    widening = opt_out(priya, "C-1")

    draft = overrides.draft_undo(actor=priya, submission_id=widening.pk, reason="A mistake")
    _approve(overrides.submit(actor=priya, submission_id=draft.pk))

    assert suppressed() == set()
    assert OptOut.objects.get(closed_at=None).purposes == ["training"]


def test_opt_out__withdrawn__lets_predictions_in_again(version: ModelVersion, priya: User) -> None:
    opt_out(priya, "C-1", "C-2")

    withdrawal = withdrawn(priya, OptOut.objects.get(customer_key=customer_key("C-1")).pk, kind=Kind.OPT_OUT)
    assert len(suppressed()) == 2
    _approve(withdrawal)

    assert suppressed() == {customer_key("C-2")}
    about(version, "C-1", "p-1")
    assert ids() == {"p-1"}


def test_opt_out__withdrawal_undone__erases_again(version: ModelVersion, priya: User) -> None:
    opt_out(priya, "C-1")
    withdrawal = _approve(withdrawn(priya, OptOut.objects.get().pk, kind=Kind.OPT_OUT))
    about(version, "C-1", "p-1")

    draft = overrides.draft_undo(actor=priya, submission_id=withdrawal.pk, reason="A mistake")
    overrides.submit(actor=priya, submission_id=draft.pk)
    outbox.drain()

    assert (suppressed(), ids()) == ({customer_key("C-1")}, set())


def test_opt_out__withdrawn_before_the_worker_came__nothing_is_erased(
    version: ModelVersion, priya: User
) -> None:
    about(version, "C-1", "p-1")
    opt_out(priya, "C-1")
    _approve(withdrawn(priya, OptOut.objects.get().pk, kind=Kind.OPT_OUT))

    outbox.drain()

    assert ids() == {"p-1"}


def test_suppress__again__counts_only_the_new(db: None) -> None:
    assert services.suppress(["a", "b", "a"]) == 2
    assert services.suppress(["b", "c"]) == 1
    assert services.unsuppress(["b", "d"]) == 1
    assert suppressed() == {"a", "c"}


def test_erase__many__in_batches_each_with_an_event(
    version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "CUSTOMERS_BATCH", 2)
    monkeypatch.setattr(erasing, "ROWS_BATCH", 3)
    for customer in range(5):
        about(version, f"C-{customer}", *(f"p-{customer}-{number}" for number in range(4)))
    services.suppress([customer_key(f"C-{customer}") for customer in range(4)])

    assert services.erase_suppressed("1") == 16
    assert services.erase_suppressed("1") == 0

    assert ids() == {f"p-4-{number}" for number in range(4)}
    events = Event.objects.filter(verb="predictions.erased")
    assert [event.after for event in events] == [{"predictions": 8, "customers": 2}] * 2


# -- Retention ----------------------------------------------------------------------------------


def test_tidy__old_ones__deleted_with_what_hangs_on_them(
    version: ModelVersion, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "ROWS_BATCH", 2)
    settings.PREDICTION_RETENTION = timedelta(days=30)
    for number, days in enumerate([31, 30.001, 45, 29.9, 0]):
        row = make_prediction(
            version,
            prediction_id=f"p-{number}",
            score=0.5,
            predicted_at=clock.now() - timedelta(days=days),
            age=1,
        )
        Word.objects.create(prediction=row, word="renee")
        Explanation.objects.create(prediction=row, wanted_at=clock.now())

    tidy()

    assert ids() == {"p-3", "p-4"}
    assert (Word.objects.count(), Explanation.objects.count()) == (2, 2)
    event = Event.objects.get(verb="predictions.expired")
    assert (event.actor, event.after) == (None, {"predictions": 3, "days": 30})
    tidy()
    assert Event.objects.filter(verb="predictions.expired").count() == 1


def test_tidy__imports_that_ended_long_ago__forgotten(version: ModelVersion, settings: Settings) -> None:
    settings.PREDICTION_RETENTION = timedelta(days=30)
    moment = clock.now()
    for name, finished in (("old", moment - timedelta(days=31)), ("new", moment), ("running", None)):
        PredictionImport.objects.create(
            version=version,
            file_name=name,
            fingerprint=name,
            state="done" if finished else "running",
            started_at=moment - timedelta(days=32),
            finished_at=finished,
        )

    tidy()

    assert set(PredictionImport.objects.values_list("file_name", flat=True)) == {"new", "running"}


def _approve(submission: Submission) -> Submission:
    """A second person says yes, where one is needed."""
    if submission.state != State.WAITING:
        return submission
    second = User.objects.filter(username="lena").first() or make_person("lena", Role.APPROVER)
    return overrides.approve(actor=second, submission_id=submission.pk, version=submission.version)
