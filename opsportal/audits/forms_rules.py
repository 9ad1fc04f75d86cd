"""What people type about rules. A condition is rows of comparisons; the rules about it are in conditions."""

from collections.abc import Mapping
from typing import Any

from django import forms

from opsportal.audits.conditions import (
    OPERATORS,
    WORDS_OF,
    Comparison,
    fields_of,
    from_rows,
    kind_of,
    parse,
    rows_of,
    value_from_text,
    value_text,
)
from opsportal.audits.models import Rule, Suggestion
from opsportal.audits.selectors.rules import dictionary_of, label_choices
from opsportal.audits.services.applying import REASON_MAX
from opsportal.audits.services.rules import BAR_MAX, BAR_MIN, TITLE_MAX, Terms
from opsportal.core.errors import Invalid, PortalError
from opsportal.predictions.dictionary import FeatureDictionary
from opsportal.predictions.models import Model

ROWS_FIRST, ROWS_MAX = 3, 12
AND, OR = "and", "or"
_PLAIN = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}


class _FieldSelect(forms.Select):
    """Tells scripts which kind each field is of, so that they offer only what it can be asked."""

    kinds: Mapping[str, str]

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option = super().create_option(name, value, *args, **kwargs)
        option["attrs"]["data-operators"] = " ".join(OPERATORS.get(self.kinds.get(str(value), ""), ()))
        return option


