"""An explanation's numbers as reasons that people can read: grouped, in points, in words, strongest first.

Pure Python over one stored row; asks the database nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opsportal.explanations.models import Explanation, Space
from opsportal.predictions.dictionary import (
    CATEGORY,
    MISSING,
    Feature,
    FeatureDictionary,
    Group,
    Value,
    as_text,
)

UP, DOWN, NONE = "up", "down", "none"
# What a reason is made of: one feature, the columns of one category, features that go together, the rest.
FEATURE, LEVELS, TOGETHER, REST = "feature", "levels", "together", "rest"

MINUS = "\N{MINUS SIGN}"
NO_WORDING = "There is no approved wording for this direction."
NOT_RELEASED = "The model's dictionary does not release this reason."
# Closer than this, base and margin give no usable quotient; the slope between them does.
_CLOSE = 1e-6
# Whole numbers above this have no digits of their own any more.
_WHOLE_BELOW = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One feature of a group: its own part of the group's effect."""

    name: str
    label: str
    value: str
    badges: tuple[str, ...]
    attribution: float
    points: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """What one feature, or one group of features, did to the score.

    attribution: in the explanation's space. points: percentage points of probability; None where the
    score is none. words: how the dictionary words this direction, empty where it does not. withheld: why
    a customer may not be told; empty exactly where `tellable`. members: the features of a group.
    """

    name: str
    label: str
    value: str
    badges: tuple[str, ...] = ()
    attribution: float
    points: float | None
    words: str = ""
    tellable: bool = False
    withheld: str = ""
    kind: str = FEATURE
    members: tuple[Member, ...] = ()

    @property
    def direction(self) -> str:
        """`up`, `down` or `none`: where it pushed the score."""
        return UP if self.attribution > 0 else DOWN if self.attribution < 0 else NONE

    @property
    def size(self) -> float:
        """How strong it is, whatever the direction; what a bar's length shows."""
        return abs(self.attribution)

    @property
    def effect(self) -> str:
        """The effect as a number with its sign: points with a decimal, or the score itself."""
        return signed_points(self.points) if self.points is not None else signed(self.attribution)

    @property
    def pushed(self) -> str:
        """The direction in words."""
        return {UP: "pushed the score up", DOWN: "pushed the score down", NONE: "had no effect"}[
            self.direction
        ]

    @property
    def sentence(self) -> str:
        """The dictionary's wording as a sentence, or a plain one where there is none."""
        if self.words:
            return as_sentence(self.words)
        return as_sentence(f"{self.label} {self.pushed}")


@dataclass(frozen=True, slots=True)
class CustomerWords:
    """What a customer may be told. untold: the reasons with an effect that must stay inside."""

    told: tuple[Reason, ...]
    untold: tuple[Reason, ...]

    @property
    def sentences(self) -> list[str]:
        """The approved sentences, the strongest reason first."""
        return [reason.sentence for reason in self.told]

    @property
    def untold_words(self) -> str:
        """How many reasons may not be told, in a sentence; empty for none."""
        n = len(self.untold)
        if not n:
            return ""
        return f"{n} further reason{'' if n == 1 else 's'} may not be told to the customer."


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasons:
    """Every reason of one explanation, the strongest first; together they lead from base to margin.

    base, margin, residual: in `space`; margin = base + Σ attributions + residual. base_percent,
    margin_percent: the same as per cent of probability, 0–100; None where the score is none.
    """

    space: str
    base: float
    margin: float
    residual: float
    base_percent: float | None
    margin_percent: float | None
    all: tuple[Reason, ...]

    @property
    def in_points(self) -> bool:
        """Whether effects are percentage points of probability."""
        return self.base_percent is not None

    @property
    def rescaled(self) -> bool:
        """Whether the points were rescaled from log-odds, which a footnote has to say."""
        return self.space == Space.LOG_ODDS

    @property
    def unit(self) -> str:
        """What an effect is counted in."""
        return "percentage points" if self.in_points else "score"

    @property
    def largest(self) -> float:
        """The size of the strongest reason; 0 where there is none."""
        return self.all[0].size if self.all else 0.0

    def top(self, n: int) -> tuple[Reason, ...]:
        """The n strongest reasons."""
        return self.all[:n]

    def rest(self, n: int) -> Reason | None:
        """All but the n strongest, summed into one; None where nothing is left."""
        others = self.all[n:]
        if not others:
            return None
        return Reason(
            name="",
            label=f"{len(others)} other reason{'' if len(others) == 1 else 's'}",
            value="",
            attribution=math.fsum(reason.attribution for reason in others),
            points=math.fsum(reason.points or 0.0 for reason in others) if self.in_points else None,
            kind=REST,
            withheld=NOT_RELEASED,
        )

    def named(self, name: str) -> Reason | None:
        """The reason of this feature or group."""
        return next((reason for reason in self.all if reason.name == name), None)

    @property
    def three_words(self) -> str:
        """The three strongest reasons for a list: `sex, age up; class down`. Empty where nothing pushed."""
        strongest = [reason for reason in self.top(3) if reason.direction != NONE]
        parts = []
        for direction in (UP, DOWN):
            labels = [_small(reason.label) for reason in strongest if reason.direction == direction]
            if labels:
                parts.append(f"{', '.join(labels)} {direction}")
        return "; ".join(parts)

    @property
    def for_customer(self) -> CustomerWords:
        """Every reason that may be told and is worded, and those that may not."""
        pushing = [reason for reason in self.all if reason.direction != NONE]
        return CustomerWords(
            told=tuple(reason for reason in pushing if reason.tellable),
            untold=tuple(reason for reason in pushing if not reason.tellable),
        )


