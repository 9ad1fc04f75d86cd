"""The review queue over REST: claim items, say what they are. A key answers as the person who owns it."""

import math
from typing import Any

from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiResponse,
    extend_schema,
    extend_schema_field,
    extend_schema_view,
)
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from opsportal.accounts.authentication import caller
from opsportal.accounts.models import User
from opsportal.audits.models import Item, Label, Run
from opsportal.audits.services import reviewing
from opsportal.audits.services.reviewing import Claim
from opsportal.core.api import PortalAPIView, StrictSerializer, body_of
from opsportal.core.errors import Forbidden, NotFound
from opsportal.core.fields import MomentField, TextField, WholeNumberField
from opsportal.core.schema import PROBLEM
from opsportal.predictions.dictionary import Value

_VALUES = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}
_LABELS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "value": {"type": "string", "description": "What to send back as `label`."},
            "title": {"type": "string"},
            "key": {"type": "string", "description": "The digit that people press for it."},
            "guideline": {"type": "string"},
        },
        "required": ["value", "title", "key", "guideline"],
    },
}


class NextItems(StrictSerializer):
    """Which items to claim."""

    run = WholeNumberField(
        required=False, allow_null=True, default=None, help_text="Null: whichever open run comes first."
    )
    count = WholeNumberField(
        required=False,
        max_value=reviewing.HELD_MOST,
        default=1,
        help_text="Nobody holds more than two at a time; who does already gets those again.",
    )


class NewLabel(StrictSerializer):
    """What an item is. The token makes a repeat harmless."""

    token = TextField(max_length=32, help_text="As it came with the item.")
    label = TextField(  # type: ignore[assignment]  # a field; DRF takes it out of the class
        allow_null=True, max_length=100, help_text="One of the run's labels; null: cannot tell."
    )
    note = TextField(required=False, allow_blank=True, default="", max_length=reviewing.NOTE_MAX)


class ClaimedSerializer(serializers.Serializer[Claim]):
    """An item in the caller's hands until `leased_until`, and what is needed to judge it."""

    item_id = serializers.IntegerField(source="item.pk")
    token = serializers.CharField()
    leased_until = MomentField()
    run = serializers.IntegerField(source="run.pk")
    run_title = serializers.CharField(source="run.title")
    is_sensitive = serializers.BooleanField(
        source="run.sensitive", help_text="Not to be shown before the person asks for it."
    )
    text = serializers.CharField(source="item.text", allow_blank=True)
    features = serializers.SerializerMethodField(help_text="Name → value as it was logged.")
    product_id = serializers.CharField(source="item.product_id", allow_blank=True)
    surface = serializers.CharField(source="item.surface", allow_blank=True)
    labels = serializers.SerializerMethodField()
    guidelines = serializers.CharField(source="run.guidelines", allow_blank=True)
    prediction_id = serializers.SerializerMethodField(help_text="Null in a blind run, as the next two.")
    predicted = serializers.SerializerMethodField(help_text="What the model decided.")
    score = serializers.SerializerMethodField()

    @extend_schema_field(_VALUES)
    def get_features(self, claim: Claim) -> dict[str, Value]:
        return {name: _in_json(value) for name, value in claim.item.values.items()}

    @extend_schema_field(_LABELS)
    def get_labels(self, claim: Claim) -> list[dict[str, str]]:
        names = ("value", "title", "key", "guideline")
        return [{name: str(label.get(name, "")) for name in names} for label in claim.run.labels]

    def get_prediction_id(self, claim: Claim) -> str | None:
        return None if claim.run.blind else claim.item.prediction_id

    def get_predicted(self, claim: Claim) -> str | None:
        return None if claim.run.blind else claim.item.predicted

    @extend_schema_field({"type": ["number", "null"]})
    def get_score(self, claim: Claim) -> float | None:
        score = claim.item.score
        return None if claim.run.blind or not math.isfinite(score) else score


class ClaimedItemsSerializer(serializers.Serializer[Any]):
    """Claimed items, none when there is nothing left for the caller."""

    items = ClaimedSerializer(many=True)


class LabelledSerializer(serializers.Serializer[Label]):
    """What became of the answer."""

    item_id = serializers.IntegerField()
    state = serializers.ChoiceField(
        choices=Item.State.values,
        source="item.state",
        help_text="`settled`: enough people agree. `open`: more answers are needed. `disputed`: they differ.",
    )
    label = serializers.SerializerMethodField(  # type: ignore[assignment]  # as above
        help_text="The caller's answer; null: cannot tell."
    )

    def get_label(self, label: Label) -> str | None:
        return label.value or None


NEXT = OpenApiExample("The next item of any run", value={"count": 1}, request_only=True)
LABEL = OpenApiExample(
    "The item is positive",
    value={"token": "AAAAAQAAAAAABV5TV4iubMHPINoTX0tC", "label": "positive", "note": ""},
    request_only=True,
)


@extend_schema_view(
    post=extend_schema(
        operation_id="claimAuditItems",
        summary="Claim the next items to label",
        request=NextItems,
        examples=[NEXT],
        responses={
            200: ClaimedItemsSerializer,
            (404, "application/problem+json"): OpenApiResponse(
                PROBLEM, description="There is no such run, or the caller does not review it."
            ),
        },
    )
)
class NextItemsView(PortalAPIView):
    """Claim up to two items for ten minutes, during which nobody else gets them. A key claims for its owner.

    What is not labelled in time goes to others. A repeat after a lost answer loses nothing: who holds two
    items gets them again.
    """

    required_scope, required_capability = "audits:write", "audits.label"

    def post(self, request: Request) -> Response:
        wanted = body_of(request, NextItems)
        person = _person(request)
        run = None
        if wanted["run"] is not None:
            run = Run.objects.filter(pk=wanted["run"]).first()
            if run is None:
                raise NotFound("There is no such run for you to review.")
        items = reviewing.claim(actor=person, run=run, count=wanted["count"])
        return Response(ClaimedItemsSerializer({"items": items}).data)


@extend_schema_view(
    post=extend_schema(
        operation_id="labelAuditItem",
        summary="Say what a claimed item is",
        request=NewLabel,
        examples=[LABEL],
        responses={
            200: LabelledSerializer,
            (409, "application/problem+json"): OpenApiResponse(
                PROBLEM,
                description="`lease_lost`: somebody else has taken the item. `answered`: another answer is "
                "stored already. `withdrawn`: the caller took it back. `run_closed`.",
            ),
        },
    )
)
class LabelView(PortalAPIView):
    """Say what a claimed item is. The same answer again does nothing anew and is answered the same."""

    required_scope, required_capability = "audits:write", "audits.label"

    def post(self, request: Request, item_id: int) -> Response:
        given = body_of(request, NewLabel)
        label = reviewing.answer(
            actor=_person(request),
            token=given["token"],
            value=given["label"] or "",
            note=given["note"],
            item_id=item_id,
        )
        return Response(LabelledSerializer(label).data)


def _person(request: Request) -> User:
    """Who answers. Raises Forbidden for the account of a machine: a label is what a person says."""
    user = caller(request)
    if not user.has_usable_password():
        raise Forbidden("This key belongs to a machine; only people label.", code="no_person")
    return user


def _in_json(value: Value) -> Value:
    """JSON has no NaN and no infinity."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
