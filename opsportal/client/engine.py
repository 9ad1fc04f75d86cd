"""The decision engine: what the rules of a product mean on one surface at one moment.

Precedence: a block beats every boost, whatever its scope or age, and blocks unite. Of the boosts, one
for this surface beats one for everywhere; then the one listed first counts (the publisher lists the
later approved first). Boosts do not multiply. An opt-out is orthogonal: it tells not to personalise.

Whoever reads the rules passes the clock (`now`, epoch seconds): a window [start, end) flips at its
second without anything running.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

BLOCK, BOOST = "b", "f"
EVERYWHERE = "*"
FACTOR_MIN, FACTOR_MAX = 0.1, 10.0
PERSONALISATION = "personalisation"
UNREADABLE = "?"
_PURPOSES = frozenset({PERSONALISATION, "training", "sharing"})


class Rule(NamedTuple):
    """One block or boost. `starts` and `ends` are epoch seconds, 0 for none; `factor` is 1 for a block."""

    kind: str
    surface: str
    factor: float
    starts: int
    ends: int
    override_id: int | None


class Decision(NamedTuple):
    """What to do with a list of candidates."""

    personalize: bool
    blocked: list[str]
    boosts: dict[str, float]


class Ranked(NamedTuple):
    """A candidate in its final place. `score` is the model's; `boost` is the factor it was multiplied by."""

    product_id: str
    score: float
    rank: int
    model_rank: int
    boost: float
    override_id: int | None


class Ranking(NamedTuple):
    """Candidates in final order, and those that must not be shown."""

    personalize: bool
    items: list[Ranked]
    blocked: list[str]


class Verdict(NamedTuple):
    """What became of one rule: whether it applies here and now, whether it decided, and why."""

    rule: Rule
    applies: bool
    wins: bool
    why: str


class Explanation(NamedTuple):
    """Every rule that touches a product, and the one that decided (None: shown, not boosted)."""

    personalize: bool
    blocked: bool
    boost: float
    winner: Rule | None
    verdicts: list[Verdict]


# An unreadable block still blocks: hiding a product by mistake is repaired by the next comparison,
# showing one that must not be shown is not.
_UNREADABLE_BLOCK = Rule(BLOCK, EVERYWHERE, 1.0, 0, 0, None)


def parse_rules(text: str) -> list[Rule]:
    """The rules in `rule;rule…`, in the publisher's order.

    Kinds of a later version and unreadable boosts are left out; an unreadable block counts as one
    without end for everywhere. Never raises.
    """
    rules = []
    for part in text.split(";"):
        kind, *fields = part.split(",")
        if kind == BLOCK:
            rules.append(_parse_block(fields))
        elif kind == BOOST:
            boost = _parse_boost(fields)
            if boost:
                rules.append(boost)
        elif kind == UNREADABLE:
            rules.append(_UNREADABLE_BLOCK)
    return rules


def decide(
    product_ids: Iterable[str], *, surface: str, now: float, rules: Mapping[str, str], purposes: str = ""
) -> Decision:
    """What is blocked and boosted among `product_ids`, each named once, in their order.

    rules: the text of each product that has any. purposes: what the customer opted out of.
    """
    blocked, boosts = [], {}
    for product_id in dict.fromkeys(product_ids) if rules else ():
        text = rules.get(product_id)
        winner = _winner(parse_rules(text), surface, now) if text else None
        if winner is None:
            continue
        if winner.kind == BLOCK:
            blocked.append(product_id)
        else:
            boosts[product_id] = winner.factor
    return Decision(personalize(purposes), blocked, boosts)


