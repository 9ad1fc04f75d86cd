"""What people type about overrides. Field names are those of the API; the rules are in the services."""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from django import forms
from django.conf import settings
from django.utils import timezone

from opsportal.core import clock
from opsportal.core.errors import PortalError, TooLarge
from opsportal.overrides.models import (
    BOOST_MAX_DAYS,
    EVERYWHERE,
    FACTOR_MAX,
    FACTOR_MIN,
    Action,
    Channel,
    Kind,
    Purpose,
    ReasonCode,
    Source,
    Submission,
    Surface,
)
from opsportal.overrides.selectors.lists import (
    OPT_OUT_STATES,
    STATES,
    SUBMISSION_STATES,
    Filters,
)
from opsportal.overrides.services.intent import EARLIEST, LATEST, REASON_MAX, TICKET_MAX, Intent
from opsportal.predictions.identifiers import CUSTOMER_ID_MAX, PASTE_MAX, PRODUCT_ID_MAX, split_pasted

LOCAL_FORMAT = "%Y-%m-%dT%H:%M"


class LocalTimeField(forms.DateTimeField):
    """A moment typed in the person's zone.

    presets: `end` offers ends after the start, `extend` offers later ends than the present one.
    """

    def __init__(self, *, presets: str = "", **kwargs: Any) -> None:
        attrs = {"type": "datetime-local", "step": "60"}
        if presets:
            attrs["data-presets"] = presets
        kwargs.setdefault("widget", forms.DateTimeInput(attrs=attrs, format=LOCAL_FORMAT))
        super().__init__(**kwargs)
        self.error_messages["invalid"] = "Give a date and a time, such as 27/11/2026 18:00."

    def clean(self, value: Any) -> Any:
        moment = super().clean(value)
        if moment is not None and not EARLIEST <= moment <= LATEST:
            raise forms.ValidationError("The year must lie between 2000 and 2100.", code="out_of_range")
        return moment

    def get_bound_field(self, form: forms.BaseForm, field_name: str) -> forms.BoundField:
        """The field with the person's zone and clock, for the words and presets beside it."""
        now = timezone.localtime(clock.now())
        self.widget.attrs["data-local-time"] = timezone.get_current_timezone_name()
        if "data-presets" in self.widget.attrs:
            self.widget.attrs["data-now"] = now.strftime(LOCAL_FORMAT)
        return super().get_bound_field(form, field_name)


class NumbersField(forms.Field):
    """Any number of row or override numbers, distinct and in order; what is no number is passed over."""

    widget = forms.MultipleHiddenInput

    def to_python(self, value: Any) -> list[int]:
        return list(dict.fromkeys(int(text) for text in value or () if _is_number(text)))


