"""The feature dictionary of a model version: what each feature is called, may hold, and may be told of.

A JSON object that comes with the model's file:

    {"subject": "{name}", "outcome": "chance of survival", "population": "typical passengers",
     "link": "logit", "positive": "survived", "negative": "did not survive",
     "features": [{"name": "age", "label": "Age", "type": "number", "suffix": " years", "low": 0, "high": 90,
                   "up": "a child's age speaks for survival", "down": "…", "tellable": true}, …],
     "groups": [{"name": "deck", "label": "Deck", "tellable": true, "up": "…", "down": "…"}]}

Pure Python: web processes read it on every page.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

from opsportal.core.errors import Invalid, Problem

# A logged value: text, a number, a flag, or None where it is missing.
Value: TypeAlias = str | float | int | bool | None
T = TypeVar("T")

FEATURES_MAX = 2_000
TEXT_MAX = 10_000
NAME_MAX = 100
NUMBER, CATEGORY, FLAG, TEXT = TYPES = ("number", "category", "flag", "text")
LOGIT, IDENTITY = LINKS = ("logit", "identity")
# Of what a value may be marked with, in words.
MISSING, NEVER_SEEN, OUT_OF_RANGE, NO_NUMBER = "missing", "never seen", "out of range", "not a number"

_PLACE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One feature: how it is shown, what it may hold, and what may be said and done about it.

    input: whether the model sees it; the others are context for people. constant: what the model gets
    instead of the logged value (a position when serving). low, high: the range seen in training, for
    numbers. changeable: a what-if may vary it. tellable: a customer may be told; `withheld` says why
    not. findable: predictions can be looked up by its words. up, down: how it is worded when it pushed
    the score up or down; `{value}` stands for the value.
    """

    name: str
    label: str
    type: str = NUMBER
    prefix: str = ""
    suffix: str = ""
    description: str = ""
    categories: tuple[str, ...] = ()
    category_labels: Mapping[str, str] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None
    group: str = ""
    level: str = ""
    input: bool = True
    constant: Value = None
    changeable: bool = False
    tellable: bool = False
    withheld: str = ""
    findable: bool = False
    up: str = ""
    down: str = ""

    def show(self, value: Value) -> str:
        """The value exactly as it was stored, with its unit; a category with what it means."""
        if value is None:
            return "not provided"
        if isinstance(value, bool):
            return "yes" if value else "no"
        text = value if isinstance(value, str) else json.dumps(value)
        if self.type == CATEGORY and (label := self.category_labels.get(text)):
            return label if label.casefold() == text.casefold() else f"{text} – {label}"
        return f"{self.prefix}{text}{self.suffix}"

    def badges(self, value: Value) -> list[str]:
        """What a reader should know about the value, in words: missing, never seen, out of range."""
        if value is None:
            return [MISSING]
        if self.type == NUMBER:
            number = as_number(value)
            if math.isnan(number):
                return [NO_NUMBER]
            too_low = self.low is not None and number < self.low
            return [OUT_OF_RANGE] if too_low or (self.high is not None and number > self.high) else []
        if self.type == CATEGORY and self.categories and as_text(value) not in self.categories:
            return [NEVER_SEEN]
        return []

    def problem(self, value: Value) -> str:
        """A sentence saying why the value cannot be taken in; empty when it can."""
        if value is None:
            return ""
        if isinstance(value, str):
            if len(value) > TEXT_MAX:
                return f"The text has {len(value):,} characters; at most {TEXT_MAX:,} are possible."
            if "\0" in value:
                return "The text contains a NUL character."
        if self.type == NUMBER and not isinstance(value, bool):
            if not math.isfinite(as_number(value)):
                return "This must be a finite number, or null where it is missing."
        elif self.type == FLAG and not isinstance(value, bool):
            return "This must be true or false, or null where it is missing."
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Features that are one thing to a person (one-hot columns, near copies): their effects are summed."""

    name: str
    label: str
    description: str = ""
    changeable: bool = False
    tellable: bool = False
    withheld: str = ""
    up: str = ""
    down: str = ""


@dataclass(frozen=True, kw_only=True)
class FeatureDictionary:
    """A version's features in their order, and the words for its score.

    link: `logit` when the score is a probability, `identity` when it is a plain number (a ranker's).
    """

    features: tuple[Feature, ...]
    groups: tuple[Group, ...] = ()
    subject: str = ""
    outcome: str = "score"
    population: str = "a typical case"
    link: str = LOGIT
    positive: str = "positive"
    negative: str = "negative"

    @cached_property
    def by_name(self) -> dict[str, Feature]:
        """Feature name → feature."""
        return {feature.name: feature for feature in self.features}

    @cached_property
    def group_by_name(self) -> dict[str, Group]:
        """Group name → group."""
        return {group.name: group for group in self.groups}

    @cached_property
    def inputs(self) -> tuple[Feature, ...]:
        """The features that the model sees."""
        return tuple(feature for feature in self.features if feature.input)

    @cached_property
    def text_feature(self) -> Feature | None:
        """The input that is running text, for a text model."""
        return next((feature for feature in self.inputs if feature.type == TEXT), None)

    def subject_of(self, values: Mapping[str, Value]) -> str:
        """What the case is called, from its values; empty when the dictionary has no words for it."""
        return self.fill(self.subject, values)

    def fill(self, words: str, values: Mapping[str, Value], **more: str) -> str:
        """The words with `{feature}` replaced by its shown value; unknown places stay as they are."""

        def replace(match: re.Match[str]) -> str:
            name = match[1]
            if name in more:
                return more[name]
            feature = self.by_name.get(name)
            return feature.show(values.get(name)) if feature else match[0]

        return _PLACE.sub(replace, words)

    def as_seen(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """What the model gets: the logged inputs, with constants in place of what is held constant."""
        return {
            feature.name: values.get(feature.name) if feature.constant is None else feature.constant
            for feature in self.inputs
        }

    def outcome_word(self, positive: bool) -> str:
        """What the positive or the negative outcome is called."""
        return self.positive if positive else self.negative


def as_number(value: Value) -> float:
    """The value as the model gets it for a number: not-a-number where it is missing or cannot be read."""
    if value is None:
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def as_text(value: Value) -> str:
    """The value as the text of a category: 3 is `3`, True is `true`."""
    return value if isinstance(value, str) else json.dumps(value)


def read_values(text: str) -> dict[str, Value]:
    """The stored JSON object of a prediction's values."""
    values: dict[str, Value] = json.loads(text)
    return values


def read_dictionary(raw: object) -> FeatureDictionary:
    """The dictionary as it came in. Raises Invalid with one Problem for each place that is wrong."""
    problems: list[Problem] = []
    reader = _Reader(raw if isinstance(raw, dict) else {}, "", problems)
    if not isinstance(raw, dict):
        problems.append(Problem("", "not_an_object", "A feature dictionary is a JSON object."))
    features = tuple(_read_feature(item) for item in reader.objects("features"))
    groups = tuple(_read_group(item) for item in reader.objects("groups"))
    found = FeatureDictionary(
        features=features,
        groups=groups,
        subject=reader.text("subject", 200),
        outcome=reader.text("outcome", 100) or "score",
        population=reader.text("population", 100) or "a typical case",
        link=reader.word("link", LINKS),
        positive=reader.text("positive", 100) or "positive",
        negative=reader.text("negative", 100) or "negative",
    )
    reader.refuse_unknown()
    _check_whole(found, problems, told=isinstance(raw, dict))
    if problems:
        raise Invalid(problems[0].message, code="dictionary", errors=problems)
    return found


def _check_whole(found: FeatureDictionary, problems: list[Problem], *, told: bool) -> None:
    if told and not found.features and not problems:
        problems.append(Problem("features", "empty", "The dictionary names no feature."))
    if len(found.features) > FEATURES_MAX:
        message = f"{len(found.features):,} features are more than the {FEATURES_MAX:,} that are possible."
        problems.append(Problem("features", "too_many", message))
    for kind, names in (
        ("features", [f.name for f in found.features]),
        ("groups", [g.name for g in found.groups]),
    ):
        seen: set[str] = set()
        for number, name in enumerate(names):
            if name and name in seen:
                problems.append(Problem(f"{kind}[{number}].name", "twice", f"“{name}” stands here twice."))
            seen.add(name)
    known = {group.name for group in found.groups}
    for number, feature in enumerate(found.features):
        if feature.group and feature.group not in known:
            message = f"There is no group “{feature.group}” in the dictionary."
            problems.append(Problem(f"features[{number}].group", "unknown", message))


def _read_feature(reader: "_Reader") -> Feature:
    categories, labels = reader.categories("categories")
    found = Feature(
        name=reader.required("name"),
        label=reader.text("label", NAME_MAX) or reader.required("name"),
        type=reader.word("type", TYPES),
        prefix=reader.text("prefix", 20),
        suffix=reader.text("suffix", 20),
        description=reader.text("description", 500),
        categories=categories,
        category_labels=labels,
        low=reader.number("low"),
        high=reader.number("high"),
        group=reader.text("group", NAME_MAX),
        level=reader.text("level", NAME_MAX),
        input=reader.flag("input", default=True),
        constant=reader.value("constant"),
        changeable=reader.flag("changeable"),
        tellable=reader.flag("tellable"),
        withheld=reader.text("withheld", 300),
        findable=reader.flag("findable"),
        up=reader.text("up", 300),
        down=reader.text("down", 300),
    )
    if found.low is not None and found.high is not None and found.low > found.high:
        reader.wrong("high", "order", "The highest value is below the lowest.")
    reader.refuse_unknown()
    return found


def _read_group(reader: "_Reader") -> Group:
    found = Group(
        name=reader.required("name"),
        label=reader.text("label", NAME_MAX) or reader.required("name"),
        description=reader.text("description", 500),
        changeable=reader.flag("changeable"),
        tellable=reader.flag("tellable"),
        withheld=reader.text("withheld", 300),
        up=reader.text("up", 300),
        down=reader.text("down", 300),
    )
    reader.refuse_unknown()
    return found


class _Reader:
    """Takes named members out of a JSON object and notes what is wrong with each, by its path."""

    def __init__(self, raw: Mapping[str, Any], path: str, problems: list[Problem]) -> None:
        self._raw = raw
        self._path = path
        self._problems = problems
        self._asked: set[str] = set()

    def wrong(self, name: str, code: str, message: str) -> None:
        """Note a problem with the member `name`."""
        path = f"{self._path}.{name}" if self._path and name else self._path or name
        self._problems.append(Problem(path, code, message))

    def _get(self, name: str, kind: type[T] | tuple[type[T], ...], default: T, words: str) -> T:
        self._asked.add(name)
        value = self._raw.get(name)
        if value is None:
            return default
        allows_flags = kind is bool
        if not isinstance(value, kind) or (isinstance(value, bool) and not allows_flags):
            self.wrong(name, "type", f"This must be {words}.")
            return default
        return value

    def text(self, name: str, longest: int) -> str:
        text = self._get(name, str, "", "text")
        if len(text) > longest:
            self.wrong(name, "too_long", f"At most {longest} characters are possible.")
        elif "\0" in text:
            self.wrong(name, "unclean_text", "The text contains a NUL character.")
        return text

    def required(self, name: str) -> str:
        already = name in self._asked
        text = self.text(name, NAME_MAX)
        if not text and not already:
            self.wrong(name, "required", "The name is missing.")
        return text

    def word(self, name: str, words: Sequence[str]) -> str:
        text = self.text(name, 20) or words[0]
        if text not in words:
            self.wrong(name, "unknown", f"This must be one of: {', '.join(words)}.")
            return words[0]
        return text

    def flag(self, name: str, *, default: bool = False) -> bool:
        return self._get(name, bool, default, "true or false")

    def number(self, name: str) -> float | None:
        value = self._get(name, (int, float), None, "a number")
        return None if value is None else float(value)

    def value(self, name: str) -> Value:
        self._asked.add(name)
        value = self._raw.get(name)
        if value is not None and not isinstance(value, str | int | float | bool):
            self.wrong(name, "type", "This must be text, a number, true or false.")
            return None
        return value

    def categories(self, name: str) -> tuple[tuple[str, ...], dict[str, str]]:
        """A list of texts, or an object that maps each to what it means. Numbers are taken as their text."""
        self._asked.add(name)
        raw = self._raw.get(name)
        if raw is None:
            return (), {}
        if isinstance(raw, dict) and all(isinstance(label, str) for label in raw.values()):
            return tuple(raw), dict(raw)
        if isinstance(raw, list) and all(isinstance(item, str | int | float | bool) for item in raw):
            return tuple(as_text(item) for item in raw), {}
        self.wrong(name, "type", "This must be a list of texts, or an object that maps each to its meaning.")
        return (), {}

    def objects(self, name: str) -> list["_Reader"]:
        raw = self._get(name, list, [], "a list of objects")
        found = []
        for number, item in enumerate(raw):
            path = f"{name}[{number}]"
            if isinstance(item, dict):
                found.append(_Reader(item, path, self._problems))
            else:
                self._problems.append(Problem(path, "type", "This must be an object."))
        return found

    def refuse_unknown(self) -> None:
        for name in self._raw:
            if name not in self._asked:
                self.wrong(str(name)[:60], "unknown_field", "There is no such field here.")
