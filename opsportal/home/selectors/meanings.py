"""What an ID means: a submission, an override, an audit, a product, a prediction, a customer, or several."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django.db.models import Sum

from opsportal.accounts.models import User
from opsportal.audits.models import Run
from opsportal.client import engine
from opsportal.core import clock
from opsportal.overrides.models import EVERYWHERE, Block, Boost, OptOut, Submission, Surface
from opsportal.overrides.selectors import desired_products
from opsportal.overrides.selectors.lists import starts_with, visible_submissions
from opsportal.predictions.identifiers import PRODUCT_ID_MAX, customer_problem
from opsportal.predictions.models import PREDICTION_ID_MAX, Impressions, Prediction, Product
from opsportal.predictions.selectors import LookUp, find_predictions

HISTORY_ROWS = 10
SIMILAR_ROWS = 6
RUN_ROWS = 6
NUMBER_MAX = 2**63 - 1
_SUBMISSION = re.compile(r"(?:submission\s*#?|#)\s*(\d{1,19})", re.IGNORECASE)
_OVERRIDE = re.compile(r"(block|boost|opt[- ]?out)\s*#?\s*(\d{1,19})", re.IGNORECASE)
_RUN = re.compile(r"(?:audit|run)\s*#?\s*(\d{1,19})", re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,19}")
_MODELS: dict[str, type[Block] | type[Boost] | type[OptOut]] = {
    "block": Block,
    "boost": Boost,
    "optout": OptOut,
}


@dataclass(frozen=True, slots=True)
class RuleLine:
    """One rule that touches a product, and what becomes of it on one surface."""

    kind: str
    url: str
    override_id: int | None
    where: str
    factor: float
    starts_at: datetime | None
    ends_at: datetime | None
    wins: bool
    applies: bool
    why: str


@dataclass(frozen=True, slots=True)
class SurfaceView:
    """What the rankers do with a product on one surface, and every rule that has a say."""

    name: str
    blocked: bool
    factor: float
    lines: list[RuleLine]


@dataclass(frozen=True, slots=True)
class Shown:
    """How often a product was shown and clicked in the last seven days."""

    total: int
    clicked: int
    by_day: list[int]
    by_surface: list[tuple[str, int]]

    @property
    def bars(self) -> list[dict[str, object]]:
        """The surfaces as bars of a chart, the longest first."""
        return [{"label": name, "value": shown, "text": f"{shown:,}"} for name, shown in self.by_surface]

    @property
    def highest(self) -> int:
        """The value of the longest bar."""
        return max((shown for _, shown in self.by_surface), default=0)

    @property
    def click_share(self) -> float:
        """Clicks for each time it was shown, within 0–1."""
        return self.clicked / self.total if self.total else 0.0

    @property
    def words(self) -> str:
        """What the small chart shows, for those who do not see it."""
        return "Shown each day: " + ", ".join(f"{shown:,}" for shown in self.by_day)


@dataclass(frozen=True, slots=True)
class ProductFacts:
    """A product: whether it was ever seen, what happens to it now, and what happened before."""

    product_id: str
    title: str
    seen: bool
    surfaces: list[SurfaceView]
    shown: Shown
    history: list[Block | Boost]


@dataclass(frozen=True, slots=True)
class Meanings:
    """Everything a text may stand for. `exact`: the text names its kind, as `#17` and `block 12` do.

    in_predictions: words of it stand in findable values of predictions, such as names. runs: audit runs
    whose title holds it.
    """

    text: str
    exact: bool = False
    submission: Submission | None = None
    override: Block | Boost | OptOut | None = None
    product: ProductFacts | None = None
    run: Run | None = None
    runs: list[Run] = field(default_factory=list)
    prediction: Prediction | None = None
    in_predictions: bool = False
    similar: list[Product] = field(default_factory=list)
    may_be_customer: bool = False

    @property
    def known(self) -> bool:
        """Whether the text means something other than a customer."""
        return bool(
            self.submission
            or self.override
            or self.run
            or self.runs
            or self.product
            or self.prediction
            or self.in_predictions
        )

    @property
    def only_prediction(self) -> bool:
        """Whether it is a prediction and nothing else that we know of."""
        return self.prediction is not None and not (self.submission or self.override or self.product)


def meanings(text: str, *, user: User) -> Meanings:
    """What the text means to this person. Never looks a customer up: that is a service with an event."""
    if named := _SUBMISSION.fullmatch(text):
        return Meanings(text, exact=True, submission=_submission(named[1], user))
    if named := _OVERRIDE.fullmatch(text):
        kind = named[1].lower().replace("-", "").replace(" ", "")
        return Meanings(text, exact=True, override=_override(kind, named[2], user))
    if named := _RUN.fullmatch(text):
        return Meanings(text, exact=True, run=_run(named[1], user))
    return Meanings(
        text,
        runs=_runs(text, user),
        submission=_submission(text, user) if _NUMBER.fullmatch(text) else None,
        product=product_facts(text),
        prediction=_prediction(text, user),
        in_predictions=_in_predictions(text, user),
        similar=similar_products(text),
        may_be_customer=user.can("optouts.view") and not customer_problem(text),
    )


def product_facts(product_id: str) -> ProductFacts | None:
    """All about a product: a dozen queries. None if it was never seen and never had an override."""
    if not product_id or len(product_id) > PRODUCT_ID_MAX:
        return None
    product = Product.objects.filter(pk=product_id).first()
    history = _history(product_id)
    if product is None and not history:
        return None
    return ProductFacts(
        product_id=product_id,
        title=product.title if product else "",
        seen=product is not None,
        surfaces=_surfaces(desired_products([product_id]).get(product_id, "")),
        shown=_shown(product_id),
        history=history,
    )


def similar_products(text: str) -> list[Product]:
    """Other products whose ID begins with the text (upper and lower case differ); one read of an index."""
    if not text or len(text) > PRODUCT_ID_MAX:
        return []
    similar = Product.objects.filter(starts_with("product_id", text)).exclude(pk=text)
    return list(similar.order_by("pk")[:SIMILAR_ROWS])


def _prediction(text: str, user: User) -> Prediction | None:
    """The prediction with this ID, to lead to; its page records who looks."""
    if not user.can("predictions.view") or len(text) > PREDICTION_ID_MAX:
        return None
    return find_predictions(LookUp(prediction_id=text)).first()


def _in_predictions(text: str, user: User) -> bool:
    return user.can("predictions.view") and find_predictions(LookUp(words=text)).exists()


def _submission(digits: str, user: User) -> Submission | None:
    if int(digits) > NUMBER_MAX:
        return None
    return visible_submissions(user).filter(pk=int(digits)).first()


def _override(kind: str, digits: str, user: User) -> Block | Boost | OptOut | None:
    model = _MODELS[kind]
    if int(digits) > NUMBER_MAX or (model is OptOut and not user.can("optouts.view")):
        return None
    return model._default_manager.filter(pk=int(digits)).first()


def _run(digits: str, user: User) -> Run | None:
    if int(digits) > NUMBER_MAX or not user.can("audits.view"):
        return None
    return Run.objects.filter(pk=int(digits)).first()


def _runs(text: str, user: User) -> list[Run]:
    """The newest runs with the text in their title; reads all of them, and there are few."""
    if not user.can("audits.view"):
        return []
    return list(Run.objects.filter(title__icontains=text).select_related("model")[:RUN_ROWS])


def _surfaces(text: str) -> list[SurfaceView]:
    """What the rankers' own engine makes of the rules, on each surface they name and everywhere else."""
    rules = engine.parse_rules(text)
    names = dict(Surface.objects.values_list("slug", "name"))
    named = sorted({rule.surface for rule in rules if rule.surface != EVERYWHERE})
    moment = clock.now().timestamp()
    views = []
    for slug in [*named, EVERYWHERE] if rules else []:
        seen = engine.explain(text, surface=slug, now=moment)
        if slug == EVERYWHERE:
            name = "On every other surface" if named else "Everywhere"
        else:
            name = f"On {names.get(slug, slug)}"
        views.append(
            SurfaceView(
                name=name,
                blocked=seen.blocked,
                factor=seen.boost,
                lines=[
                    _line(verdict, names)
                    for verdict in sorted(
                        seen.verdicts, key=lambda verdict: (not verdict.wins, not verdict.applies)
                    )
                    if verdict.rule.surface in {EVERYWHERE, slug}
                ],
            )
        )
    return views


