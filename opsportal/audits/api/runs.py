"""Runs over REST: their figures, and their labels in four formats."""

from typing import Any

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from opsportal.accounts.authentication import caller
from opsportal.audits import figures
from opsportal.audits.files import PARQUET_TYPE, labels_response, parquet_response
from opsportal.audits.models import Export, Run, Stream
from opsportal.audits.selectors import labels, runs
from opsportal.audits.selectors.results import for_reader, results_of
from opsportal.audits.services import exports
from opsportal.core.api import PortalAPIView, StrictSerializer, query_of
from opsportal.core.fields import MomentField, TextField, WordField
from opsportal.core.schema import PROBLEM

JSON = "json"
FORMATS = (JSON, "csv", "jsonl", exports.PARQUET)
PAGE_SIZE, PAGE_MAX = 500, 1_000
RETRY_AFTER_SECONDS = 2


class LabelsQuery(StrictSerializer):
    """Which format, and for JSON which page."""

    format = WordField(
        required=False,
        choices=FORMATS,
        default=JSON,
        help_text="`json` comes in pages, `csv` and `jsonl` whole, `parquet` once a worker has written it.",
    )
    cursor = TextField(required=False, help_text="`next` of the page before; for `json`.")
    limit = serializers.IntegerField(
        required=False, min_value=1, max_value=PAGE_MAX, default=PAGE_SIZE, help_text="For `json`."
    )


class RunSerializer(serializers.Serializer[Any]):
    """A run and, once it is closed and computed, its figures."""

    id = serializers.IntegerField(source="pk")
    title = serializers.CharField()
    kind = serializers.ChoiceField(choices=Run.Kind.values)
    state = serializers.ChoiceField(choices=Run.State.values)
    model = serializers.CharField(source="model.name")
    policy = serializers.SerializerMethodField(help_text="Name of the policy; null where none asked for it.")
    period = serializers.CharField(help_text="As in 2026-W47; empty for runs by hand.")
    starts_at = MomentField(allow_null=True)
    ends_at = MomentField(allow_null=True)
    seed = serializers.CharField(help_text="With the ID of a prediction it decides who is in the sample.")
    frame = serializers.IntegerField(help_text="Predictions that could be drawn.")
    excluded = serializers.IntegerField(help_text="Of customers who opted out.")
    items = serializers.IntegerField()
    settled = serializers.IntegerField(help_text="Items with a label, or of which it cannot be told.")
    created_at = MomentField()
    closed_at = MomentField(allow_null=True)
    method = serializers.SerializerMethodField(help_text="Of the code that computed the figures.")
    figures = serializers.SerializerMethodField(
        help_text="Every figure with its interval, formula and source; null until they are computed. Single "
        "people are in them only for audit leads with a session."
    )

    def get_policy(self, run: Run) -> str | None:
        return run.policy.name if run.policy else None

    def get_method(self, run: Run) -> str | None:
        return run.estimate.method if runs.is_estimated(run) else None

    def get_figures(self, run: Run) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.context["figures"]
        return found


class LabelSerializer(serializers.Serializer[Any]):
    """One label."""

    prediction_id = serializers.CharField()
    predicted = serializers.CharField()
    label = serializers.CharField(  # type: ignore[assignment]  # a field; DRF takes it out of the class
        help_text="Empty where it cannot be told."
    )
    is_error = serializers.BooleanField(allow_null=True)
    stream = serializers.ChoiceField(choices=Stream.values, help_text="Only `sample` is unbiased.")
    stratum = serializers.CharField()
    inclusion_probability = serializers.FloatField(allow_null=True)
    weight = serializers.FloatField(
        allow_null=True, help_text="How many predictions of the frame it stands for."
    )
    provenance = serializers.CharField(help_text="`human` or `adjudicated`.")
    reviewers = serializers.IntegerField()
    model = serializers.CharField()
    version = serializers.CharField()
    run = serializers.IntegerField()
    seed = serializers.CharField()
    settled_at = MomentField()


class LabelPageSerializer(serializers.Serializer[Any]):
    """A page of labels."""

    results = LabelSerializer(many=True)
    next = serializers.CharField(allow_null=True, help_text="Send it back as `cursor`.")


class ExportPendingSerializer(serializers.Serializer[Any]):
    """The file is being written; ask again after `Retry-After` seconds."""

    run = serializers.IntegerField()
    format = serializers.CharField()
    state = serializers.ChoiceField(choices=[Export.State.WANTED.value, Export.State.FAILED.value])


@extend_schema_view(
    get=extend_schema(
        operation_id="getAuditRun", summary="A run and its figures", responses={200: RunSerializer}
    )
)
class RunView(PortalAPIView):
    """One run; its figures once it is closed and they are computed."""

    required_scope, required_capability = "audits:read", "audits.view"

    def get(self, request: Request, run_id: int) -> Response:
        run = runs.run_of(run_id)
        results = results_of(run) if run.state == Run.State.CLOSED else None
        body = figures.encode(for_reader(results, caller(request))) if results else None
        return Response(RunSerializer(run, context={"figures": body}).data)


@extend_schema_view(
    get=extend_schema(
        operation_id="listAuditLabels",
        summary="The labels of a closed run",
        parameters=[LabelsQuery],
        responses={
            (200, "application/json"): LabelPageSerializer,
            (200, "text/csv"): OpenApiTypes.STR,
            (200, "application/x-ndjson"): OpenApiTypes.STR,
            (200, PARQUET_TYPE): OpenApiTypes.BINARY,
            202: OpenApiResponse(ExportPendingSerializer, description="Parquet, being written: ask again."),
            (409, "application/problem+json"): OpenApiResponse(
                PROBLEM, description="The run is not closed: `not_closed`."
            ),
        },
    )
)
class LabelsView(PortalAPIView):
    """The labels with stream, weight and provenance; never of customers who opted out."""

    required_scope, required_capability = "audits:read", "audits.export"

    def get(self, request: Request, run_id: int) -> HttpResponseBase:
        query = query_of(request, LabelsQuery)
        run, actor, format = runs.run_of(run_id), caller(request), query["format"]
        exports.require_closed(run, actor)
        if format == JSON:
            rows, cursor = labels.label_page(run, cursor=query.get("cursor"), size=query["limit"])
            if not query.get("cursor"):
                exports.note_export(actor=actor, run=run, format=format)
            return Response({"results": LabelSerializer(rows, many=True).data, "next": cursor})
        if format == exports.PARQUET:
            export = exports.want_export(actor=actor, run=run)
            if (file := parquet_response(run)) is not None:
                return file
            body = {"run": run.pk, "format": format, "state": export.state}
            headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            return Response(ExportPendingSerializer(body).data, status=202, headers=headers)
        exports.note_export(actor=actor, run=run, format=format)
        return labels_response(run, format)
