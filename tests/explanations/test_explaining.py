"""What workers do: numbers that were checked, or a refusal that says why; never an endless attempt."""

import errno
import hashlib
import json
import signal
import threading
from datetime import timedelta
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import time_machine
from django.core.files.storage import FileSystemStorage
from django.core.management import call_command
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoCaptureOnCommitCallbacks

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.events import outbox
from opsportal.events.models import Event, OutboxMessage
from opsportal.explanations import explaining, loaded, warming
from opsportal.explanations.management.commands.explain import Loop
from opsportal.explanations.models import Explanation, Incident, Method, Stack, State
from opsportal.explanations.services import asking
from opsportal.predictions import services as predictions
from opsportal.predictions.models import ModelVersion, Prediction
from opsportal.predictions.pseudonyms import customer_key
from tests.explanations import training
from tests.explanations.making import (
    AYOUB,
    EXPECTED,
    NEVER_SEEN,
    NOON,
    TITANIC,
    TITANIC_BACKGROUND,
    TITANIC_DICTIONARY,
    explained,
    make_prediction,
    make_version,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_loaded() -> None:
    loaded.forget()


def incident_of(explanation: Explanation) -> tuple[str, str]:
    return explanation.state, explanation.incident


def test_explain__golden_predictions__stores_the_expected_numbers() -> None:
    version = make_version()

    for row in EXPECTED:
        found = explained(make_prediction(version, **row["values"]))

        assert found.state == State.READY
        assert found.base_value == pytest.approx(row["base"], abs=1e-12)
        assert found.margin == pytest.approx(row["margin"], abs=1e-12)
        assert found.score == pytest.approx(row["score"], abs=1e-12)
        assert [name for name, _ in found.attributions] == [name for name, _ in row["attributions"]]
        assert [x for _, x in found.attributions] == pytest.approx(
            [x for _, x in row["attributions"]], abs=1e-12
        )
        assert abs(found.residual or 0) <= 1e-9
        assert (found.space, found.model_sha256) == ("log_odds", version.sha256)
        assert found.engine.startswith("lightgbm ")
    assert not Event.objects.filter(verb="explanation.incident").exists()


def test_explain__settled_or_erased__does_nothing() -> None:
    found = explained(make_prediction(make_version()))
    computed_at = found.computed_at

    explaining.explain(found.pk)
    explaining.explain(found.pk + 1_000)

    found.refresh_from_db()
    assert found.computed_at == computed_at


def test_explain__what_if__is_another_row_and_has_no_logged_score() -> None:
    prediction = make_prediction(make_version())

    found = explained(prediction, pclass="1", fare=80)

    assert found.state == State.READY
    assert found.changes == {"pclass": "1", "fare": 80}
    assert found.score != pytest.approx(prediction.score, abs=1e-3)


def test_explain__constant__stands_in_for_the_logged_value() -> None:
    raw = json.loads(json.dumps(TITANIC_DICTIONARY))
    raw["features"][4]["constant"] = 7.2292
    version = make_version(dictionary=raw)

    found = explained(make_prediction(version, score=EXPECTED[0]["score"], **(AYOUB | {"fare": 500})))

    assert found.state == State.READY


def test_explain__score_that_was_logged_otherwise__is_refused_with_both_numbers() -> None:
    prediction = make_prediction(make_version(), score=0.5)

    found = explained(prediction)

    assert incident_of(found) == (State.REFUSED, Incident.SCORE)
    assert found.incident_detail == "The model gives 0.875542582 now; 0.5 was logged."
    assert found.attributions == []
    event = Event.objects.get(verb="explanation.incident")
    assert (event.subject_type, event.subject_id) == ("prediction", str(prediction.pk))
    assert event.after is not None
    assert event.after["detail"] == found.incident_detail


def test_explain__score_that_was_logged_rounded__is_accepted_to_its_decimals() -> None:
    version = make_version(training={"score_decimals": 2})

    near, far = (
        explained(make_prediction(version, score=0.88)),
        explained(make_prediction(version, score=0.87)),
    )

    assert near.state == State.READY
    assert incident_of(far) == (State.REFUSED, Incident.SCORE)


def test_explain__trees_that_give_no_numbers__is_refused_as_not_adding_up() -> None:
    # LightGBM weighs branches by these counts and divides by this one.
    damaged = TITANIC.replace(b"\ninternal_count=691 ", b"\ninternal_count=000 ", 1)
    version = make_version(content=damaged)

    found = explained(make_prediction(version))

    assert incident_of(found) == (State.REFUSED, Incident.ADDITIVITY)
    assert "the attributions nan make nan; the model's output is 1.95" in found.incident_detail
    assert (found.attributions, found.base_value, found.residual) == ([], None, None)
    assert found.margin is not None


@pytest.mark.parametrize(
    ("total", "margin", "single", "fits"),
    [
        (0.5, 1.0, False, True),
        (0.5, 1.0 + 9e-7, False, True),
        (0.5, 1.0 + 2e-6, False, False),
        (0.5, 1.0 + 9e-5, True, True),
        (0.5, 1.0 + 3e-4, True, False),
        (999.5, 1_000.09, True, True),
        (float("nan"), 1.0, False, False),
        (0.5, float("inf"), True, False),
    ],
)
def test_additivity_problem__sum_and_output__fit_within_the_tolerance(
    total: float, margin: float, single: bool, fits: bool
) -> None:
    sentence = explaining.additivity_problem(0.5, total, margin, single=single)

    assert (sentence == "") == fits


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be opened: No such file"),
        (TITANIC.replace(b"0.67", b"0.68"), "is another one than was registered"),
        (TITANIC[:-500], f"it has {len(TITANIC) - 500:,} bytes"),
        (b"", "it has 0 bytes"),
    ],
)
@pytest.mark.parametrize("method", [Method.SHAP, Method.LIME, Method.COUNTERFACTUAL])
def test_explain__file_gone_or_another_one__is_refused(
    content: bytes | None, words: str, method: str
) -> None:
    version = make_version()
    prediction = make_prediction(version)
    loaded.forget()
    path = Path(version.file.path)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)

    found = explained(prediction, method=method)

    assert incident_of(found) == (State.REFUSED, Incident.FILE)
    assert words in found.incident_detail
    assert Event.objects.filter(verb="explanation.incident").count() == 1


