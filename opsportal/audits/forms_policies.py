"""What people type into a policy, in percent and points. The rules are in services.policies."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.http import QueryDict

from opsportal.accounts.models import User
from opsportal.audits.models import Allocation, Period, Policy, Sizing, Source
from opsportal.audits.selectors.policies import (
    current_version,
    decisions_of,
    dimension_choices,
    logged_decisions,
    possible_reviewers,
)
from opsportal.audits.services.policies import GUIDELINES_MAX, LABELS_MAX, TITLE_MAX, Order
from opsportal.core.errors import PortalError
from opsportal.predictions.models import Model, ModelVersion

_NUMBER = {"step": "any", "inputmode": "decimal"}
_PLAIN = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}
_SPARE_ROWS = 2
_PAIR = re.compile(r"[,;\t]")
_SPLIT = re.compile(r"[,;\s]+")
# Shares that are typed in percent, or percentage points.
_PERCENT = ("rate", "half_width", "expected_error", "core_share", "double_share", "gold_share")
# Fields that only one choice reads; whatever stands in them otherwise does not matter.
_ONLY_FOR: dict[str, tuple[str, set[str]]] = {
    "rate": ("sizing", {Sizing.RATE}),
    "size": ("sizing", {Sizing.SIZE}),
    "half_width": ("sizing", {Sizing.WIDTH}),
    "expected_error": ("sizing", {Sizing.WIDTH, Sizing.ACCEPTANCE}),
    "pattern": ("source", {Source.FILES}),
    "columns": ("source", {Source.FILES}),
}
_LABEL_PARTS = ("value", "title", "key", "guideline")


def _percent(label: str, *, initial: float | None = None, help_text: str = "", required: bool = False) -> Any:
    return forms.FloatField(
        label=label,
        required=required,
        initial=initial,
        help_text=help_text,
        widget=forms.NumberInput(attrs=_NUMBER),
        error_messages={"invalid": "Give a number, such as 2 or 0.5.", "required": "Give a number."},
    )


if TYPE_CHECKING:
    _VersionField = forms.ModelChoiceField[ModelVersion]
    _PersonField = forms.ModelMultipleChoiceField[User]
else:
    _VersionField, _PersonField = forms.ModelChoiceField, forms.ModelMultipleChoiceField


class _Versions(_VersionField):
    def label_from_instance(self, obj: Any) -> str:
        return f"Version {obj.version}"


class _People(_PersonField):
    def label_from_instance(self, obj: Any) -> str:
        name = obj.get_full_name()
        return f"{name} ({obj.username})" if name else str(obj.username)


class LabelRow(forms.Form):
    """One label. A row without a value is none."""

    value = forms.CharField(
        label="As the model says it", required=False, strip=True, widget=forms.TextInput(attrs=_PLAIN)
    )
    title = forms.CharField(label="As people read it", required=False, max_length=100)
    key = forms.CharField(
        label="Digit",
        required=False,
        widget=forms.TextInput(attrs={**_PLAIN, "inputmode": "numeric", "size": "2"}),
    )
    guideline = forms.CharField(label="When to choose it", required=False, max_length=500)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was typed but, perhaps, a digit."""
        return not any(self.cleaned_data.get(part) for part in ("value", "title", "guideline"))


