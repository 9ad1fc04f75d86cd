"""What the review screen and the page of decisions send. Scripts send the same fields as plain forms."""

from typing import Any

from django import forms
from django.http import QueryDict

from opsportal.audits.models import Decline
from opsportal.core.errors import Invalid, Problem

# A person holds two items, and those that were taken back; nobody sends more.
TOKENS_MAX = 50
_TOKEN_MAX = 64
_NOTE_MAX = 500
_ID_MAX = 2**63 - 1
# How a decision says that the guidelines leave it open.
UNCLEAR = "The guidelines are unclear here."


class AnswerForm(forms.Form):
    """One answer. `value` is one of the run's labels, or present and empty: it cannot be told."""

    token = forms.CharField(max_length=_TOKEN_MAX)
    value = forms.CharField(max_length=100, required=False, strip=False)
    note = forms.CharField(max_length=_NOTE_MAX, required=False)

    def clean(self) -> dict[str, Any]:
        """A form that was sent without a choice says nothing, which is not the same as `cannot tell`."""
        if "value" not in self.data:
            self.add_error("value", "Choose a label, or say that it cannot be told.")
        return dict(self.cleaned_data)


class DecisionForm(AnswerForm):
    """A decision between answers; `unclear`, that the guidelines do not settle it, stands before the note."""

    unclear = forms.BooleanField(required=False)

    def clean(self) -> dict[str, Any]:
        """The note as it is kept."""
        cleaned = super().clean()
        if cleaned.pop("unclear", False) and "note" in cleaned:
            cleaned["note"] = f"{UNCLEAR} {cleaned['note']}".strip()
            if len(cleaned["note"]) > _NOTE_MAX:
                self.add_error("note", f"With “{UNCLEAR}” the note is longer than {_NOTE_MAX} characters.")
        return cleaned


class SkipForm(forms.Form):
    """Why a person passes an item over."""

    token = forms.CharField(max_length=_TOKEN_MAX)
    reason = forms.ChoiceField(choices=Decline.Reason.choices)
    note = forms.CharField(max_length=_NOTE_MAX, required=False)


class LabelForm(forms.Form):
    """Which of one's own answers is meant."""

    label = forms.IntegerField(min_value=1, max_value=_ID_MAX)


class NextForm(forms.Form):
    """How many items to bring, of which run."""

    run = forms.IntegerField(min_value=1, max_value=_ID_MAX)
    want = forms.IntegerField(min_value=0, max_value=2, required=False)


def read(form: forms.Form) -> dict[str, Any]:
    """The form's values. Raises Invalid with one Problem per field: these forms are buttons, not pages."""
    if form.is_valid():
        return form.cleaned_data
    problems = [
        Problem(name, str(error.code or "invalid"), str(error.messages[0]))
        for name, errors in form.errors.as_data().items()
        for error in errors
    ]
    raise Invalid(problems[0].message, errors=problems)


def tokens(posted: QueryDict) -> list[str]:
    """The tokens that a page holds, at most TOKENS_MAX of them; what cannot be one is left out."""
    return [token for token in posted.getlist("token")[:TOKENS_MAX] if 0 < len(token) <= _TOKEN_MAX]


def wanted(posted: QueryDict) -> int:
    """How many items a script has room for: none, one or two."""
    text = posted.get("want", "")
    return int(text) if text in {"1", "2"} else 0
