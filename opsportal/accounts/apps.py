from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class AccountsConfig(AppConfig):
    name = "opsportal.accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Importing registers the descriptions with drf-spectacular.
        from opsportal.accounts import schema  # noqa: F401, PLC0415


class SupportConfig(admin_apps.AdminConfig):
    """django.contrib.admin with our site; named in INSTALLED_APPS by its path."""

    default = False
    default_site = "opsportal.accounts.support_site.SupportSite"
