"""What the REST API takes and gives. Rules live in the services; here stands only the shape."""

from typing import Any

from rest_framework import serializers

from opsportal.core.api import StrictSerializer
from opsportal.core.fields import (
    MomentField,
    NumberField,
    TextField,
    TextListField,
    WholeNumberField,
    WordField,
)
from opsportal.overrides.models import (
    EVERYWHERE,
    Action,
    Approval,
    Channel,
    Kind,
    Purpose,
    ReasonCode,
    Source,
    State,
    Triage,
)
from opsportal.overrides.selectors.phases import Phase
from opsportal.overrides.services.intent import REASON_MAX, TICKET_MAX
from opsportal.predictions.identifiers import CUSTOMER_ID_MAX, PASTE_MAX, PRODUCT_ID_MAX

PAGE_SIZE, PAGE_MAX = 50, 200
OPEN, ALL = "open", "all"
STATES = [OPEN, *(phase.value for phase in Phase), ALL]
OPT_OUT_STATES = [OPEN, Phase.PUBLISHING.value, Phase.ENDED.value, ALL]


def _reason(**kwargs: Any) -> TextField:
    return TextField(max_length=REASON_MAX, help_text="Why, in words; kept in the audit trail.", **kwargs)


def _ticket() -> TextField:
    return TextField(max_length=TICKET_MAX, required=False, allow_blank=True, default="")


# -- In -------------------------------------------------------------------------------------


class ListQuery(StrictSerializer):
    """The query parameters that every list takes."""

    cursor = TextField(required=False, help_text="`next` of the page before.")
    limit = serializers.IntegerField(required=False, min_value=1, max_value=PAGE_MAX, default=PAGE_SIZE)


class OptOutQuery(ListQuery):
    """The query parameters of the list of opt-outs: nothing personal."""

    state = WordField(required=False, choices=OPT_OUT_STATES, default=ALL)
    submission = serializers.IntegerField(required=False, min_value=1, max_value=2**63 - 1)


class OverrideQuery(ListQuery):
    """The query parameters of the lists of blocks and boosts."""

    product_id = TextField(required=False, max_length=PRODUCT_ID_MAX, help_text="Matches exactly.")
    surface = TextField(required=False, max_length=64, help_text="`*` is everywhere.")
    state = WordField(required=False, choices=STATES, default=ALL, help_text="`open` is not ended.")
    submission = serializers.IntegerField(required=False, min_value=1, max_value=2**63 - 1)


class SubmissionQuery(ListQuery):
    """The query parameters of the list of submissions."""

    kind = WordField(required=False, choices=Kind.values)
    state = WordField(required=False, choices=State.values)
    mine = serializers.BooleanField(required=False, default=False)


class ItemQuery(ListQuery):
    """The query parameters of the list of a submission's items."""

    triage = WordField(required=False, choices=Triage.values)


class NewBlocks(StrictSerializer):
    """Products to block."""

    product_ids = TextListField(most=PASTE_MAX)
    surface = TextField(required=False, max_length=64, default=EVERYWHERE, help_text="`*` is everywhere.")
    reason_code = WordField(choices=ReasonCode.values)
    reason = _reason()
    ticket = _ticket()
    starts_at = MomentField(required=False, allow_null=True, default=None, help_text="Null: at once.")
    ends_at = MomentField(required=False, allow_null=True, default=None, help_text="Null: no end.")


class NewBoosts(NewBlocks):
    """Products to boost, for 90 days at most."""

    ends_at = MomentField(help_text="At most 90 days after the start.")
    factor = NumberField(help_text="From 0.1 to 10, not 1: what scores are multiplied by.")


class NewOptOuts(StrictSerializer):
    """Customers who opt out. Their IDs become pseudonyms at once and are stored nowhere."""

    customer_ids = TextListField(most=PASTE_MAX)
    purposes = serializers.ListField(child=WordField(choices=Purpose.values), min_length=1, max_length=3)
    channel = WordField(choices=Channel.values)
    reason = _reason()
    ticket = _ticket()
    received_at = MomentField(
        required=False, allow_null=True, default=None, help_text="When the customer told us. Null: now."
    )


class OptOutSearch(StrictSerializer):
    """Which customer's opt-outs to look for; in a body, since addresses end up in logs."""

    customer_id = TextField(max_length=CUSTOMER_ID_MAX)
    cursor = TextField(required=False, allow_null=True, default=None)
    limit = WholeNumberField(required=False, max_value=PAGE_MAX, default=PAGE_SIZE)


class Withdrawal(StrictSerializer):
    """Why the override is withdrawn."""

    reason = _reason()
    ticket = _ticket()


class NewEnd(StrictSerializer):
    """The new end of a block or boost."""

    ends_at = MomentField(allow_null=True, help_text="Null: no end, for blocks only.")
    reason = _reason()
    ticket = _ticket()


class Verdict(StrictSerializer):
    """A yes to the version that was looked at."""

    version = WholeNumberField(max_value=2**31 - 1)
    comment = TextField(required=False, allow_blank=True, default="", max_length=REASON_MAX)


class Rejection(StrictSerializer):
    """A no to the version that was looked at, with what its author should mend."""

    version = WholeNumberField(max_value=2**31 - 1)
    comment = _reason()


class Undo(StrictSerializer):
    """Why a submission is undone."""

    reason = TextField(required=False, allow_blank=True, default="", max_length=REASON_MAX)