def test_explain__registered_file_that_is_no_model__is_refused() -> None:
    version = make_version(content=b"tree\nno model at all")

    found = explained(make_prediction(version, score=0.5))

    assert incident_of(found) == (State.REFUSED, Incident.LOADING)
    assert found.incident_detail.startswith("The file is not whole")


def test_explain__file_put_right__is_computed_when_wanted_again(ana: User) -> None:
    version = make_version()
    prediction = make_prediction(version)
    loaded.forget()
    Path(version.file.path).unlink()
    found = explained(prediction)

    Path(version.file.path).write_bytes(TITANIC)
    asking.want_again(actor=ana, explanation=found)
    outbox.drain(lane="explanations.")

    found.refresh_from_db()
    assert found.state == State.READY


def test_explain__storage_that_fails_for_now__is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    prediction = make_prediction(make_version())
    wanted = asking.want_explanation(actor=None, prediction=prediction)
    loaded.forget()

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(FileSystemStorage, "open", fail)
        outbox.drain(lane="explanations.")

    wanted.refresh_from_db()
    message = OutboxMessage.objects.get(task="explanations.explain")
    assert (wanted.state, message.delivered_at, message.attempts) == (State.WANTED, None, 1)
    assert "Input/output error" in message.last_error


def test_explain__value_that_the_model_cannot_read__keeps_it_out_of_the_trail() -> None:
    trained = training.train_linear()
    version = make_version(content=trained.content, format="skops", dictionary=trained.raw, background=b"")
    values = trained.rows[1] | {"age": "inf"}

    found = explained(make_prediction(version, score=0.5, **values))

    assert incident_of(found) == (State.REFUSED, Incident.INPUT)
    assert found.incident_detail.startswith("The model cannot read the values: ")
    event = Event.objects.get(verb="explanation.incident")
    assert event.after is not None
    assert "detail" not in event.after


def test_explain__float32_model__is_judged_by_its_own_precision() -> None:
    trained = training.train_xgboost()
    version = make_version(content=trained.content, format="xgboost", dictionary=trained.raw, background=b"")

    found = explained(make_prediction(version, **trained.rows[1]))

    assert found.state == State.READY


def test_explain__text__stores_words_with_their_places() -> None:
    trained = training.train_text()
    version = make_version(content=trained.content, format="skops", dictionary=trained.raw, background=b"")
    text = "Call now for a FREE prize"
    score = float(trained.model.predict_proba([text])[0, 1])

    found = explained(make_prediction(version, text=text, score=score, sender="x"))

    assert found.state == State.READY
    assert [text[start:end] for start, end, _ in found.detail["words"]] == [
        "Call",
        "now",
        "for",
        "FREE",
        "prize",
    ]