class IntentForm(forms.Form):
    """The content of a submission without its items. `intent()` hands it to the services."""

    kind: ClassVar[Kind]
    reason_codes: ClassVar[tuple[ReasonCode, ...]]

    reason_code = forms.ChoiceField(label="Kind of reason")
    reason = forms.CharField(
        label="Reason",
        max_length=REASON_MAX,
        error_messages={"required": "Say why, in a few words."},
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="One sentence that a colleague understands in a year.",
    )
    ticket = forms.CharField(
        max_length=TICKET_MAX, required=False, help_text="A number or a link, such as OPS-4711."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            if isinstance(field, forms.ChoiceField) and not isinstance(field, forms.MultipleChoiceField):
                field.error_messages["invalid_choice"] = "Choose one of the list."
        codes = list(self.reason_codes)
        given = self.initial.get("reason_code")
        if given in ReasonCode.values and given not in codes:
            codes.append(ReasonCode(given))
        _choices(self, "reason_code", [(code.value, code.label) for code in codes])
        if "surface" in self.fields:
            surfaces = Surface.objects.exclude(pk=EVERYWHERE).values_list("slug", "name")
            _choices(self, "surface", [(EVERYWHERE, "Everywhere"), *surfaces])

    def intent(self, *, source: Source = Source.FORM) -> Intent:
        """The intent of a valid form."""
        names = ("surface", "starts_at", "ends_at", "factor", "purposes", "channel", "received_at")
        content = {name: self.cleaned_data[name] for name in names if name in self.fields}
        content |= {name: self.cleaned_data[name] for name in ("reason_code", "reason", "ticket")}
        return Intent(kind=self.kind, source=source, **content)


class WindowForm(IntentForm):
    """Where and when, for products."""

    surface = forms.ChoiceField(initial=EVERYWHERE)
    starts_at = LocalTimeField(label="Starts", required=False, help_text="Empty means at once.")
    ends_at = LocalTimeField(
        label="Ends", required=False, presets="end", help_text="Empty means until somebody withdraws it."
    )


class BlockIntentForm(WindowForm):
    kind = Kind.BLOCK
    reason_codes = (
        ReasonCode.SAFETY,
        ReasonCode.LEGAL,
        ReasonCode.QUALITY,
        ReasonCode.STOCK,
        ReasonCode.COMPLAINT,
        ReasonCode.CORRECTION,
        ReasonCode.OTHER,
    )
    field_order = (
        "product_ids",
        "file",
        "surface",
        "starts_at",
        "ends_at",
        "reason_code",
        "reason",
        "ticket",
    )


class BoostIntentForm(WindowForm):
    kind = Kind.BOOST
    reason_codes = (
        ReasonCode.CAMPAIGN,
        ReasonCode.NEW_PRODUCT,
        ReasonCode.STOCK,
        ReasonCode.CORRECTION,
        ReasonCode.OTHER,
    )
    field_order = (
        "product_ids",
        "file",
        "factor",
        "surface",
        "starts_at",
        "ends_at",
        "reason_code",
        "reason",
        "ticket",
    )

    factor = forms.FloatField(
        initial=2,
        error_messages={
            "required": "A boost needs a factor.",
            "invalid": "Give a number, such as 2 or 0.5.",
        },
        widget=forms.NumberInput(attrs={"step": "any", "data-factor": "true", "inputmode": "decimal"}),
        help_text=f"Each score is multiplied by it: {FACTOR_MIN:g} to {FACTOR_MAX:g}. Below 1 moves down.",
    )
    ends_at = LocalTimeField(
        label="Ends",
        presets="end",
        error_messages={"required": "A boost needs an end."},
        help_text=f"At most {BOOST_MAX_DAYS} days after the start.",
    )


class OptOutIntentForm(IntentForm):
    kind = Kind.OPT_OUT
    reason_codes = (ReasonCode.PRIVACY, ReasonCode.COMPLAINT, ReasonCode.CORRECTION, ReasonCode.OTHER)
    field_order = (
        "customer_ids",
        "file",
        "purposes",
        "channel",
        "received_at",
        "reason_code",
        "reason",
        "ticket",
    )

    purposes = forms.MultipleChoiceField(
        label="What the customer objects to",
        choices=Purpose.choices,
        initial=Purpose.values,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one purpose."},
    )
    channel = forms.ChoiceField(label="How it reached us", choices=Channel.choices)
    received_at = LocalTimeField(
        label="Received",
        required=False,
        help_text="The 15 business days count from here. Empty means now.",
    )


class _Products(forms.Form):
    product_ids = forms.CharField(
        label="Product IDs",
        strip=False,
        widget=forms.Textarea(
            attrs={"data-count-ids": "true", "data-max-ids": PASTE_MAX, "spellcheck": "false"}
        ),
        help_text=f"One a line, or a spreadsheet column, or separated by commas; at most {PASTE_MAX:,}.",
        error_messages={"required": "Give at least one product ID."},
    )

    def clean_product_ids(self) -> list[str]:
        return _ids(self.cleaned_data["product_ids"], "Give at least one product ID.")


class _Customers(forms.Form):
    customer_ids = forms.CharField(
        label="Customer IDs",
        strip=False,
        widget=forms.Textarea(
            attrs={
                "data-count-ids": "true",
                "data-max-ids": PASTE_MAX,
                "spellcheck": "false",
                "autocomplete": "off",
            }
        ),
        help_text="One a line. They are replaced by a keyed pseudonym at once and stored nowhere.",
        error_messages={"required": "Give at least one customer ID."},
    )

    def clean_customer_ids(self) -> list[str]:
        return _ids(self.cleaned_data["customer_ids"], "Give at least one customer ID.")


class _CsvFile(forms.Form):
    file = forms.FileField(
        label="CSV file",
        widget=forms.ClearableFileInput(attrs={"accept": ".csv,.txt,text/csv"}),
        error_messages={
            "required": "Choose a CSV file.",
            "empty": "The file is empty.",
            "missing": "Choose a CSV file.",
        },
    )

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > settings.CSV_MAX_BYTES:
            raise forms.ValidationError(
                f"The file has {file.size:,} bytes; at most {settings.CSV_MAX_BYTES:,} are taken. Split it.",
                code="too_large",
            )
        return file


class BlockForm(_Products, BlockIntentForm):
    """A new block of pasted products."""


class BoostForm(_Products, BoostIntentForm):
    """A new boost of pasted products."""


class OptOutForm(_Customers, OptOutIntentForm):
    """The opt-out of pasted customers."""


class BlockImportForm(_CsvFile, BlockIntentForm):
    """A new block of the products in a file."""


class BoostImportForm(_CsvFile, BoostIntentForm):
    """A new boost of the products in a file."""


class OptOutImportForm(_CsvFile, OptOutIntentForm):
    """The opt-out of the customers in a file."""


NEW_FORMS: dict[Kind, type[IntentForm]] = {
    Kind.BLOCK: BlockForm,
    Kind.BOOST: BoostForm,
    Kind.OPT_OUT: OptOutForm,
}
IMPORT_FORMS: dict[Kind, type[IntentForm]] = {
    Kind.BLOCK: BlockImportForm,
    Kind.BOOST: BoostImportForm,
    Kind.OPT_OUT: OptOutImportForm,
}
EDIT_FORMS: dict[Kind, type[IntentForm]] = {
    Kind.BLOCK: BlockIntentForm,
    Kind.BOOST: BoostIntentForm,
    Kind.OPT_OUT: OptOutIntentForm,
}


class VersionForm(forms.Form):
    """Names the version that the person looked at."""

    version = forms.IntegerField(widget=forms.HiddenInput, min_value=1, max_value=2**31 - 1)


class DecisionForm(VersionForm):
    """A second person's verdict."""

    comment = forms.CharField(
        label="Comment",
        required=False,
        max_length=REASON_MAX,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Needed when you reject: its author reads it.",
    )


class DropForm(VersionForm):
    """Rows to leave out; `invalid` stands for every row that cannot be used."""

    rows = NumbersField(required=False)
    invalid = forms.BooleanField(required=False)


class CancelForm(forms.Form):
    reason = forms.CharField(required=False, max_length=REASON_MAX)


class ChangeForm(forms.Form):
    """Extend or withdraw chosen overrides."""

    ends_at = LocalTimeField(label="New end", required=False, presets="extend")
    reason_code = forms.ChoiceField(
        label="Kind of reason", choices=ReasonCode.choices, initial=ReasonCode.CORRECTION
    )
    reason = forms.CharField(
        label="Reason",
        max_length=REASON_MAX,
        error_messages={"required": "Say why, in a few words."},
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="One sentence that a colleague understands in a year.",
    )
    ticket = forms.CharField(max_length=TICKET_MAX, required=False)

    def __init__(self, *args: Any, kind: Kind, action: Action, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kind, self.action = kind, action
        if action == Action.WITHDRAW:
            del self.fields["ends_at"]
        elif kind == Kind.BLOCK:
            self.fields["ends_at"].help_text = "Empty means until somebody withdraws it."
        else:
            self.fields["ends_at"].required = True
            self.fields["ends_at"].help_text = f"At most {BOOST_MAX_DAYS} days after the start."
        if kind == Kind.OPT_OUT and not self.is_bound:
            self.initial.setdefault("reason_code", ReasonCode.PRIVACY)

    def intent(self) -> Intent:
        """The intent of a valid form."""
        return Intent(kind=self.kind, action=self.action, **self.cleaned_data)


class ChosenForm(forms.Form):
    """Which overrides a bulk change is about, and what shall happen to them."""

    action = forms.ChoiceField(choices=[(Action.EXTEND, "Extend"), (Action.WITHDRAW, "Withdraw")])
    ids = NumbersField(required=False)
    all_matching = forms.BooleanField(required=False)


class CustomerForm(forms.Form):
    """The customer to look up: typed into a POSTed field, never into an address."""

    customer_id = forms.CharField(
        label="Customer ID",
        max_length=CUSTOMER_ID_MAX,
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}
        ),
    )


