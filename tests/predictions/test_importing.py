"""Files of predictions: clean and dirty, whole and in pieces, once and again."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.core.management import CommandError, call_command

from opsportal.accounts.models import User
from opsportal.core.errors import Conflict, Forbidden, Invalid
from opsportal.events.models import Event, OutboxMessage
from opsportal.predictions.models import ModelVersion, Prediction, PredictionImport, Word
from opsportal.predictions.pseudonyms import customer_key
from opsportal.predictions.services import importing, suppress
from opsportal.predictions.services.importing import import_file, plan_columns
from opsportal.predictions.services.storing import store
from tests.predictions.logging import ids, write_csv
from tests.predictions.test_intake import CHURN, HOSTILE

pytestmark = pytest.mark.django_db

HEADER = "prediction_id,predicted_at,score,customer_id,product_id,age,postcode,is_new,name"


def take(path: Path, **options: Any) -> PredictionImport:
    """Import the file for the version of the fixture."""
    return import_file(**{"actor": None, "model": "churn", "version": "1", "path": path, **options})


def line(number: int, **more: str) -> str:
    """A sound line of a CSV file."""
    cells = {
        "prediction_id": f"p-{number}",
        "predicted_at": "2026-11-02T12:00:00Z",
        "score": "0.25",
        "customer_id": f"C-{number}",
        "product_id": "00701",
        "age": "41.5",
        "postcode": "00701",
        "is_new": "true",
        "name": "Renée",
        **more,
    }
    return ",".join(cells.values())


def many(folder: Path, rows: int) -> Path:
    """A CSV file of sound rows."""
    return write_csv(folder / "many.csv", HEADER, *(line(number) for number in range(rows)))


def run(path: Path, *arguments: str) -> str:
    """What the command says."""
    out = StringIO()
    call_command(
        "import_predictions",
        str(path),
        *arguments,
        model="churn",
        model_version="1",
        stdout=out,
        stderr=out,
    )
    return out.getvalue()


# -- Values -----------------------------------------------------------------------------------


def test_csv__values__keep_their_spelling(version: ModelVersion, tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "a.csv",
        HEADER,
        line(1, age="00701", postcode="00701", is_new="", name=""),
        line(2, age="3.50", postcode="NA", is_new="0"),
        line(3, age="1e3", postcode="nan", is_new="TRUE"),
        line(4, age="17", postcode=" x "),
        line(5, age=""),
    )

    found = take(path)

    assert (found.state, found.created, found.bad) == ("done", 5, 0)
    values = {row.prediction_id: row.values for row in Prediction.objects.all()}
    assert values["p-1"] == {
        "age": "00701",
        "postcode": "00701",
        "is_new": None,
        "comment": None,
        "name": None,
    }
    assert (values["p-2"]["age"], values["p-2"]["postcode"], values["p-2"]["is_new"]) == ("3.50", "NA", False)
    assert (values["p-3"]["age"], values["p-3"]["postcode"], values["p-3"]["is_new"]) == ("1e3", "nan", True)
    assert (values["p-4"]["age"], values["p-4"]["postcode"]) == (17, " x ")
    assert values["p-5"]["age"] is None
    assert set(Prediction.objects.values_list("product_id", flat=True)) == {"00701"}
    assert Prediction.objects.get(prediction_id="p-1").customer_key == customer_key("C-1")
    assert set(Word.objects.values_list("word", flat=True)) == {"renee"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv__written_by_a_spreadsheet__is_read(
    version: ModelVersion, tmp_path: Path, delimiter: str
) -> None:
    cells = ["p-1", "2026-11-02 12:00:00", "0.5", '"O’Hara;, Miss ""R"""']
    lines = [["prediction_id", "predicted_at", "score", "name"], cells]
    path = tmp_path / "a.csv"
    path.write_bytes("".join(delimiter.join(row) + "\r\n" for row in lines).encode("utf-8-sig"))

    assert take(path).created == 1
    found = Prediction.objects.get()
    assert found.values["name"] == 'O’Hara;, Miss "R"'
    assert found.predicted_at == datetime(2026, 11, 2, 12, tzinfo=UTC)