def rank(
    items: Sequence[tuple[str, float]],
    *,
    surface: str,
    now: float,
    rules: Mapping[str, str],
    purposes: str = "",
    limit: int | None = None,
) -> Ranking:
    """The candidates in order of score × factor, blocked ones left out; ties keep the model's order.

    items: (product ID, score). `model_rank` counts from 1 over all candidates by score, ties in the
    order given. At most `limit` come back, ranked from 1.
    """
    by_model = sorted(items, key=lambda item: -item[1])
    blocked: dict[str, None] = {}
    offered = []
    for model_rank, (product_id, score) in enumerate(by_model, start=1):
        text = rules.get(product_id)
        winner = _winner(parse_rules(text), surface, now) if text else None
        if winner and winner.kind == BLOCK:
            blocked[product_id] = None
        else:
            factor, override_id = (winner.factor, winner.override_id) if winner else (1.0, None)
            offered.append((score * factor, model_rank, product_id, score, factor, override_id))
    offered.sort(key=lambda entry: (-entry[0], entry[1]))
    ranked = [
        Ranked(product_id, score, place, model_rank, factor, override_id)
        for place, (_, model_rank, product_id, score, factor, override_id) in enumerate(
            offered[:limit], start=1
        )
    ]
    return Ranking(personalize(purposes), ranked, list(blocked))


def explain(text: str, *, surface: str, now: float, purposes: str = "") -> Explanation:
    """Why a product with the rules `text` is blocked, boosted or left alone on `surface`."""
    rules = parse_rules(text)
    winner = _winner(rules, surface, now)
    # By place, since two rules may be equal in everything.
    winning = next((place for place, rule in enumerate(rules) if rule is winner), None)
    verdicts = [
        _verdict(rule, winner, surface, now, wins=place == winning) for place, rule in enumerate(rules)
    ]
    blocked = winner is not None and winner.kind == BLOCK
    boost = winner.factor if winner and not blocked else 1.0
    return Explanation(personalize(purposes), blocked, boost, winner, verdicts)


def personalize(purposes: str) -> bool:
    """Whether a customer who opted out of `purposes` may be personalised for.

    A value without any purpose we know is unreadable, and counts as a refusal.
    """
    words = set(filter(None, purposes.split(",")))
    return not words or (PERSONALISATION not in words and bool(words & _PURPOSES))


def _winner(rules: Iterable[Rule], surface: str, now: float) -> Rule | None:
    best: Rule | None = None
    for rule in rules:
        if not _applies(rule, surface, now):
            continue
        if rule.kind == BLOCK:
            return rule
        if best is None or (best.surface == EVERYWHERE and rule.surface != EVERYWHERE):
            best = rule
    return best


def _applies(rule: Rule, surface: str, now: float) -> bool:
    return (
        (rule.surface in (EVERYWHERE, surface)) and rule.starts <= now and (not rule.ends or now < rule.ends)
    )


def _verdict(rule: Rule, winner: Rule | None, surface: str, now: float, *, wins: bool) -> Verdict:
    if rule.surface not in (EVERYWHERE, surface):
        return Verdict(rule, applies=False, wins=False, why=f"It is for {rule.surface} only.")
    if rule.starts > now:
        return Verdict(rule, applies=False, wins=False, why="It has not started yet.")
    if rule.ends and rule.ends <= now:
        return Verdict(rule, applies=False, wins=False, why="It has ended.")
    if wins:
        why = "It hides the product." if rule.kind == BLOCK else "It decides the factor."
        return Verdict(rule, applies=True, wins=True, why=why)
    if rule.kind == BLOCK:
        why = "It hides the product too; another block is enough."
    elif winner is None or winner.kind == BLOCK:
        why = "A block beats every boost."
    elif rule.surface == EVERYWHERE and winner.surface != EVERYWHERE:
        why = "A boost for this surface beats one for everywhere."
    else:
        why = "A boost that was approved later beats it; boosts do not multiply."
    return Verdict(rule, applies=True, wins=False, why=why)


def _parse_block(fields: Sequence[str]) -> Rule:
    try:
        surface, starts, ends, override_id = fields
        return Rule(BLOCK, surface, 1.0, int(starts), int(ends), int(override_id))
    except ValueError:
        return _UNREADABLE_BLOCK


def _parse_boost(fields: Sequence[str]) -> Rule | None:
    try:
        surface, number, starts, ends, override_id = fields
        factor = float(number)
        if not math.isfinite(factor):
            return None
        factor = min(max(factor, FACTOR_MIN), FACTOR_MAX)
        return Rule(BOOST, surface, factor, int(starts), int(ends), int(override_id))
    except ValueError:
        return None