# -- Filters over lists ------------------------------------------------------------------------


class FilterForm(forms.Form):
    """A plain GET form; what it does not understand counts as not given."""

    sort = forms.CharField(required=False, max_length=30, widget=forms.HiddenInput)
    submission = forms.IntegerField(
        required=False, min_value=1, max_value=2**31 - 1, widget=forms.HiddenInput
    )
    mine = forms.ChoiceField(label="By", required=False, choices=[("", "Everybody"), ("true", "Me")])

    def filters(self) -> Filters:
        """What the list is narrowed to."""
        self.is_valid()
        given = {name: value for name, value in self.cleaned_data.items() if value not in {"", None}}
        given["mine"] = bool(given.get("mine"))
        return Filters(**given)

    def chips(self) -> list[tuple[str, str]]:
        """What is on, as the parameter's name with its words."""
        self.is_valid()
        found = []
        for name, value in self.cleaned_data.items():
            if value in {"", None} or name == "sort":
                continue
            field = self.fields[name]
            words = (
                dict(cast(Any, field.choices)).get(value, value)
                if isinstance(field, forms.ChoiceField)
                else value
            )
            label = field.label or name.replace("_", " ").capitalize()
            found.append((name, f"{label}: {words}"))
        return found


class _SearchInput(forms.TextInput):
    input_type = "search"


