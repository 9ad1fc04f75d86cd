"""Conditions of rules: a small tree of comparisons, read strictly, told in words, and matched fast.

    {"all": [{"field": "text", "is": "contains", "value": "not good"},
             {"any": [{"field": "score", "is": "below", "value": 0.4},
                      {"field": "feature:age", "is": "between", "value": [20, 30]}]}]}

Patterns are RE2, whose time is linear in the text; together with a bounded program and a bounded piece of
the text that bounds the time of a match, whatever the pattern. Pure Python and RE2: web processes read it.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import re2

from opsportal.core.errors import Invalid, Problem
from opsportal.predictions.dictionary import (
    CATEGORY,
    FLAG,
    NUMBER,
    TEXT,
    FeatureDictionary,
    Value,
    as_number,
    as_text,
    read_values,
)

DEPTH_MAX, COMPARISONS_MAX, VALUES_MAX = 4, 20, 50
PATTERN_MAX, VALUE_MAX = 300, 300
# A pattern looks at so many bytes of a text (UTF-8); its program may have so many steps. Where RE2's
# automaton does not fit its memory it takes program × bytes steps of a few nanoseconds each: below 50 ms.
BYTES_MAX, PROGRAM_MAX, MEMORY_MAX = 20_000, 450, 1 << 21
FEATURE = "feature:"
TEXT_FIELD, LENGTH_FIELD, SCORE_FIELD = "text", "text_length", "score"
PREDICTED_FIELD, SURFACE_FIELD, PRODUCT_FIELD = "predicted", "surface", "product_id"

# Operator → its words after the field's.
WORDS_OF = {
    "contains": "contains the words",
    "not_contains": "does not contain the words",
    "matches": "matches",
    "not_matches": "does not match",
    "equals": "is",
    "not_equals": "is not",
    "one_of": "is one of",
    "above": "is above",
    "below": "is below",
    "between": "is between",
    "missing": "is missing",
    "present": "is given",
}
_OF_TEXT = ("contains", "not_contains", "matches", "not_matches")
_OF_NUMBERS = ("above", "below", "between")
_OF_VALUES = ("equals", "not_equals", "one_of")
_PRESENCE = ("missing", "present")
# Kind of field → what it can be asked.
OPERATORS: dict[str, tuple[str, ...]] = {
    TEXT: (*_OF_TEXT, *_PRESENCE),
    NUMBER: (*_OF_NUMBERS, "equals", "not_equals", *_PRESENCE),
    CATEGORY: (*_OF_VALUES, *_OF_TEXT, *_PRESENCE),
    FLAG: ("equals", "not_equals", *_PRESENCE),
    # Always there.
    SCORE_FIELD: _OF_NUMBERS,
    PREDICTED_FIELD: _OF_VALUES,
}
_OWN_FIELDS = {
    TEXT_FIELD: ("the text", TEXT),
    LENGTH_FIELD: ("the length of the text", SCORE_FIELD),
    SCORE_FIELD: ("the score", SCORE_FIELD),
    PREDICTED_FIELD: ("the model’s decision", PREDICTED_FIELD),
    SURFACE_FIELD: ("the surface", CATEGORY),
    PRODUCT_FIELD: ("the product", CATEGORY),
}
_WORD = re.compile(r"\w+")


class PredictionLike(Protocol):
    """What a condition looks at: a logged prediction or an item of a run. features: JSON text."""

    @property
    def score(self) -> float: ...
    @property
    def product_id(self) -> str: ...
    @property
    def surface(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def features(self) -> str: ...


class Case:
    """One prediction as conditions see it; what costs time is worked out once, when first asked for."""

    def __init__(self, row: PredictionLike, predicted: str, text_feature: str = "") -> None:
        """predicted: the decision in words. text_feature: the input that holds the text where none is."""
        self.row, self.predicted, self._text_feature = row, predicted, text_feature

    @cached_property
    def values(self) -> dict[str, Value]:
        return read_values(self.row.features)

    @cached_property
    def text(self) -> str:
        if self.row.text or not self._text_feature:
            return self.row.text
        value = self.values.get(self._text_feature)
        return "" if value is None else as_text(value)

    @cached_property
    def words(self) -> str:
        return words_in(self.text)

    def get(self, field: str) -> Value:
        """The field's value; None where it is missing."""
        if field.startswith(FEATURE):
            name = field.removeprefix(FEATURE)
            value = self.values.get(name)
            # The logged text is not kept twice.
            return value if value is not None or name != self._text_feature else self.text or None
        match field:
            case "text":
                return self.text or None
            case "text_length":
                return len(self.text)
            case "score":
                return self.row.score
            case "predicted":
                return self.predicted
            case "surface":
                return self.row.surface or None
            case _:
                return self.row.product_id or None


