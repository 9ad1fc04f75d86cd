"""Drawing straight from Parquet and CSV files."""

import csv
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.conf import LazySettings

from opsportal.audits.models import FrameFile, Item, Policy, Run, Stratum
from opsportal.audits.services.runs import start_run
from opsportal.events import outbox
from opsportal.events.models import OutboxMessage
from opsportal.predictions.models import ModelVersion, Suppression
from opsportal.predictions.pseudonyms import customer_key
from tests.audits.making import SEED, WEEK_BEGINS, WEEK_ENDS, make_policy
from tests.audits.test_drawing import contents, log_predictions, smallest
from tests.explanations.making import make_version

pytestmark = pytest.mark.django_db

Row = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path, settings: LazySettings) -> Path:
    settings.AUDIT_FILES_DIR = tmp_path / "files"
    settings.AUDIT_FILES_DIR.mkdir()
    return Path(settings.AUDIT_FILES_DIR)


def rows_of(n: int) -> list[Row]:
    """The same predictions as log_predictions logs, as a warehouse would hold them."""
    return [
        {
            "prediction_id": f"p-{number:05}",
            "predicted_at": WEEK_BEGINS + timedelta(minutes=number % 10_000),
            "score": number / n,
            "surface": ("search", "home", "")[number % 3],
            "customer_id": f"customer {number % 50}",
            "sex": ("female", "male")[number % 2],
            "age": None if number % 10 == 0 else float(number % 80),
            "text": f"text {number}",
            "unknown_column": "passed over",
        }
        for number in range(n)
    ]


def write_parquet(path: Path, rows: list[Row], **options: Any) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path, **options)


def write_csv(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {
                    name: value.isoformat() if isinstance(value, datetime) else value
                    for name, value in row.items()
                }
            )


def files_policy(version: ModelVersion, pattern: str = "*.parquet", **more: Any) -> Policy:
    given: dict[str, Any] = {"sizing": "size", "size": 20}
    return make_policy(version.model, version=version, source="files", files=pattern, **{**given, **more})


def begun(policy: Policy) -> Run:
    run = start_run(actor=None, policy=policy, starts_at=WEEK_BEGINS, ends_at=WEEK_ENDS)
    Run.objects.filter(pk=run.pk).update(seed=SEED)
    return run


def drawn(policy: Policy) -> Run:
    run = begun(policy)
    while outbox.drain(lane="audits."):
        pass
    run.refresh_from_db()
    return run


def test_draw__parquet__draws_exactly_the_smallest_hashes(folder: Path) -> None:
    version = make_version()
    write_parquet(folder / "a.parquet", rows_of(300), row_group_size=70)

    run = drawn(files_policy(version))

    assert run.problem == ""
    assert (run.state, run.frame, run.items, run.unusable) == ("open", 300, 20, 0)
    items = {item.prediction_id: item for item in Item.objects.filter(run=run)}
    assert items.keys() == smallest([f"p-{n:05}" for n in range(300)], 20)
    assert {item.inclusion_probability for item in items.values()} == {20 / 300}
    assert (run.rows_total, run.rows_done) == (600, 600)
    assert list(FrameFile.objects.values_list("state", "rows", "candidates")) == [("drawn", 300, [])]


def test_draw__an_item__is_what_the_row_says_and_holds_no_raw_customer(folder: Path) -> None:
    version = make_version()
    write_parquet(folder / "a.parquet", rows_of(20))

    run = drawn(files_policy(version))

    item = Item.objects.get(run=run, prediction_id="p-00007")
    assert (item.predicted, item.score, item.surface, item.text) == (
        "did not survive",
        0.35,
        "home",
        "text 7",
    )
    assert item.predicted_at == WEEK_BEGINS + timedelta(minutes=7)
    assert item.customer_key == customer_key("customer 7")
    assert item.values["age"] == 7
    assert item.values["sex"] == "male"
    assert Item.objects.get(run=run, prediction_id="p-00010").values["age"] is None
    stored = str([*Item.objects.values(), *FrameFile.objects.values(), *Run.objects.values()])
    assert "customer 7" not in stored
    assert not OutboxMessage.objects.filter(key__contains="customer").exists()


def split(rows: list[Row], folder: Path) -> None:
    write_parquet(folder / "one.parquet", rows)


def split_in_three(rows: list[Row], folder: Path) -> None:
    for number in range(3):
        write_parquet(folder / f"{number}.parquet", rows[number::3], row_group_size=11)


def split_backwards(rows: list[Row], folder: Path) -> None:
    write_parquet(folder / "z.parquet", rows[:100][::-1])
    write_parquet(folder / "a.parquet", rows[100:][::-1], use_dictionary=False, compression="gzip")


def split_as_csv(rows: list[Row], folder: Path) -> None:
    write_csv(folder / "one.csv", rows[:77])
    write_csv(folder / "two.csv", rows[77:])


@pytest.mark.parametrize("way", [split, split_in_three, split_backwards, split_as_csv])
def test_draw__other_files_of_the_same_rows__draw_what_the_log_draws(
    way: Callable[[list[Row], Path], None], folder: Path
) -> None:
    version = make_version()
    log_predictions(version, 240)
    plan: dict[str, Any] = {
        "sizing": "size",
        "size": 60,
        "strata": ["score_band", "surface", "feature:sex", "feature:age"],
        "score_edges": [0.5],
        "allocation": "neyman",
        "minimum_per_stratum": 1,
        "double_share": 0.2,
    }
    from_log = drawn(make_policy(version.model, **plan))
    way(rows_of(240), folder)

    from_files = drawn(files_policy(version, "*.csv" if way is split_as_csv else "*.parquet", **plan))

    assert from_files.problem == ""
    assert contents(from_files) == contents(from_log)
    assert len(contents(from_log)) == 60