class PolicyForm(forms.Form):
    """A policy of one model: `order()` hands it to the services. `rows` are its labels."""

    use_required_attribute = False

    title = forms.CharField(
        label="Title", max_length=TITLE_MAX, error_messages={"required": "Name the policy."}
    )
    period = forms.ChoiceField(label="How often", choices=Period.choices, initial=Period.WEEKLY)
    version = _Versions(
        label="Version",
        queryset=ModelVersion.objects.none(),
        required=False,
        empty_label="Whichever predicted",
    )
    source = forms.ChoiceField(label="Predictions from", choices=Source.choices, initial=Source.LOG)
    # Not `files`: that is what forms call their uploads.
    pattern = forms.CharField(
        label="Files",
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={**_PLAIN, "placeholder": "2026/*.parquet"}),
        help_text="Only for files: names inside the folder for audits, * for any letters; .parquet or .csv.",
    )
    columns = forms.CharField(
        label="Columns",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "placeholder": "uid=prediction_id"}),
        help_text="Only where columns are named otherwise: COLUMN=FIELD, one a line.",
    )

    sizing = forms.ChoiceField(
        label="What the number follows from",
        choices=Sizing.choices,
        initial=Sizing.WIDTH,
        widget=forms.RadioSelect,
    )
    rate = _percent("Share in percent", initial=2, help_text="From 1 to 5 % of the predictions.")
    size = forms.IntegerField(
        label="Items",
        required=False,
        initial=500,
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
        error_messages={"invalid": "Give a whole number."},
    )
    half_width = _percent(
        "Points either way", initial=1, help_text="1 means: the error rate is known to ±1 percentage point."
    )
    expected_error = _percent(
        "Error rate in percent",
        initial=5,
        help_text="Expected, for a width; not to be exceeded, for an acceptance plan.",
    )

    strata = forms.MultipleChoiceField(
        label="Divide by",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Each part is drawn from by itself, so that none is left to chance.",
    )
    score_edges = forms.CharField(
        label="Score bands meet at",
        required=False,
        widget=forms.TextInput(attrs={**_PLAIN, "placeholder": "0.4, 0.6", "inputmode": "decimal"}),
        help_text="Only where divided by the score: rising numbers with commas between them.",
    )
    allocation = forms.ChoiceField(
        label="Spread",
        choices=Allocation.choices,
        initial=Allocation.PROPORTIONAL,
        help_text="More near the threshold helps to find a threshold; unless errors gather there, the error "
        "rate is known less exactly than in proportion.",
    )
    core_share = _percent(
        "Spread evenly, in percent",
        initial=30,
        required=True,
        help_text="So much of the sample is in proportion whatever the rest does.",
    )
    minimum_per_stratum = forms.IntegerField(
        label="Items of each part at least",
        initial=2,
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
        error_messages={"invalid": "Give a whole number.", "required": "Give a number."},
    )

    guidelines = forms.CharField(
        label="Guidelines",
        required=False,
        max_length=GUIDELINES_MAX,
        widget=forms.Textarea(attrs={"rows": 5}),
        help_text="What counts as what, with examples. One key away while people label.",
    )
    double_share = _percent(
        "Labelled twice, in percent", initial=10, required=True, help_text="By two people, blindly."
    )
    second_look_at_errors = forms.BooleanField(
        label="Whoever differs from the model is checked by somebody else", required=False
    )
    gold_share = _percent(
        "Known answers, in percent of all items",
        initial=0,
        required=True,
        help_text="They show how accurate each person is, and never count as results.",
    )
    gold = forms.CharField(
        label="Known answers",
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
        help_text="A prediction and its label on each line, with a comma between them.",
    )
    blind = forms.BooleanField(
        label="Hide the model’s answer until a person has given theirs", required=False, initial=True
    )
    sensitive = forms.BooleanField(label="Blur texts until asked for", required=False)
    reviewers = _People(
        label="Reviewers",
        queryset=None,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Nobody ticked: everybody who may label.",
    )

    def __init__(
        self,
        data: QueryDict | None = None,
        *,
        model: Model,
        policy: Policy | None = None,
    ) -> None:
        self.model = model
        self.policy = policy
        version = current_version(model, policy.version if policy else None)
        said = decisions_of(version, logged_decisions(model)) if version else []
        super().__init__(data, initial=_initial(policy) if policy else {"title": _title(model)})
        self._choices("version", model.versions.exclude(state=ModelVersion.State.REFUSED).order_by("-pk"))
        self._choices("reviewers", possible_reviewers())
        strata = self.fields["strata"]
        if isinstance(strata, forms.MultipleChoiceField) and version is not None:
            strata.choices = dimension_choices(version.features)
        for field in self.fields.values():
            if isinstance(field, forms.ChoiceField):
                field.error_messages["invalid_choice"] = "Choose one of the list."
        labels = policy.labels if policy else [_label(place, value) for place, value in enumerate(said)]
        self.rows = _rows(data, labels)
        # What is wrong with the labels as a whole.
        self.labels_errors: list[str] = []

    def _choices(self, name: str, queryset: Any) -> None:
        field = self.fields[name]
        if isinstance(field, forms.ModelChoiceField):
            field.queryset = queryset

    def is_valid(self) -> bool:
        """Whether everything can be read; every row is looked at."""
        rows = [row.is_valid() for row in self.rows]
        return super().is_valid() and all(rows) and not self.labels_errors

    def clean_score_edges(self) -> list[float]:
        """Numbers."""
        try:
            return [float(text) for text in _SPLIT.split(self.cleaned_data["score_edges"]) if text]
        except ValueError:
            raise forms.ValidationError("Give numbers with commas between them, such as 0.4, 0.6.") from None

    def clean_columns(self) -> dict[str, str]:
        """Column → field."""
        pairs = {}
        for line in self.cleaned_data["columns"].splitlines():
            if not line.strip():
                continue
            column, separator, target = line.rpartition("=")
            if not (separator and column.strip() and target.strip()):
                raise forms.ValidationError(f"“{line.strip()[:60]}”: write COLUMN=FIELD on each line.")
            pairs[column.strip()] = target.strip()
        return pairs

    def clean_gold(self) -> list[dict[str, str]]:
        """Prediction and label."""
        lines = [line.strip() for line in self.cleaned_data["gold"].splitlines()]
        pairs = [_PAIR.split(line, maxsplit=1) for line in lines if line]
        return [
            {"prediction_id": pair[0].strip(), "label": pair[1].strip() if len(pair) > 1 else ""}
            for pair in pairs
        ]

    def clean(self) -> dict[str, Any]:
        """Without what the choices leave unread."""
        data = super().clean() or {}
        for name, (choice, values) in _ONLY_FOR.items():
            if data.get(choice) not in values:
                self.errors.pop(name, None)
                data[name] = {"pattern": "", "columns": {}}.get(name)
        return data

    def order(self) -> Order:
        """What a valid form says."""
        given = dict(self.cleaned_data)
        given["files"] = given.pop("pattern")
        for name in _PERCENT:
            if given[name] is not None:
                # 0.1 % is 0.001, not 0.0009999….
                given[name] = round(given[name] / 100, 12)
        return Order(labels=self._labels(), **{**given, "reviewers": list(given["reviewers"])})

    def _labels(self) -> list[dict[str, str]]:
        filled = [row for row in self.rows if not row.is_empty]
        return [
            {
                "value": row.cleaned_data["value"],
                "title": row.cleaned_data["title"] or row.cleaned_data["value"],
                "key": row.cleaned_data["key"].strip(),
                "guideline": row.cleaned_data["guideline"],
            }
            for row in filled
        ]

    def show_refusal(self, error: PortalError) -> None:
        """Put a service's refusal beside the fields it is about, or on top of the form."""
        filled = [row for row in self.rows if not row.is_empty]
        for problem in error.errors:
            place = re.fullmatch(r"labels\[(\d+)\]\.(\w+)", problem.path)
            if place and place[2] in _LABEL_PARTS:
                filled[int(place[1])].add_error(place[2], problem.message)
            elif problem.path == "labels":
                self.labels_errors.append(problem.message)
            elif problem.path == "files":
                self.add_error("pattern", problem.message)
            else:
                self.add_error(problem.path if problem.path in self.fields else None, problem.message)
        if not error.errors:
            self.add_error(None, error.message)

    def errors_count(self) -> int:
        """How many fields are marked."""
        return len(self.errors) + sum(len(row.errors) for row in self.rows) + len(self.labels_errors)

    def first_problem(self) -> str:
        """The first thing that is wrong, for a forecast that cannot be made."""
        return next(self._problems(), "")

    def _problems(self) -> Iterator[str]:
        for name, messages in self.errors.items():
            label = self.fields[name].label if name in self.fields else ""
            yield f"{label}: {messages[0]}" if label else str(messages[0])
        for row in self.rows:
            for messages in row.errors.values():
                yield f"Labels: {messages[0]}"
        yield from self.labels_errors


