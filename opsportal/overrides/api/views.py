"""Blocks, boosts, opt-outs and submissions over REST: parse, call the service, answer."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from opsportal.accounts.authentication import caller
from opsportal.core.api import PortalAPIView, body_of, query_of
from opsportal.overrides import services
from opsportal.overrides.api import documents, examples
from opsportal.overrides.api import serializers as shapes
from opsportal.overrides.api.requests import detail, idempotency, receipt
from opsportal.overrides.models import Action, Kind, Source
from opsportal.overrides.selectors import answers
from opsportal.overrides.selectors.lists import NOT_ENDED, Filters
from opsportal.overrides.services import Intent


class OverridesView(PortalAPIView):
    """What the views of one kind share."""

    kind: ClassVar[Kind]
    shape: ClassVar[type[shapes.BlockSerializer] | type[shapes.OptOutSerializer]]

    def page(self, filters: Filters, query: dict[str, Any], **exact: str) -> Response:
        """One page of this kind's overrides."""
        page = answers.overrides_answer(
            self.kind,
            filters,
            user=caller(self.request),
            cursor=query.get("cursor"),
            size=query["limit"],
            **exact,
        )
        return Response({"results": self.shape(page.results, many=True).data, "next": page.next})

    def add(self, request: Request, shape: type[shapes.NewBlocks] | type[shapes.NewOptOuts]) -> Response:
        """Ask for overrides of the IDs in the body; each once, whatever happens on the way."""
        fields = body_of(request, shape)
        texts = fields.pop("product_ids", None) or fields.pop("customer_ids", [])
        intent = Intent(kind=self.kind, source=Source.API, **fields)
        submission = services.request_targets(
            actor=caller(request), intent=intent, texts=texts, **idempotency(request)
        )
        return receipt(submission)

    def change(self, request: Request, override_id: int, action: Action) -> Response:
        """Ask to withdraw or extend one override."""
        answers.override_answer(self.kind, override_id, user=caller(request))
        fields = body_of(request, shapes.Withdrawal if action == Action.WITHDRAW else shapes.NewEnd)
        intent = Intent(kind=self.kind, action=action, source=Source.API, **fields)
        submission = services.request_changes(
            actor=caller(request), intent=intent, override_ids=[override_id], **idempotency(request)
        )
        return receipt(submission)


class ProductOverridesView(OverridesView):
    """A list of blocks or boosts."""

    required_scope = {"GET": "overrides:read", "POST": "overrides:write"}

    def get(self, request: Request) -> Response:
        query = query_of(request, shapes.OverrideQuery)
        filters = Filters(
            state=_state(query), surface=query.get("surface", ""), submission=query.get("submission")
        )
        return self.page(filters, query, product_id=query.get("product_id", ""))


class OverrideView(OverridesView):
    """One override."""

    required_scope = "overrides:read"
    required_capability = "overrides.view"

    def get(self, request: Request, override_id: int) -> Response:
        row = answers.override_answer(self.kind, override_id, user=caller(request))
        return Response(self.shape(row).data)


class WithdrawView(OverridesView):
    """Withdraw one override."""

    required_scope = "overrides:write"

    def post(self, request: Request, override_id: int) -> Response:
        return self.change(request, override_id, Action.WITHDRAW)


class ExtendView(OverridesView):
    """Move the end of one block or boost."""

    required_scope = "overrides:write"

    def post(self, request: Request, override_id: int) -> Response:
        return self.change(request, override_id, Action.EXTEND)


# -- Blocks ---------------------------------------------------------------------------------


@extend_schema_view(
    get=documents.listing(
        "Blocks", "List blocks, newest first", shapes.OverrideQuery, shapes.BlockSerializer
    ),
    post=documents.change("createBlocks", "Block products", shapes.NewBlocks, examples.NEW_BLOCKS),
)
class BlocksView(ProductOverridesView):
    """List blocks, newest first; or block products."""

    kind, shape = Kind.BLOCK, shapes.BlockSerializer
    required_capability = {"GET": "overrides.view", "POST": "blocks.write"}

    def post(self, request: Request) -> Response:
        return self.add(request, shapes.NewBlocks)


@extend_schema_view(get=documents.single("getBlock", "One block", shapes.BlockSerializer))
class BlockView(OverrideView):
    """One block."""

    kind, shape = Kind.BLOCK, shapes.BlockSerializer


