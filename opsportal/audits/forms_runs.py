"""What the pages of runs are asked: plain GET filters, and the reasons people give."""

from typing import Any

from django import forms

from opsportal.audits.models import Provenance, Run, Stream
from opsportal.audits.selectors.labels import ACTIVE, REVERTED
from opsportal.audits.selectors.runs import OPEN_SHOWS, SHOWS
from opsportal.audits.selectors.trends import compared_runs
from opsportal.audits.services.closing import REASON_MAX as CANCEL_REASON_MAX
from opsportal.audits.services.referring import REASON_MAX
from opsportal.predictions.models import Model

CHOICES_SHOWN = 200


class _Filters(forms.Form):
    """A plain GET form; what it does not understand counts as not given."""

    def given(self, name: str) -> str:
        """The chosen word; empty for none."""
        self.is_valid()
        return str(self.cleaned_data.get(name) or "")

    @property
    def is_filtered(self) -> bool:
        """Whether anything is on."""
        self.is_valid()
        return any(self.cleaned_data.values())


class ItemFilterForm(_Filters):
    """Which items of a run."""

    def __init__(self, *args: Any, run: Run, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        closed = run.state == Run.State.CLOSED
        shows = SHOWS if closed else OPEN_SHOWS
        self.fields["show"] = forms.ChoiceField(
            label="Show", required=False, choices=[("", "All items"), *shows.items()]
        )
        if closed:
            self.fields["stream"] = forms.ChoiceField(
                label="Came in as", required=False, choices=[("", "Anything"), *Stream.choices]
            )


class CorrectionFilterForm(_Filters):
    """Which corrections."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        models = [
            (name, title) for name, title in Model.objects.order_by("title").values_list("name", "title")
        ]
        self.fields["model"] = forms.ChoiceField(
            label="Model", required=False, choices=[("", "Every model"), *models]
        )
        self.fields["provenance"] = forms.ChoiceField(
            label="Who says so", required=False, choices=[("", "Anybody"), *Provenance.choices]
        )
        self.fields["state"] = forms.ChoiceField(
            label="State",
            required=False,
            choices=[("", "All"), (ACTIVE, "They hold now"), (REVERTED, "Reverted")],
        )


class CompareForm(forms.Form):
    """Which two of all closed runs."""

    use_required_attribute = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        runs = compared_runs()
        choices = [(str(run.pk), f"{run.title} ({run.model.name})") for run in runs[:CHOICES_SHOWN]]
        for name, label in (("first", "Run"), ("second", "Compared with")):
            self.fields[name] = forms.ChoiceField(
                label=label,
                choices=[("", "Choose a run"), *choices],
                error_messages={
                    "required": "Choose a run.",
                    "invalid_choice": "There is no closed run with figures under this number.",
                },
            )

    def clean(self) -> dict[str, Any]:
        """Refuse a run beside itself."""
        first, second = self.cleaned_data.get("first"), self.cleaned_data.get("second")
        if first and first == second:
            self.add_error("second", "This is the same run. Choose another one.")
        return self.cleaned_data


class CancelForm(forms.Form):
    """Why a run is given up."""

    use_required_attribute = False
    reason = forms.CharField(
        label="Why is it given up?",
        max_length=CANCEL_REASON_MAX,
        widget=forms.Textarea(attrs={"rows": 3}),
        error_messages={"required": "Say why the run is given up."},
    )


class ReferForm(forms.Form):
    """What is doubtful about a prediction."""

    use_required_attribute = False
    reason = forms.CharField(
        label="What is doubtful about it?",
        max_length=REASON_MAX,
        help_text="It is kept beside what people will say.",
        widget=forms.Textarea(attrs={"rows": 3}),
        error_messages={"required": "Say what is doubtful about it."},
    )
