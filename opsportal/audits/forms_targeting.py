"""What people give to start a targeted run. The rules are in services.targeting."""

from collections.abc import Sequence
from typing import Any, cast

from django import forms

from opsportal.audits.models import Run
from opsportal.audits.services.targeting import LOOK_MAX, SUSPECTS_MAX


class TargetForm(forms.Form):
    """How many likely errors, after which run, and how large the look at the rest. runs: to choose from."""

    run = forms.ChoiceField(
        label="Learn from", help_text="A closed run. Its labels, guidelines and reviewers are taken over."
    )
    suspects = forms.IntegerField(
        label="Likely errors",
        min_value=1,
        max_value=SUSPECTS_MAX,
        initial=100,
        help_text="So many of what is most likely wrong.",
        error_messages={"required": "Say how many.", "invalid": "Give a whole number."},
    )
    look = forms.IntegerField(
        label="Random look at the rest",
        min_value=0,
        max_value=LOOK_MAX,
        initial=60,
        help_text="Without an error among 60 at most 5 % of the rest are wrong; 300 would say 1 %.",
        error_messages={"required": "Say how many; 0 for none.", "invalid": "Give a whole number."},
    )

    def __init__(self, data: Any = None, *, runs: Sequence[Run], **more: Any) -> None:
        super().__init__(data, **more)
        self._runs = {str(run.pk): run for run in runs}
        cast(forms.ChoiceField, self.fields["run"]).choices = [
            (pk, f"{run.title} ({run.model.title})") for pk, run in self._runs.items()
        ]

    def clean_run(self) -> Run:
        """The run itself."""
        return self._runs[self.cleaned_data["run"]]