def _line(verdict: engine.Verdict, names: dict[str, str]) -> RuleLine:
    rule = verdict.rule
    blocks = rule.kind == engine.BLOCK
    model = Block if blocks else Boost
    return RuleLine(
        kind="block" if blocks else "boost",
        url=model(pk=rule.override_id).get_absolute_url() if rule.override_id else "",
        override_id=rule.override_id,
        where="everywhere" if rule.surface == EVERYWHERE else f"on {names.get(rule.surface, rule.surface)}",
        factor=rule.factor,
        starts_at=_moment(rule.starts),
        ends_at=_moment(rule.ends),
        wins=verdict.wins,
        applies=verdict.applies,
        why=verdict.why,
    )


def _moment(epoch: int) -> datetime | None:
    return datetime.fromtimestamp(epoch, UTC) if epoch else None


def _shown(product_id: str) -> Shown:
    today = clock.now().date()
    days = [today - timedelta(days=back) for back in range(7, -1, -1)]
    rows = Impressions.objects.filter(product=product_id, day__gte=days[0])
    by_day = dict(rows.values("day").annotate(n=Sum("shown")).values_list("day", "n"))
    by_surface = list(
        rows.values("surface").annotate(n=Sum("shown")).order_by("-n").values_list("surface", "n")[:8]
    )
    names = dict(Surface.objects.values_list("slug", "name"))
    return Shown(
        total=sum(by_day.values()),
        clicked=rows.aggregate(n=Sum("clicked"))["n"] or 0,
        by_day=[by_day.get(day, 0) for day in days],
        by_surface=[(names.get(slug, slug), n) for slug, n in by_surface],
    )


def _history(product_id: str) -> list[Block | Boost]:
    rows: list[Block | Boost] = []
    for model in (Block, Boost):
        found = model.objects.filter(product_id=product_id)
        rows += found.select_related("submission__author", "closed_by__author", "surface").order_by("-id")[
            :HISTORY_ROWS
        ]
    return sorted(rows, key=lambda row: row.created_at, reverse=True)[:HISTORY_ROWS]
