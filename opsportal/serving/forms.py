"""What an administrator types on the serving page."""

from django import forms

REASON_LENGTH = 100


class RebuildForm(forms.Form):
    reason = forms.CharField(
        label="Reason",
        max_length=REASON_LENGTH,
        help_text="It goes into the audit trail with your name.",
        error_messages={"required": "Say why the store has to be filled anew."},
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