def test_draw__customers_opted_out__are_left_out_and_counted(folder: Path) -> None:
    version = make_version()
    write_parquet(folder / "a.parquet", rows_of(500))
    Suppression.objects.create(customer_key=customer_key("customer 3"), since=WEEK_BEGINS)

    run = drawn(files_policy(version, size=490))

    assert (run.frame, run.excluded, run.items) == (490, 10, 490)
    assert not Item.objects.filter(customer_key=customer_key("customer 3")).exists()


def test_draw__unusable_rows__are_counted_with_their_reasons(folder: Path) -> None:
    version = make_version()
    rows = rows_of(20)
    rows[1]["score"] = None
    rows[2]["score"] = 1.5
    rows[3]["predicted_at"] = None
    rows[4]["prediction_id"] = ""
    rows[5]["predicted_at"] = WEEK_ENDS
    rows[6]["label"] = "perhaps"
    write_parquet(folder / "a.parquet", [{"label": "", **row} for row in rows])

    run = drawn(files_policy(version))

    assert (run.frame, run.unusable, run.items) == (14, 5, 14)
    assert run.plan["unusable"] == {
        "a time that is missing or cannot be read": 1,
        "an ID that is missing or too long": 1,
        "a score that is missing or no number": 1,
        "a score that is no probability": 1,
        "a decision that is not among the labels": 1,
    }


def test_draw__columns_named_otherwise__are_mapped(folder: Path) -> None:
    version = make_version()
    rows = [{"id": n, "when": datetime(2026, 11, 3, tzinfo=UTC), "p": n / 20} for n in range(20)]
    write_parquet(folder / "a.parquet", rows)

    run = drawn(files_policy(version, columns={"id": "prediction_id", "when": "predicted_at", "p": "score"}))

    assert (run.state, run.frame) == ("open", 20)
    assert Item.objects.filter(run=run, prediction_id="17").exists()


def test_draw__file_changed_between_the_passes__fails_with_a_sentence(folder: Path) -> None:
    version = make_version()
    write_parquet(folder / "a.parquet", rows_of(50))
    run = begun(files_policy(version))
    outbox.drain(lane="audits.", limit=1)  # lists the files
    outbox.drain(lane="audits.", limit=1)  # counts
    write_parquet(folder / "a.parquet", rows_of(60))

    while outbox.drain(lane="audits."):
        pass

    run.refresh_from_db()
    assert (run.state, run.items) == ("failed", 0)
    assert run.problem == "“a.parquet” was changed while the run was being drawn. Draw again."
    assert not Stratum.objects.filter(run=run).exists()


def test_draw__prediction_in_two_files__fails_with_a_sentence(folder: Path) -> None:
    version = make_version()
    write_parquet(folder / "a.parquet", rows_of(20))
    write_parquet(folder / "b.parquet", rows_of(20)[:1])

    run = drawn(files_policy(version, size=21))

    assert run.state == "failed"
    assert run.problem.startswith("The prediction “p-00000” stands in the files more than once")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"PAR1 and then nothing that is Parquet", "cannot be read as Parquet"),
        (b"id,score\n1,0.5\n", "lacks the column"),
        (b"prediction_id,predicted_at,score\n1,2026-11-03,0.5\n2,2026\n", "cannot be read"),
        (b"", "lacks the column"),
    ],
)
def test_draw__file_that_cannot_be_used__fails_with_a_sentence(
    content: bytes, sentence: str, folder: Path
) -> None:
    version = make_version()
    (folder / "a.csv").write_bytes(content)

    run = drawn(files_policy(version, "*.csv"))

    assert run.state == "failed"
    assert sentence in run.problem
    assert "a.csv" in run.problem


def test_draw__no_file__fails_with_a_sentence(folder: Path) -> None:
    run = drawn(files_policy(make_version(), "missing/*.csv"))

    assert (run.state, run.problem) == ("failed", "No file matches.")


def test_draw__link_out_of_the_folder__is_refused(folder: Path, tmp_path: Path) -> None:
    write_parquet(tmp_path / "secret.parquet", rows_of(20))
    (folder / "innocent.parquet").symlink_to(tmp_path / "secret.parquet")

    run = drawn(files_policy(make_version()))

    assert run.state == "failed"
    assert run.problem == "“innocent.parquet” is a link to a file outside the folder for audits."


def test_draw__semicolons_and_a_byte_order_mark__are_understood(folder: Path) -> None:
    version = make_version()
    lines = [
        "prediction_id; predicted_at;score",
        *(f"x{n};2026-11-03T10:00:00+01:00;0.{n}" for n in range(5)),
    ]
    (folder / "a.csv").write_bytes("\ufeff".encode() + "\r\n".join(lines).encode())

    run = drawn(files_policy(version, "*.csv"))

    assert (run.state, run.frame, run.problem) == ("open", 5, "")
    assert Item.objects.get(run=run, prediction_id="x3").predicted_at == datetime(2026, 11, 3, 9, tzinfo=UTC)
