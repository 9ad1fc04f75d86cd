"""The places where rankers show products."""

import re

from django.db import transaction

from opsportal.accounts.models import User
from opsportal.core.errors import Invalid
from opsportal.events import services as events
from opsportal.overrides.models import Surface

SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
NAME_MAX = 100


def name_surface(*, actor: User | None, slug: str, name: str) -> Surface:
    """Make a surface known, or give a known one another name; rankers send its slug.

    One transaction with its event; naming it the same again changes nothing. Raises Invalid.
    """
    if not SLUG.fullmatch(slug):
        raise Invalid.at(
            "surface",
            "invalid",
            "A surface is written with letters, digits, dash and underscore, at most 64 characters.",
        )
    if not name.strip() or len(name) > NAME_MAX:
        raise Invalid.at("name", "invalid", f"Give it a name of at most {NAME_MAX} characters.")
    with transaction.atomic():
        surface, created = Surface.objects.select_for_update().get_or_create(
            pk=slug, defaults={"name": name.strip()}
        )
        before = None if created else {"name": surface.name}
        if not created and surface.name == name.strip():
            return surface
        surface.name = name.strip()
        surface.save(update_fields=["name"])
        events.record(
            actor=actor,
            verb="surface.named",
            subject_type="surface",
            subject_id=slug,
            summary=f"Named the surface {slug}: {surface.name}",
            before=before,
            after={"name": surface.name},
        )
    return surface
