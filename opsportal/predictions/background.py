"""Read the rows of training data that come with a model: the reference for second opinions and what-ifs."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from opsportal.core.errors import Invalid, Problem, TooLarge
from opsportal.predictions.dictionary import FLAG, NUMBER, Feature, FeatureDictionary, Value

ROWS_MAX = 5_000
BYTES_MAX = 16_000_000
PROBLEMS_SHOWN = 20

_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_Row = tuple[int, Mapping[str, Any]]


def read_background(content: bytes, dictionary: FeatureDictionary) -> list[dict[str, Value]]:
    """The rows of a CSV file, of JSON lines, or of a JSON list of objects, with the model's inputs alone.

    Every row must have every input that is not held constant; an empty cell of a CSV file is a missing
    value. Raises Invalid at `background`, with a Problem for each of the first twenty wrong places
    (`background[3].age`, rows counted from 1), and TooLarge beyond 5,000 rows or 16 MB.
    """
    if len(content) > BYTES_MAX:
        raise TooLarge.at(
            "background", "too_large", f"At most {BYTES_MAX:,} bytes of background rows are taken."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid.at("background", "encoding", "The background rows are not UTF-8 text.") from None
    inputs = [feature for feature in dictionary.inputs if feature.constant is None]
    rows: list[dict[str, Value]] = []
    problems: list[Problem] = []
    for number, row in _reader_of(text)(text, inputs):
        if number > ROWS_MAX:
            message = f"More than {ROWS_MAX:,} background rows; a sample is enough."
            raise TooLarge.at("background", "too_many", message)
        problems += _problems(number, row, inputs)
        if len(problems) >= PROBLEMS_SHOWN:
            break
        rows.append({feature.name: row.get(feature.name) for feature in inputs})
    if problems:
        raise Invalid(problems[0].message, code="background", errors=problems[:PROBLEMS_SHOWN])
    if not rows:
        raise Invalid.at("background", "empty", "There is no background row.")
    return rows


def as_lines(rows: list[dict[str, Value]]) -> bytes:
    """The rows as they are kept: one JSON object a line, in ASCII."""
    return b"".join(json.dumps(row, separators=(",", ":")).encode() + b"\n" for row in rows)


def _reader_of(text: str) -> Callable[[str, list[Feature]], Iterator[_Row]]:
    match text.lstrip()[:1]:
        case "[":
            return _listed
        case "{":
            return _lines
    return _cells


def _listed(text: str, _: list[Feature]) -> Iterator[_Row]:
    rows = _parsed(text, "The background rows are")
    for number, row in enumerate(rows, 1):
        yield number, _object(row, number)


def _lines(text: str, _: list[Feature]) -> Iterator[_Row]:
    filled = (line for line in text.split("\n") if line.strip())
    for number, line in enumerate(filled, 1):
        yield number, _object(_parsed(line, f"Row {number} is"), number)


def _cells(text: str, inputs: list[Feature]) -> Iterator[_Row]:
    head = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [feature.name for feature in inputs if feature.name not in header]
        if missing:
            names = ", ".join(f"“{name}”" for name in missing[:5])
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            message = f"The background has no column {names}{more}, which the dictionary names as an input."
            raise Invalid.at("background", "columns", message)
        places = [(feature, header.index(feature.name)) for feature in inputs]
        number = 0
        for cells in reader:
            if any(cells):
                number += 1
                yield number, {f.name: _value(f, cells[at] if at < len(cells) else "") for f, at in places}
    except csv.Error as error:
        message = f"Line {reader.line_num} of the background cannot be read as CSV: {error}."
        raise Invalid.at("background", "csv", message) from None


def _value(feature: Feature, cell: str) -> Value:
    """What a cell of a CSV file means for this feature; what cannot be meant stays text and is refused."""
    if not cell:
        return None
    if feature.type == FLAG:
        return _FLAGS.get(cell.strip().lower(), cell)
    if feature.type == NUMBER:
        return _number(cell)
    return cell


def _number(cell: str) -> Value:
    try:
        number = float(cell)
    except ValueError:
        return cell
    if math.isnan(number):
        return None
    return int(cell) if len(cell) < 16 and cell.lstrip("-").isdecimal() else number


def _problems(number: int, row: Mapping[str, Any], inputs: list[Feature]) -> Iterator[Problem]:
    for feature in inputs:
        path = f"background[{number}].{feature.name}"
        if feature.name not in row:
            yield Problem(
                path, "missing", f"Row {number} has no “{feature.name}”; write null where it is missing."
            )
            continue
        value = row[feature.name]
        if value is not None and not isinstance(value, str | int | float | bool):
            yield Problem(
                path, "type", f"Row {number}, {feature.name}: this must be text, a number, true or false."
            )
        elif isinstance(value, float) and not math.isfinite(value):
            yield Problem(path, "value", f"Row {number}, {feature.name}: this must be a finite number.")
        elif sentence := feature.problem(value):
            yield Problem(path, "value", f"Row {number}, {feature.name}: {sentence}")


def _parsed(text: str, words: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Invalid.at("background", "json", f"{words} not JSON: {error}.") from None


def _refuse_constant(text: str) -> NoReturn:
    message = f"{text} is not a number of JSON; write null where a value is missing"
    raise ValueError(message)


def _object(row: Any, number: int) -> Mapping[str, Any]:
    if not isinstance(row, dict):
        raise Invalid.at("background", "type", f"Row {number} of the background must be a JSON object.")
    return row
