from django.apps import AppConfig


class AuditsConfig(AppConfig):
    name = "opsportal.audits"
    default_auto_field = "django.db.models.BigAutoField"