class ProductFilterForm(FilterForm):
    q = forms.CharField(
        label="Product ID",
        required=False,
        max_length=PRODUCT_ID_MAX,
        widget=_SearchInput(
            attrs={"placeholder": "Begins with…", "autocomplete": "off", "spellcheck": "false"}
        ),
    )
    state = forms.ChoiceField(required=False, choices=list(STATES.items()))
    surface = forms.ChoiceField(required=False)
    reason_code = forms.ChoiceField(
        label="Reason", required=False, choices=[("", "Any"), *ReasonCode.choices]
    )
    field_order = ("q", "state", "surface", "reason_code", "mine")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _choices(self, "surface", [("", "Any"), *Surface.objects.values_list("slug", "name")])


class OptOutFilterForm(FilterForm):
    state = forms.ChoiceField(required=False, choices=list(OPT_OUT_STATES.items()))
    purpose = forms.ChoiceField(required=False, choices=[("", "Any"), *Purpose.choices])
    channel = forms.ChoiceField(required=False, choices=[("", "Any"), *Channel.choices])
    field_order = ("state", "purpose", "channel", "mine")


class SubmissionFilterForm(FilterForm):
    q = forms.CharField(
        label="Number or product ID",
        required=False,
        max_length=PRODUCT_ID_MAX,
        widget=_SearchInput(attrs={"placeholder": "#12 or a whole ID", "autocomplete": "off"}),
    )
    kind = forms.ChoiceField(label="About", required=False, choices=[("", "Everything"), *Kind.choices])
    state = forms.ChoiceField(required=False, choices=list(SUBMISSION_STATES.items()))
    field_order = ("q", "state", "kind", "mine")


FILTER_FORMS: Mapping[Kind, type[FilterForm]] = {
    Kind.BLOCK: ProductFilterForm,
    Kind.BOOST: ProductFilterForm,
    Kind.OPT_OUT: OptOutFilterForm,
}


# -- Refusals ----------------------------------------------------------------------------------


def show_refusal(form: forms.Form, error: PortalError) -> None:
    """Put a service's refusal beside the fields it is about (`product_ids[3]` too), or on top of the form."""
    for problem in error.errors:
        name = problem.path.partition("[")[0]
        field = form.fields.get(name)
        if field is None:
            form.add_error(None, problem.message)
        elif field.widget.is_hidden:
            form.add_error(None, f"{error.message} {problem.message}")
        else:
            form.add_error(name, problem.message)
    if not error.errors:
        form.add_error(None, error.message)


def initial_from(submission: Submission) -> dict[str, Any]:
    """What the edit form shows for a submission."""
    names = (
        "factor",
        "purposes",
        "channel",
        "starts_at",
        "ends_at",
        "received_at",
        "reason_code",
        "reason",
        "ticket",
    )
    return {"surface": submission.surface_id} | {name: getattr(submission, name) for name in names}


def _ids(text: str, missing: str) -> list[str]:
    try:
        found = split_pasted(text)
    except TooLarge as error:
        raise forms.ValidationError(error.message, code="too_many") from error
    if not found:
        raise forms.ValidationError(missing, code="required")
    return found


def _choices(form: forms.Form, name: str, choices: list[tuple[str, str]]) -> None:
    cast(forms.ChoiceField, form.fields[name]).choices = choices


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
