"""What the REST API takes and gives of predictions. Each prediction is checked by predictions.intake."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from opsportal.core.api import StrictSerializer
from opsportal.core.errors import TooLarge
from opsportal.core.fields import MomentField, NumberField, TextField, WholeNumberField
from opsportal.predictions.dictionary import Value
from opsportal.predictions.identifiers import CUSTOMER_ID_MAX, PRODUCT_ID_MAX
from opsportal.predictions.intake import LONGEST, REQUIRED
from opsportal.predictions.models import PREDICTION_ID_MAX, Prediction
from opsportal.predictions.pseudonyms import shown_customer
from opsportal.predictions.services.storing import Result
from opsportal.predictions.services.taking_in import BATCH_MAX

PAGE_SIZE, PAGE_MAX = 50, 200
NAME_MAX = 64
VALUES = {
    "type": "object",
    "description": "Feature → value, as the dictionary of the version names them. Text stays text.",
    "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
}


def _text(longest: int, words: str) -> dict[str, Any]:
    return {"type": ["string", "null"], "maxLength": longest, "description": words}


NEW_PREDICTION = {
    "type": "object",
    "additionalProperties": False,
    "required": [*REQUIRED, "features"],
    "properties": {
        "prediction_id": {"type": "string", "pattern": f"^[A-Za-z0-9._:@=+~-]{{1,{PREDICTION_ID_MAX}}}$"},
        "predicted_at": {"type": "string", "format": "date-time"},
        "score": {"type": "number", "description": "Within 0–1 where the version gives probabilities."},
        "features": VALUES,
        "label": _text(LONGEST["label"], "The decision as the system names it."),
        "outcome": _text(LONGEST["outcome"], "What turned out to be true, where it is known."),
        "product_id": _text(PRODUCT_ID_MAX, "The product that was scored."),
        "customer_id": _text(CUSTOMER_ID_MAX, "Becomes a pseudonym at once and is stored nowhere."),
        "surface": _text(LONGEST["surface"], "Where the product was shown."),
        "text": _text(LONGEST["text"], "The text that was classified."),
    },
}


# -- In -------------------------------------------------------------------------------------


@extend_schema_field({"type": "array", "items": NEW_PREDICTION, "minItems": 1, "maxItems": BATCH_MAX})
class PredictionListField(serializers.Field[Any, Any, Any, Any]):
    """A list of JSON objects, each judged by itself later on."""

    def to_internal_value(self, data: Any) -> list[dict[str, Any]]:
        if not isinstance(data, list) or not data:
            raise ValidationError("This must be a list of predictions.", code="not_a_list")
        if len(data) > BATCH_MAX:
            message = f"{len(data):,} predictions are more than the {BATCH_MAX:,} of one request."
            raise TooLarge.at("predictions", "too_many", message)
        wrong: Any = {
            number: [ErrorDetail("This must be an object.", code="not_an_object")]
            for number, item in enumerate(data)
            if not isinstance(item, dict)
        }
        if wrong:
            raise ValidationError(wrong)
        return data


class NewPredictions(StrictSerializer):
    """What a version of a model predicted."""

    model = TextField(max_length=NAME_MAX)
    version = TextField(max_length=NAME_MAX)
    predictions = PredictionListField()


class PredictionSearch(StrictSerializer):
    """What to look for; in a body, since addresses end up in logs. All that is given must hold.

    At least one of `prediction_id`, `customer_id`, `product_id`, `name` and `model` is needed.
    """

    prediction_id = TextField(required=False, max_length=PREDICTION_ID_MAX)
    customer_id = TextField(required=False, max_length=CUSTOMER_ID_MAX)
    product_id = TextField(required=False, max_length=PRODUCT_ID_MAX, help_text="Matches exactly.")
    name = TextField(required=False, max_length=200, help_text="Words of a value such as a person's name.")
    model = TextField(required=False, max_length=NAME_MAX)
    version = TextField(required=False, max_length=NAME_MAX)
    surface = TextField(required=False, max_length=LONGEST["surface"])
    cursor = TextField(required=False, allow_null=True, default=None, help_text="`next` of the page before.")
    limit = WholeNumberField(required=False, max_value=PAGE_MAX, default=PAGE_SIZE)

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """With `from` and `to`, which Python does not take as names."""
        times: dict[str, serializers.Field[Any, Any, Any, Any]] = {
            "from": MomentField(required=False, source="since", help_text="Predicted then or later."),
            "to": MomentField(required=False, source="until", help_text="Predicted before then."),
        }
        return {**super().get_fields(), **times}


# -- Out ------------------------------------------------------------------------------------


class ItemProblemSerializer(serializers.Serializer[Any]):
    """One thing that is wrong with a prediction."""

    path = serializers.CharField(help_text="Where, within the prediction: `features.age`.", allow_blank=True)
    code = serializers.CharField()
    message = serializers.CharField()


class ItemResultSerializer(serializers.Serializer[Any]):
    """What became of one prediction."""

    prediction_id = serializers.CharField(allow_blank=True)
    result = serializers.ChoiceField(choices=Result.values)
    errors = ItemProblemSerializer(many=True)  # type: ignore[assignment]  # DRF takes fields out of the class


class TakenInSerializer(serializers.Serializer[Any]):
    """What became of the predictions of a request: numbers, and each in the order of the request."""

    created = serializers.IntegerField()
    exists = serializers.IntegerField(help_text="Here already with the same content.")
    conflict = serializers.IntegerField(help_text="The ID was used for other content; nothing was changed.")
    suppressed = serializers.IntegerField(help_text="The customer opted out; nothing was saved.")
    refused = serializers.IntegerField(help_text="`errors` of the item says why.")
    results = ItemResultSerializer(many=True)


class PredictionSerializer(serializers.Serializer[Any]):
    """One prediction as it was logged."""

    prediction_id = serializers.CharField()
    model = serializers.CharField(source="version.model.name")
    version = serializers.CharField(source="version.version")
    predicted_at = MomentField()
    received_at = MomentField()
    score = NumberField()
    label = serializers.CharField(allow_blank=True)  # type: ignore[assignment]  # likewise
    outcome = serializers.CharField(allow_blank=True, help_text="Empty while it is unknown.")
    product_id = serializers.CharField(allow_blank=True)
    customer = serializers.SerializerMethodField(help_text="A short pseudonym; empty where none is known.")
    surface = serializers.CharField(allow_blank=True)
    text = serializers.CharField(allow_blank=True)
    features = serializers.SerializerMethodField()

    def get_customer(self, prediction: Prediction) -> str:
        return shown_customer(prediction.customer_key)

    @extend_schema_field(VALUES)
    def get_features(self, prediction: Prediction) -> dict[str, Value]:
        return prediction.values


class PredictionPageSerializer(serializers.Serializer[Any]):
    """A page of predictions, newest first."""

    results = PredictionSerializer(many=True)
    next = serializers.CharField(allow_null=True, help_text="Send it back as `cursor`.")
