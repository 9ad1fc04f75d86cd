"""Explanations over REST: ask, wait a moment, answer."""

from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from opsportal.accounts.authentication import caller
from opsportal.core.api import PortalAPIView, query_of
from opsportal.core.errors import Conflict, Problem
from opsportal.core.schema import PROBLEM
from opsportal.explanations.api import serializers as shapes
from opsportal.explanations.models import State
from opsportal.explanations.services import asking
from opsportal.predictions.selectors import prediction_by_id

RETRY_AFTER_SECONDS = 1


@extend_schema_view(
    get=extend_schema(
        operation_id="getExplanation",
        summary="Why a prediction is as it is",
        parameters=[shapes.ExplanationQuery],
        responses={
            200: shapes.ExplanationSerializer,
            202: OpenApiResponse(shapes.PendingSerializer, description="Being computed: ask again."),
            (409, "application/problem+json"): OpenApiResponse(
                PROBLEM, description="A check refused it: `explanation_refused`, with the numbers in words."
            ),
        },
    )
)
class ExplanationView(PortalAPIView):
    """One prediction explained by one method; computed on the first request. Who looked is recorded."""

    required_scope, required_capability = "predictions:read", "predictions.view"

    def get(self, request: Request, prediction_id: str) -> Response:
        method = query_of(request, shapes.ExplanationQuery)["method"]
        prediction = prediction_by_id(prediction_id)
        explanation = asking.wait_for(
            asking.want_explanation(actor=caller(request), prediction=prediction, method=method)
        )
        if explanation.state == State.WANTED:
            body = {"prediction_id": prediction.prediction_id, "state": explanation.state}
            headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            return Response(shapes.PendingSerializer(body).data, status=202, headers=headers)
        asking.note_viewed(
            actor=caller(request),
            predictions=[prediction],
            how=f"Looked at the explanation ({method}) of prediction {prediction.prediction_id}",
        )
        if explanation.state == State.REFUSED:
            sentence = f"{explanation.get_incident_display()}. {explanation.incident_detail}".strip()
            problem = Problem("", explanation.incident, sentence)
            raise Conflict(sentence, code="explanation_refused", errors=[problem])
        return Response(shapes.ExplanationSerializer(shapes.explanation_body(prediction, explanation)).data)
