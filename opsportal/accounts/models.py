"""People, what they may do, and the keys of machines."""

from copy import copy
from datetime import timedelta
from functools import cached_property

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import F, Q

from opsportal.accounts.permissions import CAPABILITIES, Role
from opsportal.core.clock import now

__all__ = ["ApiKey", "Role", "RoleGrant", "SignInWindow", "User"]

MAX_KEY_AGE = timedelta(days=400)


class User(AbstractUser):
    """A person, or the account that stands for a machine (without a usable password)."""

    # Empty means: the zone of the whole portal.
    time_zone = models.TextField(blank=True, default="")

    # What a key lets its owner do in this one request; None where the person's roles decide.
    granted: frozenset[str] | None = None

    @cached_property
    def roles(self) -> frozenset[Role]:
        """The person's roles; asked once per request, since every request loads a new instance."""
        return frozenset(Role(role) for role in self.role_grants.values_list("role", flat=True))

    def can(self, capability: str) -> bool:
        """True if one of the person's roles, or the key they came with, has the capability.

        Raises KeyError for an unknown one.
        """
        allowed = CAPABILITIES[capability]
        if self.granted is not None:
            return self.is_active and capability in self.granted
        return self.is_active and not allowed.isdisjoint(self.roles)

    def limited_to(self, capabilities: frozenset[str]) -> "User":
        """A copy of the person that can do exactly this: threads that serve one key share no instance."""
        limited = copy(self)
        limited.granted = capabilities
        return limited

    @property
    def capabilities(self) -> frozenset[str]:
        """Every capability the person has, for pages that show or hide things."""
        return frozenset(name for name in CAPABILITIES if self.can(name))


class RoleGrant(models.Model):
    """A person has a role."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="role_grants")
    role = models.TextField(choices=Role)
    # Null: granted by a command, not by a person.
    granted_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    at = models.DateTimeField(default=now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "role"], name="one_grant_per_role"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="role_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user}: {self.get_role_display()}"


class ApiKey(models.Model):
    """A machine's key. Only the hash of the token is kept, so nobody can read the key again."""

    # The public part of the token, `[a-z0-9]{10}`: what people and logs call the key.
    id = models.TextField(primary_key=True)
    name = models.TextField()
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="api_keys")
    # SHA-256 of the whole token, in hex. The secret has 256 random bits, so a fast hash suffices.
    secret_hash = models.TextField(unique=True)
    scopes = models.JSONField()
    created_at = models.DateTimeField(default=now)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    # Written at most once a minute.
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(id__regex=r"^[a-z0-9]{10}$"), name="key_id_is_plain"),
            models.CheckConstraint(condition=~Q(name=""), name="key_has_a_name"),
            models.CheckConstraint(
                condition=Q(secret_hash__regex=r"^[0-9a-f]{64}$"), name="key_hash_is_sha256"
            ),
            models.CheckConstraint(condition=Q(expires_at__gt=F("created_at")), name="key_expires_later"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"

    @property
    def state(self) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at <= now() else "active"


class SignInWindow(models.Model):
    """How often somebody tried to sign in under one key (a person, an address, or both) lately."""

    # A keyed hash of the kind and the value: a password typed into the name field is stored nowhere.
    key = models.TextField(unique=True)
    started_at = models.DateTimeField()
    tries = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.key[:8]}: {self.tries}"
