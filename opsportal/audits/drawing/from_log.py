"""Draw from the prediction log: by pages of an index, with only the columns that sorting takes."""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from django.db.models import Q, QuerySet
from numpy.typing import NDArray

from opsportal.audits.decisions import Decisions
from opsportal.audits.drawing.best import Best
from opsportal.audits.drawing.columns import Columns, Deciding, Sorter, Tally
from opsportal.audits.drawing.designing import Part, design
from opsportal.audits.drawing.finishing import Winners
from opsportal.audits.drawing.hashing import draw_hashes
from opsportal.audits.drawing.progress import Progress
from opsportal.audits.drawing.suppressed import Suppressed
from opsportal.audits.models import Run
from opsportal.audits.services.filling import NewItem
from opsportal.audits.strata import SURFACE, Dimension
from opsportal.predictions.dictionary import as_number, as_text
from opsportal.predictions.models import ModelVersion, Prediction
from opsportal.predictions.selectors import batches

PAGE = 20_000
# Up to so many rows every hash is kept, 20 bytes each, and one pass is enough.
ONE_PASS_MAX = 2_000_000
_FIELDS = ("predicted_at", "pk", "prediction_id", "score", "label", "customer_key")


class FrameLog:
    """The predictions of a run's period, by the versions that may have made them."""

    def __init__(
        self, run: Run, dimensions: tuple[Dimension, ...], versions: list[ModelVersion], current: ModelVersion
    ) -> None:
        self._run, self._dimensions, self._current = run, dimensions, current
        self._versions = {version.pk: version for version in versions}
        self._values = [label["value"] for label in run.labels]
        self._suppressed = Suppressed(run.created_at)
        # What comes in meanwhile belongs to no pass.
        self._newest: int = Prediction.objects.order_by("-pk").values_list("pk", flat=True).first() or 0

    def count(self) -> int:
        """How many rows there are; one count in an index for each version."""
        return sum(self._rows_of(pk).count() for pk in self._versions)

    def passes(self, rows: int) -> int:
        """How often each row is read."""
        return 1 if rows <= ONE_PASS_MAX else 2

    def draw(self, progress: Progress, rows: int) -> tuple[list[Part], Tally, "LogWinners"]:
        """Choose the rows: the design, what the frame holds, and who was drawn.

        One pass up to ONE_PASS_MAX rows, beyond that one to count and one to choose; then the frame is what
        the second saw. Raises designing.Undrawable, strata.TooManyStrata, progress.Stopped, and
        columns.UnknownStratum where the log changed so much in between that it has to be begun again.
        """
        parts = [] if self.passes(rows) == 1 else self._design(self._pass(progress, None, Tally())[1])
        best = Best(np.array([part["planned"] for part in parts], dtype=np.int64) if parts else None)
        sorter, tally = self._pass(progress, best, Tally(), [tuple(part["cells"]) for part in parts])
        if parts:
            for part in parts:
                frame, *sums = tally.strata.get(tuple(part["cells"]), [0, 0, 0])
                part["frame"], part["planned"], part["sums"] = frame, min(part["planned"], frame), sums
        else:
            parts = self._design(tally)
        places = {tuple(part["cells"]): place for place, part in enumerate(parts)}
        numbers = np.array([places[cells] for cells in sorter.strata], dtype=np.int32)
        planned = np.array([parts[place]["planned"] for place in numbers], dtype=np.int64)
        _, strata, pks = best.result(planned)
        chosen = dict(zip(pks.tolist(), numbers[strata].tolist(), strict=True))
        return parts, tally, LogWinners(chosen, self._versions)

    def _design(self, tally: Tally) -> list[Part]:
        return design(self._run, self._dimensions, self._current, tally)

    def _pass(
        self, progress: Progress, best: Best | None, tally: Tally, strata: list[tuple[str, ...]] | None = None
    ) -> tuple[Sorter, Tally]:
        sorter = Sorter(self._dimensions, self._values, strata or ())
        for version_id, version in self._versions.items():
            deciding = Deciding(version, self._values)
            for pks, rows, customers in self._pages(version_id):
                excluded = self._suppressed.among(customers, raw=False, rows=len(pks))
                if excluded is not None:
                    tally.excluded += int(excluded.sum())
                numbers = sorter.sort(rows, deciding, excluded, tally)
                if best is not None:
                    hashes = draw_hashes(rows.ids.to_pylist(), self._run.seed)
                    some = best.candidates(hashes, numbers)
                    best.add(hashes[some], numbers[some], pks[some])
                progress.add(len(pks))
        return sorter, tally

    def _pages(self, version_id: int) -> Iterator[tuple[NDArray[np.int64], Columns, pa.Array]]:
        """The version's rows by the order of its index, newest first: keys, columns, pseudonyms."""
        features = [one for one in self._dimensions if one.feature]
        fields = [*_FIELDS, *([SURFACE] if any(one.name == SURFACE for one in self._dimensions) else [])]
        if features:
            fields.append("features")
        found = self._rows_of(version_id).order_by("-predicted_at", "-pk").values_list(*fields)
        page = list(found[:PAGE])
        while page:
            columns = dict(zip(fields, zip(*page, strict=True), strict=True))
            yield (
                np.array(columns["pk"], dtype=np.int64),
                Columns(
                    ids=pa.array(columns["prediction_id"], pa.string()),
                    scores=np.array(columns["score"], dtype=np.float64),
                    labels=pa.array(columns["label"], pa.string()),
                    surfaces=pa.array(columns[SURFACE], pa.string()) if SURFACE in columns else None,
                    features=_features(features, columns["features"]) if features else {},
                    usable=np.ones(len(page), dtype=np.bool_),
                ),
                pa.array(columns["customer_key"], pa.string()),
            )
            moment, pk = page[-1][:2]
            earlier = Q(predicted_at__lt=moment) | Q(predicted_at=moment, pk__lt=pk)
            # The first half is implied by the second, but it lets the index begin here.
            page = list(found.filter(predicted_at__lte=moment).filter(earlier)[:PAGE])

    def _rows_of(self, version_id: int) -> "QuerySet[Prediction]":
        return Prediction.objects.filter(
            version=version_id,
            predicted_at__gte=self._run.starts_at,
            predicted_at__lt=self._run.ends_at,
            pk__lte=self._newest,
        )