# -- Out ------------------------------------------------------------------------------------


class _Override(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    state = serializers.ChoiceField(choices=[phase.value for phase in Phase])
    submission = serializers.IntegerField(source="submission_id")
    revision = serializers.IntegerField()
    created_at = MomentField()
    closed_at = MomentField(allow_null=True)
    closed_by = serializers.IntegerField(source="closed_by_id", allow_null=True)


class BlockSerializer(_Override):
    """A product that must not be shown."""

    product_id = serializers.CharField()
    surface = serializers.CharField(source="surface_id")
    starts_at = MomentField()
    ends_at = MomentField(allow_null=True)
    reason_code = serializers.ChoiceField(choices=ReasonCode.values)


class BoostSerializer(BlockSerializer):
    """A product whose score is multiplied for a limited time."""

    factor = NumberField()


class OptOutSerializer(_Override):
    """A customer, by pseudonym, who told us not to personalise, train or share."""

    customer_key = serializers.CharField()
    purposes = serializers.ListField(child=serializers.ChoiceField(choices=Purpose.values))
    channel = serializers.ChoiceField(choices=Channel.values)
    received_at = MomentField()
    due_on = serializers.DateField()


class ItemSerializer(serializers.Serializer[Any]):
    """What became of one item; `id` is the product ID, or the pseudonym of the customer."""

    row = serializers.IntegerField(help_text="Its position in the request, from 1.")
    id = serializers.CharField(allow_blank=True)
    triage = serializers.ChoiceField(choices=Triage.values)
    note = serializers.CharField(allow_blank=True)
    override_id = serializers.IntegerField(allow_null=True)


class ReceiptSerializer(serializers.Serializer[Any]):
    """What a request became: applied (201), or waiting for a second person (202)."""

    submission = serializers.IntegerField()
    state = serializers.ChoiceField(choices=State.values)
    revision = serializers.IntegerField(allow_null=True, help_text="Null: nothing has changed yet.")
    items = ItemSerializer(many=True)


class DeliverySerializer(serializers.Serializer[Any]):
    """How long the change took from the database to the serving store."""

    saved_at = MomentField(source="at")
    live_at = MomentField(allow_null=True)
    seconds = serializers.SerializerMethodField()

    def get_seconds(self, revision: Any) -> float | None:
        return None if revision.live_at is None else (revision.live_at - revision.at).total_seconds()


class ApprovalSerializer(serializers.Serializer[Any]):
    """A second person's verdict on one version."""

    approver = serializers.CharField(source="approver.username")
    verdict = serializers.ChoiceField(choices=Approval.Verdict.values)
    comment = serializers.CharField(allow_blank=True)
    version = serializers.IntegerField()
    at = MomentField()
    voided_at = MomentField(allow_null=True)


class RiskSerializer(serializers.Serializer[Any]):
    """Why a second person has to look; no reasons: nobody has to."""

    items = serializers.IntegerField(default=0)
    impression_share = serializers.FloatField(default=0.0)
    reasons = serializers.ListField(child=serializers.CharField(), default=list)


class TriageSerializer(serializers.Serializer[Any]):
    """How many items stand under each word."""

    new = serializers.IntegerField()
    changed = serializers.IntegerField()
    unchanged = serializers.IntegerField()
    pending = serializers.IntegerField()
    unknown = serializers.IntegerField()
    invalid = serializers.IntegerField()
    dropped = serializers.IntegerField()


class SubmissionSummarySerializer(serializers.Serializer[Any]):
    """A submission as lists show it."""

    id = serializers.IntegerField()
    kind = serializers.ChoiceField(choices=Kind.values)
    action = serializers.ChoiceField(choices=Action.values)
    state = serializers.ChoiceField(choices=State.values)
    source = serializers.ChoiceField(choices=Source.values)  # type: ignore[assignment]  # hides DRF's own
    author = serializers.CharField(source="author.username")
    items = serializers.IntegerField(source="rows_total")
    reason_code = serializers.ChoiceField(choices=ReasonCode.values)
    reason = serializers.CharField(allow_blank=True)
    created_at = MomentField()
    submitted_at = MomentField(allow_null=True)
    applied_at = MomentField(allow_null=True)
    needs_approval = serializers.BooleanField()
    revision = serializers.IntegerField(source="revision_id", allow_null=True)


class SubmissionSerializer(SubmissionSummarySerializer):
    """A submission with everything that happened to it."""

    version = serializers.IntegerField()
    surface = serializers.CharField(source="surface_id")
    starts_at = MomentField(allow_null=True)
    ends_at = MomentField(allow_null=True)
    factor = NumberField(allow_null=True)
    purposes = serializers.ListField(child=serializers.ChoiceField(choices=Purpose.values))
    channel = serializers.ChoiceField(choices=["", *Channel.values])
    received_at = MomentField(allow_null=True)
    ticket = serializers.CharField(allow_blank=True)
    undoes = serializers.IntegerField(source="undoes_id", allow_null=True)
    risk = RiskSerializer()
    delivery = DeliverySerializer(source="revision", allow_null=True)
    error = serializers.CharField(allow_blank=True)


class SubmissionDetailSerializer(SubmissionSerializer):
    """A submission, its triage and its approvals."""

    triage = TriageSerializer()
    approvals = ApprovalSerializer(many=True)
    undone_by = serializers.IntegerField(allow_null=True)
