"""Draw from files, one task for each: count it, choose its candidates; at the end read the winners."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
from django.db import transaction
from numpy.typing import NDArray

from opsportal.audits.decisions import Decisions
from opsportal.audits.drawing.best import Best
from opsportal.audits.drawing.columns import Deciding, Sorter, Tally
from opsportal.audits.drawing.designing import Part, Undrawable
from opsportal.audits.drawing.finishing import Winners
from opsportal.audits.drawing.hashing import draw_hashes
from opsportal.audits.drawing.progress import Progress
from opsportal.audits.drawing.reading import FrameTable, FullRow, Piece
from opsportal.audits.drawing.suppressed import Suppressed
from opsportal.audits.frame_files import find_files, fingerprint_of, path_of
from opsportal.audits.models import FrameFile, Run
from opsportal.audits.services.filling import NewItem
from opsportal.audits.strata import Dimension
from opsportal.core.errors import Invalid
from opsportal.events import outbox
from opsportal.predictions.models import ModelVersion
from opsportal.predictions.pseudonyms import customer_key

COUNT_TASK, DRAW_TASK, MERGE_TASK = "audits.count_file", "audits.draw_file", "audits.draw"
_State = FrameFile.State


def begin(run: Run, table_of: "TableOf") -> None:
    """Note the files that a run is drawn from, and have each counted. Raises Invalid."""
    names = find_files(run.plan["files"])
    files = []
    rows = 0
    for name in names:
        path = path_of(name)
        rows += table_of(name).rows or 0
        files.append(FrameFile(run=run, name=name, fingerprint=fingerprint_of(path)))
    with transaction.atomic():
        if FrameFile.objects.filter(run=run).exists():
            return
        for file in FrameFile.objects.bulk_create(files):
            outbox.send(task=COUNT_TASK, key=file.pk)
        # Each row is looked at twice.
        Run.objects.filter(pk=run.pk).update(rows_total=2 * rows)


class TableOf:
    """Opens a run's files."""

    def __init__(self, run: Run, version: ModelVersion, dimensions: tuple[Dimension, ...]) -> None:
        self._run, self._dimensions = run, dimensions
        self._dictionary = version.features

    def __call__(self, name: str) -> FrameTable:
        """The file as a table. Raises Invalid, naming the file."""
        try:
            return FrameTable(
                path_of(name),
                self._run.plan["columns"],
                self._dictionary,
                self._dimensions,
                starts_at=self._run.starts_at,
                ends_at=self._run.ends_at,
            )
        except OSError as error:
            raise Invalid.at("files", "unreadable", f"{name}: {error.strerror}.") from None
        except Invalid as error:
            raise Invalid.at("files", error.code, f"{name}: {error.message}") from None


def count_file(
    file: FrameFile,
    table: FrameTable,
    version: ModelVersion,
    dimensions: tuple[Dimension, ...],
    progress: Progress,
) -> None:
    """Count what the file holds of each stratum; whoever counts the last one sends for the design."""
    run = file.run
    check_unchanged(file)
    values = [label["value"] for label in run.labels]
    deciding, sorter, tally = Deciding(version, values), Sorter(dimensions, values), Tally()
    suppressed = Suppressed(run.created_at)
    rows = 0
    for piece in table.pieces(customers=bool(suppressed)):
        excluded = _excluded(piece, suppressed)
        tally.outside += int(piece.outside.sum())
        if excluded is not None:
            tally.excluded += int(excluded.sum())
        _count_problems(piece, excluded, tally)
        sorter.sort(piece.rows, deciding, excluded, tally)
        rows += len(piece.outside)
        progress.add(len(piece.outside))
    check_unchanged(file)
    settle(file, state=_State.COUNTED, rows=rows, counts=tally.as_json())


def draw_file(
    file: FrameFile,
    table: FrameTable,
    version: ModelVersion,
    dimensions: tuple[Dimension, ...],
    progress: Progress,
) -> None:
    """Keep the file's candidates for each stratum; whoever draws the last one sends for the merge."""
    run = file.run
    check_unchanged(file)
    values = [label["value"] for label in run.labels]
    parts: list[Part] = run.plan["parts"]
    deciding = Deciding(version, values)
    sorter = Sorter(dimensions, values, [tuple(part["cells"]) for part in parts])
    best = Best(np.array([part["planned"] for part in parts], dtype=np.int64))
    suppressed = Suppressed(run.created_at)
    for piece in table.pieces(customers=bool(suppressed)):
        strata = sorter.sort(piece.rows, deciding, None, None)
        hashes = draw_hashes(piece.rows.ids.to_pylist(), run.seed)
        some = best.candidates(hashes, strata)
        if some.any():
            some &= ~_theirs(piece, suppressed, some)
        best.add(hashes[some], strata[some], piece.first + np.flatnonzero(some))
        progress.add(len(strata))
    check_unchanged(file)
    hashes, strata, rows = best.result()
    candidates = {"hash": hashes.tolist(), "stratum": strata.tolist(), "row": rows.tolist()}
    settle(file, state=_State.DRAWN, candidates=candidates)


def settle(file: FrameFile, *, state: str, **found: Any) -> None:
    """Write what a task found in its file; the last one of its run sends "audits.draw".

    Nothing where another worker was faster, or where the run is no longer being drawn.
    """
    with transaction.atomic():
        # Under the run's lock only one of two that finish together can be the last.
        run = Run.objects.select_for_update(of=("self",)).get(pk=file.run_id)
        if run.state != Run.State.DRAWING:
            return
        if not FrameFile.objects.filter(pk=file.pk, state=file.state).update(state=state, **found):
            return
        files = FrameFile.objects.filter(run=run)
        if not files.exclude(state=state).exists():
            outbox.send(task=MERGE_TASK, key=run.pk)
        done = sum(rows * (2 if of == _State.DRAWN else 1) for rows, of in files.values_list("rows", "state"))
        total = max(run.rows_total, 2 * sum(files.values_list("rows", flat=True)))
        Run.objects.filter(pk=run.pk).update(rows_total=total, rows_done=min(done, total))


