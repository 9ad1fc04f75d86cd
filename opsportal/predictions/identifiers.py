"""Read product and customer IDs from requests, pastes and CSV files, and say which one is wrong and why."""

import codecs
import csv
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from opsportal.core.errors import Invalid, TooLarge

PRODUCT_ID_MAX = 128
CUSTOMER_ID_MAX = 200
PASTE_MAX = 5_000
CSV_MAX_ROWS = 100_000
LINE_MAX = 64_000
# Characters that a person cannot see and that turn text around or hide it.
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Co", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class Row:
    """One ID as it came in: its row from 1, the ID, and what is wrong with it (empty when nothing is)."""

    number: int
    text: str
    problem: str


def product_problem(text: str) -> str:
    """A sentence saying why `text` cannot be a product ID; empty when it can."""
    return _problem(text, PRODUCT_ID_MAX)


def customer_problem(text: str) -> str:
    """A sentence saying why `text` cannot be a customer ID; empty when it can. Never repeats the ID."""
    return _problem(text, CUSTOMER_ID_MAX)


def split_pasted(text: str) -> list[str]:
    """The IDs of a paste: lines, commas and tabs separate, spaces inside an ID stay.

    Raises TooLarge beyond 5,000 IDs.
    """
    parts = text.replace("\t", "\n").replace(",", "\n").replace("\r", "\n").split("\n")
    found = [part.strip() for part in parts if part.strip()]
    if len(found) > PASTE_MAX:
        raise TooLarge.at(
            "product_ids",
            "too_many",
            f"{len(found):,} IDs are more than the {PASTE_MAX:,} of one paste. Upload them as a CSV file.",
        )
    return found


def rows_of(texts: Iterable[str], *, customers: bool) -> list[Row]:
    """Number the IDs from 1 and check each."""
    problem = customer_problem if customers else product_problem
    stripped = (text.strip() for text in texts)
    return [Row(number, text, problem(text)) for number, text in enumerate(stripped, start=1)]


def read_csv(chunks: Iterable[bytes], *, column: str) -> tuple[list[Row], list[str]]:
    """Read the IDs under `column` from a CSV file that arrives in chunks of bytes.

    UTF-8 with or without a byte-order mark; comma, semicolon or tab. Row numbers are those that a
    spreadsheet shows: the header is row 1. Returns the rows and the names of the columns that were
    passed over. Memory: the IDs, never the file. Raises Invalid with the row for a file that is not
    UTF-8, a line over 64,000 characters, a missing column or an unclosed quote, and TooLarge beyond
    100,000 rows.
    """
    lines = _lines(chunks)
    header_line = next(lines, "")
    dialect = _delimiter(header_line)
    reader = csv.reader(_chain(header_line, lines), delimiter=dialect, strict=True)
    problem = customer_problem if column == "customer_id" else product_problem
    rows: list[Row] = []
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if header.count(column) != 1:
            raise Invalid.at("file", "columns", _column_sentence(header, column))
        position = header.index(column)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            number = reader.line_num
            if len(rows) == CSV_MAX_ROWS:
                raise TooLarge.at(
                    "file",
                    "too_many",
                    f"The file has more than {CSV_MAX_ROWS:,} rows. Split it and upload the parts.",
                )
            text = cells[position].strip() if position < len(cells) else ""
            if len(cells) > len(header):
                rows.append(Row(number, "", f"Has {len(cells)} columns where the header has {len(header)}."))
            else:
                rows.append(Row(number, text, problem(text)))
    except csv.Error as error:
        raise Invalid.at("file", "csv", f"Row {reader.line_num} cannot be read as CSV: {error}.") from error
    if not rows:
        raise Invalid.at("file", "empty", "The file has a header but no rows.")
    return rows, [name for name in header if name and name != column]


def _problem(text: str, longest: int) -> str:
    if not text:
        return "The ID is missing."
    if len(text) > longest:
        return f"The ID has {len(text):,} characters; at most {longest} are possible."
    if text[0] in "=@":
        return f"The ID starts with {text[0]!r}, as a spreadsheet formula does."
    if text.isprintable():
        return ""
    for character in text:
        if unicodedata.category(character) in _REFUSED_CATEGORIES or character in _BIDI_CONTROLS:
            return f"The ID contains an invisible character (U+{ord(character):04X})."
    return ""


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")("strict")
    rest, number = "", 1

    def decode(chunk: bytes, *, final: bool = False) -> str:
        try:
            return decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            row = number + error.object[: error.start].count(b"\n")
            raise Invalid.at(
                "file", "encoding", f"Row {row} is not UTF-8 text. Save the file as “CSV UTF-8”."
            ) from error

    for chunk in chunks:
        rest += decode(chunk)
        *complete, rest = rest.split("\n")
        for line in complete:
            yield _checked(line + "\n", number)
            number += 1
        _checked(rest, number)
    rest += decode(b"", final=True)
    if rest:
        yield _checked(rest, number)


def _checked(line: str, number: int) -> str:
    if len(line) > LINE_MAX:
        raise Invalid.at("file", "line_too_long", f"Row {number} is longer than {LINE_MAX:,} characters.")
    if "\0" in line:
        raise Invalid.at("file", "nul", f"Row {number} contains a NUL character.")
    return line


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _delimiter(header: str) -> str:
    return max(",;\t", key=header.count)


def _column_sentence(header: list[str], column: str) -> str:
    found = [name for name in header if name]
    if header.count(column) > 1:
        return f"The file has the column “{column}” more than once."
    if not found:
        return f"The file is empty. Its first row must name the column “{column}”."
    return f"The file has no column “{column}”. Its first row names: {', '.join(found[:10])[:200]}."