Test: TypeAlias = Callable[[Case], bool]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One question about one field. value: text, a number, a flag, a tuple of them, or None."""

    field: str
    operator: str
    value: Any = None
    case_sensitive: bool = False

    @property
    def negates(self) -> bool:
        return self.operator.startswith("not_")


@dataclass(frozen=True, slots=True)
class Group:
    """All or any of its parts."""

    every: bool
    parts: tuple["Comparison | Group", ...]


Node: TypeAlias = Comparison | Group


class Condition:
    """A condition that has been read: what was asked, in JSON, in words, and as a test."""

    def __init__(self, root: Node, dictionary: FeatureDictionary) -> None:
        self.root, self._dictionary = root, dictionary
        text = dictionary.text_feature
        self._text_feature = text.name if text else ""

    @cached_property
    def _test(self) -> Test:
        return _test_of(self.root)

    @property
    def json(self) -> Any:
        """As it is stored; reading it again gives the same condition."""
        return _json_of(self.root)

    def matches(self, row: PredictionLike, predicted: str) -> bool:
        """Whether it holds for this prediction, whose decision in words is `predicted`."""
        return self._test(Case(row, predicted, self._text_feature))

    def holds(self, case: Case) -> bool:
        """The same for a case that several conditions look at."""
        return self._test(case)

    def case(self, row: PredictionLike, predicted: str) -> Case:
        """The prediction, to be looked at several times."""
        return Case(row, predicted, self._text_feature)

    @property
    def words(self) -> str:
        """The condition in plain English, with the dictionary's labels."""
        return _words_of(self.root, self._dictionary, top=True)


def parse(raw: object, dictionary: FeatureDictionary) -> Condition:
    """The condition as it came in. Raises Invalid with one Problem for each place that is wrong."""
    reader = _Reader(dictionary)
    root = reader.node(raw, "condition", 1)
    if not reader.problems and root is None:  # pragma: no cover  every missing node has its problem
        reader.wrong("condition", "required", "There is no condition.")
    if reader.problems or root is None:
        raise Invalid(reader.problems[0].message, code="condition", errors=reader.problems)
    return Condition(root, dictionary)


def fields_of(dictionary: FeatureDictionary) -> list[tuple[str, str]]:
    """Every field that can be asked about, with its words: for forms."""
    own = [(name, words.removeprefix("the ").capitalize()) for name, (words, _) in _OWN_FIELDS.items()]
    return own + [(FEATURE + feature.name, feature.label) for feature in dictionary.features]


def words_in(text: str) -> str:
    """The text's words, folded and apart by one space each, with a space at both ends."""
    return f" {' '.join(_WORD.findall(text[:BYTES_MAX].casefold()))} "


# -- Matching -----------------------------------------------------------------------------------


def _test_of(node: Node) -> Test:
    if isinstance(node, Group):
        tests = [_test_of(part) for part in node.parts]
        if node.every:
            return lambda case: all(test(case) for test in tests)
        return lambda case: any(test(case) for test in tests)
    test = _positive(node)
    if node.negates:
        # What is missing neither matches nor equals: so its negation holds.
        return lambda case: not test(case)
    return test


def _positive(node: Comparison) -> Test:
    field, value = node.field, node.value
    match node.operator.removeprefix("not_"):
        case "matches":
            search = compiled(value, case_sensitive=node.case_sensitive).search
            return lambda case: _found(search, case.get(field))
        case "contains":
            wanted = words_in(value)
            if field == TEXT_FIELD:
                return lambda case: wanted in case.words
            return lambda case: (found := case.get(field)) is not None and wanted in words_in(as_text(found))
        case "missing":
            return lambda case: case.get(field) is None
        case "present":
            return lambda case: case.get(field) is not None
        case "above":
            return lambda case: as_number(case.get(field)) > value
        case "below":
            return lambda case: as_number(case.get(field)) < value
        case "between":
            low, high = value
            return lambda case: low <= as_number(case.get(field)) <= high
        case "one_of":
            texts = frozenset(as_text(one) for one in value)
            return lambda case: (found := case.get(field)) is not None and as_text(found) in texts
    if isinstance(value, float | int) and not isinstance(value, bool):
        return lambda case: as_number(case.get(field)) == value
    text = as_text(value)
    return lambda case: (found := case.get(field)) is not None and as_text(found) == text


