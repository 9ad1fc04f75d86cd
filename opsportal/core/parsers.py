"""Strict JSON: what cannot be stored or meant is refused before any view sees it."""

import json
import math
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from django.conf import settings
from rest_framework.parsers import BaseParser

from opsportal.core.errors import Invalid, TooLarge

MAX_DEPTH = 20
MAX_INTEGER = 2**63 - 1


def parse_json(body: bytes, *, what: str = "The body") -> dict[str, Any]:
    """The JSON object in the body, or a refusal that says where to look. `what`: how it calls the body.

    Refused: what is not UTF-8, not an object, NaN and infinities, integers beyond 64 bits, a name twice
    in one object, NUL or half a surrogate pair in any text, and more than 20 levels.
    Raises Invalid, and TooLarge above DATA_UPLOAD_MAX_MEMORY_SIZE.
    """
    if len(body) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        raise TooLarge(f"{what} is larger than the {limit:,} bytes that are accepted here.")
    try:
        value = json.loads(
            body.decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_number,
            object_pairs_hook=_object,
        )
    except UnicodeDecodeError:
        raise Invalid(f"{what} is not UTF-8.", code="encoding") from None
    except json.JSONDecodeError as exc:
        message = f"{what} is not JSON: {exc.msg} (line {exc.lineno}, column {exc.colno})."
        raise Invalid(message, code="json") from None
    except RecursionError:
        raise _too_deep() from None
    _check("", value, 1)
    if not isinstance(value, dict):
        raise Invalid(f"{what} must be a JSON object.", code="json")
    return value


class StrictJSONParser(BaseParser):
    """DRF's door to `parse_json`."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The body as a JSON object; reads one byte more than allowed, never the rest."""
        return parse_json(stream.read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid(f"The name {twice[:60]!r} stands twice in one object.", code="duplicate_name")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise Invalid(f"{text} is not a number of JSON.", code="number")


def _integer(text: str) -> int:
    # The length first: turning a million digits into a number takes seconds.
    if len(text) > 20 or abs(int(text)) > MAX_INTEGER:
        raise Invalid("An integer is too large.", code="number")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Invalid("A number is too large.", code="number")
    return value


def _check(path: str, value: Any, depth: int) -> None:
    if isinstance(value, str):
        _check_text(path, value)
    elif isinstance(value, dict | list):
        if depth > MAX_DEPTH:
            raise _too_deep()
        if isinstance(value, dict):
            for name, inner in value.items():
                _check_text(path, name)
                _check(f"{path}.{name}" if path else name, inner, depth + 1)
        else:
            for number, inner in enumerate(value):
                _check(f"{path}[{number}]", inner, depth + 1)


def _check_text(path: str, text: str) -> None:
    if text.isascii() and "\0" not in text:
        return
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        message = "Text must not contain NUL or half a surrogate pair."
        raise Invalid.at(path, "unclean_text", message)


def _too_deep() -> Invalid:
    return Invalid(f"It is nested deeper than {MAX_DEPTH} levels.", code="too_deep")
