"""Figures, labels and corrections to take along: what is in the files, and what never is."""

import csv
import io
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext

from opsportal.accounts.models import User
from opsportal.audits.models import Correction, Export, Item, Run, Stream
from opsportal.audits.selectors import labels
from opsportal.audits.selectors.labels import label_rows
from opsportal.audits.services.correcting import record_corrections
from opsportal.audits.services.exports import want_export
from opsportal.audits.services.referring import refer
from opsportal.core import clock
from opsportal.core.errors import Conflict, Forbidden, Invalid, NotFound
from opsportal.events import outbox
from opsportal.events.models import Event, OutboxMessage
from opsportal.predictions.models import Prediction, Suppression
from opsportal.predictions.pseudonyms import customer_key
from tests.audits.making import SEED, make_items, make_policy, make_run, make_stratum
from tests.audits.resulting import close, estimate, figure, make_results, settle
from tests.explanations.making import make_prediction, make_version

SignIn = Callable[[User], Client]

pytestmark = pytest.mark.django_db


def labelled_run(otto: User, lena: User) -> Run:
    """Two strata: of the first 2 of 2 drawn out of 20 are labelled, of the second 1 of 2 out of 10."""
    run = make_run()
    version = make_version(version="7", background=b"")
    first, second = make_stratum(run, frame=20, drawn=2), make_stratum(run, frame=10, drawn=2, title="=1+1")
    one, two = make_items(run, 2, stratum=first, version=version, customer_id="C-1", text="Secret.")
    three, _four = make_items(run, 2, stratum=second, version=version)
    suspect = make_items(run, 1, stream=Stream.SUSPECT)[0]
    settle([one], "survived", people=[otto, lena])
    settle([two], "did not survive", provenance="adjudicated", people=[otto])
    settle([three], "", people=[otto])
    settle([suspect], "did not survive", people=[otto])
    return close(run)


def body_of(response: Any) -> str:
    assert response.status_code == 200
    return b"".join(response.streaming_content).decode()