def _found(search: Callable[[bytes], object], value: Value) -> bool:
    if value is None:
        return False
    text = as_text(value)[:BYTES_MAX].encode("utf-8", "replace")
    return search(text[:BYTES_MAX]) is not None


def compiled(pattern: str, *, case_sensitive: bool) -> Any:
    """The RE2 program of a pattern. Raises Invalid with a sentence at `value`."""
    options = re2.Options()
    options.max_mem = MEMORY_MAX
    options.log_errors = False
    options.case_sensitive = case_sensitive
    options.never_capture = True
    try:
        program = re2.compile(pattern.encode(), options)
    except (re2.error, UnicodeEncodeError) as error:
        raise Invalid.at("value", "pattern", _pattern_problem(error)) from None
    if program._regexp.ProgramSize() > PROGRAM_MAX:
        raise Invalid.at("value", "pattern", _TOO_LARGE)
    return program


_TOO_LARGE = "This pattern becomes too large. Use smaller repetition counts or fewer classes such as \\pL."


def _pattern_problem(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else ""
    kind, _, place = text.partition(": ")
    place = f" “{place}”" if place else ""
    if kind == "invalid perl operator" and any(mark in place for mark in ("(?=", "(?!", "(?<")):
        return "Patterns cannot look ahead or behind (?=, ?!, ?<). Use two conditions with AND instead."
    if kind == "invalid escape sequence":
        if re.search(r"\\[1-9]", place):
            return "Patterns cannot refer back to a group (\\1)."
        return f"The pattern has an escape that means nothing here:{place}."
    if kind == "invalid repetition size":
        return "A repetition count in this pattern is too large: at most 1,000 in all."
    if "too large" in kind:
        return _TOO_LARGE
    known = {
        "missing ]": "A “[” in this pattern is never closed.",
        "missing )": "A “(” in this pattern is never closed.",
        "unexpected )": "A “)” in this pattern was never opened.",
        "trailing \\": "The pattern ends in a backslash.",
    }
    if kind == "no argument for repetition operator":
        return f"There is nothing that{place} could repeat."
    return known.get(kind, f"The pattern cannot be read: {kind or 'it holds half a character'}{place}.")


# -- In words -----------------------------------------------------------------------------------


def _words_of(node: Node, dictionary: FeatureDictionary, *, top: bool = False) -> str:
    if isinstance(node, Group):
        parts = [_words_of(part, dictionary, top=len(node.parts) == 1 and top) for part in node.parts]
        text = (" and " if node.every else " or ").join(parts)
        return text if top or len(parts) == 1 else f"({text})"
    subject = _subject(node.field, dictionary)
    verb = WORDS_OF[node.operator]
    match node.operator:
        case "missing" | "present":
            return f"{subject} {verb}"
        case "matches" | "not_matches":
            return f"{subject} {verb} /{node.value}/{'' if node.case_sensitive else 'i'}"
        case "between":
            low, high = (_shown(node.field, one, dictionary) for one in node.value)
            return f"{subject} {verb} {low} and {high}"
        case "one_of":
            return f"{subject} {verb} {', '.join(_shown(node.field, one, dictionary) for one in node.value)}"
        case _:
            return f"{subject} {verb} {_shown(node.field, node.value, dictionary)}"


def _subject(field: str, dictionary: FeatureDictionary) -> str:
    if field.startswith(FEATURE):
        name = field.removeprefix(FEATURE)
        feature = dictionary.by_name.get(name)
        return f"“{feature.label if feature else name}”"
    return _OWN_FIELDS[field][0]


def _shown(field: str, value: Value, dictionary: FeatureDictionary) -> str:
    feature = dictionary.by_name.get(field.removeprefix(FEATURE)) if field.startswith(FEATURE) else None
    if field == LENGTH_FIELD:
        return f"{value:g} characters"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | int):
        text = f"{value:.12g}"
        return f"{feature.prefix}{text}{feature.suffix}" if feature else text
    return f"“{feature.show(value) if feature and feature.type == CATEGORY else value}”"


def _json_of(node: Node) -> Any:
    if isinstance(node, Group):
        return {"all" if node.every else "any": [_json_of(part) for part in node.parts]}
    found: dict[str, Any] = {"field": node.field, "is": node.operator}
    if node.value is not None:
        found["value"] = list(node.value) if isinstance(node.value, tuple) else node.value
    if node.case_sensitive:
        found["case_sensitive"] = True
    return found


# -- Reading ------------------------------------------------------------------------------------


