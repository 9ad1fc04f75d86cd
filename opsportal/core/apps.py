from django.apps import AppConfig


class CoreConfig(AppConfig):
    name = "opsportal.core"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Binds the shared tasks to our Celery app in every process, without importing any task.
        from opsportal import celery  # noqa: F401, PLC0415
