"""What people give about a threshold. The rules are in services.thresholds."""

from collections.abc import Sequence
from typing import Any, cast

from django import forms

from opsportal.audits.models import Threshold
from opsportal.audits.services.thresholds import REASON_MAX, TARGET_MAX, TARGET_MIN
from opsportal.predictions.models import ModelVersion

_GOALS = [
    (Threshold.Goal.PRECISION.value, "Precision: of what gets the label, so much deserves it"),
    (Threshold.Goal.RECALL.value, "Recall: of what deserves the label, so much gets it"),
]


class ThresholdForm(forms.Form):
    """A promise to look for in a run's labels. versions: those that have labels there."""

    version = forms.ChoiceField(label="Version")
    label = forms.ChoiceField(label="Label", help_text="The decision that the promise is about.")
    goal = forms.ChoiceField(label="What is promised", choices=_GOALS, widget=forms.RadioSelect)
    target = forms.FloatField(
        label="At least, in per cent",
        min_value=100 * TARGET_MIN,
        max_value=100 * TARGET_MAX,
        help_text="95 % sure is always meant. The more is promised, the more labels it takes.",
        error_messages={"required": "Say how much is promised.", "invalid": "Give a number such as 95."},
        widget=forms.NumberInput(attrs={"step": "0.1", "inputmode": "decimal"}),
    )

    def __init__(self, data: Any = None, *, versions: Sequence[ModelVersion], **more: Any) -> None:
        super().__init__(data, **more)
        self._versions = {str(version.pk): version for version in versions}
        words = [version.features for version in versions]
        labels = dict.fromkeys(label for found in words for label in (found.negative, found.positive))
        cast(forms.ChoiceField, self.fields["version"]).choices = [
            (pk, version.version) for pk, version in self._versions.items()
        ]
        cast(forms.ChoiceField, self.fields["label"]).choices = [(label, label) for label in labels]
        self.fields["goal"].initial = Threshold.Goal.PRECISION.value
        self.fields["target"].initial = 90

    def clean_version(self) -> ModelVersion:
        """The version itself."""
        return self._versions[self.cleaned_data["version"]]

    def clean_target(self) -> float:
        """As a share."""
        return round(float(self.cleaned_data["target"]) / 100, 6)


class ReasonForm(forms.Form):
    """Why it is to be published, or undone."""

    reason = forms.CharField(
        label="Reason",
        max_length=REASON_MAX,
        help_text="It goes into the audit trail.",
        error_messages={"required": "Say why."},
        widget=forms.Textarea(attrs={"rows": 2}),
    )


class DecisionForm(forms.Form):
    """The second person's verdict; a rejection needs its reason."""

    verdict = forms.ChoiceField(choices=[("approve", "Publish"), ("reject", "Reject")])
    reason = forms.CharField(
        label="Reason",
        max_length=REASON_MAX,
        required=False,
        help_text="A rejection needs one.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )

    def clean(self) -> dict[str, Any]:
        """A rejection says why."""
        cleaned = super().clean() or {}
        if cleaned.get("verdict") == "reject" and not cleaned.get("reason", "").strip():
            self.add_error("reason", "Say why it is rejected.")
        return cleaned
