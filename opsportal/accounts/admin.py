from django.contrib import admin

from opsportal.accounts.models import ApiKey, RoleGrant, User
from opsportal.core.admin import ReadOnlyAdmin


@admin.register(User)
class UserAdmin(ReadOnlyAdmin):
    list_display = ("username", "is_active", "last_login", "time_zone")
    search_fields = ("username",)
    fields = ("username", "first_name", "last_name", "email", "is_active", "last_login", "time_zone")


@admin.register(RoleGrant)
class RoleGrantAdmin(ReadOnlyAdmin):
    list_display = ("user", "role", "granted_by", "at")
    list_filter = ("role",)
    list_select_related = ("user", "granted_by")


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    list_display = ("id", "name", "owner", "state", "expires_at", "last_used_at")
    list_select_related = ("owner",)
    fields = ("id", "name", "owner", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at")