@extend_schema_view(
    post=documents.change("withdrawBlock", "Withdraw a block", shapes.Withdrawal, examples.WITHDRAWAL)
)
class BlockWithdrawView(WithdrawView):
    """Withdraw a block."""

    kind, required_capability = Kind.BLOCK, "blocks.write"


@extend_schema_view(
    post=documents.change("extendBlock", "Move the end of a block", shapes.NewEnd, examples.NEW_END)
)
class BlockExtendView(ExtendView):
    """Move the end of a block, or take it away."""

    kind, required_capability = Kind.BLOCK, "blocks.write"


# -- Boosts ---------------------------------------------------------------------------------


@extend_schema_view(
    get=documents.listing(
        "Boosts", "List boosts, newest first", shapes.OverrideQuery, shapes.BoostSerializer
    ),
    post=documents.change("createBoosts", "Boost products", shapes.NewBoosts, examples.NEW_BOOSTS),
)
class BoostsView(ProductOverridesView):
    """List boosts, newest first; or boost products."""

    kind, shape = Kind.BOOST, shapes.BoostSerializer
    required_capability = {"GET": "overrides.view", "POST": "boosts.write"}

    def post(self, request: Request) -> Response:
        return self.add(request, shapes.NewBoosts)


@extend_schema_view(get=documents.single("getBoost", "One boost", shapes.BoostSerializer))
class BoostView(OverrideView):
    """One boost."""

    kind, shape = Kind.BOOST, shapes.BoostSerializer


@extend_schema_view(
    post=documents.change("withdrawBoost", "Withdraw a boost", shapes.Withdrawal, examples.WITHDRAWAL)
)
class BoostWithdrawView(WithdrawView):
    """Withdraw a boost."""

    kind, required_capability = Kind.BOOST, "boosts.write"


@extend_schema_view(
    post=documents.change("extendBoost", "Move the end of a boost", shapes.NewEnd, examples.NEW_END)
)
class BoostExtendView(ExtendView):
    """Move the end of a boost, within 90 days of its start."""

    kind, required_capability = Kind.BOOST, "boosts.write"


# -- Opt-outs -------------------------------------------------------------------------------


@extend_schema_view(
    get=documents.listing(
        "OptOuts", "List opt-outs, newest first", shapes.OptOutQuery, shapes.OptOutSerializer
    ),
    post=documents.change("createOptOuts", "Record opt-outs", shapes.NewOptOuts, examples.NEW_OPT_OUTS),
)
class OptOutsView(OverridesView):
    """List opt-outs, newest first; or record some."""

    kind, shape = Kind.OPT_OUT, shapes.OptOutSerializer
    required_scope = {"GET": "overrides:read", "POST": "overrides:write"}
    required_capability = {"GET": "optouts.view", "POST": "optouts.write"}

    def get(self, request: Request) -> Response:
        query = query_of(request, shapes.OptOutQuery)
        return self.page(Filters(state=_state(query), submission=query.get("submission")), query)

    def post(self, request: Request) -> Response:
        return self.add(request, shapes.NewOptOuts)


@extend_schema_view(
    post=extend_schema(
        operation_id="searchOptOuts",
        summary="The opt-outs of one customer",
        request=shapes.OptOutSearch,
        examples=examples.OPT_OUT_SEARCH,
        responses={200: documents.page_of("OptOuts", shapes.OptOutSerializer)},
    )
)
class OptOutSearchView(OverridesView):
    """The opt-outs of one customer, newest first; the customer ID stays out of the address.

    Who looked is recorded.
    """

    kind, shape = Kind.OPT_OUT, shapes.OptOutSerializer
    required_scope, required_capability = "overrides:read", "optouts.view"

    def post(self, request: Request) -> Response:
        query = body_of(request, shapes.OptOutSearch)
        services.look_up_customer(actor=caller(request), customer_id=query["customer_id"])
        return self.page(Filters(state=shapes.ALL), query, customer_id=query["customer_id"])


@extend_schema_view(get=documents.single("getOptOut", "One opt-out", shapes.OptOutSerializer))
class OptOutView(OverrideView):
    """One opt-out."""

    kind, shape = Kind.OPT_OUT, shapes.OptOutSerializer
    required_capability = "optouts.view"


