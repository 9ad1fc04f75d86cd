"""What people type about themselves and about keys. The rules are in the services."""

from typing import cast

from django import forms
from django.contrib.auth.password_validation import password_validators_help_texts

from opsportal.accounts.models import MAX_KEY_AGE, User
from opsportal.accounts.permissions import SCOPES
from opsportal.accounts.selectors import time_zone_names
from opsportal.core.errors import PortalError

PASSWORD_LENGTH = 1_000


class SignInForm(forms.Form):
    username = forms.CharField(
        label="Name",
        max_length=150,
        widget=forms.TextInput(
            attrs={"autocomplete": "username", "autocapitalize": "none", "autofocus": True}
        ),
    )
    password = forms.CharField(
        max_length=PASSWORD_LENGTH,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


class TimeZoneForm(forms.Form):
    time_zone = forms.ChoiceField(label="Time zone", required=False)

    def __init__(self, *args: object, default_zone: str, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # the signature of forms.Form
        zones = [(name, name.replace("_", " ")) for name in time_zone_names()]
        field = cast(forms.ChoiceField, self.fields["time_zone"])
        field.choices = [("", f"As the portal ({default_zone})"), *zones]


class PasswordForm(forms.Form):
    current = forms.CharField(
        label="Current password",
        max_length=PASSWORD_LENGTH,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    password = forms.CharField(
        label="New password",
        max_length=PASSWORD_LENGTH,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    again = forms.CharField(
        label="New password again",
        max_length=PASSWORD_LENGTH,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def __init__(self, *args: object, user: User, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # the signature of forms.Form
        self.user = user
        self.fields["password"].help_text = " ".join(password_validators_help_texts())

    def clean_current(self) -> str:
        current: str = self.cleaned_data["current"]
        if not self.user.check_password(current):
            raise forms.ValidationError("This is not your current password.", code="wrong")
        return current

    def clean(self) -> dict[str, object]:
        cleaned = super().clean() or self.cleaned_data
        if "password" in cleaned and cleaned["password"] != cleaned.get("again"):
            self.add_error("again", "The two new passwords differ.")
        return cleaned


class KeyForm(forms.Form):
    name = forms.CharField(
        max_length=80, help_text="Which machine or team uses it, for example “ranker search EU”."
    )
    owner = forms.ModelChoiceField(
        label="Acts as",
        queryset=User.objects.none(),
        help_text="The account its changes are recorded under.",
    )
    scopes = forms.MultipleChoiceField(
        choices=[(scope, f"{scope} – {effect}") for scope, effect in SCOPES.items()],
        widget=forms.CheckboxSelectMultiple,
    )
    days = forms.IntegerField(
        label="Days until it expires", min_value=1, max_value=MAX_KEY_AGE.days, initial=90
    )

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # the signature of forms.Form
        field = cast("forms.ModelChoiceField[User]", self.fields["owner"])
        field.queryset = User.objects.filter(is_active=True).order_by("username")


class RevokeForm(forms.Form):
    reason = forms.CharField(max_length=500, required=False)


def show_refusal(form: forms.Form, error: PortalError) -> None:
    """Put a service's refusal beside the fields it is about, or on top of the form."""
    for problem in error.errors:
        form.add_error(problem.path if problem.path in form.fields else None, problem.message)
    if not error.errors:
        form.add_error(None, error.message)
