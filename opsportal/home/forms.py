"""What people type to find something."""

from typing import Any, cast

from django import forms

from opsportal.home.selectors.trail import GROUPS, SYSTEM, people

SEARCH_LENGTH = 200
NUMBER_MAX = 2**63 - 1


class SearchForm(forms.Form):
    """The search of the top bar. `customer` asks to look the text up as a customer, whatever else it is."""

    q = forms.CharField(
        label="ID",
        max_length=SEARCH_LENGTH,
        error_messages={
            "required": "Type or paste an ID.",
            "max_length": f"An ID has at most {SEARCH_LENGTH} characters.",
        },
    )
    customer = forms.BooleanField(required=False)


class TrailForm(forms.Form):
    """The filters of the activity page; `filters()` hands those that can be read to the selector."""

    text = forms.CharField(
        label="Product ID or words",
        required=False,
        max_length=SEARCH_LENGTH,
        widget=forms.TextInput(attrs={"type": "search", "autocomplete": "off"}),
    )
    person = forms.ChoiceField(label="Who", required=False)
    group = forms.ChoiceField(
        label="What",
        required=False,
        choices=[("", "Everything"), *((name, words) for name, (words, _) in GROUPS.items())],
    )
    submission = forms.CharField(
        label="Submission",
        required=False,
        max_length=20,
        widget=forms.TextInput(attrs={"inputmode": "numeric", "placeholder": "#", "autocomplete": "off"}),
    )
    since = forms.DateField(label="From", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label="To", required=False, widget=forms.DateInput(attrs={"type": "date"}))

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        names = [(name, name) for name in people()]
        cast(forms.ChoiceField, self.fields["person"]).choices = [
            ("", "Everybody"),
            *names,
            (SYSTEM, "The portal itself"),
        ]

    def clean_submission(self) -> int | None:
        text = self.cleaned_data["submission"].removeprefix("#").strip()
        if not text:
            return None
        if not (text.isascii() and text.isdigit() and int(text) <= NUMBER_MAX):
            raise forms.ValidationError("Give the number of a submission, such as 17.", code="number")
        return int(text)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        since, until = cleaned.get("since"), cleaned.get("until")
        for name, day in (("since", since), ("until", until)):
            if day and not 2000 <= day.year <= 2100:
                self.add_error(name, forms.ValidationError("The year must lie between 2000 and 2100."))
        if since and until and since > until:
            self.add_error("until", forms.ValidationError("The last day is before the first.", code="order"))
        return cleaned

    def filters(self) -> dict[str, Any]:
        """The filters that can be read and are set; the others count as not set."""
        self.is_valid()
        return {name: value for name, value in self.cleaned_data.items() if value not in {None, ""}}

    def words(self) -> dict[str, str]:
        """Each filter that is on, in words."""
        found = {}
        for name, value in self.filters().items():
            field = self.fields[name]
            if isinstance(field, forms.ChoiceField):
                text = str(dict(cast(Any, field.choices)).get(value, value))
            elif name == "submission":
                text = f"#{value}"
            elif name in {"since", "until"}:
                text = f"{value:%a} {value.day} {value:%b %Y}"
            else:
                text = str(value)
            found[name] = f"{field.label}: {text}"
        return found
