from django.apps import AppConfig


class OverridesConfig(AppConfig):
    name = "opsportal.overrides"
    default_auto_field = "django.db.models.BigAutoField"
