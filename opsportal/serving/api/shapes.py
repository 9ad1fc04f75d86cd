"""The JSON of the decision routes. msgspec checks while it decodes, in 1 % of a DRF serializer's time."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

PRODUCTS_MAX = 1_000
# Only for the document: the views check it in one go, a pattern per ID would cost more than the rest.
_CLEAN = {"pattern": r"^[^\u0000]+$"}
_SLUG = {"pattern": r"^[A-Za-z0-9][A-Za-z0-9_-]*$"}

ProductId = Annotated[
    str,
    Meta(min_length=1, max_length=128, description="Exactly as in the log.", extra_json_schema=_CLEAN),
]
CustomerId = Annotated[
    str,
    Meta(
        min_length=1, max_length=200, description="Never stored and never logged.", extra_json_schema=_CLEAN
    ),
]
SurfaceSlug = Annotated[
    str,
    Meta(min_length=1, max_length=64, description="Where the products are shown.", extra_json_schema=_SLUG),
]


class DecisionRequest(Struct, forbid_unknown_fields=True):
    """Candidates of one request of a ranker."""

    surface: SurfaceSlug
    product_ids: Annotated[list[ProductId], Meta(max_length=PRODUCTS_MAX)]
    customer_id: CustomerId | None = None


class DecisionAnswer(Struct):
    """What must not be shown, and what is boosted; whoever is in neither stays as ranked."""

    revision: int
    as_of: datetime
    age_seconds: float
    personalize: bool
    blocked: list[str]
    boosts: dict[str, float]


class Candidate(Struct, forbid_unknown_fields=True):
    """A product and the model's score: higher is better, and 0 or more, since a boost multiplies it."""

    product_id: ProductId
    score: float


class RankRequest(Struct, forbid_unknown_fields=True):
    """Candidates with the model's scores."""

    surface: SurfaceSlug
    items: Annotated[list[Candidate], Meta(max_length=PRODUCTS_MAX)]
    customer_id: CustomerId | None = None
    limit: Annotated[int, Meta(ge=1, le=PRODUCTS_MAX)] | None = None


class RankedItem(Struct):
    """A product in its final place: `score` is the model's, `boost` what it was multiplied by."""

    product_id: str
    score: float
    rank: int
    model_rank: int
    boost: float
    override_id: int | None


class RankAnswer(Struct):
    """The products to show, in order of score × boost, and those that must not be shown."""

    revision: int
    as_of: datetime
    age_seconds: float
    personalize: bool
    items: list[RankedItem]
    blocked: list[str]


class ExplainRequest(Struct, forbid_unknown_fields=True):
    """One product on one surface."""

    surface: SurfaceSlug
    product_id: ProductId
    customer_id: CustomerId | None = None


class ExplainedRule(Struct):
    """One rule that touches the product, and what became of it."""

    kind: Literal["block", "boost"]
    override_id: int | None
    surface: str
    factor: float | None
    starts_at: datetime | None
    ends_at: datetime | None
    applies: bool
    wins: bool
    why: str


class ExplainAnswer(Struct):
    """Every rule that touches the product, the winner, and why the others lost."""

    surface: str
    product_id: str
    revision: int
    as_of: datetime
    age_seconds: float
    personalize: bool
    blocked: bool
    boost: float
    winner: ExplainedRule | None
    rules: list[ExplainedRule]


class HeadAnswer(Struct):
    """How far the store is, and the digest of everything it holds."""

    schema: str
    epoch: int
    revision: int
    products: int
    customers: int
    thresholds: int
    digest: str
    heartbeat_at: datetime


class PublishedThreshold(Struct):
    """From this score on (score >= threshold) the decision of the version is the positive one."""

    model: str
    version: str
    threshold: float
    since: datetime


class ThresholdsAnswer(Struct):
    """The published thresholds; a version that is not among them keeps the one it was registered with."""

    revision: int
    as_of: datetime
    age_seconds: float
    thresholds: list[PublishedThreshold]