def reasons_of(
    explanation: Explanation, dictionary: FeatureDictionary, values: Mapping[str, Value]
) -> Reasons:
    """The reasons of a ready SHAP explanation.

    values: what was logged, with a what-if's changes already put in. Groups of the dictionary are summed,
    so Σ attributions stays what it was. Raises ValueError for an explanation without numbers.
    """
    base, margin = explanation.base_value, explanation.margin
    if base is None or margin is None:
        raise ValueError("This explanation has no numbers.")
    scale = points_per_unit(explanation.space, base, margin)
    members = [
        _member(dictionary.by_name.get(name) or Feature(name=name, label=name), float(x), values, scale)
        for name, x in explanation.attributions
    ]
    grouped: dict[str, list[Member]] = {}
    for member in members:
        feature = dictionary.by_name.get(member.name)
        group = feature.group if feature else ""
        # Features and groups may have the same name.
        grouped.setdefault(f"group {group}" if group else f"feature {member.name}", []).append(member)
    found = [_reason(dictionary, values, members, scale) for members in grouped.values()]
    found.sort(key=lambda reason: -reason.size)
    return Reasons(
        space=explanation.space,
        base=base,
        margin=margin,
        residual=explanation.residual or 0.0,
        base_percent=as_percent(explanation.space, base),
        margin_percent=as_percent(explanation.space, margin),
        all=tuple(found),
    )


def sentences_for_customer(reasons: Reasons) -> list[str]:
    """The approved sentences of the reasons that may be told, then how many may not be."""
    found = reasons.for_customer
    return [*found.sentences, *([found.untold_words] if found.untold else [])]


# -- Numbers ----------------------------------------------------------------------------------


def sigmoid(x: float) -> float:
    """The probability of these log-odds, within 0–1, without overflow."""
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    power = math.exp(x)
    return power / (1 + power)


def as_percent(space: str, value: float) -> float | None:
    """A base value or margin as per cent of probability, 0–100; None where the score is no probability."""
    if space == Space.LOG_ODDS:
        return 100 * sigmoid(value)
    return 100 * value if space == Space.PROBABILITY else None


def points_per_unit(space: str, base: float, margin: float) -> float | None:
    """How many percentage points one unit of attribution makes here; None where the score is no probability.

    Log-odds: 100·(p − p_base)/(margin − base), so that the points add up to p − p_base; where base and
    margin coincide, its limit, the slope.
    """
    if space == Space.PROBABILITY:
        return 100.0
    if space != Space.LOG_ODDS:
        return None
    if abs(margin - base) < _CLOSE:
        p = sigmoid((margin + base) / 2)
        return 100 * p * (1 - p)
    return 100 * (sigmoid(margin) - sigmoid(base)) / (margin - base)


def signed(number: float) -> str:
    """A number with its sign and four significant digits: +0.1234, −2.5, 0."""
    return _with_sign(f"{abs(number):.4g}", number)


