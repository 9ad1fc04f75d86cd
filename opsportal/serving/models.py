"""What the portal knows about the serving store: how far it is, what was rebuilt, what had drifted."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q


def new_source() -> str:
    """An identifier that no other database has."""
    return uuid.uuid4().hex


class Projection(models.Model):
    """How far the serving store is behind the database: one row, which is also the lease on pushing."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    # Which database fills the store. A store that another one filled is never overwritten by itself.
    source = models.CharField(max_length=32, default=new_source)
    # What the store held when we last wrote it.
    epoch = models.PositiveIntegerField(default=0)
    revision = models.PositiveBigIntegerField(default=0)
    pushed_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    products = models.PositiveIntegerField(default=0)
    customers = models.PositiveIntegerField(default=0)
    thresholds = models.PositiveIntegerField(default=0, db_default=0)
    digest = models.CharField(max_length=32, blank=True)
    lease_token = models.CharField(max_length=32, blank=True)
    leased_until = models.DateTimeField(null=True)
    failing_since = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=500, blank=True)
    compared_at = models.DateTimeField(null=True)
    # Somebody asked for a rebuild; the next push carries it out.
    rebuild_wanted = models.CharField(max_length=100, blank=True)

    class Meta:
        constraints: ClassVar = [models.CheckConstraint(condition=Q(id=1), name="projection_is_one_row")]

    def __str__(self) -> str:
        return f"store at revision {self.revision}"


class Rebuild(models.Model):
    """The store was filled anew from the database, and why."""

    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=100)
    revision = models.PositiveBigIntegerField()
    entries_total = models.PositiveIntegerField(default=0)
    entries_done = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"rebuild {self.pk}"


class Drift(models.Model):
    """Keys of the store that were not as the database wants them, found by a comparison and repaired."""

    class Kind(models.TextChoices):
        MISSING = "missing", "Missing"
        EXTRA = "extra", "Unexpected"
        ALTERED = "altered", "Altered"

    at = models.DateTimeField()
    kind = models.CharField(max_length=10, choices=Kind)
    keys = models.PositiveIntegerField()
    repaired = models.BooleanField()

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.keys} {self.kind}"
