"""What a what-if may change, and which what-ifs there are."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import QuerySet

from opsportal.explanations.models import Explanation, Method, Space, State
from opsportal.explanations.selectors.comparing import decision_word, written_score
from opsportal.predictions.dictionary import (
    FLAG,
    NUMBER,
    TEXT,
    Feature,
    FeatureDictionary,
    Group,
    Value,
    as_number,
)
from opsportal.predictions.models import ModelVersion, Prediction

EARLIER_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Changeable:
    """One thing that a person may vary: a feature, or the columns of one category as one choice of levels."""

    label: str
    features: tuple[Feature, ...]
    group: Group | None = None

    @property
    def is_choice_of_levels(self) -> bool:
        """Whether exactly one of the columns is to be on."""
        return self.group is not None


@dataclass(frozen=True, slots=True)
class Change:
    """One changed value in words."""

    label: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierWhatIf:
    """A what-if asked before. score_text: empty while it is computed, or where it was refused."""

    explanation: Explanation
    changes: tuple[Change, ...]
    score_text: str
    decision: str


def changeables(dictionary: FeatureDictionary) -> tuple[Changeable, ...]:
    """What may be varied, in the dictionary's order: what the model sees and a case could have otherwise.

    The columns of one category (flags, or numbers from 0 to 1, each with its level) are one choice where
    their group may be changed. What is held constant and running text are left out.
    """
    found: list[Changeable] = []
    by_group: dict[str, list[Feature]] = {}
    for feature in dictionary.inputs:
        if feature.group:
            by_group.setdefault(feature.group, []).append(feature)
    done: set[str] = set()
    for feature in dictionary.inputs:
        group = dictionary.group_by_name.get(feature.group)
        if group is not None and group.changeable and all(map(_is_level, by_group[group.name])):
            if group.name not in done:
                done.add(group.name)
                found.append(Changeable(group.label, tuple(by_group[group.name]), group))
        elif feature.changeable and feature.constant is None and feature.type != TEXT:
            found.append(Changeable(feature.label, (feature,)))
    return tuple(found)


def level_on(features: tuple[Feature, ...], values: Mapping[str, Value]) -> Feature | None:
    """The one column that is on; None where none or several are."""
    on = [feature for feature in features if as_number(values.get(feature.name)) == 1]
    return on[0] if len(on) == 1 else None


def changes_in_words(
    dictionary: FeatureDictionary, logged: Mapping[str, Value], changes: Mapping[str, Value]
) -> tuple[Change, ...]:
    """What the changes put in place of what, in the dictionary's order; a choice of levels is one change."""
    found = []
    left = dict(changes)
    for thing in changeables(dictionary):
        names = [feature.name for feature in thing.features if feature.name in left]
        if not names:
            continue
        for name in names:
            del left[name]
        after = {**logged, **changes}
        found.append(Change(thing.label, _shown(thing, logged), _shown(thing, after)))
    for name, value in left.items():
        # What a later dictionary, or the search for alternatives, named.
        feature = dictionary.by_name.get(name) or Feature(name=name, label=name)
        found.append(Change(feature.label, feature.show(logged.get(name)), feature.show(value)))
    return tuple(found)


def what_if(prediction: Prediction, pk: int) -> Explanation | None:
    """This what-if of the prediction; None where it is another's, or none."""
    return _what_ifs(prediction).filter(pk=pk).first()


def earlier_what_ifs(
    prediction: Prediction, dictionary: FeatureDictionary, values: Mapping[str, Value]
) -> list[EarlierWhatIf]:
    """The ten newest what-ifs of the prediction, whoever asked; one query."""
    return [
        _earlier(found, prediction.version, dictionary, changes_in_words(dictionary, values, found.changes))
        for found in _what_ifs(prediction).order_by("-wanted_at", "-pk")[:EARLIER_SHOWN]
    ]


def _earlier(
    found: Explanation, version: ModelVersion, dictionary: FeatureDictionary, changes: tuple[Change, ...]
) -> EarlierWhatIf:
    if found.score is None or found.state != State.READY:
        return EarlierWhatIf(explanation=found, changes=changes, score_text="", decision="")
    return EarlierWhatIf(
        explanation=found,
        changes=changes,
        score_text=written_score(found.score, in_points=found.space != Space.SCORE),
        decision=decision_word(version, dictionary, found.score),
    )


def _what_ifs(prediction: Prediction) -> QuerySet[Explanation]:
    return Explanation.objects.filter(prediction=prediction, method=Method.SHAP).exclude(changes_digest="")


def _is_level(feature: Feature) -> bool:
    is_zero_or_one = feature.type == FLAG or (
        feature.type == NUMBER and feature.low == 0 and feature.high == 1
    )
    return bool(feature.level) and is_zero_or_one


def _shown(thing: Changeable, values: Mapping[str, Value]) -> str:
    if not thing.is_choice_of_levels:
        (feature,) = thing.features
        return feature.show(values.get(feature.name))
    if all(values.get(feature.name) is None for feature in thing.features):
        return "not provided"
    on = level_on(thing.features, values)
    return on.level if on else "none of the levels, or several"
