"""SHAP's reasons and LIME's side by side: how far the second opinion bears out the first, in words.

The two count differently, so only the order and the direction of the reasons are compared, never their
sizes. Pure Python over two stored rows; asks the database nothing, but of a text model for the text.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from opsportal.explanations.models import Explanation, Space, State
from opsportal.explanations.selectors.reasons import (
    DOWN,
    NONE,
    UP,
    Reason,
    points_per_unit,
    reasons_of,
    signed,
    signed_points,
)
from opsportal.predictions.dictionary import FeatureDictionary, Value, as_text

COMPARED = 5
# A text may have a thousand words; as many rows as anybody would read.
ROWS_MAX = 40
# Local R² under which LIME's model says too little about the case to confirm or to question anything.
INCONCLUSIVE_BELOW = 0.3
CONFIRMS, PARTLY, DIFFERS, INCONCLUSIVE, REFUSED, WAITING = (
    "confirms",
    "partly",
    "differs",
    "inconclusive",
    "refused",
    "waiting",
)
_TITLES = {
    CONFIRMS: "A second opinion confirms these reasons",
    PARTLY: "A second opinion confirms some of these reasons",
    DIFFERS: "A second opinion sees other reasons",
    INCONCLUSIVE: "The second opinion is inconclusive",
    REFUSED: "There is no second opinion",
    WAITING: "A second opinion is being computed",
}
_KINDS = {CONFIRMS: "boost", PARTLY: "model", DIFFERS: "waiting", REFUSED: "waiting"}
_SYMBOLS = {CONFIRMS: "check", PARTLY: "info", DIFFERS: "warning", REFUSED: "warning", WAITING: "clock"}
_WORD = "word "
# From which share of the compared reasons, in the same direction, it confirms them; and some of them.
_CONFIRMS_FROM, _PARTLY_FROM = 0.8, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One reason as both see it. A rank is its place among the reasons, from 1; None where it has none.

    shap, lime: the effect with its sign, in points or the score's unit. rule: what LIME says holds of the
    case. is_compared: whether it is among the strongest of either.
    """

    label: str
    value: str
    shap: str
    shap_direction: str
    shap_rank: int | None
    lime: str
    lime_direction: str
    lime_rank: int | None
    rule: str
    is_compared: bool

    @property
    def agreement(self) -> str:
        """Whether both push the same way, in words."""
        if self.shap_rank is None or self.lime_rank is None:
            return "seen by one of them only"
        if self.shap_direction == self.lime_direction:
            return f"both {self.shap_direction}"
        return f"SHAP {self.shap_direction}, LIME {self.lime_direction}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondOpinion:
    """What LIME says of SHAP's reasons.

    verdict: one of the module's words. sentence: the verdict with its numbers. shared: how many of the
    `compared` strongest reasons both have; same_direction: how many of those push the same way. rows: all
    reasons, SHAP's order first. unseen: labels of what LIME cannot see, as it is held constant or never
    varies.
    """

    verdict: str
    sentence: str
    shared: int = 0
    compared: int = 0
    same_direction: int = 0
    r2: float | None = None
    samples: int = 0
    engine: str = ""
    in_points: bool = True
    rows: tuple[Compared, ...] = ()
    unseen: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The verdict as a heading."""
        return _TITLES[self.verdict]

    @property
    def kind(self) -> str:
        """The look of the notice."""
        return _KINDS.get(self.verdict, "neutral")

    @property
    def symbol(self) -> str:
        """The icon of the notice."""
        return _SYMBOLS.get(self.verdict, "unknown")

    @property
    def is_waiting(self) -> bool:
        """Whether it is still being computed."""
        return self.verdict == WAITING

    @property
    def unseen_words(self) -> str:
        """What was left out of the comparison, in a sentence; empty for nothing."""
        if not self.unseen:
            return ""
        return f"LIME cannot judge what does not vary: {', '.join(self.unseen)}."


def second_opinion(
    shap: Explanation, lime: Explanation, dictionary: FeatureDictionary, values: Mapping[str, Value]
) -> SecondOpinion:
    """How far LIME's explanation of a case bears out SHAP's. values: what was logged.

    Either may be wanted still or refused; then the verdict says so.
    """
    for explanation, name in ((lime, "LIME"), (shap, "SHAP")):
        if explanation.state == State.REFUSED:
            why = f"{explanation.get_incident_display()}."
            return SecondOpinion(
                verdict=REFUSED, sentence=f"{name} gave none. {why} {explanation.incident_detail}".strip()
            )
    if lime.state != State.READY or shap.state != State.READY:
        return SecondOpinion(verdict=WAITING, sentence="LIME looks at some thousand cases like this one.")
    return _compare(shap, lime, dictionary, values)


@dataclass(slots=True)
class _Push:
    """What LIME says of one displayed reason."""

    weight: float
    rules: list[str]


def _compare(
    shap: Explanation, lime: Explanation, dictionary: FeatureDictionary, values: Mapping[str, Value]
) -> SecondOpinion:
    in_points = shap.space != Space.SCORE
    words = _words(shap, dictionary, values)
    by_shap = words or {
        _key_of(reason, dictionary): reason for reason in reasons_of(shap, dictionary, values).all
    }
    pushes = _pushes(lime, dictionary, are_words=bool(words))
    by_lime = dict(sorted(pushes.items(), key=lambda item: -abs(item[1].weight)))
    # What LIME left out it could neither confirm nor question.
    seen = [key for key, reason in by_shap.items() if key in by_lime and reason.direction != NONE]
    ranked = [key for key, push in by_lime.items() if push.weight]
    together = len(set(seen) | set(ranked))
    most = COMPARED if together > COMPARED else max(1, math.ceil(together / 2))
    strongest, theirs = seen[:most], ranked[:most]
    shared = [key for key in strongest if key in theirs]
    same = [key for key in shared if by_shap[key].direction == _direction(by_lime[key].weight)]
    shap_ranks = {
        key: rank
        for rank, key in enumerate((key for key, found in by_shap.items() if found.direction != NONE), 1)
    }
    lime_ranks = {key: rank for rank, key in enumerate(ranked, 1)}
    rows = [
        _row(
            key,
            by_shap.get(key),
            by_lime.get(key),
            shap_ranks.get(key),
            lime_ranks.get(key),
            in_points=in_points,
            is_compared=key in strongest or key in theirs,
        )
        for key in dict.fromkeys((*by_shap, *by_lime))
    ]
    # A word that LIME leaves out is one too many, not one that does not vary.
    unseen = [by_shap[key].label for key in by_shap if key not in by_lime and not key.startswith(_WORD)]
    r2 = float(lime.detail.get("r2", 0.0))
    verdict = _verdict(r2, len(same), len(strongest))
    return SecondOpinion(
        verdict=verdict,
        sentence=_sentence(
            verdict, r2, lime.detail.get("verdict", ""), len(shared), len(strongest), len(same)
        ),
        shared=len(shared),
        compared=len(strongest),
        same_direction=len(same),
        r2=r2,
        samples=int(lime.detail.get("samples", 0)),
        engine=lime.engine,
        in_points=in_points,
        rows=tuple(rows[:ROWS_MAX]) + tuple(row for row in rows[ROWS_MAX:] if row.is_compared),
        unseen=tuple(unseen[:ROWS_MAX]),
    )


def _words(
    shap: Explanation, dictionary: FeatureDictionary, values: Mapping[str, Value]
) -> dict[str, Reason]:
    """SHAP's reasons word by word, the strongest first; empty for what is no text.

    What belongs to several words together is shared out among them evenly.
    """
    spans, feature = shap.detail.get("words"), dictionary.text_feature
    if not spans or feature is None or shap.base_value is None or shap.margin is None:
        return {}
    text = shap.prediction.text or as_text(values.get(feature.name))
    sums: dict[str, float] = {}
    for start, end, x in spans:
        words = re.findall(r"\w+", text[start:end])
        for word in words:
            sums[word.casefold()] = sums.get(word.casefold(), 0.0) + float(x) / len(words)
    scale = points_per_unit(shap.space, shap.base_value, shap.margin)
    return {
        f"{_WORD}{word}": Reason(
            name=word, label=word, value="", attribution=x, points=None if scale is None else x * scale
        )
        for word, x in sorted(sums.items(), key=lambda item: -abs(item[1]))
    }


def _pushes(lime: Explanation, dictionary: FeatureDictionary, *, are_words: bool) -> dict[str, _Push]:
    """LIME's pushes by displayed reason: those of a group summed, as SHAP's are."""
    rules = {name: rule for name, rule, _ in lime.detail.get("rules", [])}
    found: dict[str, _Push] = {}
    for name, weight in lime.attributions:
        key = f"{_WORD}{name.casefold()}" if are_words else _key(name, dictionary)
        push = found.setdefault(key, _Push(0.0, []))
        push.weight += float(weight)
        if name in rules:
            push.rules.append(rules[name])
    return found


def _key(name: str, dictionary: FeatureDictionary) -> str:
    """Which displayed reason an attribution belongs to. Features and groups may have the same name."""
    feature = dictionary.by_name.get(name)
    return f"group {feature.group}" if feature is not None and feature.group else f"feature {name}"


def _key_of(reason: Reason, dictionary: FeatureDictionary) -> str:
    return f"group {reason.name}" if reason.members else _key(reason.name, dictionary)


def _row(
    key: str,
    reason: Reason | None,
    push: _Push | None,
    shap_rank: int | None,
    lime_rank: int | None,
    *,
    in_points: bool,
    is_compared: bool,
) -> Compared:
    weight = push.weight if push else 0.0
    label = reason.label if reason else key.partition(" ")[2]
    return Compared(
        label=label,
        value=reason.value if reason else "",
        shap=reason.effect if reason else "",
        shap_direction=reason.direction if reason else NONE,
        shap_rank=shap_rank,
        lime="" if push is None else signed_points(100 * weight) if in_points else signed(weight),
        lime_direction=_direction(weight),
        lime_rank=lime_rank,
        rule="; ".join(push.rules) if push else "",
        is_compared=is_compared,
    )


def _direction(weight: float) -> str:
    return UP if weight > 0 else DOWN if weight < 0 else NONE


def _verdict(r2: float, same: int, compared: int) -> str:
    if r2 < INCONCLUSIVE_BELOW or not compared:
        return INCONCLUSIVE
    share = same / compared
    return CONFIRMS if share >= _CONFIRMS_FROM else PARTLY if share >= _PARTLY_FROM else DIFFERS


def _sentence(verdict: str, r2: float, fit: str, shared: int, compared: int, same: int) -> str:
    if not compared:
        return "Neither of the two finds anything that pushed the score."
    if verdict == INCONCLUSIVE:
        return (
            "Around this case LIME's simple model follows the score too loosely to confirm or to question"
            f" the reasons (fit {fit}, R² {_rounded_down(r2)})."
        )
    if not shared:
        return f"LIME shares none of the {compared} strongest reasons; fit {fit} (R² {_rounded_down(r2)})."
    strongest = "the strongest reason" if compared == 1 else f"{shared} of the {compared} strongest reasons"
    return (
        f"LIME agrees on {strongest}; the direction agrees on {same} of {shared};"
        f" fit {fit} (R² {_rounded_down(r2)})."
    )


def _rounded_down(r2: float) -> str:
    """R² with two decimals, never rounded up across a limit: 0.299 is 0.29."""
    return f"{math.floor(round(r2 * 100, 9)) / 100:.2f}"