class RuleForm(forms.Form):
    """A rule: its title, its condition row by row, the label it gives, and the bar.

    rows: how many rows there are; those whose field is empty do not count. A row that begins with OR starts a
    new alternative, one that begins with AND belongs to the row before.
    """

    use_required_attribute = False

    title = forms.CharField(
        max_length=TITLE_MAX,
        error_messages={"required": "Give it a title."},
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    label = forms.ChoiceField(
        label="The label should be",
        error_messages={"required": "Choose a label.", "invalid_choice": "Choose one of the list."},
    )
    bar = forms.FloatField(
        label="Bar, in per cent",
        initial=90,
        min_value=BAR_MIN * 100,
        max_value=BAR_MAX * 100,
        error_messages={
            "required": "Say which precision has to be proven.",
            "invalid": "Give a number, such as 90.",
        },
        widget=forms.NumberInput(attrs={"step": "any", "inputmode": "decimal"}),
        help_text="So much of what it changes must be right, 95 % sure, before it may relabel anything.",
    )
    rows = forms.IntegerField(
        widget=forms.HiddenInput, required=False, min_value=1, max_value=ROWS_MAX, initial=ROWS_FIRST
    )
    version = forms.IntegerField(widget=forms.HiddenInput, required=False, min_value=1)

    def __init__(self, *args: Any, model: Model, more_rows: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dictionary: FeatureDictionary = dictionary_of(model)
        choices = forms.ChoiceField(choices=[("", "Choose…"), *label_choices(model)])
        self.fields["label"].choices = choices.choices  # type: ignore[attr-defined]
        self.count = min(self._rows_given() + more_rows, ROWS_MAX)
        for number in range(self.count):
            self._add_row(number)
        if self.is_bound:
            # What the page sends back with the next click.
            self.data = {**self.data.dict(), "rows": str(self.count)}  # type: ignore[attr-defined]

    def _rows_given(self) -> int:
        given = self.data.get("rows") if self.is_bound else self.initial.get("rows")
        text = str(given or "")
        return min(max(int(text), 1), ROWS_MAX) if text.isascii() and text.isdigit() else ROWS_FIRST

    def _add_row(self, number: int) -> None:
        fields = fields_of(self.dictionary)
        widget = _FieldSelect()
        widget.kinds = {name: kind_of(name, self.dictionary) for name, _ in fields}
        self.fields[f"join_{number}"] = forms.ChoiceField(
            label=f"Row {number + 1}: joined by",
            required=False,
            choices=[(AND, "and"), (OR, "or")],
        )
        self.fields[f"field_{number}"] = forms.ChoiceField(
            label=f"Row {number + 1}: field",
            required=False,
            choices=[("", "–"), *fields],
            widget=widget,
            error_messages={"invalid_choice": "Choose one of the list."},
        )
        self.fields[f"is_{number}"] = forms.ChoiceField(
            label=f"Row {number + 1}: comparison",
            required=False,
            choices=list(WORDS_OF.items()),
            error_messages={"invalid_choice": "Choose one of the list."},
        )
        self.fields[f"value_{number}"] = forms.CharField(
            label=f"Row {number + 1}: value",
            required=False,
            max_length=2_000,
            strip=False,
            widget=forms.TextInput(attrs=_PLAIN),
        )
        self.fields[f"case_{number}"] = forms.BooleanField(
            label=f"Row {number + 1}: match case", required=False
        )

    @property
    def condition_rows(self) -> list[dict[str, forms.BoundField]]:
        """The rows as a page shows them."""
        return [
            {part: self[f"{part}_{number}"] for part in ("join", "field", "is", "value", "case")}
            for number in range(self.count)
        ]

    @property
    def may_have_more(self) -> bool:
        """Whether a row can be added."""
        return self.count < ROWS_MAX

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        rows: list[tuple[bool, Any]] = []
        for number in range(self.count):
            if any(self.errors.get(f"{part}_{number}") for part in ("field", "is", "value")):
                continue
            if not data.get(f"field_{number}"):
                if data.get(f"value_{number}", "").strip():
                    self.add_error(f"field_{number}", "Choose what this value is compared with.")
                continue
            comparison = self._comparison(number, data)
            if comparison is not None:
                rows.append((data.get(f"join_{number}") == OR, comparison))
        if not rows and not self.errors:
            self.add_error("field_0", "Give at least one comparison.")
        data["condition"] = from_rows(rows) if rows else None
        return data

    def _comparison(self, number: int, data: Mapping[str, Any]) -> Any:
        """The row's JSON, read once by itself so that what is wrong stands beside it; None if it is."""
        field, operator = data[f"field_{number}"], data.get(f"is_{number}") or ""
        kind = kind_of(field, self.dictionary)
        comparison: dict[str, Any] = {"field": field, "is": operator}
        value = value_from_text(data.get(f"value_{number}") or "", operator, kind)
        if value is not None:
            comparison["value"] = value
        if data.get(f"case_{number}"):
            comparison["case_sensitive"] = True
        try:
            return parse(comparison, self.dictionary).json
        except Invalid as error:
            for problem in error.errors:
                part = problem.path.rpartition(".")[2]
                name = {"field": "field", "is": "is"}.get(part, "value")
                self.add_error(f"{name}_{number}", problem.message)
            return None

    def terms(self) -> Terms:
        """The terms of a valid form."""
        data = self.cleaned_data
        return Terms(
            title=data["title"], condition=data["condition"], label=data["label"], bar=data["bar"] / 100
        )

    def show_refusal(self, error: PortalError) -> None:
        """Put a service's refusal beside its fields, or on top of the form."""
        for problem in error.errors:
            name = problem.path.partition(".")[0]
            self.add_error(name if name in self.fields else None, problem.message)
        if not error.errors:
            self.add_error(None, error.message)


def initial_of(rule: Rule) -> dict[str, Any] | None:
    """What the form shows of a rule; None where its condition takes more rows than a form has."""
    rows = _initial_rows(rule.condition, dictionary_of(rule.model))
    if rows is None:
        return None
    bar = round(rule.bar * 100, 6)
    return {"title": rule.title, "label": rule.label, "bar": bar, "version": rule.version, **rows}


def initial_from(suggestion: Suggestion) -> dict[str, Any]:
    """What the form shows of a suggestion."""
    rows = _initial_rows(suggestion.condition, dictionary_of(suggestion.run.model)) or {}
    title = suggestion.words.rpartition(" and ")[2]
    return {"title": title[:1].upper() + title[1:TITLE_MAX], "label": suggestion.label, "bar": 90, **rows}


def _initial_rows(condition: object, dictionary: FeatureDictionary) -> dict[str, Any] | None:
    try:
        rows = rows_of(parse(condition, dictionary).root, most=ROWS_MAX)
    except Invalid:
        return {}
    if rows is None:
        return None
    found: dict[str, Any] = {"rows": max(ROWS_FIRST, len(rows))}
    for number, (begins, comparison) in enumerate(rows):
        found |= _initial_row(number, begins, comparison)
    return found


def _initial_row(number: int, begins: bool, comparison: Comparison) -> dict[str, Any]:
    return {
        f"join_{number}": OR if begins else AND,
        f"field_{number}": comparison.field,
        f"is_{number}": comparison.operator,
        f"value_{number}": value_text(comparison),
        f"case_{number}": comparison.case_sensitive,
    }


def _reason_field(label: str, missing: str, *, required: bool = True) -> forms.CharField:
    return forms.CharField(
        label=label,
        required=required,
        max_length=REASON_MAX,
        error_messages={"required": missing},
        widget=forms.Textarea(attrs={"rows": 2}),
    )


class ApplyForm(forms.Form):
    """Apply this version of the rule."""

    use_required_attribute = False
    prefix = "apply"
    version = forms.IntegerField(widget=forms.HiddenInput, min_value=1, max_value=2**31 - 1)
    reason = _reason_field("Reason", "Say why, in a few words.")


class DecideForm(forms.Form):
    """A second person's verdict."""

    use_required_attribute = False
    prefix = "decide"
    application = forms.IntegerField(widget=forms.HiddenInput, min_value=1, max_value=2**63 - 1)
    comment = _reason_field("Comment", "", required=False)


class RevertForm(forms.Form):
    """Take the application back."""

    use_required_attribute = False
    prefix = "revert"
    application = forms.IntegerField(widget=forms.HiddenInput, min_value=1, max_value=2**63 - 1)
    reason = _reason_field("Reason", "Say why, in a few words.")


class ListForm(forms.Form):
    """Which run's patterns the list shows."""

    run = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
