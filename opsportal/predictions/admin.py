from django.contrib import admin

from opsportal.core.admin import ReadOnlyAdmin
from opsportal.predictions.models import Model, ModelVersion, Prediction, PredictionImport, Suppression


@admin.register(Model)
class ModelAdmin(ReadOnlyAdmin):
    list_display = ("name", "title", "created_at")


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    list_display = ("model", "version", "format", "state", "size", "registered_by", "registered_at")
    list_select_related = ("model", "registered_by")
    list_filter = ("state", "format")


@admin.register(Prediction)
class PredictionAdmin(ReadOnlyAdmin):
    """Without what is about a person: that is shown on pages that record who looked."""

    list_display = ("id", "version", "predicted_at", "received_at")
    list_select_related = ("version__model",)
    ordering = ("-id",)
    fields = ("version", "predicted_at", "received_at", "product_id", "surface")
    show_full_result_count = False


@admin.register(PredictionImport)
class PredictionImportAdmin(ReadOnlyAdmin):
    list_display = ("id", "version", "file_name", "state", "rows_done", "created", "bad", "finished_at")
    list_select_related = ("version__model",)
    list_filter = ("state",)


@admin.register(Suppression)
class SuppressionAdmin(ReadOnlyAdmin):
    """How many and since when; never who, in an address neither."""

    list_display = ("since",)
    list_display_links = None
    exclude = ("customer_key",)
    ordering = ("-since",)
    show_full_result_count = False
