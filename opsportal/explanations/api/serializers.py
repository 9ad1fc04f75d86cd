"""What the REST API says about an explanation: the stored numbers, each exactly as it was stored."""

import math
from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from opsportal.core.api import StrictSerializer
from opsportal.core.fields import MomentField, NumberField, WordField
from opsportal.explanations.models import Explanation, Method, Space, State
from opsportal.explanations.selectors.reasons import points_per_unit
from opsportal.predictions.dictionary import LOGIT, Feature, FeatureDictionary, Value
from opsportal.predictions.models import Prediction

_VALUE = {"type": ["string", "number", "boolean", "null"]}


class ExplanationQuery(StrictSerializer):
    """Which explanation."""

    method = WordField(
        required=False,
        choices=Method.values,
        default=Method.SHAP,
        help_text="`shap`: attributions that add up. `lime`: a second opinion. `counterfactual`: what would "
        "change the decision.",
    )


class ModelSerializer(serializers.Serializer[Any]):
    """The model file that was explained."""

    name = serializers.CharField()
    version = serializers.CharField()
    sha256 = serializers.CharField()


class AttributionSerializer(serializers.Serializer[Any]):
    """What one feature did to the score."""

    feature = serializers.CharField()
    value = serializers.SerializerMethodField(help_text="As it was logged, text as text; null where missing.")
    display_value = serializers.CharField(help_text="As people read it, with its unit.")
    attribution = serializers.FloatField(help_text="In `space`; for `lime` its push on the score.")
    points = serializers.FloatField(
        allow_null=True, help_text="In percentage points of probability; null where the score is none."
    )

    @extend_schema_field(_VALUE)
    def get_value(self, row: Mapping[str, Any]) -> Value:
        value: Value = row["value"]
        return value


class ExplanationSerializer(serializers.Serializer[Any]):
    """One explanation. margin = base_value + Σ attribution + residual, in `space`."""

    prediction_id = serializers.CharField()
    method = serializers.ChoiceField(choices=Method.values)
    model = ModelSerializer()
    engine = serializers.CharField(help_text="Library and method, with their version.")
    computed_at = MomentField(allow_null=True)
    space = serializers.ChoiceField(choices=Space.values, help_text="What attributions add up in.")
    base_value = serializers.FloatField(allow_null=True)
    margin = serializers.FloatField(allow_null=True)
    residual = serializers.FloatField(allow_null=True)
    probability = serializers.FloatField(allow_null=True, help_text="Null for a ranker's score.")
    score = serializers.FloatField(allow_null=True, help_text="Computed now, in the space of the logged one.")
    score_logged = NumberField()
    attributions = AttributionSerializer(many=True)
    detail = serializers.SerializerMethodField(
        help_text="What one method alone has: LIME's fit `r2` and `rules`, or the changes that were `found`."
    )

    @extend_schema_field({"type": "object", "additionalProperties": True})
    def get_detail(self, body: Mapping[str, Any]) -> dict[str, Any]:
        detail: dict[str, Any] = body["detail"]
        return detail


class PendingSerializer(serializers.Serializer[Any]):
    """It is being computed; ask again after `Retry-After` seconds."""

    prediction_id = serializers.CharField()
    state = serializers.ChoiceField(choices=[State.WANTED.value])


def explanation_body(prediction: Prediction, explanation: Explanation) -> dict[str, Any]:
    """What an ExplanationSerializer writes for a ready explanation, in the model's order of features."""
    dictionary = prediction.version.features
    seen = {**prediction.values, **explanation.changes}
    scale = None
    if explanation.method == Method.SHAP and None not in (explanation.base_value, explanation.margin):
        scale = points_per_unit(explanation.space, explanation.base_value or 0, explanation.margin or 0)
    return {
        "prediction_id": prediction.prediction_id,
        "method": explanation.method,
        "model": {
            "name": prediction.version.model.name,
            "version": prediction.version.version,
            "sha256": explanation.model_sha256,
        },
        "engine": explanation.engine,
        "computed_at": explanation.computed_at,
        "space": explanation.space,
        "base_value": explanation.base_value,
        "margin": explanation.margin,
        "residual": explanation.residual,
        "probability": explanation.score if dictionary.link == LOGIT else None,
        "score": explanation.score,
        "score_logged": prediction.score,
        "attributions": [
            _attribution(dictionary, seen, name, float(x), scale) for name, x in explanation.attributions
        ],
        "detail": explanation.detail,
    }


def _attribution(
    dictionary: FeatureDictionary, seen: Mapping[str, Value], name: str, x: float, scale: float | None
) -> dict[str, Any]:
    feature = dictionary.by_name.get(name) or Feature(name=name, label=name)
    value = seen.get(name) if feature.constant is None else feature.constant
    is_odd = isinstance(value, float) and not math.isfinite(value)
    return {
        "feature": name,
        # JSON has no such number.
        "value": str(value) if is_odd else value,
        "display_value": feature.show(value),
        "attribution": x,
        "points": None if scale is None else x * scale,
    }