class _Reader:
    """Reads a tree and notes what is wrong with it, by its path; None stands for what cannot be read."""

    def __init__(self, dictionary: FeatureDictionary) -> None:
        self._dictionary = dictionary
        self._comparisons = 0
        self.problems: list[Problem] = []

    def wrong(self, path: str, code: str, message: str) -> None:
        self.problems.append(Problem(path, code, message))

    def node(self, raw: object, path: str, depth: int) -> Node | None:
        if depth > DEPTH_MAX:
            self.wrong(path, "too_deep", f"Conditions nest at most {DEPTH_MAX} deep.")
            return None
        if not isinstance(raw, Mapping):
            self.wrong(path, "not_an_object", "A condition is a JSON object.")
            return None
        word = next((word for word in ("all", "any") if word in raw), "")
        if not word:
            return self.comparison(raw, path)
        self._refuse_unknown(raw, {word}, path)
        parts = raw[word]
        if not isinstance(parts, list) or not parts:
            self.wrong(f"{path}.{word}", "empty", "This must be a list of conditions with at least one.")
            return None
        found = []
        for number, part in enumerate(parts):
            if self._comparisons > COMPARISONS_MAX:
                break
            found.append(self.node(part, f"{path}.{word}[{number}]", depth + 1))
        whole = tuple(part for part in found if part is not None)
        return Group(word == "all", whole) if len(whole) == len(parts) else None

    def comparison(self, raw: Mapping[str, Any], path: str) -> Comparison | None:
        self._comparisons += 1
        if self._comparisons > COMPARISONS_MAX:
            self.wrong(path, "too_many", f"A condition has at most {COMPARISONS_MAX} comparisons.")
            return None
        self._refuse_unknown(raw, {"field", "is", "value", "case_sensitive"}, path)
        field = raw.get("field")
        kind = self.kind_of(field) if isinstance(field, str) else ""
        if not isinstance(field, str) or not kind:
            self.wrong(f"{path}.field", "unknown", "Choose a field of the model.")
            return None
        operator = raw.get("is")
        if not isinstance(operator, str) or operator not in OPERATORS[kind]:
            known = ", ".join(WORDS_OF[one] for one in OPERATORS[kind])
            subject = _subject(field, self._dictionary)
            subject = subject[0].upper() + subject[1:]
            self.wrong(f"{path}.is", "unknown", f"{subject} can be asked: {known}.")
            return None
        case_sensitive = raw.get("case_sensitive", False)
        if not isinstance(case_sensitive, bool):
            self.wrong(f"{path}.case_sensitive", "type", "This must be true or false.")
            return None
        try:
            value = self.value(raw.get("value"), operator, kind, case_sensitive=case_sensitive)
        except Invalid as error:
            self.wrong(f"{path}.value", error.errors[0].code, error.message)
            return None
        matches = operator.removeprefix("not_") == "matches"
        return Comparison(field, operator, value, case_sensitive and matches)

    def kind_of(self, field: str) -> str:
        if field.startswith(FEATURE):
            feature = self._dictionary.by_name.get(field.removeprefix(FEATURE))
            return feature.type if feature else ""
        return _OWN_FIELDS[field][1] if field in _OWN_FIELDS else ""

    def value(self, raw: object, operator: str, kind: str, *, case_sensitive: bool) -> Any:
        match operator.removeprefix("not_"):
            case "missing" | "present":
                return None
            case "matches":
                return _pattern(raw, case_sensitive=case_sensitive)
            case "contains":
                text = _text(raw)
                if words_in(text) == "  ":
                    raise Invalid.at("value", "required", "Give at least one word.")
                return text
            case "above" | "below":
                return _number(raw)
            case "between":
                return _two_numbers(raw)
            case "one_of":
                return _several(raw)
            case _:
                return _number(raw) if kind == NUMBER else _flag(raw) if kind == FLAG else _plain(raw)

    def _refuse_unknown(self, raw: Mapping[str, Any], known: set[str], path: str) -> None:
        for name in raw:
            if name not in known:
                self.wrong(f"{path}.{str(name)[:60]}", "unknown_field", "There is no such field here.")


def _pattern(raw: object, *, case_sensitive: bool) -> str:
    if isinstance(raw, str) and len(raw) > PATTERN_MAX:
        raise Invalid.at("value", "too_long", f"A pattern has at most {PATTERN_MAX} characters.")
    pattern = _text(raw)
    program = compiled(pattern, case_sensitive=case_sensitive)
    if program.search(b"") is not None and program.search("¤".encode()) is not None:
        raise Invalid.at("value", "matches_all", "This pattern fits every text.")
    return pattern


