"""Support views of explanations. Nothing of a single customer or a single case's values."""

from django.contrib import admin

from opsportal.core.admin import ReadOnlyAdmin
from opsportal.explanations.models import Explanation, ImportanceProfile


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
