"""The table of bad input: what is sent, and how it is refused. Every row leaves nothing behind."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from opsportal.core import clock
from tests.overrides.asking import blocks, boosts, opt_outs, text

MAKERS: dict[str, Callable[..., dict[str, Any]]] = {"blocks": blocks, "boosts": boosts, "opt-outs": opt_outs}
IDS = {"blocks": "product_ids", "boosts": "product_ids", "opt-outs": "customer_ids"}


@dataclass(frozen=True)
class Row:
    """What is sent to the API instead of a good body, and the refusal: its status and the place it names.

    fields: replace those of a good body. raw: the whole body, where `{ids}` is the name of the list.
    path: None where the body as a whole is to blame; `{ids}` as above.
    """

    fields: dict[str, Any] | None = None
    raw: bytes = b""
    status: int = 400
    path: str | None = None
    only: str = ""

    def body(self, route: str) -> bytes:
        """The body to send to this route."""
        if self.fields is None:
            return self.raw.replace(b"{ids}", IDS[route].encode())
        fields = {name.format(ids=IDS[route]): value for name, value in self.fields.items()}
        good = MAKERS[route]("00701")
        return json.dumps({**good, **fields}).encode()

    def place(self, route: str) -> str | None:
        """The path that the refusal must name on this route."""
        return None if self.path is None else self.path.format(ids=IDS[route])


def _in(days: float) -> datetime:
    return clock.now() + timedelta(days=days)


def _ids(*values: object, path: str = "{ids}[0]", status: int = 400) -> Row:
    return Row({"{ids}": list(values)}, path=path, status=status)


TABLE: dict[str, Row] = {
    # The body as a whole
    "nothing": Row(raw=b""),
    "no JSON": Row(raw=b"product_ids=00701"),
    "a list": Row(raw=b'["00701"]'),
    "a word": Row(raw=b'"00701"'),
    "null": Row(raw=b"null"),
    "NUL byte": Row(raw=b'{"{ids}": ["a\0b"]}'),
    "bad UTF-8": Row(raw=b'{"{ids}": ["caf\xe9"]}'),
    "UTF-16": Row(raw='{"product_ids": ["00701"]}'.encode("utf-16")),
    "half a surrogate pair": Row(raw=b'{"{ids}": ["\\ud800"]}', path="{ids}[0]"),
    "10 MB": Row(raw=b'{"reason": "' + b"x" * 10_000_000 + b'"}', status=413),
    "one line of a million characters": Row({"reason": "x" * 1_000_000}, path="reason"),
    "deep JSON": Row(raw=b'{"{ids}": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "deep objects": Row(raw=b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "a name twice": Row(raw=b'{"{ids}": ["a"], "{ids}": ["b"]}'),
    "NaN": Row(raw=b'{"factor": NaN}'),
    "Infinity": Row(raw=b'{"factor": -Infinity}'),
    "a huge integer": Row(raw=b'{"factor": ' + b"9" * 5_000 + b"}"),
    "a huge exponent": Row(raw=b'{"factor": 1e999}'),
    # IDs
    "no IDs": _ids(path="{ids}"),
    "5,001 IDs": _ids(*(f"p{number}" for number in range(5_001)), path="{ids}", status=413),
    "IDs in one text": Row({"{ids}": "00701,00702"}, path="{ids}"),
    "IDs that are null": Row({"{ids}": None}, path="{ids}"),
    "a number for an ID": _ids(701),
    "a boolean for an ID": _ids(True),
    "null for an ID": _ids(None),
    "a list for an ID": _ids(["00701"]),
    "an empty ID": _ids(""),
    "an ID of spaces": _ids("   "),
    "a NUL in an ID": _ids("a\0b"),
    "a line break in an ID": _ids("a\nb"),
    "an ID that turns text around": _ids("a\u202eb"),
    "a formula for an ID": _ids("=HYPERLINK(1)"),
    "an ID of 201 characters": _ids("x" * 201),
    "the last of many is bad": _ids(*(f"p{number}" for number in range(400)), "=1", path="{ids}[400]"),
    # Words
    "unknown field": Row({"colour": "red"}, path="colour"),
    "state from outside": Row({"state": "applied"}, path="state"),
    "approval from outside": Row({"needs_approval": False, "decided_by": 1}, path="needs_approval"),
    "no reason": Row({"reason": " "}, path="reason"),
    "a reason of 2,001 characters": Row({"reason": "x" * 2_001}, path="reason"),
    "a boolean for the reason": Row({"reason": True}, path="reason"),
    "a NUL in the reason": Row({"reason": "a\0"}, path="reason"),
    "a ticket of 101 characters": Row({"ticket": "x" * 101}, path="ticket"),
    "unknown surface": Row({"surface": "moon"}, path="surface", only="blocks boosts"),
    "empty surface": Row({"surface": ""}, path="surface", only="blocks boosts"),
    "a number for the surface": Row({"surface": 1}, path="surface", only="blocks boosts"),
    "unknown kind of reason": Row({"reason_code": "fun"}, path="reason_code", only="blocks boosts"),
    # Times
    "a date for a time": Row({"ends_at": "2030-01-01"}, path="ends_at", only="blocks boosts"),
    "a time without an offset": Row({"ends_at": "2030-01-01T00:00:00"}, path="ends_at", only="blocks boosts"),
    "a number for a time": Row({"ends_at": 1893456000}, path="ends_at", only="blocks boosts"),
    "a day that is none": Row({"ends_at": "2030-02-30T00:00:00Z"}, path="ends_at", only="blocks boosts"),
    "year 1 east of Greenwich": Row(
        {"ends_at": "0001-01-01T00:00:00+14:00"}, path="ends_at", only="blocks boosts"
    ),
    "year 9999": Row({"ends_at": "9999-12-31T23:59:59-14:00"}, path="ends_at", only="blocks boosts"),
    "start in year 9000": Row({"starts_at": "9000-01-01T00:00:00Z"}, path="starts_at", only="blocks boosts"),
    "dates reversed": Row(
        {"starts_at": text(_in(3)), "ends_at": text(_in(2))}, path="ends_at", only="blocks boosts"
    ),
    "end that has passed": Row({"ends_at": text(_in(-1))}, path="ends_at", only="blocks boosts"),
    "end over 90 days": Row({"ends_at": text(_in(91))}, path="ends_at", only="boosts"),
    "end 90 days after now, but later start": Row(
        {"starts_at": text(_in(1)), "ends_at": text(_in(91.1))}, path="ends_at", only="boosts"
    ),
    "boost without an end": Row({"ends_at": None}, path="ends_at", only="boosts"),
    # Factors
    "factor 0": Row({"factor": 0}, path="factor", only="boosts"),
    "factor -1": Row({"factor": -1}, path="factor", only="boosts"),
    "factor 1": Row({"factor": 1}, path="factor", only="boosts"),
    "factor 1e9": Row({"factor": 1e9}, path="factor", only="boosts"),
    "factor NaN in quotes": Row({"factor": "NaN"}, path="factor", only="boosts"),
    "factor in quotes": Row({"factor": "2"}, path="factor", only="boosts"),
    "factor true": Row({"factor": True}, path="factor", only="boosts"),
    "factor null": Row({"factor": None}, path="factor", only="boosts"),
    "factor of a block": Row({"factor": 2}, path="factor", only="blocks"),
    # Opt-outs
    "no purposes": Row({"purposes": []}, path="purposes", only="opt-outs"),
    "unknown purpose": Row({"purposes": ["fun"]}, path="purposes[0]", only="opt-outs"),
    "purposes in one text": Row({"purposes": "sharing"}, path="purposes", only="opt-outs"),
    "unknown channel": Row({"channel": "pigeon"}, path="channel", only="opt-outs"),
    "received tomorrow": Row({"received_at": text(_in(1))}, path="received_at", only="opt-outs"),
    "received in 1999": Row({"received_at": "1999-12-31T23:59:59Z"}, path="received_at", only="opt-outs"),
}
REST = [
    (route, name)
    for route in MAKERS
    for name, row in TABLE.items()
    if not row.only or route in row.only.split()
]


# -- Pages: field → what is typed instead of something good, and the field that says so ---------

FORMS: dict[str, tuple[dict[str, str], int]] = {
    "no IDs": ({"product_ids": " \n, \t"}, 400),
    "5,001 IDs": ({"product_ids": "\n".join(f"p{number}" for number in range(5_001))}, 400),
    "no reason": ({"reason": " "}, 400),
    "a reason of 2,001 characters": ({"reason": "x" * 2_001}, 400),
    "unknown surface": ({"surface": "moon"}, 400),
    "unknown kind of reason": ({"reason_code": "fun"}, 400),
    "no time": ({"ends_at": "soon"}, 400),
    "year 9999": ({"ends_at": "9999-12-31T23:59"}, 400),
    "dates reversed": ({"starts_at": "2098-01-02T00:00", "ends_at": "2098-01-01T00:00"}, 400),
    "end that has passed": ({"ends_at": "2020-01-01T00:00"}, 400),
    "a NUL": ({"reason": "a\0b"}, 400),
    "a million characters": ({"reason": "x" * 1_000_000}, 400),
    "10 MB": ({"reason": "x" * 10_000_000}, 413),
}
BOOST_FORMS: dict[str, dict[str, str]] = {
    "factor 0": {"factor": "0"},
    "factor 1e9": {"factor": "1e9"},
    "factor NaN": {"factor": "NaN"},
    "factor inf": {"factor": "inf"},
    "factor in words": {"factor": "two"},
    "no end": {"ends_at": ""},
    "end over 90 days": {"ends_at": f"{_in(92):%Y-%m-%dT%H:%M}"},
}
# A file's content, and the word of its refusal that names the place.
FILES: dict[str, tuple[bytes, str]] = {
    "nothing but a mark": (b"\xef\xbb\xbf", "file"),
    "no header": (b"00701\n00702\n", "product_id"),
    "wrong columns": (b"sku;name\n00701;Shoe\n", "product_id"),
    "the column twice": (b"product_id,product_id\na,b\n", "more than once"),
    "no rows": (b"product_id\n", "no rows"),
    "bad UTF-8": (b"product_id\n00701\ncaf\xe9\n", "Row 3"),
    "UTF-16": ("product_id\n00701\n".encode("utf-16"), "UTF-8"),
    "a NUL": (b"product_id\n00701\na\0b\n", "Row 3"),
    "a line of a million characters": (b"product_id\n00701\n" + b"x" * 1_000_000 + b"\n", "Row 3"),
    "a line of a million characters without an end": (b"product_id\n" + b"x" * 1_000_000, "Row 2"),
    "an open quote": (b'product_id\n00701\n"00702\n', "Row"),
    "100,001 rows": (b"product_id\n" + b"".join(b"p%d\n" % number for number in range(100_001)), "100,000"),
}
