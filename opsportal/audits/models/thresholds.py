"""Thresholds learnt from labels, and the ones that rankers read."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.urls import reverse

from opsportal.audits.models.runs import Run
from opsportal.predictions.models import ModelVersion


class Threshold(models.Model):
    """A threshold for a promise ("precision at least 95 %, 95 % sure"), from its computation to its end."""

    class Goal(models.TextChoices):
        PRECISION = "precision", "Precision"
        RECALL = "recall", "Recall"

    class State(models.TextChoices):
        COMPUTING = "computing", "Being computed"
        NONE = "none", "No threshold keeps the promise"
        PROPOSED = "proposed", "Proposed"
        WAITING = "waiting", "Waiting for approval"
        REJECTED = "rejected", "Rejected"
        PUBLISHED = "published", "Published"
        # By a later one of the same version; comes back when that one is undone.
        REPLACED = "replaced", "Replaced"
        UNDONE = "undone", "Undone"

    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+", db_index=False)
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="thresholds")
    # The class the promise is about.
    label = models.CharField(max_length=100)
    goal = models.CharField(max_length=10, choices=Goal)
    target = models.FloatField()
    confidence = models.FloatField(default=0.95)
    state = models.CharField(max_length=10, choices=State, default=State.COMPUTING)
    value = models.FloatField(null=True, blank=True)
    # The curve, the tests in their sequence, what would change, advice; see audits.thresholding.
    evidence = models.JSONField(default=dict, blank=True)
    # What the next closed run said about it: {"run", "kept", "estimate", "low", "high", …}.
    verification = models.JSONField(default=dict, blank=True)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    # Whoever asked for it to be published, and why.
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    reason = models.CharField(max_length=500, blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    published_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    # What was published before it, and is again when it is undone.
    replaces = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="replaced_by", db_index=False
    )
    # The revision that carried it into the serving store.
    revision = models.PositiveBigIntegerField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["version"], condition=Q(state="published"), name="threshold_one_published"
            ),
            models.CheckConstraint(
                condition=Q(target__gt=0, target__lt=1, confidence__gt=0.5, confidence__lt=1),
                name="threshold_promise_is_a_share",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["proposed", "waiting", "published", "replaced", "undone"])
                | Q(value__isnull=False),
                name="threshold_has_value",
            ),
            models.CheckConstraint(
                condition=Q(decided_by__isnull=True)
                | ~Q(decided_by=F("author")) & (Q(asked_by__isnull=True) | ~Q(decided_by=F("asked_by"))),
                name="threshold_decided_by_another",
            ),
            models.CheckConstraint(
                condition=~Q(state="published") | Q(decided_by__isnull=False, published_at__isnull=False),
                name="threshold_published_by_two",
            ),
        ]

    def __str__(self) -> str:
        return f"threshold {self.value} of {self.version_id}"

    def get_absolute_url(self) -> str:
        return reverse("audits-threshold", args=[self.pk])
