from django.apps import AppConfig


class ServingConfig(AppConfig):
    name = "opsportal.serving"
    default_auto_field = "django.db.models.BigAutoField"
