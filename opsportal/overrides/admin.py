from django.contrib import admin

from opsportal.core.admin import ReadOnlyAdmin
from opsportal.overrides.models import Approval, Block, Boost, OptOut, Submission, Surface


@admin.register(Surface)
class SurfaceAdmin(ReadOnlyAdmin):
    list_display = ("slug", "name")


@admin.register(Submission)
class SubmissionAdmin(ReadOnlyAdmin):
    list_display = ("id", "kind", "action", "state", "author", "rows_total", "created_at", "revision")
    list_select_related = ("author", "revision")
    list_filter = ("state", "kind")
    show_full_result_count = False


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    list_display = ("submission", "verdict", "approver", "version", "at", "voided_at")
    list_select_related = ("submission", "approver")
    show_full_result_count = False


@admin.register(Block, Boost)
class ProductOverrideAdmin(ReadOnlyAdmin):
    list_display = ("id", "product_id", "surface", "starts_at", "ends_at", "closed_at", "revision")
    list_select_related = ("surface",)
    search_fields = ("=product_id",)
    show_full_result_count = False


@admin.register(OptOut)
class OptOutAdmin(ReadOnlyAdmin):
    """Without a search: whoever knows a customer's key knows too much already."""

    list_display = ("id", "channel", "received_at", "due_on", "closed_at", "revision")
    exclude = ("customer_key",)
    show_full_result_count = False
