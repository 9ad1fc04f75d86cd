"""Error patterns: those a worker suggests, those people write, and what applying one did."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.urls import reverse

from opsportal.audits.models.runs import Run
from opsportal.predictions.models import Model


class Search(models.Model):
    """That a worker looked for patterns in the errors of a run, over how much, and what came of it."""

    run = models.OneToOneField(Run, on_delete=models.CASCADE, related_name="search")
    labelled = models.PositiveIntegerField()
    errors = models.PositiveIntegerField()
    # Patterns seen on one half, tested on the other, and kept.
    seen = models.PositiveIntegerField(default=0)
    tested = models.PositiveIntegerField(default=0)
    kept = models.PositiveIntegerField(default=0)
    # What the reader must know: how it was tested, or why there is nothing.
    sentence = models.CharField(max_length=500)
    made_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"search in run {self.run_id}"


class Suggestion(models.Model):
    """What errors of a run have in common, found on one half of the labels and tested on the other."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="suggestions")
    # As in Rule.
    condition = models.JSONField()
    # The condition in words.
    words = models.CharField(max_length=500)
    label = models.CharField(max_length=100, blank=True)
    # What both halves showed: counts, rates, p, adjusted p; see audits.mining.
    evidence = models.JSONField(default=dict)
    made_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return self.words


class Rule(models.Model):
    """Where this condition holds, the label should be that. Changed only until it is applied."""

    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="audit_rules")
    title = models.CharField(max_length=100)
    # A tree: {"all": […]} | {"any": […]} | {"field": "text"|"score"|"predicted"|"surface"|"feature:NAME"|…,
    # "is": "contains"|"matches"|"equals"|"above"|"between"|"missing"|…, "value": …}; see audits.conditions.
    condition = models.JSONField()
    label = models.CharField(max_length=100)
    # The lower bound of its precision must reach this before it may relabel anything.
    bar = models.FloatField(default=0.9)
    suggestion = models.ForeignKey(
        Suggestion, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    version = models.PositiveIntegerField(default=1)
    # The last preview, or how far the running one has come: counts, precision on audited items with its
    # bounds, examples by prediction ID; see services.previewing.
    preview = models.JSONField(default=dict, blank=True)
    previewed_at = models.DateTimeField(null=True, blank=True)
    # Set while a worker is at it; rows looked at of how many.
    preview_wanted_at = models.DateTimeField(null=True, blank=True)
    rows_total = models.PositiveBigIntegerField(default=0)
    rows_done = models.PositiveBigIntegerField(default=0)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(bar__gt=0, bar__lt=1), name="rule_bar_is_a_share"),
            models.CheckConstraint(condition=~Q(label=""), name="rule_has_label"),
        ]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("audits-rule", args=[self.pk])


class Application(models.Model):
    """A rule relabelling in bulk: approved, applied, accepted by a sample, or reverted."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting for approval"
        REJECTED = "rejected", "Rejected"
        APPLYING = "applying", "Being applied"
        VERIFYING = "verifying", "Waiting for its acceptance sample"
        ACCEPTED = "accepted", "Accepted"
        REVERTING = "reverting", "Being reverted"
        REVERTED = "reverted", "Reverted"

    rule = models.ForeignKey(Rule, on_delete=models.PROTECT, related_name="applications")
    # The rule as it was: condition, label, bar, version, and what the preview promised.
    terms = models.JSONField()
    state = models.CharField(max_length=10, choices=State)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=500)
    needs_approval = models.BooleanField(default=False)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    # The key of the last prediction looked at, so that a restart goes on there.
    position = models.BigIntegerField(default=0)
    rows_total = models.PositiveBigIntegerField(default=0)
    rows_done = models.PositiveBigIntegerField(default=0)
    corrected = models.PositiveBigIntegerField(default=0)
    # Matched, but people or another rule had already said something.
    passed_over = models.PositiveBigIntegerField(default=0)
    acceptance = models.ForeignKey(
        Run, null=True, blank=True, on_delete=models.PROTECT, related_name="accepts"
    )
    # Why it was reverted or rejected.
    outcome = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField()
    applied_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(decided_by__isnull=True) | ~Q(decided_by=F("author")),
                name="application_decided_by_another",
            ),
            models.CheckConstraint(
                condition=Q(needs_approval=False)
                | Q(state__in=["waiting", "rejected"])
                | Q(decided_by__isnull=False),
                name="application_was_approved",
            ),
            models.UniqueConstraint(
                fields=["rule"],
                condition=Q(state__in=["waiting", "applying", "verifying", "accepted", "reverting"]),
                name="application_one_at_a_time",
            ),
        ]

    def __str__(self) -> str:
        return f"application {self.pk} of rule {self.rule_id}"
