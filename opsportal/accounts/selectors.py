"""Questions about people and keys."""

from functools import cache
from zoneinfo import available_timezones

from django.db.models import QuerySet

from opsportal.accounts.models import ApiKey, User
from opsportal.events.models import Event


def visible_keys(*, user: User) -> QuerySet[ApiKey]:
    """The keys the person may see, newest first: all of them with `keys.manage`, else the own ones."""
    keys = ApiKey.objects.select_related("owner").order_by("-created_at", "id")
    return keys if user.can("keys.manage") else keys.filter(owner=user)


def has_made_key_of(*, maker: User, owner: User) -> bool:
    """Whether the person ever made a key that acts as this account, by the audit trail."""
    keys = ApiKey.objects.filter(owner=owner).values("id")
    made = Event.objects.filter(actor=maker, verb="created", subject_type="key", subject_id__in=keys)
    return made.exists()


@cache
def time_zone_names() -> tuple[str, ...]:
    """Names of the zones a person may choose, `UTC` first; read from the disk once per process."""
    return ("UTC", *sorted(name for name in available_timezones() if "/" in name and "Etc/" not in name))
