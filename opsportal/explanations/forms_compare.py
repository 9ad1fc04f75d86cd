"""With which other prediction to compare."""

from typing import Any

from django import forms

from opsportal.core.errors import NotFound
from opsportal.predictions.models import PREDICTION_ID_MAX, Prediction
from opsportal.predictions.selectors import prediction_by_id


class CompareForm(forms.Form):
    """The ID of the other prediction; a plain GET, since prediction IDs name no person."""

    use_required_attribute = False

    def __init__(self, *args: Any, prediction: Prediction, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prediction = prediction
        self.fields["with"] = forms.CharField(
            label="Prediction ID",
            max_length=PREDICTION_ID_MAX,
            widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
            help_text="Any other prediction, of the same model or of another.",
            error_messages={
                "required": "Give the ID of another prediction.",
                "max_length": f"A prediction ID has at most {PREDICTION_ID_MAX} characters.",
            },
        )

    def clean(self) -> dict[str, Any]:
        """Find the other prediction; `other` of the cleaned values."""
        asked = self.cleaned_data.get("with")
        if asked is None:
            return self.cleaned_data
        if asked == self._prediction.prediction_id:
            self.add_error("with", "This is the prediction itself. Give the ID of another one.")
            return self.cleaned_data
        try:
            self.cleaned_data["other"] = prediction_by_id(asked)
        except NotFound:
            self.add_error("with", "There is no prediction with this ID.")
        return self.cleaned_data