def test_parquet__values__keep_their_types(version: ModelVersion, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    moments = [datetime(2026, 11, 2, 12, 0, 0, 5), datetime(2026, 11, 3)]  # noqa: DTZ001 naive, as in files
    pq.write_table(
        pa.table(
            {
                "prediction_id": pa.array([17, 18]),
                "predicted_at": pa.array(moments, pa.timestamp("ns")),
                "score": pa.array([0.1, 1], pa.float64()),
                "customer_id": pa.array([17850.0, math.nan]),
                "product_id": pa.array(["00701", None]).dictionary_encode(),
                "outcome": pa.array([1, 0]),
                "age": pa.array([math.nan, 3]),
                "postcode": pa.array(["00701", HOSTILE]),
                "is_new": pa.array([True, None]),
                "comment": pa.array(moments, pa.timestamp("us", "Asia/Tokyo")),
            }
        ),
        path,
    )

    assert take(path).created == 2
    first, second = Prediction.objects.order_by("prediction_id")
    assert (first.prediction_id, first.product_id, first.outcome) == ("17", "00701", "1")
    assert first.customer_key == customer_key("17850")
    assert first.predicted_at == moments[0].replace(tzinfo=UTC)
    assert (first.score, second.score) == (0.1, 1.0)
    assert first.values == {
        "age": None,
        "postcode": "00701",
        "is_new": True,
        "comment": "2026-11-02T12:00:00.000005",
        "name": None,
    }
    assert (second.customer_key, second.product_id, second.outcome) == ("", "", "0")
    assert (second.values["age"], second.values["postcode"], second.values["is_new"]) == (3.0, HOSTILE, None)


# -- Columns ----------------------------------------------------------------------------------


def test_plan__names_and_mapping__each_column_finds_its_place() -> None:
    columns = ["id", "predicted_at", "score", "years", "name", "comment", "weight"]

    plan = plan_columns(columns, {"id": "prediction_id", "years": "features.age"}, CHURN)

    assert plan.fields == {"prediction_id": "id", "predicted_at": "predicted_at", "score": "score"}
    assert plan.features == {"age": "years", "name": "name", "comment": "comment"}
    assert plan.passed_over == ["weight"]


@pytest.mark.parametrize(
    ("columns", "mapping", "words"),
    [
        (["predicted_at", "score"], {}, "lacks the column prediction_id"),
        (["prediction_id"], {}, "predicted_at and score"),
        (["prediction_id", "predicted_at", "score"], {"years": "age"}, "no column “years”"),
        (["prediction_id", "predicted_at", "score", "x"], {"x": "weight"}, "neither a field"),
        (["prediction_id", "predicted_at", "score", "x"], {"x": "features"}, "neither a field"),
        (["prediction_id", "predicted_at", "score", "x", "age"], {"x": "age"}, "both mean age"),
    ],
)
def test_plan__columns_that_cannot_be_used__are_named(
    columns: list[str], mapping: dict[str, str], words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        plan_columns(columns, mapping, CHURN)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "lacks the column"),
        (b"\xff\xfe\x00p\x00", "lacks the column"),
        (b"PAR1 and then nothing", "Parquet"),
        (b"prediction_id,predicted_at,score,score\n", "more than once"),
        (b'prediction_id,predicted_at,score\np-1,"2026', "Line 2 cannot be read"),
    ],
)
def test_file__that_cannot_be_read__is_refused(
    version: ModelVersion, tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)

    with pytest.raises(Invalid, match=words):
        take(path)

    assert ids() == set()


# -- Bad rows -----------------------------------------------------------------------------------