def rows_in(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


# -- Labels ---------------------------------------------------------------------------------


def test_labels_csv__labelled_run__says_where_each_comes_from(
    client_for: SignIn, lena: User, otto: User
) -> None:
    run = labelled_run(otto, lena)

    text = body_of(client_for(lena).get(f"/audits/runs/{run.pk}/labels/?format=csv"))

    rows = rows_in(text)
    assert list(rows[0]) == [
        "prediction_id", "predicted", "label", "is_error", "stream", "stratum", "inclusion_probability",
        "weight", "provenance", "reviewers", "model", "version", "run", "seed", "settled_at",
    ]  # fmt: skip
    assert [
        (row["label"], row["is_error"], row["stream"], row["inclusion_probability"], row["weight"],
         row["provenance"], row["reviewers"], row["stratum"])
        for row in rows
    ] == [
        ("survived", "False", "sample", "0.1", "10.0", "human", "2", "All predictions"),
        ("did not survive", "True", "sample", "0.1", "10.0", "adjudicated", "1", "All predictions"),
        # Nobody could tell: it stands for nothing.
        ("", "", "sample", "0.2", "", "human", "1", "'=1+1"),
        ("did not survive", "True", "suspect", "", "", "human", "1", ""),
    ]  # fmt: skip
    assert (rows[0]["model"], rows[0]["version"], rows[0]["seed"]) == ("survival", "7", SEED)
    assert rows[0]["settled_at"] == "2026-11-02T12:00:00Z"
    assert "Secret." not in text
    assert customer_key("C-1") not in text
    assert Event.objects.get(verb="labels.exported").after == {"format": "csv"}


def test_labels_jsonl__labelled_run__has_types(client_for: SignIn, lena: User, otto: User) -> None:
    run = labelled_run(otto, lena)

    response = client_for(lena).get(f"/audits/runs/{run.pk}/labels/?format=jsonl")

    rows = [json.loads(line) for line in body_of(response).splitlines()]
    assert len(rows) == 4
    assert rows[1]["is_error"] is True
    assert rows[1]["weight"] == 10.0
    assert rows[2]["is_error"] is None
    assert rows[3]["inclusion_probability"] is None
    assert rows[0]["settled_at"] == "2026-11-02T12:00:00Z"
    assert ".jsonl" in response.headers["Content-Disposition"]


def test_labels__customer_has_opted_out_since__is_not_in_it(
    client_for: SignIn, lena: User, otto: User
) -> None:
    run = labelled_run(otto, lena)
    Suppression.objects.create(customer_key=customer_key("C-1"), since=clock.now())

    rows = rows_in(body_of(client_for(lena).get(f"/audits/runs/{run.pk}/labels/?format=csv")))

    assert [row["provenance"] for row in rows] == ["human", "human"]


def test_labels__open_run__is_a_conflict(client_for: SignIn, lena: User) -> None:
    run = make_run()

    response = client_for(lena).get(f"/audits/runs/{run.pk}/labels/?format=csv")

    assert response.status_code == 409
    assert not Event.objects.filter(verb="labels.exported").exists()


def test_labels__unknown_format__is_refused(client_for: SignIn, lena: User) -> None:
    run = make_run(state="closed")

    assert client_for(lena).get(f"/audits/runs/{run.pk}/labels/?format=xls").status_code == 400


def test_label_rows__many_batches__give_every_row_once(monkeypatch: pytest.MonkeyPatch, otto: User) -> None:
    monkeypatch.setattr(labels, "BATCH", 4)
    run = make_run()
    items = make_items(run, 10)
    settle(items, "survived", people=[otto])
    close(run)

    with CaptureQueriesContext(connection) as queries:
        rows = list(label_rows(run))

    assert [row.prediction_id for row in rows] == [item.prediction_id for item in items]
    # The weights (2), for each of three batches its items and its people, an empty one, and the model.
    assert len(queries) == 10


# -- Parquet --------------------------------------------------------------------------------


def test_parquet__asked_for__is_written_by_a_worker(client_for: SignIn, lena: User, otto: User) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    run = labelled_run(otto, lena)
    client = client_for(lena)

    asked = client.post(f"/audits/runs/{run.pk}/export/", follow=True)
    early = client.get(f"/audits/runs/{run.pk}/labels/?format=parquet")
    outbox.drain(lane="audits.")
    late = client.get(f"/audits/runs/{run.pk}/export/progress/")
    file = client.get(f"/audits/runs/{run.pk}/labels/?format=parquet")

    assert asked.status_code == 200
    assert early.status_code == 302
    assert "4 rows, kept for an hour" in late.content.decode()
    assert isinstance(file, HttpResponse)
    table = parquet.read_table(pa.BufferReader(file.content))
    assert table.column_names == list(labels.LABEL_COLUMNS)
    assert table.column("weight").to_pylist() == [10.0, 10.0, None, None]
    assert table.schema.field("settled_at").type == pa.timestamp("us", tz="UTC")
    assert customer_key("C-1").encode() not in file.content


def test_parquet__any_number_at_once__is_one_file(lena: User, dana: User) -> None:
    run = make_run(state="closed")

    first, second = want_export(actor=lena, run=run), want_export(actor=dana, run=run)

    assert first.pk == second.pk
    assert OutboxMessage.objects.filter(task="audits.export").count() == 1
    assert Event.objects.filter(verb="labels.exported").count() == 1


def test_parquet__somebody_opts_out__is_written_anew(lena: User, otto: User) -> None:
    run = labelled_run(otto, lena)
    want_export(actor=lena, run=run)
    outbox.drain(lane="audits.")
    assert Export.objects.get().rows == 4
    Suppression.objects.create(customer_key=customer_key("C-1"), since=clock.now())

    again = want_export(actor=lena, run=run)
    outbox.drain(lane="audits.")

    assert (again.state, again.content) == (Export.State.WANTED, b"")
    assert Export.objects.get().rows == 2


def test_parquet__after_an_hour__is_gone(lena: User) -> None:
    run = make_run(state="closed")
    want_export(actor=lena, run=run)
    outbox.drain(lane="audits.")
    assert Export.objects.get().state == Export.State.READY

    with time_machine.travel(clock.now() + timedelta(minutes=61), tick=False):
        again = want_export(actor=lena, run=run)

    assert again.state == Export.State.WANTED


def test_parquet__not_allowed_or_open__is_refused(lena: User, otto: User) -> None:
    with pytest.raises(Forbidden):
        want_export(actor=otto, run=make_run(state="closed"))
    with pytest.raises(Conflict):
        want_export(actor=lena, run=make_run())

    assert not Export.objects.exists()


# -- Figures --------------------------------------------------------------------------------


def test_figures_json__anybody__has_formulas_but_no_people(client_for: SignIn, ana: User) -> None:
    run = estimate(make_run(state="closed"))

    body = client_for(ana).get(f"/audits/runs/{run.pk}/figures/?format=json").json()

    assert body["method"] == "audits/1"
    assert body["figures"]["error_rate"]["value"] == 0.02
    assert body["figures"]["error_rate"]["source"] == "Wilson, JASA 22, 1927"
    assert body["figures"]["people"] == []
    assert body["figures"]["agreement"]["pairs"] == []


def test_figures__people__are_for_leads_and_oneself(client_for: SignIn, lena: User, otto: User) -> None:
    run = estimate(make_run(state="closed"))
    url = f"/audits/runs/{run.pk}/figures/?format=json"

    of_lead, own = client_for(lena).get(url).json(), client_for(otto).get(url).json()

    assert [one["person"] for one in of_lead["figures"]["people"]] == ["lena", "otto"]
    assert [one["person"] for one in own["figures"]["people"]] == ["otto"]


def test_figures_csv__every_figure__is_a_line_with_all_digits(client_for: SignIn, lena: User) -> None:
    odd = figure("error_rate", 1 / 3, -0.25, 0.5, formula="=HYPERLINK(1)")
    run = estimate(make_run(state="closed"), make_results(error_rate=odd))

    response = client_for(lena).get(f"/audits/runs/{run.pk}/figures/?format=csv")

    rows = rows_in(response.content.decode())
    assert (rows[0]["group"], rows[0]["name"]) == ("run", "error_rate")
    assert (rows[0]["value"], rows[0]["low"]) == ("0.3333333333333333", "-0.25")
    assert rows[0]["formula"] == "'=HYPERLINK(1)"
    assert {row["group"] for row in rows} == {
        "run", "class: survived", "class: did not survive", "stratum: Score below 0.5",
        "stratum: Score from 0.5", "surface: home", "surface: search", "agreement", "pair: lena, otto",
        "person: lena", "person: otto",
    }  # fmt: skip


def test_figures__not_computed_yet__is_a_conflict(client_for: SignIn, ana: User) -> None:
    run = make_run(state="closed")

    assert client_for(ana).get(f"/audits/runs/{run.pk}/figures/").status_code == 409


# -- Corrections ----------------------------------------------------------------------------


def test_corrections__list_and_file__say_who_says_so(client_for: SignIn, lena: User, otto: User) -> None:
    run = labelled_run(otto, lena)
    record_corrections(run)
    client = client_for(lena)

    page = client.get("/audits/corrections/?provenance=adjudicated").content.decode()
    rows = rows_in(body_of(client.get("/audits/corrections/export/?format=csv")))
    lines = body_of(client.get("/audits/corrections/export/?format=jsonl&state=reverted"))

    assert page.count('data-label="Should be"') == 1
    assert "An audit lead, between answers" in page
    assert [(row["provenance"], row["run"], row["model"]) for row in rows] == [
        ("human", str(run.pk), "survival"),
        ("adjudicated", str(run.pk), "survival"),
    ]
    assert lines == ""


def test_corrections_export__opted_out_since__is_not_in_it(
    client_for: SignIn, lena: User, otto: User
) -> None:
    record_corrections(labelled_run(otto, lena))
    Suppression.objects.create(customer_key=customer_key("C-1"), since=clock.now())

    rows = rows_in(body_of(client_for(lena).get("/audits/corrections/export/")))

    assert [row["provenance"] for row in rows] == ["human"]


def test_corrections__many__ask_as_often(client_for: SignIn, lena: User, otto: User) -> None:
    client = client_for(lena)
    client.get("/audits/corrections/")
    counts = []
    for number in (1, 20):
        run = make_run()
        settle(make_items(run, number), "did not survive")
        record_corrections(close(run))
        with CaptureQueriesContext(connection) as queries:
            client.get("/audits/corrections/")
        counts.append(len(queries))

    assert Correction.objects.count() == 21
    assert counts[0] == counts[1]


# -- Sent in by colleagues ------------------------------------------------------------------


def doubted(**more: Any) -> Prediction:
    return make_prediction(make_version(background=b""), score=0.9, **more)


def test_refer__first_of_the_month__opens_a_run(ana: User) -> None:
    policy = make_policy()
    prediction = doubted(prediction_id="p-1", text="Words.")

    sent = refer(actor=ana, prediction=prediction, reason=" The fare is in shillings. ")

    assert sent.again is False
    assert (sent.run.kind, sent.run.state, sent.run.blind) == (Run.Kind.REFERRED, Run.State.OPEN, True)
    assert sent.run.labels == policy.labels
    item = Item.objects.get()
    assert (item.prediction_id, item.stream, item.predicted, item.text) == (
        "p-1", "referred", "survived", "Words.",
    )  # fmt: skip
    assert item.why == "The fare is in shillings."
    assert item.inclusion_probability is None
    assert item.reviews.count() == 1
    event = Event.objects.get(verb="prediction.referred")
    assert (event.subject_id, event.reason, event.after) == (
        "p-1", "The fare is in shillings.", {"run": sent.run.pk},
    )  # fmt: skip


def test_refer__second_prediction__joins_the_run(ana: User) -> None:
    version = make_version(background=b"")
    first, second = (make_prediction(version, score=0.9) for _ in range(2))

    runs = {refer(actor=ana, prediction=one, reason="Odd.").run.pk for one in (first, second)}

    assert len(runs) == 1
    run = Run.objects.get()
    assert (run.items, run.reviews_needed) == (2, 2)


def test_refer__twice__is_told(ana: User, lena: User) -> None:
    prediction = doubted()
    refer(actor=ana, prediction=prediction, reason="Odd.")

    again = refer(actor=lena, prediction=prediction, reason="Odd, too.")

    assert again.again is True
    assert Item.objects.count() == 1


def test_refer__run_of_the_month_is_closed__opens_another(ana: User) -> None:
    prediction = doubted()
    first = refer(actor=ana, prediction=prediction, reason="Odd.").run
    close(first)

    second = refer(actor=ana, prediction=prediction, reason="Still odd.")

    assert second.again is False
    assert second.run.pk != first.pk


def test_refer__model_without_policy__takes_the_labels_of_its_dictionary(ana: User) -> None:
    sent = refer(actor=ana, prediction=doubted(), reason="Odd.")

    assert [(label["value"], label["key"]) for label in sent.run.labels] == [
        ("survived", "1"),
        ("did not survive", "2"),
    ]


def test_refer__model_that_only_ranks__is_refused_in_words(client_for: SignIn, ana: User) -> None:
    prediction = make_prediction(make_version(threshold=None, background=b""), prediction_id="r-1", score=0.9)

    response = client_for(ana).post("/audits/refer/r-1/", {"reason": "Odd."})

    assert response.status_code == 409
    assert "only ranks: it decides nothing" in response.content.decode()
    assert not Item.objects.filter(prediction_id=prediction.prediction_id).exists()


@pytest.mark.parametrize("reason", ["", "   ", "x" * 301, "a\0b"])
def test_refer__bad_reason__is_refused(reason: str, ana: User) -> None:
    with pytest.raises(Invalid) as refusal:
        refer(actor=ana, prediction=doubted(), reason=reason)

    assert refusal.value.errors[0].path == "reason"
    assert not Run.objects.exists()


def test_refer__customer_opted_out__is_not_found(ana: User) -> None:
    prediction = doubted(customer_id="C-1")
    Suppression.objects.create(customer_key=customer_key("C-1"), since=clock.now())

    with pytest.raises(NotFound):
        refer(actor=ana, prediction=prediction, reason="Odd.")


def test_refer__not_allowed__changes_nothing(dana: User) -> None:
    with pytest.raises(Forbidden):
        refer(actor=dana, prediction=doubted(), reason="Odd.")

    assert not Run.objects.exists()


def test_refer__from_the_page__comes_back_and_says_so(client_for: SignIn, ana: User) -> None:
    doubted(prediction_id="p-1")
    client = client_for(ana)

    form = client.get("/audits/refer/p-1/").content.decode()
    sent = client.post("/audits/refer/p-1/", {"reason": "Odd."})
    empty = client.post("/audits/refer/p-1/", {"reason": " "})

    assert "What is doubtful about it?" in form
    assert (sent.status_code, sent.headers["Location"]) == (302, "/explain/p-1/")
    assert empty.status_code == 400
    assert "Say what is doubtful about it." in empty.content.decode()


def test_explanation_page__corrected__shows_what_people_say(
    client_for: SignIn, lena: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opsportal.explanations.services import asking

    monkeypatch.setattr(asking, "wait_for", lambda explanation, **_: explanation)
    prediction = doubted(prediction_id="p-1")
    run = make_run(title="November")
    item = make_items(run, 1)[0]
    Item.objects.filter(pk=item.pk).update(prediction_id=prediction.prediction_id)
    item.refresh_from_db()
    settle([item], "did not survive", provenance="adjudicated")
    close(run)

    page = client_for(lena).get("/explain/p-1/").content.decode()

    assert "People say: Did not survive" in page
    assert "November, adjudicated" in page
    assert 'href="/audits/refer/p-1/"' in page