@extend_schema_view(
    post=documents.change("withdrawOptOut", "Withdraw an opt-out", shapes.Withdrawal, examples.WITHDRAWAL)
)
class OptOutWithdrawView(WithdrawView):
    """Withdraw an opt-out; a second person always has to approve."""

    kind, required_capability = Kind.OPT_OUT, "optouts.withdraw"


# -- Submissions ----------------------------------------------------------------------------


@extend_schema_view(
    get=documents.listing(
        "Submissions",
        "List submissions, newest first",
        shapes.SubmissionQuery,
        shapes.SubmissionSummarySerializer,
    )
)
class SubmissionsView(PortalAPIView):
    """List submissions, newest first."""

    required_scope, required_capability = "overrides:read", "overrides.view"

    def get(self, request: Request) -> Response:
        query = query_of(request, shapes.SubmissionQuery)
        page = answers.submissions_answer(
            Filters(kind=query.get("kind", ""), state=query.get("state", ""), mine=query["mine"]),
            user=caller(request),
            cursor=query.get("cursor"),
            size=query["limit"],
        )
        rows = shapes.SubmissionSummarySerializer(page.results, many=True).data
        return Response({"results": rows, "next": page.next})


@extend_schema_view(
    get=documents.single(
        "getSubmission",
        "One submission with its triage, approvals and delivery",
        shapes.SubmissionDetailSerializer,
    )
)
class SubmissionView(PortalAPIView):
    """One submission: its state, triage, approvals, revision and delivery."""

    required_scope, required_capability = "overrides:read", "overrides.view"

    def get(self, request: Request, submission_id: int) -> Response:
        return detail(request, submission_id)


@extend_schema_view(
    get=documents.listing(
        "SubmissionItems",
        "List the items of a submission, in their order",
        shapes.ItemQuery,
        shapes.ItemSerializer,
    )
)
class SubmissionItemsView(PortalAPIView):
    """The items of a submission in the order they came in."""

    required_scope, required_capability = "overrides:read", "overrides.view"

    def get(self, request: Request, submission_id: int) -> Response:
        query = query_of(request, shapes.ItemQuery)
        submission = answers.visible_submission(submission_id, user=caller(request))
        page = answers.items_answer(
            submission, triage=query.get("triage", ""), cursor=query.get("cursor"), size=query["limit"]
        )
        rows = shapes.ItemSerializer(answers.outcomes(submission, page.results), many=True).data
        return Response({"results": rows, "next": page.next})


@extend_schema_view(
    post=documents.verdict("approveSubmission", "Approve a submission", shapes.Verdict, examples.VERDICT)
)
class ApproveView(PortalAPIView):
    """Approve the version that was looked at. For signed-in people other than the author, never for keys."""

    required_capability = "overrides.approve"

    def post(self, request: Request, submission_id: int) -> Response:
        answers.visible_submission(submission_id, user=caller(request))
        fields = body_of(request, shapes.Verdict)
        services.approve(actor=caller(request), submission_id=submission_id, **fields)
        return detail(request, submission_id)


@extend_schema_view(
    post=documents.verdict("rejectSubmission", "Turn a submission down", shapes.Rejection, examples.REJECTION)
)
class RejectView(PortalAPIView):
    """Turn a waiting submission down. For signed-in people other than the author, never for keys."""

    required_capability = "overrides.approve"

    def post(self, request: Request, submission_id: int) -> Response:
        answers.visible_submission(submission_id, user=caller(request))
        fields = body_of(request, shapes.Rejection)
        services.reject(actor=caller(request), submission_id=submission_id, **fields)
        return detail(request, submission_id)


@extend_schema_view(
    post=extend_schema(
        operation_id="undoSubmission",
        summary="Undo a submission",
        auth=documents.PEOPLE_ONLY,
        request=shapes.Undo,
        responses=documents.RECEIPTS,
    )
)
class UndoView(PortalAPIView):
    """Put back what a submission changed, as a new submission. For signed-in people, never for keys."""

    required_capability = "overrides.view"

    def post(self, request: Request, submission_id: int) -> Response:
        answers.visible_submission(submission_id, user=caller(request))
        fields = body_of(request, shapes.Undo)
        submission = services.request_undo(actor=caller(request), submission_id=submission_id, **fields)
        return receipt(submission)


def _state(query: dict[str, Any]) -> str:
    return NOT_ENDED if query["state"] == shapes.OPEN else str(query["state"])
