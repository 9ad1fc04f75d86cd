"""What follows from labels: estimates, corrections, and files to download."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from opsportal.audits.models.runs import Item, Run
from opsportal.predictions.models import PREDICTION_ID_MAX, Model


class Estimate(models.Model):
    """The figures of a closed run, computed once by a worker and kept; see audits.figures for the shape."""

    run = models.OneToOneField(Run, on_delete=models.CASCADE, related_name="estimate")
    # audits.figures.Results as JSON.
    figures = models.JSONField()
    # Of the code that computed it.
    method = models.CharField(max_length=40)
    made_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"estimate of run {self.run_id}"


class Provenance(models.TextChoices):
    """Who says so."""

    HUMAN = "human", "A person"
    ADJUDICATED = "adjudicated", "An audit lead, between answers"
    RULE = "rule", "A rule"


class Correction(models.Model):
    """What a prediction should have been. The prediction itself is never changed."""

    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="+", db_index=False)
    prediction_id = models.CharField(max_length=PREDICTION_ID_MAX)
    customer_key = models.CharField(max_length=32, blank=True)
    predicted = models.CharField(max_length=100)
    label = models.CharField(max_length=100)
    provenance = models.CharField(max_length=12, choices=Provenance)
    # Where it comes from: one of the two.
    item = models.ForeignKey(
        Item, null=True, blank=True, on_delete=models.CASCADE, related_name="corrections"
    )
    application = models.ForeignKey(
        "audits.Application", null=True, blank=True, on_delete=models.CASCADE, related_name="corrections"
    )
    made_at = models.DateTimeField()
    reverted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["prediction_id"], condition=Q(reverted_at=None), name="correction_once"
            ),
            models.CheckConstraint(
                condition=Q(provenance="rule", application__isnull=False, item__isnull=True)
                | Q(provenance__in=["human", "adjudicated"], item__isnull=False, application__isnull=True),
                name="correction_has_its_source",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["model", "-id"], name="correction_of_model"),
            models.Index(fields=["customer_key"], condition=~Q(customer_key=""), name="correction_customer"),
        ]

    def __str__(self) -> str:
        return f"correction of {self.prediction_id}"


class Export(models.Model):
    """A file of labels that a worker writes because a web process cannot (Parquet). Kept for an hour."""

    class State(models.TextChoices):
        WANTED = "wanted", "Being written"
        READY = "ready", "Ready"
        FAILED = "failed", "Failed"

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="exports", db_index=False)
    format = models.CharField(max_length=10)
    state = models.CharField(max_length=10, choices=State, default=State.WANTED)
    content = models.BinaryField(default=b"")
    rows = models.PositiveIntegerField(default=0)
    wanted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    wanted_at = models.DateTimeField()
    made_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["run", "format"], name="export_once")]

    def __str__(self) -> str:
        return f"{self.format} of run {self.run_id}"