def test_explain__lime_and_counterfactuals__are_stored_with_the_score() -> None:
    prediction = make_prediction(make_version(), **NEVER_SEEN)

    lime = explained(prediction, method=Method.LIME)
    changes = explained(prediction, method=Method.COUNTERFACTUAL)

    assert (lime.state, changes.state) == (State.READY, State.READY)
    assert lime.engine.startswith("lime ")
    assert lime.score == changes.score == pytest.approx(prediction.score)
    assert {"r2", "samples", "rules", "verdict"} <= set(lime.detail)
    assert lime.attributions
    assert {"found", "tried", "target"} <= set(changes.detail)


def test_explain__lime_without_reference_rows__is_refused_as_no_fault_of_the_values() -> None:
    prediction = make_prediction(make_version(background=b""))
    Prediction.objects.exclude(pk=prediction.pk).delete()
    version = prediction.version
    make_prediction(version)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explaining, "reference_rows", lambda version: [])
        found = explained(prediction, method=Method.LIME)

    assert incident_of(found) == (State.REFUSED, Incident.ENGINE)
    assert "reference rows" in found.incident_detail


# -- Many at once -----------------------------------------------------------------------------


def make_stack(author: User, predictions: list[Prediction]) -> Stack:
    stack = Stack.objects.create(
        author=author,
        title="All",
        version=predictions[0].version,
        prediction_pks=[prediction.pk for prediction in predictions],
        created_at=NOON,
    )
    outbox.send(task="explanations.explain_stack", key=stack.pk)
    return stack


def test_explain_stack__some_explained__computes_the_others(ana: User) -> None:
    version = make_version()
    predictions = [make_prediction(version, age=age) for age in range(1, 121)]
    done = explained(predictions[3])
    waiting = asking.want_explanation(actor=ana, prediction=predictions[4])
    predictions[5].delete()
    make_stack(ana, predictions[:5] + predictions[6:])
    predictions[6].delete()

    outbox.drain(lane="explanations.")

    assert Explanation.objects.filter(state=State.READY, method=Method.SHAP).count() == 118
    waiting.refresh_from_db()
    assert waiting.state == State.READY
    again = Explanation.objects.get(pk=done.pk)
    assert again.computed_at == done.computed_at
    one = Explanation.objects.get(prediction=predictions[20])
    assert one.attributions == explained(make_prediction(version, age=21)).attributions


def test_explain_stack__one_bad_row__refuses_that_row_only(ana: User) -> None:
    version = make_version()
    predictions = [make_prediction(version, age=age) for age in range(1, 6)]
    bad = make_prediction(version, score=0.123)
    make_stack(ana, [*predictions, bad])

    outbox.drain(lane="explanations.")

    assert Explanation.objects.filter(state=State.READY).count() == 5
    assert incident_of(Explanation.objects.get(prediction=bad)) == (State.REFUSED, Incident.SCORE)
    assert Event.objects.filter(verb="explanation.incident").count() == 1


def test_explain_many__ten_rows_or_forty__takes_as_many_queries() -> None:
    version = make_version()
    few = [make_prediction(version, age=age) for age in range(1, 11)]
    many = [make_prediction(version, age=age) for age in range(1, 41)]

    counts = []
    for chosen in (few, many):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert explaining.explain_many(chosen) == len(chosen)
        counts.append(len(queries))

    assert counts[0] == counts[1]


def test_outcomes__row_that_the_model_cannot_read__is_one_refusal_among_numbers() -> None:
    trained = training.train_linear()
    version = make_version(content=trained.content, format="skops", dictionary=trained.raw, background=b"")
    good = make_prediction(version, **trained.rows[1])
    bad = make_prediction(version, score=0.5, **(trained.rows[2] | {"age": "inf"}))

    found = explaining.outcomes(version, [good, bad, good])

    assert [outcome.incident for outcome in found] == ["", Incident.INPUT, ""]
    assert found[0] == found[2]


# -- Reference rows ---------------------------------------------------------------------------


def test_reference_rows__registered__are_what_the_model_sees() -> None:
    version = make_version()

    rows = explaining.reference_rows(version)

    assert len(rows) == 77
    assert list(rows[0]) == [name for name, _ in EXPECTED[0]["attributions"]]


