"""What an agent types for a letter. It lives as long as the request and is stored nowhere."""

from collections.abc import Iterable
from typing import Any

from django import forms

from opsportal.explanations.selectors.letters import Addressee
from opsportal.explanations.selectors.reasons import Reason

LINE_MAX, ADDRESS_MAX, NOTE_MAX = 200, 1_000, 4_000
_NO_MEMORY = {"autocomplete": "off"}


def _lines(rows: int) -> forms.Textarea:
    return forms.Textarea(attrs={"rows": rows, **_NO_MEMORY})


class LetterForm(forms.Form):
    """The addressee, what may be told, and who signs. Everything is optional but what the letter is about."""

    use_required_attribute = False

    name = forms.CharField(
        label="Customer’s name",
        required=False,
        max_length=LINE_MAX,
        widget=forms.TextInput(attrs=_NO_MEMORY),
        help_text="As in “Dear Miss Ayoub”.",
    )
    address = forms.CharField(
        label="Address", required=False, max_length=ADDRESS_MAX, widget=_lines(3), help_text="One line each."
    )
    sentences = forms.MultipleChoiceField(
        label="Reasons to tell",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"invalid_choice": "Choose among the reasons that may be told."},
    )
    with_score = forms.BooleanField(label="Say the score, too", required=False)
    note = forms.CharField(
        label="A paragraph of your own", required=False, max_length=NOTE_MAX, widget=_lines(3)
    )
    sender = forms.CharField(
        label="Letterhead",
        required=False,
        max_length=ADDRESS_MAX,
        widget=_lines(2),
        help_text="One line each.",
    )
    contact = forms.CharField(
        label="How to reach us",
        required=False,
        max_length=LINE_MAX,
        widget=forms.TextInput(attrs=_NO_MEMORY),
        help_text="A telephone number, say. Empty means: reply to this letter.",
    )
    signature = forms.CharField(
        label="Signed by", required=False, max_length=LINE_MAX, widget=forms.TextInput(attrs=_NO_MEMORY)
    )

    def __init__(self, posted: Any = None, *, tellable: Iterable[Reason], signature: str) -> None:
        """tellable: the reasons to choose among; all are ticked at first."""
        reasons = list(tellable)
        names = [reason.name for reason in reasons]
        super().__init__(posted, initial={"sentences": names, "signature": signature})
        field = self.fields["sentences"]
        if isinstance(field, forms.MultipleChoiceField):
            field.choices = [(reason.name, _short(reason.sentence)) for reason in reasons]
        if not reasons:
            del self.fields["sentences"]

    def chosen(self) -> list[str]:
        """The names of the ticked reasons; all of them while nothing was sent."""
        if not self.is_bound:
            return list(self.initial["sentences"])
        return list(self.cleaned_data.get("sentences", []))

    def addressee(self) -> Addressee:
        """What was typed, so far as it can be used."""
        if not self.is_bound:
            return Addressee(signature=self.initial["signature"])
        names = ("name", "address", "sender", "contact", "note", "signature")
        return Addressee(**{name: self.cleaned_data.get(name, "") for name in names})

    def says_score(self) -> bool:
        """Whether the letter names the score."""
        return self.is_bound and bool(self.cleaned_data.get("with_score"))


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:199]}…"
