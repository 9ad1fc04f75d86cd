"""What the overrides did to a product on one surface at one moment, past or present."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from opsportal.client import engine
from opsportal.overrides.models import EVERYWHERE, Block, Boost
from opsportal.overrides.selectors.desired import block_text, boost_text


@dataclass(frozen=True, slots=True)
class RuleThen:
    """One block or boost that touched the product, whether it decided, and why."""

    row: Block | Boost
    wins: bool
    applies: bool
    why: str


@dataclass(frozen=True, slots=True)
class RulesAt:
    """What the rankers were told of a product: hidden, multiplied, or left as the model ranked it."""

    moment: datetime
    blocked: bool
    factor: float
    rules: list[RuleThen]

    @property
    def look(self) -> str:
        """The kind of badge that says it."""
        return "block" if self.blocked else "boost" if self.factor != 1 else "neutral"

    @property
    def words(self) -> str:
        """What happened to the product, in a word or two."""
        if self.blocked:
            return "blocked"
        return f"boosted ×{self.factor:g}" if self.factor != 1 else "as ranked"


def rules_at(product_id: str, *, surface: str, moment: datetime) -> RulesAt:
    """The rules that had been applied and not withdrawn at that moment, and what the rankers' engine made
    of them.

    surface: empty for none, which only rules for everywhere touch. Windows are those of today: whoever
    extended a rule since then did not change what it did before. Two queries.
    """
    standing = Q(closed_at=None) | Q(closed_at__gt=moment)
    rows: list[Block | Boost] = []
    for model in (Block, Boost):
        rows += model.objects.filter(
            standing, product_id=product_id, surface__in={EVERYWHERE, surface}, created_at__lte=moment
        ).select_related("surface", "submission__author")
    # As the store has it: blocks first, the later approved before the others.
    rows.sort(key=lambda row: (isinstance(row, Boost), -row.pk))
    seen = engine.explain(
        ";".join(_text(row) for row in rows), surface=surface or EVERYWHERE, now=moment.timestamp()
    )
    return RulesAt(
        moment=moment,
        blocked=seen.blocked,
        factor=seen.boost,
        rules=[
            RuleThen(row, wins=verdict.wins, applies=verdict.applies, why=verdict.why)
            for row, verdict in zip(rows, seen.verdicts, strict=True)
        ],
    )


def _text(row: Block | Boost) -> str:
    if isinstance(row, Boost):
        return boost_text(row.surface_id, row.factor, row.starts_at, row.ends_at, row.pk)
    return block_text(row.surface_id, row.starts_at, row.ends_at, row.pk)