@pytest.fixture
def dirty(version: ModelVersion, tmp_path: Path) -> Path:
    """A CSV file with bad rows of every kind. Rows 2, 8 and 12 are sound, row 4 is empty."""
    path = tmp_path / "dirty.csv"
    rows = [
        line(2),
        line(3, score="high"),
        "",
        line(5, age="old", is_new="perhaps"),
        "p-6,too,few",
        line(7, prediction_id=""),
        line(8, name=HOSTILE.replace(",", "").replace('"', "")),
        line(9, predicted_at="yesterday"),
        line(2, score="0.75"),
        line(11, customer_id="=C-20417"),
        line(2),
        line(13, score="inf"),
    ]
    content = "\n".join([HEADER, *rows]).encode() + b"\np-14,2026-11-02,0.5,C-1,p,1,caf\xe9,true,x\n"
    path.write_bytes(content)
    return path


BAD_ROWS = [3, 5, 6, 7, 9, 10, 11, 13, 14]


def test_bad_rows__by_default__refuse_the_file_with_their_numbers(dirty: Path) -> None:
    found = take(dirty, chunk=3)

    assert (found.state, found.bad) == ("refused", len(BAD_ROWS))
    assert [number for number, _sentence in found.bad_rows] == BAD_ROWS
    sentences = dict(found.bad_rows)
    assert "score" in sentences[3]
    assert "features.age" in sentences[5]
    assert "features.is_new" in sentences[5]
    assert "3 columns where the header has 9" in sentences[6]
    assert "earlier row with other content" in sentences[10]
    assert "20417" not in str(found.bad_rows)
    assert ids() == set()
    assert Event.objects.filter(verb="predictions.import_refused").count() == 1
    assert not OutboxMessage.objects.exists()


def test_bad_rows__left_out__the_others_are_saved(dirty: Path) -> None:
    found = take(dirty, leave_out_bad=True, chunk=3)

    assert (found.state, found.created, found.existing, found.bad) == ("done", 2, 1, len(BAD_ROWS))
    assert [number for number, _sentence in found.bad_rows] == BAD_ROWS
    assert ids() == {"p-2", "p-8"}
    assert Prediction.objects.get(prediction_id="p-2").score == 0.25


def test_bad_rows__refused_then_left_out__goes_on(dirty: Path) -> None:
    take(dirty)

    assert take(dirty, leave_out_bad=True).created == 2
    assert PredictionImport.objects.count() == 1


def test_bad_rows__more_than_a_hundred__the_first_are_named_all_are_counted(
    version: ModelVersion, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "a.csv", HEADER, *(line(number, score="x") for number in range(250)))

    found = take(path)

    assert (found.bad, len(found.bad_rows), found.bad_rows[-1][0]) == (250, 100, 101)


