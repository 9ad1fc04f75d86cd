"""Predictions over REST: parse, call the service, answer."""

from collections import Counter
from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from opsportal.accounts.authentication import caller
from opsportal.core.api import PortalAPIView, body_of
from opsportal.core.errors import Invalid
from opsportal.predictions import services
from opsportal.predictions.api import serializers as shapes
from opsportal.predictions.identifiers import customer_problem
from opsportal.predictions.pseudonyms import customer_key
from opsportal.predictions.selectors import LookUp
from opsportal.predictions.services.storing import Result

NEW = OpenApiExample(
    "A ranker logs what it predicted",
    value={
        "model": "ranker",
        "version": "2026.11",
        "predictions": [
            {
                "prediction_id": "r-20261102-00017",
                "predicted_at": "2026-11-02T12:00:00Z",
                "score": 0.8125,
                "features": {"age_days": 12, "postcode": "00701", "is_new": True, "colour": None},
                "product_id": "85123A",
                "customer_id": "C-20417",
                "surface": "home-left",
            }
        ],
    },
    request_only=True,
)
SEARCH = OpenApiExample(
    "What was predicted about this customer?", value={"customer_id": "C-20417"}, request_only=True
)


@extend_schema_view(
    post=extend_schema(
        operation_id="logPredictions",
        summary="Log up to 1,000 predictions",
        request=shapes.NewPredictions,
        examples=[NEW],
        responses={200: shapes.TakenInSerializer},
    )
)
class PredictionsView(PortalAPIView):
    """Log predictions of one version. Each stands for itself: see `results`.

    A repeat of the same predictions does nothing; the same ID with other content is a conflict.
    """

    required_scope, required_capability = "predictions:write", "predictions.write"

    def post(self, request: Request) -> Response:
        outcomes = services.take_in(actor=caller(request), **body_of(request, shapes.NewPredictions))
        counts = Counter(outcome.result for outcome in outcomes)
        body = {**{result.value: counts[result] for result in Result}, "results": outcomes}
        return Response(shapes.TakenInSerializer(body).data)


@extend_schema_view(
    get=extend_schema(
        operation_id="getPrediction",
        summary="One prediction",
        responses={200: shapes.PredictionSerializer},
    )
)
class PredictionView(PortalAPIView):
    """One prediction as it was logged. Who looked is recorded."""

    required_scope, required_capability = "predictions:read", "predictions.view"

    def get(self, request: Request, prediction_id: str) -> Response:
        found = services.look_at(actor=caller(request), prediction_id=prediction_id)
        return Response(shapes.PredictionSerializer(found).data)


@extend_schema_view(
    post=extend_schema(
        operation_id="searchPredictions",
        summary="Look predictions up, newest first",
        request=shapes.PredictionSearch,
        examples=[SEARCH],
        responses={200: shapes.PredictionPageSerializer},
    )
)
class PredictionSearchView(PortalAPIView):
    """Predictions by ID, customer, product, name or model, newest first. Who looked is recorded."""

    required_scope, required_capability = "predictions:read", "predictions.view"

    def post(self, request: Request) -> Response:
        query = body_of(request, shapes.PredictionSearch)
        page = services.look_up(
            actor=caller(request),
            wanted=_look_up(query),
            cursor=query["cursor"],
            size=query["limit"],
        )
        return Response(shapes.PredictionPageSerializer({"results": page.results, "next": page.next}).data)


def _look_up(query: dict[str, Any]) -> LookUp:
    """What is asked for, with a pseudonym in place of the customer's ID."""
    known = {"prediction_id", "product_id", "model", "version", "surface", "since", "until"}
    wanted = {name: value for name, value in query.items() if name in known}
    if customer_id := query.get("customer_id"):
        if problem := customer_problem(customer_id):
            raise Invalid.at("customer_id", "invalid", problem)
        wanted["customer_key"] = customer_key(customer_id)
    return LookUp(words=query.get("name", ""), **wanted)
