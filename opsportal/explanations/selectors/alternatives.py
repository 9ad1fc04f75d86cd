"""The nearest changes with which the model would decide otherwise, in words. Not advice.

Pure Python over one stored row, but for `changes_of`, which asks the database once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opsportal.explanations.models import Explanation, Method, State
from opsportal.explanations.selectors.what_if import Change, changes_in_words
from opsportal.predictions.dictionary import LOGIT, FeatureDictionary, Value
from opsportal.predictions.models import ModelVersion, Prediction

CAUTION = "This is what the model would say, not advice, and no promise that a change would help."


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A few changes with which the decision would be the other one.

    place: its number in the stored explanation, from 0; what the form of the page posts. score: what the
    model would give; percent: whether that is a probability. decision: what it would be called.
    """

    place: int
    changes: tuple[Change, ...]
    score: float
    is_probability: bool
    decision: str

    @property
    def summary(self) -> str:
        """The changes on one line, for whoever hears the page: `Class from 3 to 1`."""
        return ", ".join(f"{change.label} from {change.before} to {change.after}" for change in self.changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternatives:
    """What was found, the fewest changes and then the nearest first.

    reason: a sentence where there are none. tried: how many variants the model scored. is_waiting: the
    search is not done yet. now: what the decision is.
    """

    found: tuple[Alternative, ...] = ()
    reason: str = ""
    tried: int = 0
    now: str = ""
    is_waiting: bool = False
    caution: str = CAUTION


def alternatives_of(
    explanation: Explanation,
    version: ModelVersion,
    dictionary: FeatureDictionary,
    values: Mapping[str, Value],
) -> Alternatives:
    """What a counterfactual explanation found. values: what was logged.

    One that is wanted still or was refused says so.
    """
    if explanation.state == State.WANTED:
        return Alternatives(is_waiting=True)
    if explanation.state == State.REFUSED:
        return Alternatives(
            reason=f"{explanation.get_incident_display()}. {explanation.incident_detail}".strip()
        )
    detail: dict[str, Any] = explanation.detail
    would_be_positive = detail.get("target") == "positive"
    can_decide = version.threshold is not None
    found = tuple(
        Alternative(
            place=place,
            changes=changes_in_words(dictionary, values, item["changes"]),
            score=float(item["score"]),
            is_probability=dictionary.link == LOGIT,
            decision=dictionary.outcome_word(would_be_positive),
        )
        for place, item in enumerate(detail.get("found", []))
    )
    return Alternatives(
        found=found,
        reason=str(detail.get("reason", "")),
        tried=int(detail.get("tried", 0)),
        now=dictionary.outcome_word(not would_be_positive) if can_decide else "",
    )


def changes_of(prediction: Prediction, place: str) -> dict[str, Value] | None:
    """The changes of the prediction's alternative with this number, as a form posts it; None for none."""
    if not (place.isascii() and place.isdigit() and len(place) <= 3):
        return None
    detail = (
        Explanation.objects.filter(
            prediction=prediction, method=Method.COUNTERFACTUAL, changes_digest="", state=State.READY
        )
        .values_list("detail", flat=True)
        .first()
    )
    found = (detail or {}).get("found", [])
    if int(place) >= len(found):
        return None
    changes: dict[str, Value] = found[int(place)]["changes"]
    return changes
