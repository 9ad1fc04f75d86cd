"""Fields of the REST API that take a value as it is meant and convert nothing: `701` is not `"701"`."""

import math
from datetime import UTC, datetime
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from opsportal.core.errors import TooLarge

MAX_ID = 2**63 - 1


@extend_schema_field(OpenApiTypes.STR)
class TextField(serializers.CharField):
    """A JSON string. Numbers and booleans are refused, since `00701` would have lost its zeros."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise _not_text()
        return super().to_internal_value(data)


@extend_schema_field({"type": "array", "items": {"type": "string"}, "minItems": 1})
class TextListField(serializers.Field[Any, Any, Any, Any]):
    """A list of JSON strings, each an ID. More than `most` are refused as too large before anything else."""

    def __init__(self, *, most: int, **kwargs: Any) -> None:
        self.most = most
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> list[str]:
        if not isinstance(data, list):
            raise ValidationError("This must be a list of strings.", code="not_a_list")
        if len(data) > self.most:
            raise TooLarge.at(
                self.field_name or "",
                "too_many",
                f"{len(data):,} IDs are more than the {self.most:,} of one request. Send them in parts.",
            )
        wrong: Any = {
            number: [_not_text().detail[0]]  # type: ignore[index]  # a list of one ErrorDetail
            for number, item in enumerate(data)
            if not isinstance(item, str)
        }
        if wrong:
            raise ValidationError(wrong)
        return data

    def to_representation(self, value: Any) -> list[str]:
        return list(value)


@extend_schema_field(OpenApiTypes.DATETIME)
class MomentField(serializers.Field[Any, Any, Any, Any]):
    """A moment in ISO 8601 with its offset from UTC; comes out in UTC, whatever zone the caller chose."""

    def to_internal_value(self, data: Any) -> datetime:
        if not isinstance(data, str):
            raise ValidationError(_MOMENT, code="not_a_time")
        try:
            moment = datetime.fromisoformat(data)
            if moment.tzinfo is None:
                message = "The time needs its offset from UTC, as in 2026-01-31T18:00:00Z."
                raise ValidationError(message, code="no_offset")
            return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValidationError(_MOMENT, code="not_a_time") from None

    def to_representation(self, value: datetime) -> str:
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


@extend_schema_field(OpenApiTypes.DOUBLE)
class NumberField(serializers.Field[Any, Any, Any, Any]):
    """A finite JSON number."""

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float) or not math.isfinite(data):
            raise ValidationError("This must be a number.", code="not_a_number")
        return float(data)

    def to_representation(self, value: float) -> float:
        return float(value)


class WholeNumberField(serializers.IntegerField):
    """A JSON integer from 1 up to what the database can hold."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"min_value": 1, "max_value": MAX_ID, **kwargs})

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int):
            raise ValidationError("This must be a whole number.", code="not_a_number")
        return super().to_internal_value(data)


class WordField(serializers.ChoiceField):
    """One word of a fixed list."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str) or data not in self.choices:
            words = ", ".join(map(str, self.choices))
            raise ValidationError(f"This must be one of: {words}.", code="unknown")
        return data


_MOMENT = "This must be a time in ISO 8601 with its offset from UTC, as in 2026-01-31T18:00:00Z."


def _not_text() -> ValidationError:
    return ValidationError(
        [ErrorDetail("This must be a string: write an ID in quotation marks.", code="not_text")]
    )
