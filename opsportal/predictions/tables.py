"""Read CSV and Parquet files of predictions, a piece at a time. Only commands import this, never the web.

CSV is read by the standard library: pandas stops at the first row of the wrong length, where a person
wants to know the number of that row.
"""

import csv
import hashlib
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from opsportal.core.errors import Invalid
from opsportal.predictions.dictionary import as_text

_READ_BYTES = 1_000_000
# Longer than any text that is taken in, so that the text itself is refused, by name.
_CELL_MAX = 1_000_000


# How a column's values are wanted: IDs and words as text, the time of the prediction, or as they are.
TEXT, MOMENT, VALUE = "text", "moment", "value"


class Wanted(NamedTuple):
    """A column to read, and how its values are wanted; a file without types gives text whatever is wanted."""

    column: str
    kind: str = VALUE


class Row(NamedTuple):
    """One row. position: from 1, without the header. problem: why its cells cannot be told apart."""

    position: int
    cells: Sequence[Any]
    problem: str = ""


class Table(ABC):
    """A file with named columns. typed: whether values have types, or are all text and empty when missing."""

    typed: bool
    # What to add to a position for the number that people see.
    header_rows: int
    columns: tuple[str, ...]
    # None where nobody knows before the end.
    rows: int | None = None

    @abstractmethod
    def read(self, wanted: Sequence[Wanted], *, after: int, size: int) -> Iterator[list[Row]]:
        """The rows after that position in lists of at most `size`, each with the cells of these columns.

        Cells of a typed table: text, numbers, flags, naive times in UTC as MOMENT, None where missing (NaN
        too). Raises Invalid where the file cannot be read any further.
        """


def open_table(path: Path) -> Table:
    """The file as a table; Parquet is known by its first bytes. Raises Invalid, OSError."""
    with path.open("rb") as file:
        magic = file.read(4)
    table: Table = _Parquet(path) if magic == b"PAR1" else _Csv(path)
    twice = sorted({name for name in table.columns if table.columns.count(name) > 1})
    if twice:
        raise Invalid.at("file", "columns", f"The file has the column “{twice[0]}” more than once.")
    return table


def digest_of(path: Path, *more: str) -> str:
    """SHA-256 of the file's content and these texts, 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    for text in more:
        digest.update(b"\0" + text.encode())
    return digest.hexdigest()


def repeats_with_other_content(ids: "array[int]", contents: "array[int]") -> list[int]:
    """Where an ID stands that stood before with other content, by 64-bit hashes; ascending. 24 bytes each."""
    if not ids:
        return []
    of_ids, of_contents = np.frombuffer(ids, dtype=np.int64), np.frombuffer(contents, dtype=np.int64)
    order = np.argsort(of_ids, kind="stable")
    same = of_ids[order][1:] == of_ids[order][:-1]
    if not same.any():
        return []
    starts = np.concatenate(([True], ~same))
    first = order[np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))]
    return sorted(int(place) for place in order[of_contents[order] != of_contents[first]])


class _Csv(Table):
    """UTF-8 with or without a byte-order mark; comma, semicolon or tab. Every value is text."""

    typed, header_rows = False, 1

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as lines:
            header = lines.readline()
        self._delimiter = max(",;\t", key=header.count)
        first = next(csv.reader([header], delimiter=self._delimiter), [])
        self.columns = tuple(name.strip() for name in first)

    def _open(self) -> Any:
        # Bytes that are no UTF-8 become half surrogate pairs: the row is refused, by its number.
        return self._path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")

    def read(self, wanted: Sequence[Wanted], *, after: int, size: int) -> Iterator[list[Row]]:
        csv.field_size_limit(_CELL_MAX)
        places = [self.columns.index(one.column) for one in wanted]
        pick = itemgetter(*places) if len(places) > 1 else lambda cells: (cells[places[0]],)
        width = len(self.columns)
        with self._open() as lines:
            reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
            try:
                rows = islice(enumerate(reader), 1 + after, None)
                while some := list(islice(rows, size)):
                    yield [
                        Row(position, pick(cells))
                        if len(cells) == width
                        else Row(
                            position, (), f"The row has {len(cells)} columns where the header has {width}."
                        )
                        for position, cells in some
                        if any(cells)
                    ]
            except csv.Error as error:
                message = f"Line {reader.line_num:,} cannot be read as CSV: {error}."
                raise Invalid.at("file", "csv", message) from None


class _Parquet(Table):
    """Values keep their types. Times are taken as UTC where they have no zone."""

    typed, header_rows = True, 0

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with pq.ParquetFile(path) as file:
                self.columns = tuple(file.schema_arrow.names)
                self.rows = file.metadata.num_rows
        except pa.ArrowException as error:
            raise _unreadable(error) from None

    def read(self, wanted: Sequence[Wanted], *, after: int, size: int) -> Iterator[list[Row]]:
        position = 0
        names = list(dict.fromkeys(one.column for one in wanted))
        try:
            with pq.ParquetFile(self._path, pre_buffer=False, buffer_size=_READ_BYTES) as file:
                for batch in file.iter_batches(batch_size=size, columns=names):
                    skipped = min(max(after - position, 0), batch.num_rows)
                    position += skipped
                    if skipped == batch.num_rows:
                        continue
                    batch = batch.slice(skipped)
                    cells = zip(*(_values(batch.column(name), kind) for name, kind in wanted), strict=True)
                    rows = [Row(number, row) for number, row in enumerate(cells, position + 1)]
                    position += len(rows)
                    yield rows
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _unreadable(error) from None


def _values(column: pa.Array, kind: str) -> list[Any]:
    """The column's values in Python's types; what has no counterpart in JSON as its usual text."""
    there = column.type
    if pa.types.is_dictionary(there):
        return _values(column.dictionary_decode(), kind)
    if pa.types.is_string(there) or pa.types.is_large_string(there):
        texts: list[Any] = column.to_pylist()
        return texts
    if pa.types.is_timestamp(there):
        moments: list[Any] = (
            column.cast(pa.timestamp("us"), safe=False).to_numpy(zero_copy_only=False).tolist()
        )
        return moments if kind == MOMENT else [m if m is None else m.isoformat() for m in moments]
    if pa.types.is_decimal(there) or pa.types.is_date(there) or pa.types.is_time(there):
        return [None if value is None else str(value) for value in column.to_pylist()]
    found: list[Any] = column.to_pylist()
    if pa.types.is_floating(there):
        found = [None if value != value else value for value in found]
    return [_as_text(value) for value in found] if kind == TEXT else found


def _as_text(value: Any) -> Any:
    """22423 as `22423`, and likewise 22423.0, which is how pandas writes a column with gaps."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return as_text(value) if isinstance(value, int) else value


def _unreadable(error: Exception) -> Invalid:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return Invalid.at("file", "parquet", f"The file cannot be read as Parquet: {reason}")
