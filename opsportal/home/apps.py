from django.apps import AppConfig


class HomeConfig(AppConfig):
    name = "opsportal.home"
    default_auto_field = "django.db.models.BigAutoField"
