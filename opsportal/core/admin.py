"""Support views: administrators look, nobody edits past the services."""

from typing import TYPE_CHECKING, Any

from django.contrib.admin import ModelAdmin
from django.db.models import Model
from django.http import HttpRequest

if TYPE_CHECKING:
    AnyModelAdmin = ModelAdmin[Model]
else:
    AnyModelAdmin = ModelAdmin


class ReadOnlyAdmin(AnyModelAdmin):
    """Shows rows to whoever may enter the site; adds, changes and deletes nothing, in bulk neither."""

    actions = None

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Whoever may enter the site may see its rows."""
        return self.admin_site.has_permission(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Whoever may enter the site may see its index."""
        return self.admin_site.has_permission(request)
