"""Support views of models and explanations. Nothing of a single customer or a single case's values."""

from django.contrib import admin

from opsportal.core.admin import ReadOnlyAdmin
from opsportal.explanations.models import Explanation, ImportanceProfile
from opsportal.predictions.models import Model, ModelVersion, PredictionImport


@admin.register(Model)
class ModelAdmin(ReadOnlyAdmin):
    list_display = ("name", "title", "created_at")


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    list_display = ("model", "version", "state", "format", "size", "registered_at", "checked_at")
    list_select_related = ("model",)
    list_filter = ("state", "format")
    show_full_result_count = False


@admin.register(PredictionImport)
class PredictionImportAdmin(ReadOnlyAdmin):
    list_display = ("file_name", "version", "state", "rows_done", "rows_total", "bad", "started_at")
    list_select_related = ("version__model",)
    list_filter = ("state",)


@admin.register(Explanation)
class ExplanationAdmin(ReadOnlyAdmin):
    """How computing goes, without what came out: that is personal, and its page records who looks."""

    list_display = ("id", "method", "state", "incident", "engine", "wanted_at", "computed_at")
    list_filter = ("state", "incident", "method")
    exclude = ("prediction", "changes", "attributions", "detail", "incident_detail", "score", "margin")
    ordering = ("-id",)
    show_full_result_count = False


@admin.register(ImportanceProfile)
class ImportanceProfileAdmin(ReadOnlyAdmin):
    list_display = ("version", "day", "rows", "refused", "computed_at")
    list_select_related = ("version__model",)
    exclude = ("dependence",)
