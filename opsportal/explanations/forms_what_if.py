"""The form of a what-if: one field for each thing that may be varied, filled with its present value."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.utils.html import escape

from opsportal.explanations.selectors.what_if import Changeable, level_on
from opsportal.predictions.dictionary import (
    CATEGORY,
    FLAG,
    NUMBER,
    TEXT_MAX,
    Feature,
    Value,
    as_text,
)

NOT_PROVIDED, LOGGED = "", "logged"
# What a browser's number field can hold; anything else is shown as text, so that nothing gets lost.
_HTML_NUMBER = re.compile(r"-?(\d+(\.\d+)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_TYPED_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d{1,3})?", re.ASCII)
_WHOLE = re.compile(r"[-+]?\d{1,15}", re.ASCII)
_LONG = 60


class WhatIfForm(forms.Form):
    """`changes()` of a valid form are the values that differ from the logged ones.

    An empty field means that the value is not provided; one that did not come at all stays as logged.
    """

    use_required_attribute = False

    def __init__(
        self,
        posted: Any = None,
        *,
        things: Iterable[Changeable],
        logged: Mapping[str, Value],
        changed: Mapping[str, Value] | None = None,
    ) -> None:
        """Fields for `things`; they show `changed` (of a what-if already asked) in place of the logged."""
        super().__init__(posted)
        self._logged = logged
        values = {**logged, **(changed or {})}
        for number, thing in enumerate(things):
            self.fields[f"value-{number}"] = _field(thing, logged, values)

    def clean(self) -> dict[str, Any]:
        """Refuse a form in which nothing differs from what was logged."""
        if not self.errors and not self.changes():
            message = "Change at least one value: these are the ones that were logged."
            raise forms.ValidationError(message, code="unchanged")
        return self.cleaned_data

    def changes(self) -> dict[str, Value]:
        """Feature → new value, for those whose value is another than the logged one."""
        chosen: dict[str, Value] = {}
        for values in self.cleaned_data.values():
            chosen.update(values)
        return {name: value for name, value in chosen.items() if not _same(value, self._logged.get(name))}


class _NumberField(forms.Field):
    """A number within the range seen in training, or nothing. Left as it is, it stays what was logged."""

    def __init__(self, feature: Feature, logged: Value, **kwargs: Any) -> None:
        self._feature, self._logged = feature, logged
        super().__init__(required=True, **kwargs)

    def clean(self, value: Any) -> dict[str, Value]:
        text = str(value or "").strip()
        if value is None or text == _typed(self._logged).strip():
            return {self._feature.name: self._logged}
        if not text:
            return {self._feature.name: None}
        number = float(text) if _TYPED_NUMBER.fullmatch(text) else math.nan
        if not math.isfinite(number):
            raise forms.ValidationError("Write a number, such as 12 or 0.5.", code="not_a_number")
        low, high = self._feature.low, self._feature.high
        if (low is not None and number < low) or (high is not None and number > high):
            message = f"{_range_words(self._feature)}: beyond that the model has seen nothing."
            raise forms.ValidationError(message, code="out_of_range")
        return {self._feature.name: int(text) if _WHOLE.fullmatch(text) else number}


class _ChoiceField(forms.ChoiceField):
    """One of a few values. The keys are numbers: a value may be any text."""

    def __init__(
        self, results: Mapping[str, Mapping[str, Value]], logged: Mapping[str, Value], **kwargs: Any
    ) -> None:
        self._results, self._logged = results, logged
        super().__init__(required=True, **kwargs)
        self.error_messages["invalid_choice"] = "Choose one of the list."

    def clean(self, value: Any) -> dict[str, Value]:
        if value is None:
            return {name: self._logged.get(name) for name in self._results[NOT_PROVIDED]}
        text = self.to_python(value)
        if text not in self._results:
            raise forms.ValidationError(self.error_messages["invalid_choice"], code="invalid_choice")
        return dict(self._results[text])


class _TextField(forms.Field):
    """A category whose values the dictionary does not list."""

    def __init__(self, feature: Feature, logged: Value, **kwargs: Any) -> None:
        self._feature, self._logged = feature, logged
        super().__init__(required=True, **kwargs)

    def clean(self, value: Any) -> dict[str, Value]:
        text = str(value or "").replace("\r\n", "\n")
        if value is None or text == _typed(self._logged).replace("\r\n", "\n"):
            return {self._feature.name: self._logged}
        if len(text) > TEXT_MAX:
            message = f"The text has {len(text):,} characters; at most {TEXT_MAX:,} are possible."
            raise forms.ValidationError(message, code="too_long")
        return {self._feature.name: text or None}


def _field(thing: Changeable, logged: Mapping[str, Value], values: Mapping[str, Value]) -> forms.Field:
    if thing.is_choice_of_levels:
        return _level_field(thing, logged, values)
    (feature,) = thing.features
    before, now = logged.get(feature.name), values.get(feature.name)
    hints = [f"Logged: {_short(feature.show(before))}."]
    about: dict[str, Any] = {"label": feature.label}
    if feature.type == FLAG or (feature.type == CATEGORY and feature.categories):
        options: dict[str, Value] = {NOT_PROVIDED: None}
        if feature.type == FLAG:
            options |= {"true": True, "false": False}
        else:
            options |= {str(place): text for place, text in enumerate(feature.categories)}
        if all(_key(before) != _key(option) for option in options.values()):
            options[LOGGED] = before
        initial = next((name for name, option in options.items() if _key(option) == _key(now)), LOGGED)
        results = {
            # The logged value keeps its type: 3 stays a number though the category reads "3".
            name: {feature.name: before if _key(option) == _key(before) else option}
            for name, option in options.items()
        }
        choices = [(name, _short(feature.show(option))) for name, option in options.items()]
        return _ChoiceField(
            results, logged, choices=choices, initial=initial, help_text=_hint(hints, now, before), **about
        )
    if feature.type == NUMBER:
        if words := _range_words(feature):
            hints.append(f"{words}.")
        return _NumberField(
            feature,
            before,
            initial=_typed(now),
            widget=_number_widget(feature, now),
            help_text=escape(" ".join(hints)),
            **about,
        )
    text = _typed(now)
    widget: forms.Widget = forms.TextInput()
    if "\n" in text or len(text) > _LONG:
        widget = forms.Textarea(attrs={"rows": 3})
    return _TextField(
        feature, before, initial=text, widget=widget, help_text=escape(" ".join(hints)), **about
    )


def _level_field(thing: Changeable, logged: Mapping[str, Value], values: Mapping[str, Value]) -> forms.Field:
    """The columns of one category as one choice: choosing a level turns its column on and the others off."""
    results: dict[str, dict[str, Value]] = {NOT_PROVIDED: {feature.name: None for feature in thing.features}}
    labels = {NOT_PROVIDED: "not provided"}
    for place, chosen in enumerate(thing.features):
        labels[str(place)] = chosen.level
        results[str(place)] = {
            feature.name: feature is chosen if feature.type == FLAG else int(feature is chosen)
            for feature in thing.features
        }
    initial = _initial_level(thing, values)
    if _initial_level(thing, logged) == LOGGED:
        labels[LOGGED] = "as logged: none of these, or several"
        results[LOGGED] = {feature.name: logged.get(feature.name) for feature in thing.features}
    before = labels[_initial_level(thing, logged)]
    return _ChoiceField(
        results,
        logged,
        label=thing.label,
        choices=list(labels.items()),
        initial=initial if initial in labels else LOGGED,
        help_text=escape(f"Logged: {before}."),
    )


def _initial_level(thing: Changeable, values: Mapping[str, Value]) -> str:
    on = level_on(thing.features, values)
    if on is not None:
        return str(thing.features.index(on))
    return NOT_PROVIDED if all(values.get(feature.name) is None for feature in thing.features) else LOGGED


def _number_widget(feature: Feature, now: Value) -> forms.Widget:
    text = _typed(now)
    if text and not _HTML_NUMBER.fullmatch(text):
        return forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"})
    attrs: dict[str, Any] = {"step": "any", "inputmode": "decimal", "autocomplete": "off"}
    for name, bound in (("min", feature.low), ("max", feature.high)):
        if bound is not None:
            attrs[name] = f"{bound:g}" if float(f"{bound:g}") == bound else repr(bound)
    return forms.NumberInput(attrs=attrs)


def _range_words(feature: Feature) -> str:
    low, high = (_plain(feature, feature.low), _plain(feature, feature.high))
    if low and high:
        return f"From {low} to {high}"
    if low:
        return f"At least {low}"
    return f"At most {high}" if high else ""


def _plain(feature: Feature, bound: float | None) -> str:
    return "" if bound is None else feature.show(int(bound) if bound == int(bound) else bound)


def _hint(hints: list[str], now: Value, before: Value) -> str:
    """The logged value is worth a line only where the choice shows another one."""
    return escape(" ".join(hints)) if _key(now) != _key(before) else ""


def _typed(value: Value) -> str:
    """The value as it stands in a text field."""
    return "" if value is None else as_text(value)


def _key(value: Value) -> str | None:
    """The value as a category sees it: 3 and "3" are the same, nothing is not "null"."""
    return None if value is None else as_text(value)


def _same(one: Value, other: Value) -> bool:
    """Whether the model sees the same; a not-a-number equals itself here."""
    if isinstance(one, str) or isinstance(other, str) or one is None or other is None:
        return type(one) is type(other) and one == other
    return one == other or (one != one and other != other)


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:99]}…"