def test_reference_rows__another_file__is_refused() -> None:
    version = make_version()
    Path(version.background.path).write_bytes(TITANIC_BACKGROUND[:-10])

    found = explained(make_prediction(version), method=Method.LIME)

    assert incident_of(found) == (State.REFUSED, Incident.FILE)
    assert found.incident_detail.startswith("The file of reference rows is another one")


def test_reference_rows__none_registered__freezes_logged_predictions_once() -> None:
    version = make_version(background=b"")
    for number in range(120):
        make_prediction(version, age=number)

    first = explaining.reference_rows(version)
    make_prediction(version, age=80.5)
    again = explaining.reference_rows(ModelVersion.objects.get(pk=version.pk))

    assert first == again
    assert len(first) == 120
    assert "name" not in first[0]
    version.refresh_from_db()
    assert hashlib.sha256(version.background.read()).hexdigest() == version.background_sha256


def test_reference_rows__one_of_the_customers_opts_out__are_let_go_and_taken_anew(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    version = make_version(background=b"")
    for number in range(120):
        make_prediction(version, customer_id=f"C-{number % 12}", age=number)
    before = explaining.reference_rows(version)
    storage, name = version.background.storage, str(version.background.name)

    with django_capture_on_commit_callbacks(execute=True):
        predictions.suppress([customer_key("C-3")])
        predictions.erase_suppressed("1")

    assert not storage.exists(name)
    # Another process still holds the row as it was.
    loaded.forget()
    after = explaining.reference_rows(version)
    assert len(before) == 120
    assert after == [row for row in before if int(row["age"] or 0) % 12 != 3]
    assert OutboxMessage.objects.filter(task="explanations.profile", key=str(version.pk)).exists()


def test_reference_rows__registered_ones__outlive_an_opt_out() -> None:
    version = make_version()
    make_prediction(version, customer_id="C-1")

    predictions.suppress([customer_key("C-1")])
    predictions.erase_suppressed("1")

    version.refresh_from_db()
    assert len(explaining.reference_rows(version)) == TITANIC_BACKGROUND.count(b"\n")


def test_want_explanation__message_given_up__sends_another() -> None:
    wanted = asking.want_explanation(actor=None, prediction=make_prediction(make_version()))
    OutboxMessage.objects.update(dead_at=Now())

    asking.want_explanation(actor=None, prediction=wanted.prediction)
    assert OutboxMessage.objects.count() == 1
    with time_machine.travel(clock.now() + timedelta(minutes=2)):
        asking.want_explanation(actor=None, prediction=wanted.prediction)
        asking.want_explanation(actor=None, prediction=wanted.prediction)

    assert OutboxMessage.objects.filter(key=str(wanted.pk), dead_at=None).count() == 1


def test_reference_rows__few_predictions__are_not_frozen_yet() -> None:
    version = make_version(background=b"")
    make_prediction(version)

    rows = explaining.reference_rows(version)

    assert len(rows) == 1
    assert not version.background_sha256


# -- Without a broker, and before the first question ------------------------------------------


def test_command__explanations_due__computes_them() -> None:
    prediction = make_prediction(make_version())
    wanted = asking.want_explanation(actor=None, prediction=prediction)
    out = StringIO()

    call_command("explain", stdout=out)
    call_command("explain", stdout=out)

    wanted.refresh_from_db()
    assert wanted.state == State.READY
    assert out.getvalue() == "1 done.\nNothing was due.\n"


@pytest.mark.django_db(transaction=True)
def test_loop__sigterm__ends_after_its_work() -> None:
    wanted = asking.want_explanation(actor=None, prediction=make_prediction(make_version()))
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    # The signal comes while the loop is at work or waits; either way it must end.
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGTERM])

    try:
        timer.start()
        Loop().run()
    finally:
        timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)

    wanted.refresh_from_db()
    assert wanted.state == State.READY


def test_warm__versions_of_two_models__loads_the_newest_of_each() -> None:
    make_version(version="1")
    make_version(version="2")
    make_version(model="other", version="1")
    make_version(model="broken", content=b"tree\n")

    assert warming.warm() == 2


def test_warm_child__worker_of_another_queue__loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(threading.Thread, "start", lambda self: started.append(self.name))

    for queue, expected in (("push", []), ("explain", ["warm"])):
        queues = SimpleNamespace(consume_from={queue: None})
        warming.note_queues(
            instance=SimpleNamespace(app=SimpleNamespace(amqp=SimpleNamespace(queues=queues)))
        )
        warming.warm_child()
        assert started == expected