def signed_points(points: float) -> str:
    """Percentage points with their sign: +27.4; two decimals where one would show nothing, as +0.04."""
    size = abs(points)
    return _with_sign(f"{size:.1f}" if size >= 0.05 or not size else f"{size:.2f}", points)


def _with_sign(text: str, number: float) -> str:
    sign = "+" if number > 0 else MINUS if number < 0 else ""
    return f"{sign}{text}"


def as_sentence(words: str) -> str:
    """The words with a capital at the start and a full stop at the end."""
    words = words.strip()
    if not words:
        return ""
    ending = "" if words[-1] in ".!?…" else "."
    return f"{words[0].upper()}{words[1:]}{ending}"


def _small(label: str) -> str:
    """A label inside a sentence: `Passenger class` → `passenger class`, but `APR` stays."""
    is_name = len(label) > 1 and label[1].isupper()
    return label if is_name else label[:1].lower() + label[1:]


# -- Features and groups ----------------------------------------------------------------------


def _member(feature: Feature, x: float, values: Mapping[str, Value], scale: float | None) -> Member:
    logged = values.get(feature.name)
    if feature.constant is None:
        value, badges = logged, feature.badges(logged)
    else:
        value = feature.constant
        differs = logged is not None and as_text(logged) != as_text(value)
        badges = [f"held constant, logged as {feature.show(logged)}" if differs else "held constant"]
    return Member(
        name=feature.name,
        label=feature.label,
        value=feature.show(value),
        badges=tuple(badges),
        attribution=x,
        points=None if scale is None else x * scale,
    )


def _reason(
    dictionary: FeatureDictionary,
    values: Mapping[str, Value],
    members: Sequence[Member],
    scale: float | None,
) -> Reason:
    features = [
        dictionary.by_name.get(member.name) or Feature(name=member.name, label=member.label)
        for member in members
    ]
    group = dictionary.group_by_name.get(features[0].group)
    about: Feature | Group = group or features[0]
    if group is None:
        kind, value, badges = FEATURE, members[0].value, members[0].badges
    elif all(_is_level(feature, values.get(feature.name)) for feature in features):
        kind = LEVELS
        value, badges = _level(features, values)
    else:
        kind = TOGETHER
        value = ", ".join(f"{member.label} {member.value}" for member in members)
        badges = tuple(f"{member.label}: {badge}" for member in members for badge in member.badges)
    x = math.fsum(member.attribution for member in members)
    wording = about.up if x > 0 else about.down if x < 0 else ""
    words = dictionary.fill(wording, values, value=_spoken(features[0], values) if group is None else value)
    withheld = ""
    if not about.tellable:
        withheld = about.withheld or NOT_RELEASED
    elif not words:
        withheld = NO_WORDING
    return Reason(
        name=about.name,
        label=about.label,
        value=value,
        badges=badges,
        attribution=x,
        points=None if scale is None else x * scale,
        words=words,
        tellable=not withheld,
        withheld=withheld,
        kind=kind,
        members=tuple(members) if group else (),
    )


def _spoken(feature: Feature, values: Mapping[str, Value]) -> str:
    """The value inside a sentence: a category by its meaning alone, and 13.0 as 13."""
    value = values.get(feature.name) if feature.constant is None else feature.constant
    if (
        feature.type == CATEGORY
        and value is not None
        and (label := feature.category_labels.get(as_text(value)))
    ):
        return label
    if isinstance(value, float) and value.is_integer() and abs(value) < _WHOLE_BELOW:
        value = int(value)
    return feature.show(value)


def _is_level(feature: Feature, logged: Value) -> bool:
    """Whether the feature is one column of a category, which is on or off, and not a count with a name."""
    is_switch = logged is None or as_text(logged).lower() in {"0", "1", "0.0", "1.0", "false", "true"}
    return bool(feature.level) and is_switch and (feature.high is None or feature.high <= 1)


def _level(features: Sequence[Feature], values: Mapping[str, Value]) -> tuple[str, tuple[str, ...]]:
    """What the columns of one category say: the level that is on, in words, and its badges."""
    logged = {feature.level: values.get(feature.name) for feature in features}
    if all(value is None for value in logged.values()):
        return "not provided", (MISSING,)
    on = [level for level, value in logged.items() if as_text(value).lower() in {"1", "1.0", "true"}]
    return (", ".join(on) if on else "none of the known ones"), ()