def _text(raw: object) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise Invalid.at("value", "required", "Give a text.")
    if len(raw) > VALUE_MAX:
        raise Invalid.at("value", "too_long", f"At most {VALUE_MAX} characters are possible.")
    if "\0" in raw or not _is_clean(raw):
        raise Invalid.at("value", "unclean_text", "Text must not contain NUL or half a surrogate pair.")
    return raw


def _two_numbers(raw: object) -> tuple[float, float]:
    if not isinstance(raw, list) or len(raw) != 2:
        raise Invalid.at("value", "type", "Give the lowest and the highest value, as in “2 to 5”.")
    low, high = _number(raw[0]), _number(raw[1])
    if low > high:
        raise Invalid.at("value", "order", "The lowest value is above the highest.")
    return low, high


def _several(raw: object) -> tuple[str | float | bool, ...]:
    if not isinstance(raw, list) or not raw:
        raise Invalid.at("value", "required", "Give at least one value.")
    if len(raw) > VALUES_MAX:
        raise Invalid.at("value", "too_many", f"At most {VALUES_MAX} values are possible.")
    return tuple(_plain(one) for one in raw)


def _flag(raw: object) -> bool:
    if not isinstance(raw, bool):
        raise Invalid.at("value", "type", "This must be yes or no.")
    return raw


def _plain(raw: object) -> str | float | bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, int | float):
        return _number(raw)
    return _text(raw)


def _number(raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise Invalid.at("value", "type", "This must be a number.")
    try:
        number = float(raw)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Invalid.at("value", "type", "This must be a finite number.")
    return int(raw) if number.is_integer() and abs(number) < 2**53 else number


def _is_clean(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# -- Rows of a form ------------------------------------------------------------------------------


def rows_of(root: Node, *, most: int) -> list[tuple[bool, Comparison]] | None:
    """The condition as rows that a form shows: (whether the row begins a new alternative, comparison).

    A row that begins none belongs with the one before by AND; alternatives stand side by side by OR. None
    where that takes more than `most` rows.
    """
    alternatives = _alternatives(root, most)
    if alternatives is None or sum(map(len, alternatives)) > most:
        return None
    return [
        (number > 0 and not place, comparison)
        for number, together in enumerate(alternatives)
        for place, comparison in enumerate(together)
    ]


def from_rows(rows: Sequence[tuple[bool, Any]]) -> Any:
    """The JSON of rows; the inverse of rows_of for the JSON of each comparison."""
    alternatives: list[list[Any]] = []
    for begins, comparison in rows:
        if begins or not alternatives:
            alternatives.append([])
        alternatives[-1].append(comparison)
    parts = [together[0] if len(together) == 1 else {"all": together} for together in alternatives]
    return parts[0] if len(parts) == 1 else {"any": parts}


def _alternatives(node: Node, most: int) -> list[list[Comparison]] | None:
    if isinstance(node, Comparison):
        return [[node]]
    found: list[list[Comparison]] = [[]] if node.every else []
    for part in node.parts:
        inner = _alternatives(part, most)
        if inner is None:
            return None
        found = [left + right for left in found for right in inner] if node.every else found + inner
        if len(found) > most:
            return None
    return found


def value_text(comparison: Comparison) -> str:
    """The value as a form's text field shows it; several are separated by “ | ”."""
    value = comparison.value
    if value is None:
        return ""
    if isinstance(value, tuple):
        return " | ".join(as_text(one) for one in value)
    return as_text(value)


def value_from_text(text: str, operator: str, kind: str) -> Any:
    """What somebody typed for this operator, as JSON: numbers where numbers are asked for."""
    several = operator in {"between", "one_of"}
    parts = [part.strip() for part in text.split("|" if "|" in text or operator == "one_of" else " to ")]
    if operator in {"missing", "present"}:
        return None
    if operator.removeprefix("not_") in {"matches", "contains"}:
        return text
    if kind in {NUMBER, SCORE_FIELD}:
        found = [_typed_number(part) for part in (parts if several else [text.strip()])]
        return found if several else found[0]
    if kind == FLAG:
        return {"yes": True, "true": True, "no": False, "false": False}.get(text.strip().casefold(), text)
    return [part for part in parts if part] if several else text


def kind_of(field: str, dictionary: FeatureDictionary) -> str:
    """The kind of a field, as OPERATORS has it; empty for one that is unknown."""
    return _Reader(dictionary).kind_of(field)


def _typed_number(text: str) -> Any:
    try:
        number = json.loads(text)
    except ValueError:
        return text
    return number if isinstance(number, int | float) else text
