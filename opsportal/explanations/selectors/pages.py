"""What the page of one prediction shows, gathered from rows."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from opsportal.accounts.models import User
from opsportal.audits.selectors.labels import Said, corrections_of
from opsportal.core import clock
from opsportal.explanations.models import Explanation, State
from opsportal.explanations.selectors import drawing, verdicts
from opsportal.explanations.selectors.reasons import FEATURE, Reason, Reasons, points_per_unit, reasons_of
from opsportal.overrides.models import EVERYWHERE, Surface
from opsportal.overrides.selectors.moments import RulesAt, rules_at
from opsportal.predictions.dictionary import FeatureDictionary, Value
from opsportal.predictions.models import Prediction
from opsportal.predictions.selectors import earlier_of_same_customer

# So many reasons are seen at once; the others open with a tick.
SHOWN = 8
EARLIER_SHOWN = 5
# So many distinct words of a text are listed by themselves, the others only marked.
WORDS_LISTED = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One logged value as it is shown. seen: whether the model gets it."""

    label: str
    value: str
    badges: tuple[str, ...]
    seen: bool


@dataclass(frozen=True, slots=True)
class ExactLine:
    """A stored number with every digit. value: what the model got, where it is about a value."""

    label: str
    value: str
    number: str
    name: str = ""
    is_member: bool = False


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier prediction of the same customer, and its score in words."""

    row: Prediction
    score: str


@dataclass(frozen=True, slots=True)
class Proof:
    """The numbers behind the claims that the reasons add up and that the score is the one logged."""

    residual: str
    logged: str
    difference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductThen:
    """The product of a prediction: what the overrides did to it then, and what they do now."""

    product_id: str
    surface: str
    then: RulesAt
    now: RulesAt

    @property
    def changed(self) -> bool:
        """Whether the rankers are told something else today."""
        return (self.then.blocked, self.then.factor) != (self.now.blocked, self.now.factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Because:
    """Why the score came out so: everything drawn from one ready explanation.

    hidden: how many bars open only with a tick. start: where cases start, in words. force: what shap's plot
    is drawn from. text: the text in pieces, for a text model. exact: every number in full.
    """

    reasons: Reasons
    bars: list[drawing.Bar]
    hidden: int
    walk: drawing.Walk
    force: dict[str, Any]
    base: str
    final: str
    start: str
    text: list[drawing.Piece]
    exact: list[ExactLine]
    proof: Proof

    @property
    def force_json(self) -> str:
        """`force` for an attribute: htmx takes no script element in, not even one that only holds JSON."""
        return json.dumps(self.force, separators=(",", ":"))

    @property
    def pushed_up(self) -> int:
        """How many reasons pushed the score up."""
        return sum(reason.attribution > 0 for reason in self.reasons.all)

    @property
    def pushed_down(self) -> int:
        """How many reasons pushed the score down."""
        return sum(reason.attribution < 0 for reason in self.reasons.all)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionPage:
    """One prediction. because: None until there is an explanation, or where a check refused it.

    tries: how often the page has asked by itself for an explanation that was not ready yet. may_retry: the
    person may have a refused one computed anew. said: what people and rules hold to be true, newest first.
    may_refer: the person may send it to the audit.
    """

    prediction: Prediction
    dictionary: FeatureDictionary
    verdict: verdicts.Verdict
    explanation: Explanation
    because: Because | None
    logged: list[Logged]
    earlier: list[Earlier]
    product: ProductThen | None
    said: list[Said]
    may_retry: bool
    may_refer: bool
    shown: int = SHOWN
    tries: int = 0

    @property
    def is_computing(self) -> bool:
        """Whether a worker still has to answer."""
        return not self.explanation.settled

    @property
    def is_refused(self) -> bool:
        """Whether a check found the numbers wrong, so that none are shown."""
        return self.explanation.state == State.REFUSED

    @property
    def correction(self) -> Said | None:
        """The newest word of those who contradict the model, if that is what holds."""
        return self.said[0] if self.said and self.said[0].is_correction else None

    @property
    def threshold(self) -> str:
        """From which score on the decision is the positive one, in words."""
        return verdicts.score_words(self.prediction.version.threshold or 0.0, self.dictionary)

    @property
    def title(self) -> str:
        """What the page is about, in a word or two."""
        return self.verdict.subject or self.prediction.prediction_id


def prediction_page(
    prediction: Prediction, explanation: Explanation, *, user: User, tries: int = 0
) -> PredictionPage:
    """All about a prediction and its explanation: one query for the customer's earlier ones, two for what
    people said, and five for the product where there is one."""
    dictionary = prediction.version.features
    values = prediction.values
    because = None
    if explanation.state == State.READY:
        because = because_of(prediction, explanation, dictionary, values)
    return PredictionPage(
        prediction=prediction,
        dictionary=dictionary,
        verdict=verdicts.verdict_of(prediction, dictionary, values),
        explanation=explanation,
        because=because,
        logged=logged_values(dictionary, values),
        earlier=[
            Earlier(row, verdicts.score_words(row.score, dictionary))
            for row in earlier_of_same_customer(prediction, EARLIER_SHOWN)
        ],
        product=_product_then(prediction) if prediction.product_id and user.can("overrides.view") else None,
        said=corrections_of(prediction.prediction_id, user=user) if user.can("audits.view") else [],
        may_retry=user.can("predictions.write"),
        may_refer=user.can("audits.refer"),
        tries=tries,
    )


def because_of(
    prediction: Prediction,
    explanation: Explanation,
    dictionary: FeatureDictionary,
    values: Mapping[str, Value],
) -> Because:
    """The drawings and words of a ready explanation; asks the database nothing."""
    reasons = reasons_of(explanation, dictionary, values)
    words: list[tuple[int, int, float]] = explanation.detail.get("words", [])
    text = prediction.text
    if words:
        reasons = _with_words(reasons, dictionary, text, words)
    final = reasons.margin_percent if reasons.margin_percent is not None else reasons.margin
    base = reasons.base_percent if reasons.base_percent is not None else reasons.base
    return Because(
        reasons=reasons,
        bars=drawing.bars(reasons),
        hidden=max(0, len(reasons.all) - SHOWN),
        walk=drawing.walk(reasons, SHOWN),
        force=drawing.force_plot(reasons, dictionary.outcome),
        base=drawing.level(reasons, base),
        final=drawing.level(reasons, final),
        start=verdicts.start_sentence(dictionary, _rounded(reasons, dictionary)),
        text=drawing.marked_text(text, words) if words else [],
        exact=exact_lines(reasons),
        proof=_proof(explanation, prediction),
    )


def exact_lines(reasons: Reasons) -> list[ExactLine]:
    """Base, attributions (those of a group's features, too), residual and margin, digit by digit."""
    lines = [ExactLine("Base value", "", drawing.exact(reasons.base))]
    for reason in reasons.all:
        value = "" if reason.members else reason.value
        lines.append(ExactLine(reason.label, value, drawing.exact(reason.attribution)))
        lines += [
            ExactLine(part.label, part.value, drawing.exact(part.attribution), part.name, is_member=True)
            for part in reason.members
        ]
    lines.append(ExactLine("Residual", "", drawing.exact(reasons.residual)))
    lines.append(ExactLine("Margin", "", drawing.exact(reasons.margin)))
    return lines


def logged_values(dictionary: FeatureDictionary, values: Mapping[str, Value]) -> list[Logged]:
    """Every value that was logged, in the dictionary's order; what it does not know comes last."""
    known = [
        Logged(
            label=feature.label,
            value=feature.show(values.get(feature.name)),
            badges=tuple(feature.badges(values.get(feature.name))) if feature.input else (),
            seen=feature.input,
        )
        for feature in dictionary.features
        if feature is not dictionary.text_feature
    ]
    others = [
        Logged(label=name, value=str(value), badges=(), seen=False)
        for name, value in values.items()
        if name not in dictionary.by_name
    ]
    return [*known, *others]


def _rounded(reasons: Reasons, dictionary: FeatureDictionary) -> str:
    if reasons.base_percent is not None:
        return verdicts.chance(reasons.base_percent / 100)
    return verdicts.score_words(reasons.base, dictionary)


def _proof(explanation: Explanation, prediction: Prediction) -> Proof:
    difference = (explanation.score or 0.0) - prediction.score
    return Proof(
        residual=f"{abs(explanation.residual or 0.0):.1g}",
        logged=f"{prediction.score:.6g}",
        difference=f"{abs(difference):.1g}" if difference else "",
    )


def _with_words(
    reasons: Reasons, dictionary: FeatureDictionary, text: str, words: list[tuple[int, int, float]]
) -> Reasons:
    """The text feature's reason taken apart into its words; what no listed word accounts for stays one."""
    feature = dictionary.text_feature
    whole = reasons.named(feature.name) if feature else None
    if whole is None:
        return reasons
    scale = points_per_unit(reasons.space, reasons.base, reasons.margin)
    effects: defaultdict[str, float] = defaultdict(float)
    for start, end, x in words:
        effects[text[start:end].casefold()] += x
    strongest = sorted(effects.items(), key=lambda item: -abs(item[1]))[:WORDS_LISTED]
    listed = [_word_reason(whole, f"“{word}”", x, scale) for word, x in strongest if x]
    left = whole.attribution - sum(reason.attribution for reason in listed)
    others = [_word_reason(whole, f"{whole.label}: the rest", left, scale)] if abs(left) > 1e-9 else []
    kept = [reason for reason in reasons.all if reason is not whole]
    together = sorted([*kept, *listed, *others], key=lambda reason: -reason.size)
    return replace(reasons, all=tuple(together))


def _word_reason(whole: Reason, label: str, x: float, scale: float | None) -> Reason:
    return Reason(
        name=whole.name,
        label=label,
        value="",
        attribution=x,
        points=None if scale is None else x * scale,
        tellable=False,
        withheld=whole.withheld or "Single words are not told.",
        kind=FEATURE,
    )


def _product_then(prediction: Prediction) -> ProductThen:
    surface = prediction.surface
    name = "every surface"
    if surface:
        known = Surface.objects.filter(pk=surface).exclude(pk=EVERYWHERE)
        name = known.values_list("name", flat=True).first() or surface
    asked = {"product_id": prediction.product_id, "surface": surface}
    return ProductThen(
        product_id=prediction.product_id,
        surface=name,
        then=rules_at(**asked, moment=prediction.predicted_at),
        now=rules_at(**asked, moment=clock.now()),
    )
