"""Read Parquet and CSV files by pieces of columns: for sorting only those that it takes, for items all."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from opsportal.audits.drawing.columns import NO_ID, NO_TIME, Columns
from opsportal.audits.strata import SURFACE, Dimension
from opsportal.core.errors import Invalid
from opsportal.predictions import tables
from opsportal.predictions.dictionary import FLAG, NUMBER, FeatureDictionary, Value, as_text
from opsportal.predictions.models import PREDICTION_ID_MAX
from opsportal.predictions.services.importing import Plan, plan_columns

PIECE = 65_536
_BLOCK_BYTES = 4_000_000
_READ_BYTES = 1_000_000
_LONGEST = {"product_id": 128, "surface": 64, "text": 100_000}
_FLAGS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some rows of a file. first: the number of the first, from 0. problems: why rows cannot be used.

    outside: rows that were not predicted within the period. customers: raw IDs, or None.
    """

    rows: Columns
    first: int
    outside: NDArray[np.bool_]
    problems: list[tuple[str, NDArray[np.bool_]]]
    customers: pa.Array | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FullRow:
    """What becomes an item. customer_id is raw: whoever takes it makes it a pseudonym at once."""

    prediction_id: str
    predicted_at: datetime
    score: float
    label: str
    customer_id: str
    product_id: str
    surface: str
    text: str
    features: str


