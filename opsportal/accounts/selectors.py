"""Questions about people and keys."""

from functools import cache
from zoneinfo import available_timezones

from django.db.models import QuerySet

from opsportal.accounts.models import ApiKey, User


def visible_keys(*, user: User) -> QuerySet[ApiKey]:
    """The keys the person may see, newest first: all of them with `keys.manage`, else the own ones."""
    keys = ApiKey.objects.select_related("owner").order_by("-created_at", "id")
    return keys if user.can("keys.manage") else keys.filter(owner=user)


@cache
def time_zone_names() -> tuple[str, ...]:
    """Names of the zones a person may choose, `UTC` first; read from the disk once per process."""
    return ("UTC", *sorted(name for name in available_timezones() if "/" in name and "Etc/" not in name))