def send_for_candidates(run: Run, plan: dict[str, Any]) -> None:
    """Keep the design with the run, and have the candidates of each file chosen."""
    with transaction.atomic():
        locked = Run.objects.select_for_update(of=("self",)).get(pk=run.pk)
        if locked.state != Run.State.DRAWING or "parts" in locked.plan:
            return
        Run.objects.filter(pk=run.pk).update(plan={**locked.plan, **plan})
        for file in FrameFile.objects.filter(run=run):
            outbox.send(task=DRAW_TASK, key=file.pk)


def tally_of(run: Run) -> Tally:
    """What all files of the run hold."""
    tally = Tally()
    for counts in FrameFile.objects.filter(run=run).values_list("counts", flat=True):
        tally.add(Tally.from_json(counts))
    return tally


def check_unchanged(file: FrameFile) -> None:
    """Raises Undrawable where the file is no longer what it was when the run began."""
    if fingerprint_of(path_of(file.name)) != file.fingerprint:
        raise Undrawable(f"“{file.name}” was changed while the run was being drawn. Draw again.")


class FileWinners(Winners):
    """The best of all files' candidates, read in full once and kept packed, about a kilobyte each."""

    def __init__(self, run: Run, version: ModelVersion, table_of: TableOf, progress: Progress) -> None:
        self._decisions, self._version_id = Decisions(version), version.pk
        self._ids: list[str] = []
        self._packed: list[bytes] = []
        files = list(FrameFile.objects.filter(run=run).order_by("name"))
        parts: list[Part] = run.plan["parts"]
        for number, (strata, rows) in _merge(files, [part["planned"] for part in parts]).items():
            file = files[number]
            check_unchanged(file)
            self._read(table_of(file.name), strata, rows, progress)
            check_unchanged(file)

    def ids(self) -> list[str]:
        return self._ids

    def items(self) -> Iterator[tuple[int, NewItem]]:
        read = msgspec.msgpack.Decoder(tuple[int, _Packed]).decode
        for packed in self._packed:
            place, row = read(packed)
            yield (
                place,
                NewItem(
                    prediction_id=row.prediction_id,
                    version_id=self._version_id,
                    predicted_at=row.predicted_at,
                    score=row.score,
                    predicted=self._decisions.predicted(row.label, row.score),
                    product_id=row.product_id,
                    customer_key=row.customer_key,
                    surface=row.surface,
                    text=row.text,
                    features=row.features,
                ),
            )

    def _read(
        self, table: FrameTable, strata: NDArray[np.int32], rows: NDArray[np.int64], progress: Progress
    ) -> None:
        pack = msgspec.msgpack.Encoder().encode
        for (_, row), stratum in zip(table.full(rows), strata.tolist(), strict=True):
            self._ids.append(row.prediction_id)
            self._packed.append(pack((stratum, _packed(row))))
            if not len(self._packed) % 1_000:
                progress.add(0)


class _Packed(msgspec.Struct, array_like=True):
    prediction_id: str
    predicted_at: datetime
    score: float
    label: str
    customer_key: str
    product_id: str
    surface: str
    text: str
    features: str


def _packed(row: FullRow) -> _Packed:
    return _Packed(
        row.prediction_id,
        row.predicted_at,
        row.score,
        row.label,
        customer_key(row.customer_id) if row.customer_id.strip() else "",
        row.product_id,
        row.surface,
        row.text,
        row.features,
    )


def _merge(
    files: list[FrameFile], planned: list[int]
) -> dict[int, tuple[NDArray[np.int32], NDArray[np.int64]]]:
    """File → strata and rows of its winners, by row. A row's number carries its file in the upper bits."""
    best = Best(np.array(planned, dtype=np.int64))
    for number, file in enumerate(files):
        found = file.candidates
        rows = np.array(found["row"], dtype=np.int64)
        best.add(
            np.array(found["hash"], dtype=np.uint64),
            np.array(found["stratum"], dtype=np.int32),
            rows + (number << 44),
        )
        file.candidates = []
    _, strata, rows = best.result()
    order = np.argsort(rows)
    strata, rows = strata[order], rows[order]
    numbers = rows >> 44
    return {
        int(number): (strata[numbers == number], rows[numbers == number] & ((1 << 44) - 1))
        for number in np.unique(numbers)
    }


def _excluded(piece: Piece, suppressed: Suppressed) -> NDArray[np.bool_] | None:
    theirs = suppressed.among(piece.customers, raw=True, rows=len(piece.outside))
    return None if theirs is None else theirs & ~piece.outside


def _theirs(piece: Piece, suppressed: Suppressed, some: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the rows `some` are of customers who opted out: pseudonyms only for those."""
    found = np.zeros(len(some), dtype=np.bool_)
    if piece.customers is not None and suppressed:
        places = np.flatnonzero(some)
        theirs = suppressed.among(piece.customers.take(places), raw=True, rows=len(places))
        if theirs is not None:
            found[places[theirs]] = True
    return found


def _count_problems(piece: Piece, excluded: NDArray[np.bool_] | None, tally: Tally) -> None:
    left = ~piece.outside if excluded is None else ~piece.outside & ~excluded
    reasons: Counter[str] = tally.unusable
    for reason, bad in piece.problems:
        if (count := int((bad & left).sum())) > 0:
            reasons[reason] += count
        left = left & ~bad
