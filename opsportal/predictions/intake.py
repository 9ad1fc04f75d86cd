"""What a prediction must look like to be taken in: one check, whether it comes by the API or in a file."""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from opsportal.core import clock
from opsportal.core.errors import Problem
from opsportal.predictions.dictionary import (
    FLAG,
    LOGIT,
    NUMBER,
    TEXT_MAX,
    Feature,
    FeatureDictionary,
    Value,
    as_text,
)
from opsportal.predictions.identifiers import customer_problem, product_problem
from opsportal.predictions.models import PREDICTION_ID_MAX
from opsportal.predictions.pseudonyms import customer_key
from opsportal.predictions.words import words_of

REQUIRED = ("prediction_id", "predicted_at", "score")
FIELDS = (*REQUIRED, "label", "outcome", "product_id", "customer_id", "surface", "text", "features")
# The columns of the table, with the longest text of each.
LONGEST = {"label": 100, "outcome": 100, "surface": 64, "text": 100_000}
OLDEST = datetime(2000, 1, 1, tzinfo=UTC)
FUTURE = timedelta(days=1)
INTEGER_MAX = 2**63 - 1
# Of one prediction; what is wrong beyond these is left unsaid.
PROBLEMS_MAX = 20
WORDS_MAX = 100
_REMEMBERED = 100_000
_PREDICTION_ID = re.compile(rf"[A-Za-z0-9._:@=+~-]{{1,{PREDICTION_ID_MAX}}}", re.ASCII)
# In an address the first two would be resolved away, and the others are addresses of the portal.
_TAKEN_IDS = frozenset({".", "..", "together", "search"})
_MOMENT = "This must be a time in ISO 8601 with its offset from UTC, as in 2026-01-31T18:00:00Z."
_encode = msgspec.json.Encoder().encode


class Checked(NamedTuple):
    """A prediction as it is stored; `content` is all that makes two of them the same."""

    prediction_id: str
    predicted_at: datetime
    score: float
    label: str
    outcome: str
    product_id: str
    customer_key: str
    surface: str
    features: str
    text: str
    words: tuple[str, ...] = ()

    @property
    def content(self) -> tuple[Any, ...]:
        """The columns of the table, in their order."""
        return self[:-1]


class Intake:
    """Checks predictions of one version. About 10 µs for each with ten features; keep it for many.

    Customer IDs become pseudonyms in `check` and go no further; those seen are remembered, at most
    100,000. naive_is_utc: times without an offset are taken as UTC, as files have them.
    """

    def __init__(self, dictionary: FeatureDictionary, *, naive_is_utc: bool = False) -> None:
        self._features = tuple((f.name, _PLAIN.get(f.type, _is_plain), f) for f in dictionary.features)
        self._known = dictionary.by_name.keys()
        self._findable = tuple(f.name for f in dictionary.features if f.findable)
        self._probability = dictionary.link == LOGIT
        self._naive_is_utc = naive_is_utc
        self._latest = clock.now() + FUTURE
        self._customers: dict[str, tuple[str, str]] = {}
        self._products: dict[str, str] = {}

    def check(self, raw: Mapping[str, Any]) -> "Checked | list[Problem]":
        """The prediction as it is stored, or what is wrong with it. Never says a customer's ID.

        raw: the fields by name, as the API documents them; `features` is a mapping of its own.
        """
        problems: list[Problem] = []
        if not raw.keys() <= _FIELDS:
            problems += (_unknown(name) for name in raw if name not in _FIELDS)
        prediction_id = raw.get("prediction_id")
        if (
            not isinstance(prediction_id, str)
            or not _PREDICTION_ID.fullmatch(prediction_id)
            or prediction_id in _TAKEN_IDS
        ):
            problems.append(_bad_id(prediction_id))
            prediction_id = ""
        features, words = self._check_features(raw.get("features"), problems)
        found = Checked(
            prediction_id,
            self._moment(raw.get("predicted_at"), problems),
            self._score(raw.get("score"), problems),
            _text(raw, "label", problems),
            _text(raw, "outcome", problems),
            self._product(raw.get("product_id"), problems),
            self._customer(raw.get("customer_id"), problems),
            _text(raw, "surface", problems),
            features,
            _text(raw, "text", problems),
            words,
        )
        return problems[:PROBLEMS_MAX] if problems else found

    def _check_features(self, given: object, problems: list[Problem]) -> tuple[str, tuple[str, ...]]:
        """The values in the dictionary's order as JSON, and their words; missing ones stand there as null."""
        if not isinstance(given, Mapping):
            code = "required" if given is None else "type"
            problems.append(Problem("features", code, "The values must be an object: feature → value."))
            return "", ()
        before = len(problems)
        if not given.keys() <= self._known:
            problems += (
                Problem(
                    f"features.{str(name)[:60]}",
                    "unknown_feature",
                    "There is no such feature in the dictionary of this version.",
                )
                for name in given
                if name not in self._known
            )
        values: dict[str, Value] = {}
        for name, is_plain, feature in self._features:
            value = values[name] = given.get(name)
            if value is not None and not is_plain(value) and (message := _value_problem(feature, value)):
                problems.append(Problem(f"features.{name}", "invalid", message))
        if len(problems) > before:
            return "", ()
        try:
            text = _encode(values).decode()
        except UnicodeEncodeError:
            problems.append(Problem("features", "unclean_text", "A text contains half a surrogate pair."))
            return "", ()
        return text, self._words(values) if self._findable else ()

    def _words(self, values: dict[str, Value]) -> tuple[str, ...]:
        words: dict[str, None] = {}
        for name in self._findable:
            if (value := values[name]) is not None:
                words.update(dict.fromkeys(words_of(as_text(value))))
        return tuple(words)[:WORDS_MAX]

    def _moment(self, raw: object, problems: list[Problem]) -> datetime:
        moment = raw
        if isinstance(raw, str):
            try:
                moment = datetime.fromisoformat(raw)
            except ValueError:
                moment = None
        if not isinstance(moment, datetime):
            code, message = ("required", "The time is missing.") if raw is None else ("not_a_time", _MOMENT)
            return _no_moment(problems, code, message)
        try:
            if moment.tzinfo is None:
                if not self._naive_is_utc:
                    return _no_moment(problems, "no_offset", _MOMENT)
                moment = moment.replace(tzinfo=UTC)
            else:
                moment = moment.astimezone(UTC)
        except OverflowError:
            return _no_moment(problems, "not_a_time", _MOMENT)
        if moment < OLDEST:
            return _no_moment(problems, "too_old", "This is before the year 2000.")
        if moment > self._latest:
            return _no_moment(problems, "in_future", "This lies more than a day in the future.")
        return moment

    def _score(self, raw: object, problems: list[Problem]) -> float:
        if type(raw) is float or type(raw) is int:
            score = float(raw) if type(raw) is float or abs(raw) <= INTEGER_MAX else math.inf
            if score - score != 0.0:
                problems.append(Problem("score", "not_finite", "The score must be a finite number."))
            elif self._probability and not 0.0 <= score <= 1.0:
                message = "The score of this version is a probability, from 0 to 1."
                problems.append(Problem("score", "range", message))
            return score
        code, message = ("required", "The score is missing.") if raw is None else ("not_a_number", _NUMBER)
        problems.append(Problem("score", code, message))
        return 0.0

    def _product(self, raw: object, problems: list[Problem]) -> str:
        if raw is None or raw == "":
            return ""
        if not isinstance(raw, str):
            problems.append(Problem("product_id", "not_text", _NOT_TEXT))
            return ""
        message = self._products.get(raw)
        if message is None:
            if len(self._products) >= _REMEMBERED:
                self._products.clear()
            message = self._products[raw] = product_problem(raw.strip())
        if message:
            problems.append(Problem("product_id", "invalid", message))
        return raw.strip()

    def _customer(self, raw: object, problems: list[Problem]) -> str:
        if raw is None or raw == "":
            return ""
        if not isinstance(raw, str):
            problems.append(Problem("customer_id", "not_text", _NOT_TEXT))
            return ""
        found = self._customers.get(raw)
        if found is None:
            if len(self._customers) >= _REMEMBERED:
                self._customers.clear()
            message = customer_problem(raw.strip())
            found = self._customers[raw] = ("", message) if message else (customer_key(raw), "")
        key, message = found
        if message:
            problems.append(Problem("customer_id", "invalid", message))
        return key


