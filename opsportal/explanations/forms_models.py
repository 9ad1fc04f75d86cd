"""What people give to register a model. The rules are in predictions.services.registering."""

import contextlib
from typing import Any, cast

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.http import QueryDict

from opsportal.core.errors import Invalid, PortalError
from opsportal.predictions import background
from opsportal.predictions.services.registering import TRAINING_MAX_BYTES, read_json

# A dictionary of two thousand features; also what a pasted one may have.
DICTIONARY_MAX_BYTES = 2_000_000
_PLAIN = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}
_CODE = {"spellcheck": "false", "class": "code", "rows": 8, "autocomplete": "off"}


class _EitherFile(forms.FileField):
    """Not called optional, yet empty where the text is pasted instead; the form sees to it."""

    def clean(self, data: Any, initial: Any = None) -> Any:
        return super().clean(data, initial) if data else None


class _EitherText(forms.CharField):
    """Its counterpart."""

    def validate(self, value: str) -> None:
        """Anything may be typed, and nothing."""


def _file(
    label: str, accept: str, *, kind: type[forms.FileField] = forms.FileField, **more: Any
) -> forms.FileField:
    return kind(
        label=label,
        widget=forms.FileInput(attrs={"accept": accept}),
        error_messages={
            "required": "Choose the model’s file.",
            "missing": "Choose the model’s file.",
            "empty": "The file is empty.",
        },
        **more,
    )


class RegisterForm(forms.Form):
    """A new version of a model, of an old or a new name.

    Dictionary and training come as a file or as pasted text; a file wins. A refused form shows a file's text
    in the field, so that only what browsers do not keep (the other files) has to be given again.
    """

    use_required_attribute = False

    name = forms.CharField(
        label="Name",
        strip=True,
        max_length=200,
        widget=forms.TextInput(attrs={**_PLAIN, "list": "models", "placeholder": "german-credit"}),
        help_text="As it stands in addresses: lower-case letters, digits and hyphens.",
        error_messages={"required": "Name the model."},
    )
    version = forms.CharField(
        label="Version",
        strip=True,
        max_length=200,
        widget=forms.TextInput(attrs={**_PLAIN, "placeholder": "2026-11-24"}),
        help_text="Letters, digits and . _ + -",
        error_messages={"required": "Name the version."},
    )
    title = forms.CharField(
        label="Title",
        required=False,
        max_length=1_000,
        help_text="What people call it. Empty keeps what the model has.",
    )
    purpose = forms.CharField(
        label="Purpose", required=False, max_length=1_000, help_text="What it decides, in one sentence."
    )
    file = _file("Model file", ".txt,.ubj,.json,.skops,.model,.bin")
    threshold = forms.FloatField(
        label="Threshold",
        required=False,
        widget=forms.NumberInput(attrs={"step": "any", "inputmode": "decimal"}),
        help_text="From this score on the decision is the positive one. Empty: the model only ranks.",
        error_messages={"invalid": "Give a number, such as 0.5."},
    )
    dictionary_file = _file("Dictionary file", ".json,application/json", kind=_EitherFile)
    dictionary = _EitherText(
        label="Or paste the dictionary",
        strip=False,
        widget=forms.Textarea(attrs=_CODE),
    )
    training_file = _file("Training file", ".json,application/json", required=False)
    training = forms.CharField(
        label="Or paste how it was trained",
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={**_CODE, "rows": 4}),
        help_text="A JSON object: hyperparameters, data period, commit, whatever a colleague will ask for.",
    )
    background = _file(
        "Background rows",
        ".csv,.json,.jsonl,.ndjson",
        required=False,
        help_text=(
            f"Rows of training data, at most {background.ROWS_MAX:,}: the reference for second opinions and "
            "what-ifs. CSV with the features as columns, JSON lines, or a JSON list."
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        megabytes = settings.MODEL_MAX_BYTES // 1_000_000
        self.fields["file"].help_text = (
            f"LightGBM text, XGBoost UBJ or JSON, or skops; at most {megabytes:,} MB. What it is, is told by "
            "its content. Pickle and joblib files are programs and are refused."
        )

    def clean(self) -> dict[str, Any]:
        """Both ways of giving a JSON object become one."""
        data = super().clean() or {}
        self._take_json(data, "dictionary", "The feature dictionary", DICTIONARY_MAX_BYTES)
        self._take_json(data, "training", "How it was trained", 2 * TRAINING_MAX_BYTES)
        if data.get("dictionary") is None and not (
            self.has_error("dictionary") or self.has_error("dictionary_file")
        ):
            self.add_error("dictionary_file", "Choose the feature dictionary, or paste it below.")
        rows = data.get("background")
        if rows is not None and rows.size > background.BYTES_MAX:
            self.add_error("background", f"At most {background.BYTES_MAX:,} bytes of rows are taken.")
        return data

    def _take_json(self, data: dict[str, Any], name: str, what: str, most: int) -> None:
        file: UploadedFile[Any] | None = data.pop(f"{name}_file", None)
        text: str = data.get(name) or ""
        data[name] = None
        if file is None and not text.strip():
            return
        field = name if file is None else f"{name}_file"
        if file is not None and file.size is not None and file.size > most:
            self.add_error(field, f"The file has {file.size:,} bytes; at most {most:,} are taken.")
            return
        content = text.encode() if file is None else file.read()
        if file is not None:
            self._keep_as_text(name, content)
        try:
            data[name] = read_json(content, at=name, what=what)
        except Invalid as error:
            self.show_refusal(error)

    def _keep_as_text(self, name: str, content: bytes) -> None:
        """Show the file's text in the field should the form come back."""
        with contextlib.suppress(UnicodeDecodeError):
            text = content.decode("utf-8-sig")
            if "\0" not in text:
                data = cast(QueryDict, self.data).copy()
                data[name] = text
                self.data = data

    def show_refusal(self, error: PortalError) -> None:
        """Put a refusal beside its fields; a place inside a JSON object or the rows is named before it."""
        for problem in error.errors:
            name, _, place = problem.path.partition(".")
            name, bracket, number = name.partition("[")
            inner = ".".join(part for part in (bracket and bracket + number, place) if part)
            if name not in self.fields:
                self.add_error(None, problem.message)
            else:
                shown = inner if name in {"dictionary", "training"} else ""
                self.add_error(name, f"{shown}: {problem.message}" if shown else problem.message)
        if not error.errors:
            self.add_error(None, error.message)
