"""How the OpenAPI document describes what the views share."""

from functools import cache
from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers

from opsportal.core.api import StrictSerializer
from opsportal.overrides.api import serializers as shapes

RECEIPTS = {201: shapes.ReceiptSerializer, 202: shapes.ReceiptSerializer}
# Typed as words, used as it stands.
PEOPLE_ONLY: Any = [{"Session": []}]
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "pattern": "^[!-~]{1,100}$"},
    OpenApiParameter.HEADER,
    description="1 to 100 visible ASCII characters. A repeat with the same key and body does nothing "
    "anew and answers with what the first one became; the same key with another body is a 409.",
)


def listing(
    name: str, summary: str, query: type[StrictSerializer], row: type[serializers.Serializer[Any]]
) -> Any:
    """A list: its query parameters and its pages."""
    return extend_schema(
        operation_id=f"list{name}",
        summary=summary,
        parameters=[query],
        responses={200: page_of(name, row)},
    )


def single(name: str, summary: str, row: type[serializers.Serializer[Any]]) -> Any:
    """One thing."""
    return extend_schema(operation_id=name, summary=summary, responses={200: row})


def change(name: str, summary: str, body: type[StrictSerializer], examples: list[OpenApiExample]) -> Any:
    """A change that may have to wait for a second person."""
    return extend_schema(
        operation_id=name,
        summary=summary,
        parameters=[IDEMPOTENCY_KEY],
        request=body,
        examples=examples,
        responses=RECEIPTS,
    )


def verdict(name: str, summary: str, body: type[StrictSerializer], examples: list[OpenApiExample]) -> Any:
    """A decision that only a signed-in person can take."""
    return extend_schema(
        operation_id=name,
        summary=summary,
        auth=PEOPLE_ONLY,
        request=body,
        examples=examples,
        responses={200: shapes.SubmissionDetailSerializer},
    )


@cache
def page_of(name: str, row: type[serializers.Serializer[Any]]) -> Any:
    """The description of a page of these rows."""
    return inline_serializer(
        f"{name}Page",
        {
            "results": row(many=True),
            "next": serializers.CharField(allow_null=True, help_text="Send it back as `cursor`."),
        },
    )
