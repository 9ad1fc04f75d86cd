"""The strict JSON of the API."""

import json

import pytest
from django.conf import settings

from opsportal.core.errors import Invalid, TooLarge
from opsportal.core.parsers import MAX_DEPTH, parse_json


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "json"),
        (b"[]", "json"),
        (b'"text"', "json"),
        (b"null", "json"),
        (b"{", "json"),
        (b'{"a": 1} {}', "json"),
        (b'{"a": "\xff"}', "encoding"),
        (b"\xff\xfe{\x00}\x00", "encoding"),
        (b'\xef\xbb\xbf{"a": 1}', "json"),
        (b'{"a": NaN}', "number"),
        (b'{"a": Infinity}', "number"),
        (b'{"a": -Infinity}', "number"),
        (b'{"a": 1e999}', "number"),
        (b'{"a": 9223372036854775808}', "number"),
        (b'{"a": ' + b"9" * 100_000 + b"}", "number"),
        (b'{"a": 1, "a": 2}', "duplicate_name"),
        (b'{"a": {"b": 1, "b": 1}}', "duplicate_name"),
        (b'{"a": "x\\u0000y"}', "unclean_text"),
        (b'{"x\\u0000y": 1}', "unclean_text"),
        (b'{"a": "x\x00y"}', "json"),
        (b'{"a": "\\ud800"}', "unclean_text"),
        (b'{"a": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", "too_deep"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep"),
    ],
)
def test_parse__bad_body__names_the_reason(body: bytes, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_json(body)

    assert caught.value.code == code


def test_parse__text_with_nul_in_a_list__says_where() -> None:
    with pytest.raises(Invalid) as caught:
        parse_json(b'{"rules": [{"ids": ["a", "b\\u0000"]}]}')

    assert [problem.path for problem in caught.value.errors] == ["rules[0].ids[1]"]


def test_parse__one_byte_over_the_limit__is_too_large() -> None:
    body = b'{"a": "' + b"x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE + b'"}'

    with pytest.raises(TooLarge):
        parse_json(body)


def test_parse__everything_json_can_say__comes_back() -> None:
    value = {"text": "Zoë 🦄", "number": -9223372036854775807, "share": 0.25, "list": [None, True, {"a": []}]}

    assert parse_json(json.dumps(value).encode()) == value
