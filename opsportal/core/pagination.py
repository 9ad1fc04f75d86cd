"""Keyset paging for pages and the API: the next page starts after the last row seen, at any depth alike."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from operator import attrgetter
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.core.signing import BadSignature, Signer
from django.db.models import Model, Q, QuerySet

from opsportal.core.errors import Invalid

M = TypeVar("M", bound=Model)

# The longest product ID, all of it escaped, makes 2,100.
MAX_CURSOR_LENGTH = 4_000


@dataclass(frozen=True, slots=True)
class Page(Generic[M]):
    """Some rows in order, and the cursor of the rows after them (None at the end)."""

    results: list[M]
    next: str | None


def keyset_page(queryset: QuerySet[M], *, order: Sequence[str], cursor: str | None, size: int) -> Page[M]:
    """The `size` rows after the cursor, in this order; one query, whose cost does not grow with depth.

    order: field or annotation names, `-` for descending, `a__b` across relations. None of them may be
    null, and together they must be unique (end with the primary key).
    Raises Invalid at `cursor` for one that is not ours or belongs to another list or order.
    """
    ordered = queryset.order_by(*order)
    if cursor:
        ordered = ordered.filter(_after(order, _unpack(order, cursor)))
    rows = list(ordered[: size + 1])
    if len(rows) <= size:
        return Page(rows, None)
    return Page(rows[:size], _pack(order, rows[size - 1]))


def _after(order: Sequence[str], values: Sequence[Any]) -> Q:
    """Rows strictly after `values`: greater in the first field, or equal there and greater in the next, …"""
    condition = Q()
    equal_so_far = Q()
    for name, value in zip(order, values, strict=True):
        field = name.removeprefix("-")
        beyond = "lt" if name.startswith("-") else "gt"
        condition |= equal_so_far & Q(**{f"{field}__{beyond}": value})
        equal_so_far &= Q(**{field: value})
    first, bound = order[0].removeprefix("-"), "lte" if order[0].startswith("-") else "gte"
    # Implied by the rest, but a plain range on the first column is what an index scan can start from.
    return Q(**{f"{first}__{bound}": values[0]}) & condition


def _signer(order: Sequence[str]) -> Signer:
    return Signer(salt="cursor:" + ",".join(order))


def _pack(order: Sequence[str], row: Model) -> str:
    values = [attrgetter(name.removeprefix("-").replace("__", "."))(row) for name in order]
    return _signer(order).sign_object([_plain(value) for value in values], compress=False).replace(":", ".")


def _unpack(order: Sequence[str], cursor: str) -> list[Any]:
    try:
        if len(cursor) > MAX_CURSOR_LENGTH:
            raise ValueError
        values = [_typed(value) for value in _signer(order).unsign_object(cursor.replace(".", ":"))]
    except (BadSignature, ValueError, TypeError, KeyError, InvalidOperation):
        values = []
    if len(values) != len(order):
        raise Invalid.at(
            "cursor",
            "cursor",
            "This cursor does not belong to this list. Start again from the first page.",
        )
    return values


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case dt.datetime():
            return {"at": value.isoformat()}
        case dt.date():
            return {"on": value.isoformat()}
        case Decimal():
            return {"number": str(value)}
        case UUID():
            return {"uuid": str(value)}
    raise TypeError(f"A list cannot be ordered by a {type(value).__name__}.")


def _typed(value: Any) -> Any:
    match value:
        case {"at": text}:
            return dt.datetime.fromisoformat(text)
        case {"on": text}:
            return dt.date.fromisoformat(text)
        case {"number": text}:
            return Decimal(text)
        case {"uuid": text}:
            return UUID(text)
    return value