class LogWinners(Winners):
    """Who was drawn, by key; what they look like is read when they become items."""

    def __init__(self, chosen: dict[int, int], versions: dict[int, ModelVersion]) -> None:
        self._chosen = chosen
        self._decisions = {pk: Decisions(version) for pk, version in versions.items()}

    def ids(self) -> list[str]:
        found: list[str] = []
        for keys in batches(self._chosen):
            found += Prediction.objects.filter(pk__in=keys).values_list("prediction_id", flat=True)
        return found

    def items(self) -> Iterator[tuple[int, NewItem]]:
        for keys in batches(self._chosen):
            for row in Prediction.objects.filter(pk__in=keys):
                yield self._chosen[row.pk], item_of(row, self._decisions[row.version_id])


def item_of(row: Prediction, decisions: Decisions) -> NewItem:
    """A logged prediction as it becomes an item."""
    return NewItem(
        prediction_id=row.prediction_id,
        version_id=row.version_id,
        predicted_at=row.predicted_at,
        score=row.score,
        predicted=decisions.predicted(row.label, row.score),
        product_id=row.product_id,
        customer_key=row.customer_key,
        surface=row.surface,
        text=row.text,
        features=row.features,
    )


def _features(dimensions: list[Dimension], texts: tuple[str, ...]) -> dict[str, Any]:
    read = msgspec.json.Decoder().decode
    values = [read(text) for text in texts]
    found: dict[str, Any] = {}
    for one in dimensions:
        column = [row.get(one.feature) for row in values]
        if one.is_banded:
            found[one.feature] = np.array([as_number(value) for value in column], dtype=np.float64)
        else:
            found[one.feature] = pa.array(
                [None if value is None else as_text(value) for value in column], pa.string()
            )
    return found
