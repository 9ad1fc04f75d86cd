"""Two explanations side by side: what differs between them, reason by reason.

Of one model version the differences add up to the difference of the scores, starting points included.
Pure Python over stored rows; asks the database nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from opsportal.explanations.models import Explanation
from opsportal.explanations.selectors.reasons import (
    FEATURE,
    MINUS,
    Reason,
    Reasons,
    reasons_of,
    signed,
    signed_points,
)
from opsportal.predictions.dictionary import FeatureDictionary, Value
from opsportal.predictions.models import ModelVersion, Prediction

# Below this a difference of points is none that a person could see.
_NOTHING = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two. decision: how the score is called; empty where the version decides nothing."""

    prediction: Prediction
    version: ModelVersion
    explanation: Explanation
    reasons: Reasons
    score: float
    decision: str

    @property
    def score_text(self) -> str:
        """The score as per cent with one decimal, as effects have it; a ranker's with four digits."""
        return written_score(self.score, in_points=self.reasons.in_points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One reason on both sides; a side that does not know it has None.

    difference: what it makes more or less on the second side, in points or in the score's unit; None
    where the two sides count in different units. differs: whether the value itself is another.
    """

    name: str
    label: str
    before: Reason | None
    after: Reason | None
    difference: float | None
    in_points: bool

    @property
    def differs(self) -> bool:
        """Whether the value itself is another, whatever its effect."""
        return _values(self.before) != _values(self.after)

    @property
    def size(self) -> float:
        """How large it is, whatever the direction; what a bar's length shows."""
        return abs(self.difference or 0.0)

    @property
    def direction(self) -> str:
        """`up`, `down` or `none`."""
        difference = self.difference or 0.0
        return "up" if difference > 0 else "down" if difference < 0 else "none"

    @property
    def effect(self) -> str:
        """The difference with its sign, as the reasons' effects are written; empty where there is none."""
        return "" if self.difference is None else _written(self.difference, in_points=self.in_points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What leads from the first score to the second.

    rows: the largest difference first. start: what the starting points differ by. total: the second
    score minus the first, in points or the score's unit. start and total are None where the units differ.
    one_version: both come from the same model file, so that nothing but the values differs.
    """

    before: Side
    after: Side
    rows: tuple[Difference, ...]
    start: float | None
    total: float | None
    in_points: bool

    @property
    def one_version(self) -> bool:
        """Whether nothing but the values differs."""
        return self.before.version.pk == self.after.version.pk

    @property
    def one_model(self) -> bool:
        """Whether both are versions of the same model."""
        return self.before.version.model_id == self.after.version.model_id

    @property
    def rounding(self) -> float:
        """What neither reasons nor starting points account for; nothing but rounding in a sound model."""
        if self.total is None or self.start is None:
            return 0.0
        return self.total - self.start - math.fsum(row.difference or 0.0 for row in self.rows)

    @property
    def largest(self) -> float:
        """The size of the largest difference; 0 where there is none."""
        return max((row.size for row in self.rows), default=0.0)

    @property
    def start_differs(self) -> bool:
        """Whether the two start from different points that a person could tell apart."""
        return abs(self.start or 0.0) >= _NOTHING

    @property
    def start_effect(self) -> str:
        """What the starting points differ by, with its sign."""
        return _written(self.start or 0.0, in_points=self.in_points)

    @property
    def total_effect(self) -> str:
        """What the scores differ by, with its sign; empty where they cannot be subtracted."""
        return "" if self.total is None else _written(self.total, in_points=self.in_points)

    @property
    def decision_differs(self) -> bool:
        """Whether the two are decided differently."""
        return self.before.decision != self.after.decision

    @property
    def changed(self) -> tuple[Difference, ...]:
        """The rows whose value is another."""
        return tuple(row for row in self.rows if row.differs)

    @property
    def headline(self) -> str:
        """The difference in words: `12.3 points lower`."""
        if self.total is None:
            return "Two different measures"
        size = _written(self.total, in_points=self.in_points).lstrip("+" + MINUS)
        unit = " points" if self.in_points else ""
        return f"{size}{unit} {'higher' if self.total > 0 else 'lower'}" if self.total else "The same score"

    @property
    def made_of(self) -> str:
        """Where the difference comes from, in a sentence; empty where nothing differs."""
        if self.total is None:
            return "The two scores are counted in different units, so they cannot be subtracted."
        parts = [f"{row.label} {row.effect}" for row in self.rows[:3] if row.size >= _NOTHING]
        rest = self.total - math.fsum(row.difference or 0.0 for row in self.rows[: len(parts)])
        if not parts:
            return ""
        if abs(rest) >= _NOTHING:
            parts.append(f"everything else {_written(rest, in_points=self.in_points)}")
        return f"The difference is made of {_listed(parts)}."


def side_of(
    explanation: Explanation,
    prediction: Prediction,
    dictionary: FeatureDictionary,
    values: Mapping[str, Value] | None = None,
) -> Side:
    """One side from a ready SHAP explanation; `values` are the logged ones with the what-if's changes.

    The prediction's version and model are taken as they were loaded with it.
    """
    version = prediction.version
    logged = prediction.values if values is None else values
    reasons = reasons_of(explanation, dictionary, {**logged, **explanation.changes})
    score = reasons.margin if explanation.score is None else explanation.score
    return Side(
        prediction=prediction,
        version=version,
        explanation=explanation,
        reasons=reasons,
        score=score,
        decision=decision_word(version, dictionary, score),
    )


def compare(before: Side, after: Side) -> Comparison:
    """What differs, the largest difference first; equal ones in the order of the second side's strength."""
    in_points = before.reasons.in_points and after.reasons.in_points
    countable = in_points or (
        not before.reasons.in_points
        and not after.reasons.in_points
        and before.reasons.space == after.reasons.space
    )
    # Features and groups may have the same name.
    firsts = {(reason.kind == FEATURE, reason.name): reason for reason in before.reasons.all}
    seconds = {(reason.kind == FEATURE, reason.name): reason for reason in after.reasons.all}
    rows = []
    for key, known in {**seconds, **{key: firsts[key] for key in firsts if key not in seconds}}.items():
        first, second = firsts.get(key), seconds.get(key)
        difference = _amount(second, in_points) - _amount(first, in_points) if countable else None
        rows.append(
            Difference(
                name=known.name,
                label=known.label,
                before=first,
                after=second,
                difference=difference,
                in_points=in_points,
            )
        )
    rows.sort(key=lambda row: -row.size)
    start = total = None
    if in_points:
        start = (after.reasons.base_percent or 0.0) - (before.reasons.base_percent or 0.0)
        total = (after.reasons.margin_percent or 0.0) - (before.reasons.margin_percent or 0.0)
    elif countable:
        start = after.reasons.base - before.reasons.base
        total = after.reasons.margin - before.reasons.margin
    return Comparison(
        before=before, after=after, rows=tuple(rows), start=start, total=total, in_points=in_points
    )


def decision_word(version: ModelVersion, dictionary: FeatureDictionary, score: float) -> str:
    """What the score's decision is called; empty for a version without a threshold."""
    if version.threshold is None:
        return ""
    return dictionary.outcome_word(score >= version.threshold)


def written_score(score: float, *, in_points: bool) -> str:
    """A probability as per cent with one decimal, never rounded to certainty; another score as it is."""
    if not in_points:
        return f"{score:.4g}".replace("-", MINUS)
    percent = 100 * score
    if 0 < percent < 0.05:
        return "<\N{NO-BREAK SPACE}0.1\N{NO-BREAK SPACE}%"
    if 99.95 <= percent < 100:
        return ">\N{NO-BREAK SPACE}99.9\N{NO-BREAK SPACE}%"
    return f"{percent:.1f}\N{NO-BREAK SPACE}%"


def _listed(parts: list[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]


def _amount(reason: Reason | None, in_points: bool) -> float:
    if reason is None:
        return 0.0
    return (reason.points or 0.0) if in_points else reason.attribution


def _written(number: float, *, in_points: bool) -> str:
    return signed_points(number) if in_points else signed(number)


def _values(reason: Reason | None) -> tuple[str, ...]:
    if reason is None:
        return ()
    return (reason.value, *(member.value for member in reason.members))
