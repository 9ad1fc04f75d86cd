"""What people type to find predictions."""

import re
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any, cast

from django import forms
from django.utils import timezone

from opsportal.overrides.models import EVERYWHERE, Surface
from opsportal.predictions.identifiers import (
    CUSTOMER_ID_MAX,
    PRODUCT_ID_MAX,
    customer_problem,
    product_problem,
)
from opsportal.predictions.models import PREDICTION_ID_MAX, Model
from opsportal.predictions.pseudonyms import customer_key
from opsportal.predictions.selectors import LookUp
from opsportal.predictions.words import words_of

WORDS_MAX = 200
VERSION_MAX = 64
FIRST_YEAR, LAST_YEAR = 2000, 2100
_PREDICTION_ID = re.compile(r"[A-Za-z0-9._:@=+~-]{1,128}")
_PLAIN = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}


def _day(label: str) -> forms.DateField:
    return forms.DateField(
        label=label,
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        error_messages={"invalid": "Give a day, such as 27/11/2026."},
    )


class LookUpForm(forms.Form):
    """A plain GET form; its address can be shared. A customer is no part of it: see CustomerForm."""

    use_required_attribute = False

    prediction_id = forms.CharField(
        label="Prediction ID",
        required=False,
        max_length=PREDICTION_ID_MAX,
        widget=forms.TextInput(attrs=_PLAIN),
    )
    words = forms.CharField(
        label="Words, such as a name",
        required=False,
        max_length=WORDS_MAX,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    product_id = forms.CharField(
        label="Product ID", required=False, max_length=PRODUCT_ID_MAX, widget=forms.TextInput(attrs=_PLAIN)
    )
    model = forms.ChoiceField(required=False, error_messages={"invalid_choice": "There is no such model."})
    version = forms.CharField(required=False, max_length=VERSION_MAX, widget=forms.TextInput(attrs=_PLAIN))
    surface = forms.ChoiceField(
        required=False, error_messages={"invalid_choice": "There is no such surface."}
    )
    since = _day("From")
    until = _day("To")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        models = Model.objects.values_list("name", "title")
        surfaces = Surface.objects.exclude(pk=EVERYWHERE).values_list("slug", "name")
        cast(forms.ChoiceField, self.fields["model"]).choices = [("", "Any"), *models]
        cast(forms.ChoiceField, self.fields["surface"]).choices = [("", "Any"), *surfaces]

    def clean_prediction_id(self) -> str:
        text: str = self.cleaned_data["prediction_id"]
        if text and not _PREDICTION_ID.fullmatch(text):
            raise forms.ValidationError("A prediction ID has letters, digits and . _ : @ = + ~ - only.")
        return text

    def clean_product_id(self) -> str:
        text: str = self.cleaned_data["product_id"]
        if text and (problem := product_problem(text)):
            raise forms.ValidationError(problem)
        return text

    def clean_words(self) -> str:
        text: str = self.cleaned_data["words"]
        if text and not words_of(text):
            raise forms.ValidationError("Give at least one word of letters or digits.")
        return text

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        since, until = cleaned.get("since"), cleaned.get("until")
        for name, day in (("since", since), ("until", until)):
            if day and not FIRST_YEAR <= day.year < LAST_YEAR:
                self.add_error(name, f"The year must lie between {FIRST_YEAR} and {LAST_YEAR}.")
        if since and until and since > until:
            self.add_error("until", "The last day is before the first.")
        return cleaned

    @property
    def is_empty(self) -> bool:
        """Whether a valid form asks for nothing in particular."""
        return not any(self.cleaned_data.values())

    def wanted(self) -> LookUp:
        """What a valid form looks for; days are those of the person's zone, both included."""
        given = {
            name: value
            for name, value in self.cleaned_data.items()
            if value not in {None, ""} and name != "customer_id"
        }
        if since := given.pop("since", None):
            given["since"] = _midnight(since)
        if until := given.pop("until", None):
            given["until"] = _midnight(until + timedelta(days=1))
        return LookUp(**given)

    def chips(self) -> list[tuple[str, str]]:
        """What is on, as the parameter's name with its words."""
        found = []
        for name, value in self.cleaned_data.items():
            if value in {None, ""}:
                continue
            field = self.fields[name]
            words = value
            if isinstance(field, forms.ChoiceField):
                words = dict(cast(Any, field.choices)).get(value, value)
            elif isinstance(field, forms.DateField):
                words = f"{value:%a} {value.day} {value:%b %Y}"
            label = "Words" if name == "words" else field.label or name.capitalize()
            found.append((name, f"{label}: {words}"))
        return found


class CustomerForm(LookUpForm):
    """A customer's predictions, narrowed like any others. POSTed only: an ID never stands in an address."""

    customer_id = forms.CharField(
        label="Customer ID",
        max_length=CUSTOMER_ID_MAX,
        widget=forms.TextInput(attrs=_PLAIN),
        error_messages={"required": "Type the customer’s ID."},
    )

    def clean_customer_id(self) -> str:
        text: str = self.cleaned_data["customer_id"]
        if problem := customer_problem(text):
            raise forms.ValidationError(problem)
        return text

    def chips(self) -> list[tuple[str, str]]:
        """What is on beside the customer."""
        return [(name, words) for name, words in super().chips() if name != "customer_id"]

    def wanted(self) -> LookUp:
        """What a valid form looks for; the ID is replaced by its pseudonym here."""
        return replace(super().wanted(), customer_key=customer_key(self.cleaned_data["customer_id"]))


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))
