"""Support views of audits. Nothing of a single customer or a single case's values."""

from django.contrib import admin

from opsportal.audits.models import Run
from opsportal.core.admin import ReadOnlyAdmin


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = ("title", "kind", "state", "items", "settled", "created_at", "drawn_at", "closed_at")
    list_filter = ("kind", "state")
    exclude = ("seed",)
    ordering = ("-id",)
    show_full_result_count = False
