"""Base classes of the REST API: strict input, one error shape, scopes declared on the view."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, MethodNotAllowed, ValidationError
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request

from opsportal.core.parsers import StrictJSONParser, parse_json

__all__ = ["PortalAPIView", "StrictJSONParser", "StrictSerializer", "body_of", "parse_json", "query_of"]


class StrictSerializer(serializers.Serializer[Any]):
    """A serializer that refuses fields it does not know, so that a typing error is never ignored."""

    def to_internal_value(self, data: Any) -> Any:
        """The cleaned input; unknown fields are reported together with everything else that is wrong."""
        unknown: dict[str, list[ErrorDetail]] = {}
        if isinstance(data, Mapping):
            unknown = {
                str(name): [ErrorDetail("There is no such field here.", code="unknown_field")]
                for name in data
                if name not in self.fields or self.fields[name].read_only
            }
        try:
            value = super().to_internal_value(data)
        except ValidationError as exc:
            if unknown and isinstance(exc.detail, dict):
                raise ValidationError({**exc.detail, **unknown}) from None
            raise
        if unknown:
            raise ValidationError(unknown)
        return value


class PortalAPIView(GenericAPIView[Any]):
    """A view of the API. A key needs `required_scope`, a signed-in person `required_capability`.

    Each is one name for all methods or a dict from method to name. A view that declares neither is
    refused to everybody.
    """

    required_scope: str | Mapping[str, str] | None = None
    required_capability: str | Mapping[str, str] | None = None
    # OPTIONS would answer with DRF's guesses; what there is to know stands in the OpenAPI document.
    metadata_class = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Say 405 before anything else: a scope for a method that does not exist cannot be missing."""
        if request.method not in self.allowed_methods:
            raise MethodNotAllowed(str(request.method))
        super().initial(request, *args, **kwargs)


def body_of(request: Request, shape: type[StrictSerializer]) -> dict[str, Any]:
    """The body, cleaned. Raises ValidationError with the places that are wrong."""
    serializer = shape(data=request.data)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def query_of(request: Request, shape: type[StrictSerializer]) -> dict[str, Any]:
    """The query parameters, cleaned. Raises ValidationError with the places that are wrong."""
    serializer = shape(data=request.query_params.dict())
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)