class DrawForm(forms.Form):
    """A period to draw a run for now, both days included, in UTC as the schedule's are."""

    use_required_attribute = False

    first = forms.DateField(
        label="From",
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        error_messages={"required": "Say the first day.", "invalid": "Give a date."},
    )
    last = forms.DateField(
        label="To, that day included",
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        error_messages={"required": "Say the last day.", "invalid": "Give a date."},
    )

    def clean(self) -> dict[str, Any]:
        """The days in their order, within years that exist for everybody."""
        data = super().clean() or {}
        first, last = data.get("first"), data.get("last")
        for name, day in (("first", first), ("last", last)):
            if day and not 2000 <= day.year < 2100:
                self.add_error(name, "The year must lie between 2000 and 2100.")
        if first and last and first > last:
            self.add_error("last", "The period ends before it begins.")
        return data

    def span(self) -> tuple[datetime, datetime]:
        """The first moment of the period, and the first one after it."""
        first, last = (
            datetime.combine(self.cleaned_data[name], time(), tzinfo=UTC) for name in ("first", "last")
        )
        return first, last + timedelta(days=1)


def _title(model: Model) -> str:
    return f"Audit of {model.title}"[:TITLE_MAX]


def _label(place: int, value: str) -> dict[str, str]:
    return {"value": value, "title": value[:1].upper() + value[1:], "key": str(place + 1), "guideline": ""}


def _rows(data: QueryDict | None, labels: list[dict[str, str]]) -> list[LabelRow]:
    count = min(LABELS_MAX, len(labels) + _SPARE_ROWS)
    if data is not None:
        sent = [place for place in range(LABELS_MAX + 1) if f"label-{place}-value" in data]
        count = max(count, len(sent))
    return [
        LabelRow(data, prefix=f"label-{place}", initial=labels[place] if place < len(labels) else None)
        for place in range(count)
    ]


def _initial(policy: Policy) -> dict[str, Any]:
    """What the form shows of a policy."""
    names = [
        name
        for name in PolicyForm.base_fields
        if name not in {"reviewers", "columns", "gold", "score_edges", "pattern", *_PERCENT}
    ]
    return {
        **{name: getattr(policy, name) for name in names if getattr(policy, name) is not None},
        **{
            name: float(f"{100 * getattr(policy, name):.10g}")
            for name in _PERCENT
            if getattr(policy, name) is not None
        },
        "version": policy.version_id,
        "pattern": policy.files,
        "score_edges": ", ".join(f"{edge:g}" for edge in policy.score_edges),
        "columns": "\n".join(f"{column}={target}" for column, target in policy.columns.items()),
        "gold": "\n".join(f"{one['prediction_id']}, {one['label']}" for one in policy.gold),
        "reviewers": [person.pk for person in policy.reviewers.all()],
    }