_FIELDS = frozenset(FIELDS)
_NUMBER = "This must be a number."
_NOT_TEXT = "This must be a string: write an ID in quotation marks."


# What a feature takes as it is. Everything else is put to `Feature.problem`, which alone knows the rules.


def _is_plain_number(value: Any) -> bool:
    kind = type(value)
    return (kind is float and value - value == 0.0) or (kind is int and -INTEGER_MAX <= value <= INTEGER_MAX)


def _is_flag(value: Any) -> bool:
    return type(value) is bool


def _is_plain(value: Any) -> bool:
    if type(value) is str:
        return len(value) <= TEXT_MAX and "\0" not in value
    return _is_plain_number(value) or _is_flag(value)


_PLAIN: dict[str, Callable[[Any], bool]] = {NUMBER: _is_plain_number, FLAG: _is_flag}


def _value_problem(feature: Feature, value: object) -> str:
    if not isinstance(value, str | int | float | bool):
        return "This must be text, a number, true, false, or null where it is missing."
    if isinstance(value, int) and abs(value) > INTEGER_MAX:
        return "The number is too large."
    if isinstance(value, float) and value - value != 0.0:
        return "This must be a finite number, or null where it is missing."
    return feature.problem(value)


def _text(raw: Mapping[str, Any], name: str, problems: list[Problem]) -> str:
    text = raw.get(name)
    if text is None or text == "":
        return ""
    if not isinstance(text, str):
        problems.append(Problem(name, "not_text", "This must be a string."))
    elif len(text) > LONGEST[name]:
        message = f"This has {len(text):,} characters; at most {LONGEST[name]:,} are possible."
        problems.append(Problem(name, "too_long", message))
    elif "\0" in text or not _is_clean(text):
        problems.append(Problem(name, "unclean_text", "Text must not contain NUL or half a surrogate pair."))
    else:
        return text
    return ""


def _is_clean(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bad_id(raw: object) -> Problem:
    if raw is None or raw == "":
        return Problem("prediction_id", "required", "The ID of the prediction is missing.")
    if not isinstance(raw, str):
        return Problem("prediction_id", "not_text", _NOT_TEXT)
    if raw in _TAKEN_IDS:
        return Problem("prediction_id", "taken", f"“{raw}” cannot be an ID: its page would have no address.")
    message = f"An ID has 1 to {PREDICTION_ID_MAX} of the letters A–Z and a–z, digits and . _ : @ = + ~ -"
    return Problem("prediction_id", "invalid", message)


def _unknown(name: object) -> Problem:
    return Problem(str(name)[:60], "unknown_field", "There is no such field here.")


def _no_moment(problems: list[Problem], code: str, message: str) -> datetime:
    problems.append(Problem("predicted_at", code, message))
    return OLDEST
