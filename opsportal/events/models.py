"""The audit trail, the revision log, and the transactional outbox."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q


class Event(models.Model):
    """One thing somebody did: who, what, when, why, before and after. Rows are never changed.

    Each row's hash covers its content and the hash of the row before it, so that an edit, a
    removal or an insertion in the middle shows (`verify_events`).
    """

    sequence = models.PositiveBigIntegerField(unique=True)
    at = models.DateTimeField()
    # Kept as text beside the link, so that the trail reads on when an account is gone.
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    actor_name = models.CharField(max_length=150)
    verb = models.CharField(max_length=60)
    subject_type = models.CharField(max_length=30)
    subject_id = models.CharField(max_length=64)
    summary = models.CharField(max_length=300)
    reason = models.TextField(blank=True)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64, unique=True)

    class Meta:
        ordering: ClassVar = ["-sequence"]
        indexes: ClassVar = [
            # The timeline of one thing.
            models.Index(fields=["subject_type", "subject_id", "-sequence"], name="event_subject"),
            # The activity page filtered by person.
            models.Index(fields=["actor", "-sequence"], name="event_actor"),
            # From which number to which number a span of days goes.
            models.Index(fields=["at", "sequence"], name="event_day"),
        ]

    def __str__(self) -> str:
        return f"{self.sequence} {self.verb}"


class ChainHead(models.Model):
    """The last event's number and hash: one row, locked by every writer, so that the chain never forks."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    sequence = models.PositiveBigIntegerField(default=0)
    hash = models.CharField(max_length=64, default="0" * 64)

    class Meta:
        constraints: ClassVar = [models.CheckConstraint(condition=Q(id=1), name="chain_head_is_one_row")]

    def __str__(self) -> str:
        return f"chain at {self.sequence}"


class Head(models.Model):
    """The newest revision: one row, locked while a revision is allocated, so that revisions commit in order.

    `epoch` rises when a restored database must win over a newer store.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    epoch = models.PositiveIntegerField(default=1)
    revision = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [models.CheckConstraint(condition=Q(id=1), name="head_is_one_row")]

    def __str__(self) -> str:
        return f"epoch {self.epoch}, revision {self.revision}"


class Revision(models.Model):
    """One step of the desired state. `live_at` is when the serving store first held it."""

    number = models.PositiveBigIntegerField(primary_key=True)
    at = models.DateTimeField()
    keys = models.PositiveIntegerField()
    live_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [
            # What is not live yet, oldest first.
            models.Index(fields=["number"], condition=Q(live_at=None), name="revision_pending"),
        ]

    def __str__(self) -> str:
        return f"revision {self.number}"


class Change(models.Model):
    """The latest revision that touched a key of the serving store, also when no rule is left for the key."""

    class Kind(models.TextChoices):
        PRODUCT = "p", "product"
        CUSTOMER = "c", "customer"
        THRESHOLD = "t", "thresholds of a model"

    kind = models.CharField(max_length=1, choices=Kind)
    key = models.CharField(max_length=200)
    revision = models.PositiveBigIntegerField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["kind", "key"], name="change_key")]
        indexes: ClassVar = [
            # The projection reads "everything after revision R" in this order.
            models.Index(fields=["revision", "kind", "key"], name="change_feed"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} at revision {self.revision}"


class OutboxMessage(models.Model):
    """What still has to happen elsewhere: the name of a task and the key of what changed, never a payload."""

    task = models.CharField(max_length=60)
    key = models.CharField(max_length=64)
    created_at = models.DateTimeField()
    due_at = models.DateTimeField()
    attempts = models.PositiveSmallIntegerField(default=0)
    leased_until = models.DateTimeField(null=True)
    delivered_at = models.DateTimeField(null=True)
    dead_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(delivered_at=None) | Q(dead_at=None), name="outbox_delivered_or_dead"
            ),
        ]
        indexes: ClassVar = [
            # What is due, oldest first.
            models.Index(fields=["due_at"], condition=Q(delivered_at=None, dead_at=None), name="outbox_due"),
            # What nobody tries any more, newest first: few rows among many delivered ones.
            models.Index(fields=["dead_at"], condition=Q(dead_at__isnull=False), name="outbox_dead"),
        ]

    def __str__(self) -> str:
        return f"{self.task} {self.key}"