def test_bad_rows__parquet__numbered_from_one(version: ModelVersion, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {
        "prediction_id": ["a", None, "c", "d"],
        "predicted_at": ["2026-11-02"] * 4,
        "score": [0.5, 0.5, math.inf, 0.5],
        "postcode": [[1], [2], [3], [4]],
    }
    pq.write_table(
        pa.table({name: columns[name] for name in ("prediction_id", "predicted_at", "score")}), path
    )
    assert [number for number, _ in take(path, leave_out_bad=True).bad_rows] == [2, 3]

    pq.write_table(pa.table(columns), path)
    assert [number for number, _ in take(path).bad_rows] == [1, 2, 3, 4]


def test_conflict__with_what_is_there__refuses_the_file(version: ModelVersion, tmp_path: Path) -> None:
    take(write_csv(tmp_path / "a.csv", HEADER, line(1)))

    found = take(write_csv(tmp_path / "b.csv", HEADER, line(2), line(1, score="0.5")))

    assert (found.state, found.bad_rows) == ("refused", [[3, importing._OTHER]])
    assert ids() == {"p-1"}


# -- Again, and in pieces -----------------------------------------------------------------------


def test_again__same_file__nothing_happens(version: ModelVersion, tmp_path: Path) -> None:
    path = many(tmp_path, 10)
    first = take(path)
    events = Event.objects.count()

    second = take(path)

    assert (second.pk, second.finished_at, second.created) == (first.pk, first.finished_at, 10)
    assert Event.objects.count() == events
    assert OutboxMessage.objects.filter(task="explanations.profile", key=version.pk).count() == 1


def test_again__other_file_with_the_same_rows__they_exist(version: ModelVersion, tmp_path: Path) -> None:
    take(many(tmp_path, 3))

    found = take(write_csv(tmp_path / "b.csv", HEADER, *(line(number) for number in range(5))))

    assert (found.created, found.existing) == (2, 3)


def test_killed__in_the_middle__goes_on_after_the_last_piece(
    version: ModelVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = many(tmp_path, 25)
    calls = []

    def die_in_the_third(*arguments: Any) -> Any:
        calls.append(arguments)
        results = store(*arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return results

    monkeypatch.setattr(importing, "store", die_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        take(path, chunk=10)
    stopped = PredictionImport.objects.get()
    assert (stopped.state, stopped.rows_done, len(ids())) == ("running", 20, 20)
    monkeypatch.undo()

    found = take(path, chunk=7)

    assert (found.state, found.created, found.existing, found.rows_done) == ("done", 25, 0, 25)
    assert len(ids()) == 25
    started = Event.objects.filter(verb="predictions.import_started").order_by("sequence")
    assert [(event.after or {})["rows_done"] for event in started] == [0, 20]


def test_two_at_once__the_slower_gives_up(version: ModelVersion, tmp_path: Path) -> None:
    path = many(tmp_path, 4)

    def overtake(doing: str, rows: int, total: int | None) -> None:
        PredictionImport.objects.update(rows_done=4)

    with pytest.raises(Conflict, match="Another process"):
        take(path, progress=overtake)

    assert ids() == set()


def test_suppressed__customers__are_left_out_and_counted(version: ModelVersion, tmp_path: Path) -> None:
    suppress([customer_key("C-1"), customer_key("C-3")])

    found = take(many(tmp_path, 5))

    assert (found.created, found.suppressed) == (3, 2)
    assert ids() == {"p-0", "p-2", "p-4"}


def test_import__by_somebody_without_the_right__refused(
    version: ModelVersion, tmp_path: Path, ana: User
) -> None:
    with pytest.raises(Forbidden):
        take(many(tmp_path, 1), actor=ana)

    assert not PredictionImport.objects.exists()


# -- The command --------------------------------------------------------------------------------


def test_command__sound_file__says_what_it_did(version: ModelVersion, tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "a.csv", "id,predicted_at,score,weight", "p-1,2026-11-02,0.5,3", "p-2,2026-11-02,0.5,4"
    )

    said = run(path, "--map", "id=prediction_id")

    assert "Passed over these columns: weight" in said
    assert "Saving: 2 rows" in said
    assert "2 predictions taken in" in said
    assert "was taken in already" in run(path, "--map", "id=prediction_id")


def test_command__bad_rows__are_named(dirty: Path) -> None:
    out = StringIO()
    with pytest.raises(CommandError, match=r"Nothing was saved: 9 bad rows"):
        call_command("import_predictions", str(dirty), model="churn", model_version="1", stderr=out)

    assert "Row 3: score: This must be a number." in out.getvalue()
    assert "2 predictions taken in" in run(dirty, "--bad-rows", "leave-out")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--map", "id"), "COLUMN=FIELD"),
        (("--chunk", "0"), "--chunk"),
        (("--map", "x=score"), "no column “x”"),
    ],
)
def test_command__bad_options__are_refused(
    version: ModelVersion, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    with pytest.raises(CommandError, match=words):
        run(many(tmp_path, 1), *arguments)


@pytest.mark.parametrize("options", [{"model": "nobody"}, {"version": "9"}])
def test_command__unknown_version__is_refused(
    version: ModelVersion, tmp_path: Path, options: dict[str, str]
) -> None:
    with pytest.raises(Invalid):
        take(many(tmp_path, 1), **options)


def test_command__no_such_file__is_refused(version: ModelVersion, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file"):
        run(tmp_path / "nothing.csv")


def test_import__a_thousand_rows__few_queries(
    version: ModelVersion, tmp_path: Path, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    path = write_csv(tmp_path / "a.csv", HEADER, *(line(number, name="") for number in range(1_000)))

    with django_assert_max_num_queries(40):
        take(path)