class FrameTable:
    """A file as a frame. Raises Invalid for files that cannot be read, or lack columns."""

    def __init__(
        self,
        path: Path,
        mapping: Mapping[str, str],
        dictionary: FeatureDictionary,
        dimensions: Sequence[Dimension],
        *,
        starts_at: datetime | None,
        ends_at: datetime | None,
    ) -> None:
        self._path = path
        self._dictionary = dictionary
        self._dimensions = dimensions
        self._starts, self._ends = _micros(starts_at), _micros(ends_at)
        table = tables.open_table(path)
        self._is_parquet = table.typed
        self.rows = table.rows
        self._columns = list(table.columns)
        self._plan: Plan = plan_columns(table.columns, mapping, dictionary)
        for one in dimensions:
            if one.feature and one.feature not in self._plan.features:
                raise Invalid.at("files", "columns", f"The file has no column for “{one.title}”.")

    def pieces(self, *, customers: bool) -> Iterator[Piece]:
        """All rows, with only the columns that sorting takes; customers' too where somebody opted out."""
        fields = ["prediction_id", "predicted_at", "score", "label"]
        if customers:
            fields.append("customer_id")
        if any(one.name == SURFACE for one in self._dimensions):
            fields.append(SURFACE)
        features = {one.feature for one in self._dimensions if one.feature}
        wanted = [self._plan.fields[name] for name in fields if name in self._plan.fields]
        wanted += [self._plan.features[name] for name in features]
        for first, batch in self._batches(wanted):
            yield self._piece(first, batch, fields)

    def full(self, positions: NDArray[np.int64]) -> Iterator[tuple[int, FullRow]]:
        """The rows with these numbers (ascending), each with its number and everything an item needs."""
        wanted = [*self._plan.fields.values(), *self._plan.features.values()]
        for first, batch in self._batches(wanted, positions):
            low, high = np.searchsorted(positions, [first, first + batch.num_rows])
            if low == high:
                continue
            some = positions[low:high]
            taken = batch.take(pa.array(some - first))
            yield from zip(some.tolist(), self._full_rows(taken), strict=True)

    def _batches(
        self, columns: Sequence[str], positions: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        names = list(dict.fromkeys(columns))
        try:
            if self._is_parquet:
                yield from self._parquet(names, positions)
            else:
                first = 0
                for batch in self._csv(names):
                    yield first, batch
                    first += batch.num_rows
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _unreadable(error) from None

    def _parquet(
        self, names: list[str], positions: NDArray[np.int64] | None
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        with pq.ParquetFile(self._path, pre_buffer=False, buffer_size=_READ_BYTES) as file:
            first = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if positions is not None and _none_within(positions, first, first + rows):
                    first += rows
                    continue
                # One thread: more would each hold a piece of every column.
                for batch in file.iter_batches(
                    batch_size=PIECE, row_groups=[group], columns=names, use_threads=False
                ):
                    yield first, batch
                    first += batch.num_rows

    def _csv(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        with self._path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            header = lines.readline()
        with pacsv.open_csv(
            self._path,
            # The names as the header was read before: without the space around them.
            read_options=pacsv.ReadOptions(
                block_size=_BLOCK_BYTES, use_threads=False, column_names=self._columns, skip_rows=1
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=max(",;\t", key=header.count), newlines_in_values=True
            ),
            convert_options=pacsv.ConvertOptions(
                include_columns=names,
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=True,
                null_values=[""],
            ),
        ) as reader:
            yield from reader

    def _piece(self, first: int, batch: pa.RecordBatch, fields: Sequence[str]) -> Piece:
        def column(name: str) -> pa.Array | None:
            there = self._plan.fields.get(name) if name in fields else None
            return None if there is None else batch.column(there)

        given = {name: column(name) for name in ("prediction_id", "predicted_at", "score")}
        ids = pc.fill_null(_texts(given["prediction_id"]), "")
        lengths = pc.utf8_length(ids).to_numpy(zero_copy_only=False)
        bad_id = (lengths == 0) | (lengths > PREDICTION_ID_MAX)
        moments, bad_time = _moments(given["predicted_at"])
        outside = ~bad_time & ((moments < self._starts) | (moments >= self._ends))
        problems = [(NO_TIME, bad_time), (NO_ID, bad_id & ~outside)]
        labels, surfaces, customers = (
            None if (there := column(name)) is None else _texts(there)
            for name in ("label", SURFACE, "customer_id")
        )
        rows = Columns(
            ids=ids,
            scores=_numbers(given["score"]),
            labels=labels,
            surfaces=surfaces,
            features={
                one.feature: self._feature(one, batch.column(self._plan.features[one.feature]))
                for one in self._dimensions
                if one.feature
            },
            usable=~(bad_id | bad_time | outside),
        )
        return Piece(rows=rows, first=first, outside=outside, problems=problems, customers=customers)

    def _feature(self, one: Dimension, column: pa.Array) -> Any:
        if one.is_banded:
            return _numbers(column)
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        of_flag = self._dictionary.by_name[one.feature].type == FLAG
        texts = [_category(value, of_flag) for value in encoded.dictionary.to_pylist()]
        return pa.DictionaryArray.from_arrays(encoded.indices, pa.array(texts, pa.string())).cast(pa.string())

    def _full_rows(self, batch: pa.RecordBatch) -> Iterator[FullRow]:
        fields = {
            name: _texts(batch.column(column)).to_pylist()
            for name, column in self._plan.fields.items()
            if name not in {"predicted_at", "score", "outcome"}
        }
        moments, _ = _moments(batch.column(self._plan.fields["predicted_at"]))
        scores = _numbers(batch.column(self._plan.fields["score"]))
        kinds = self._dictionary.by_name
        values = {
            name: [self._value(kinds[name].type, value) for value in batch.column(column).to_pylist()]
            for name, column in self._plan.features.items()
        }
        names = [feature.name for feature in self._dictionary.features]

        def text(name: str, row: int) -> str:
            there = fields.get(name)
            return (there[row] or "")[: _LONGEST.get(name)].replace("\0", "") if there else ""

        for row in range(batch.num_rows):
            yield FullRow(
                prediction_id=text("prediction_id", row),
                predicted_at=datetime.fromtimestamp(int(moments[row]) // 1_000_000, UTC).replace(
                    microsecond=int(moments[row]) % 1_000_000
                ),
                score=float(scores[row]),
                label=text("label", row),
                customer_id=text("customer_id", row),
                product_id=text("product_id", row),
                surface=text("surface", row),
                text=text("text", row),
                features=json.dumps(
                    {name: values[name][row] if name in values else None for name in names},
                    ensure_ascii=False,
                ).replace("\\u0000", ""),
            )

    def _value(self, kind: str, value: Any) -> Value:
        """The value as people will see it: a number or flag where the dictionary says so and it is one."""
        if value is None or value == "":
            return None
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, bool | int):
            return value
        text = str(value)
        if kind == FLAG:
            return _FLAGS.get(text.strip().lower(), text)
        if kind == NUMBER:
            try:
                number = float(text)
            except ValueError:
                return text
            if not math.isfinite(number):
                return None
            return int(text) if text.strip().lstrip("+-").isdecimal() else number
        return text


def _none_within(positions: NDArray[np.int64], first: int, end: int) -> bool:
    low, high = np.searchsorted(positions, [first, end])
    return bool(low == high)


def _micros(moment: datetime | None) -> float:
    if moment is None:
        return math.nan
    return round(moment.timestamp() * 1_000_000)


def _texts(column: pa.Array | None) -> pa.Array:
    """A column as text: 22423 and 22423.0 (which is how pandas writes gaps) as `22423`."""
    if column is None:
        raise ValueError("there is no such column")
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type):
        return column
    if pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
        floats = column.to_numpy(zero_copy_only=False)
        whole = np.isfinite(floats) & (floats == np.floor(floats)) & (np.abs(floats) < 2**53)
        if bool((whole | np.isnan(floats)).all()):
            numbers = np.where(whole, floats, 0).astype(np.int64)
            return pa.array(numbers, mask=~whole).cast(pa.string())
    return column.cast(pa.string())


def _numbers(column: pa.Array | None) -> NDArray[np.float64]:
    """A column as numbers; not-a-number for what is none."""
    if column is None:
        raise ValueError("there is no such column")
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        numbers = column.cast(pa.float64(), safe=False)
    except pa.ArrowInvalid:
        numbers = pa.array([_number(value) for value in column.to_pylist()], pa.float64())
    except pa.ArrowNotImplementedError:
        return np.full(len(column), np.nan)
    return np.asarray(pc.fill_null(numbers, math.nan).to_numpy(zero_copy_only=False), dtype=np.float64)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _moments(column: pa.Array | None) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Microseconds since 1970 in UTC, and which are none. Times without a zone are UTC."""
    if column is None:
        raise ValueError("there is no such column")
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        moments = column.cast(pa.timestamp("us"), safe=False)
    elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        moments = _read_moments(column)
    else:
        return np.zeros(len(column), dtype=np.int64), np.ones(len(column), dtype=np.bool_)
    missing = moments.is_null().to_numpy(zero_copy_only=False)
    micros = pc.fill_null(moments.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    return np.asarray(micros, dtype=np.int64), np.asarray(missing, dtype=np.bool_)


def _read_moments(column: pa.Array) -> pa.Array:
    readings: list[Callable[[], pa.Array]] = [
        lambda: column.cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us")),
        lambda: column.cast(pa.timestamp("us")),
    ]
    for reading in readings:
        try:
            return reading()
        except pa.ArrowInvalid:
            continue
    return pa.array([_moment(text) for text in column.to_pylist()], pa.timestamp("us"))


def _moment(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat((text or "").strip())
        return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


def _category(value: Any, of_flag: bool) -> str | None:
    if value is None or value == "" or value != value:
        return None
    if of_flag and isinstance(value, str):
        value = _FLAGS.get(value.strip().lower(), value)
    return as_text(value) if isinstance(value, str | int | float) else str(value)


def _unreadable(error: Exception) -> Invalid:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return Invalid.at("files", "unreadable", f"The file cannot be read: {reason}")
