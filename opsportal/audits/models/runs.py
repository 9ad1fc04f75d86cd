"""Runs: which predictions were drawn, with which probability, and how far people are with them."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.urls import reverse

from opsportal.audits.models.policies import Policy
from opsportal.predictions.dictionary import Value, read_values
from opsportal.predictions.models import PREDICTION_ID_MAX, Model, ModelVersion


class Run(models.Model):
    """One set of items for people to label: a sample of a period, or a set chosen for another purpose."""

    class Kind(models.TextChoices):
        AUDIT = "audit", "Random sample"
        TARGETED = "targeted", "Likely errors"
        ACCEPTANCE = "acceptance", "Acceptance of a rule"
        REFERRED = "referred", "Sent in by colleagues"

    class State(models.TextChoices):
        DRAWING = "drawing", "Being drawn"
        OPEN = "open", "Open"
        CLOSED = "closed", "Closed"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    kind = models.CharField(max_length=10, choices=Kind, default=Kind.AUDIT)
    # Null for runs that no policy asked for.
    policy = models.ForeignKey(
        Policy, null=True, blank=True, on_delete=models.PROTECT, related_name="runs", db_index=False
    )
    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="audit_runs", db_index=False)
    title = models.CharField(max_length=150)
    # What stands behind a targeted or acceptance run: the run whose labels it learnt from.
    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="children"
    )
    # `2026-W47`, `2026-11-24`, `2026-11` for scheduled periods; empty by hand.
    period = models.CharField(max_length=12, blank=True)
    # Predictions made from (inclusive) to (exclusive).
    starts_at = models.DateTimeField(null=True, blank=True)
    ends_at = models.DateTimeField(null=True, blank=True)
    # 32 hex digits, drawn once: with the ID of a prediction it decides who is in.
    seed = models.CharField(max_length=32)
    # The policy as it was, plus what the drawing decided; see services.runs.plan_of.
    plan = models.JSONField(default=dict)
    # As in Policy.
    labels = models.JSONField(default=list)
    guidelines = models.TextField(blank=True)
    blind = models.BooleanField(default=True)
    sensitive = models.BooleanField(default=False)
    second_look_at_errors = models.BooleanField(default=False)
    reviewers = models.ManyToManyField(settings.AUTH_USER_MODEL, blank=True, related_name="+")
    state = models.CharField(max_length=10, choices=State, default=State.DRAWING)
    # Why it failed, a sentence.
    problem = models.CharField(max_length=500, blank=True)

    rows_total = models.PositiveBigIntegerField(default=0)
    rows_done = models.PositiveBigIntegerField(default=0)
    # What could be drawn; without the next two.
    frame = models.PositiveBigIntegerField(default=0)
    # Customers who opted out.
    excluded = models.PositiveBigIntegerField(default=0)
    # Without a decision that could be right or wrong, or that cannot be read.
    unusable = models.PositiveBigIntegerField(default=0)
    # Counters, kept in the transactions that change them.
    items = models.PositiveIntegerField(default=0)
    settled = models.PositiveIntegerField(default=0)
    reviews_needed = models.PositiveIntegerField(default=0)
    reviews_done = models.PositiveIntegerField(default=0)
    to_adjudicate = models.PositiveIntegerField(default=0)
    erased = models.PositiveIntegerField(default=0)

    created_at = models.DateTimeField()
    # Null: the schedule.
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    drawn_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["policy", "period"], condition=~Q(period=""), name="run_once_per_period"
            ),
            models.CheckConstraint(
                condition=Q(kind="audit", policy__isnull=False) | ~Q(kind="audit"), name="run_has_policy"
            ),
            models.CheckConstraint(
                condition=~Q(state="closed") | Q(closed_at__isnull=False), name="run_closed_when"
            ),
            models.CheckConstraint(condition=Q(settled__lte=F("items")), name="run_settled_within"),
        ]
        indexes: ClassVar = [
            # The runs of a policy or a model, newest first.
            models.Index(fields=["policy", "-id"], name="run_of_policy"),
            models.Index(fields=["model", "-id"], name="run_of_model"),
            # What can be reviewed now.
            models.Index(fields=["id"], condition=Q(state="open"), name="run_open"),
        ]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("audits-run", args=[self.pk])


class Stratum(models.Model):
    """A part of a run's frame that was drawn from by itself, with its numbers frozen at the draw."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="strata", db_index=False)
    number = models.PositiveIntegerField()
    # Dimension → value, e.g. {"predicted": "negative", "score_band": "0.4–0.6"}.
    key = models.JSONField(default=dict)
    title = models.CharField(max_length=200)
    frame = models.PositiveBigIntegerField()
    planned = models.PositiveIntegerField()
    drawn = models.PositiveIntegerField()
    # Σ and Σ² over the frame of the chance of an error that the score itself states, see
    # services.runs.stated_error; what prediction-powered estimates need.
    stated_error_sum = models.FloatField(default=0)
    stated_error_square_sum = models.FloatField(default=0)

    class Meta:
        ordering: ClassVar = ["run", "number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "number"], name="stratum_number_once"),
            models.CheckConstraint(
                condition=Q(planned__lte=F("frame"), drawn__lte=F("planned")), name="stratum_within_frame"
            ),
        ]

    def __str__(self) -> str:
        return self.title


class FrameFile(models.Model):
    """A file that a run is drawn from: one task counts its rows, one draws its candidates."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        COUNTED = "counted", "Counted"
        DRAWN = "drawn", "Drawn"
        FAILED = "failed", "Failed"

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="frame_files", db_index=False)
    name = models.CharField(max_length=300)
    # Size and modification time when it was counted: a file that changed in between spoils the draw.
    fingerprint = models.CharField(max_length=64, blank=True)
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    rows = models.PositiveBigIntegerField(default=0)
    # Per stratum and exclusion, what the count found.
    counts = models.JSONField(default=dict, blank=True)
    # The best candidates of each stratum, until the run is whole.
    candidates = models.JSONField(default=list, blank=True)
    problem = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "name"], name="frame_file_once"),
        ]

    def __str__(self) -> str:
        return self.name


class Stream(models.TextChoices):
    """How an item came into its run. Only samples count towards unbiased rates."""

    SAMPLE = "sample", "Sample"
    GOLD = "gold", "Known answer"
    SUSPECT = "suspect", "Likely error"
    REFERRED = "referred", "Sent in"


class Item(models.Model):
    """One prediction to be labelled, with what is needed to judge it. Erased when its customer opts out."""

    class State(models.TextChoices):
        OPEN = "open", "Open"
        DISPUTED = "disputed", "Waiting for an audit lead"
        SETTLED = "settled", "Settled"
        VOID = "void", "Left unlabelled"

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="run_items", db_index=False)
    stratum = models.ForeignKey(
        Stratum, null=True, blank=True, on_delete=models.CASCADE, related_name="+", db_index=False
    )
    stream = models.CharField(max_length=10, choices=Stream, default=Stream.SAMPLE)
    # The chance that it had to be drawn; null for what was chosen.
    inclusion_probability = models.FloatField(null=True, blank=True)
    # For targeted runs: how suspicious it is, and why, in words.
    suspicion = models.FloatField(null=True, blank=True)
    why = models.CharField(max_length=300, blank=True)

    prediction_id = models.CharField(max_length=PREDICTION_ID_MAX)
    version = models.ForeignKey(
        ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    predicted_at = models.DateTimeField()
    score = models.FloatField()
    # What the model decided, as the labels name it.
    predicted = models.CharField(max_length=100)
    product_id = models.CharField(max_length=128, blank=True)
    customer_key = models.CharField(max_length=32, blank=True)
    surface = models.CharField(max_length=64, blank=True)
    text = models.TextField(blank=True)
    # A JSON object as text, as in Prediction.
    features = models.TextField(default="{}")

    # The known answer of a gold item; never shown before the run is closed.
    gold = models.CharField(max_length=100, blank=True)
    state = models.CharField(max_length=10, choices=State, default=State.OPEN)
    # What people settled on; empty and settled: it cannot be told.
    label = models.CharField(max_length=100, blank=True)
    # human or adjudicated, once settled.
    provenance = models.CharField(max_length=12, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["run", "id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "prediction_id"], name="item_once_per_run"),
            models.CheckConstraint(
                condition=Q(stream="sample", inclusion_probability__gt=0, inclusion_probability__lte=1)
                | ~Q(stream="sample") & Q(inclusion_probability__isnull=True),
                name="item_sample_has_probability",
            ),
            models.CheckConstraint(
                condition=Q(stream="gold") & ~Q(gold="") | ~Q(stream="gold") & Q(gold=""),
                name="item_gold_has_answer",
            ),
            models.CheckConstraint(
                condition=Q(state="settled", settled_at__isnull=False)
                | ~Q(state="settled") & Q(label="", settled_at__isnull=True),
                name="item_settled_when",
            ),
        ]
        indexes: ClassVar = [
            # What is erased when a customer opts out.
            models.Index(fields=["customer_key"], condition=~Q(customer_key=""), name="item_customer"),
            # What people said about one prediction.
            models.Index(fields=["prediction_id"], name="item_prediction"),
            # A run's items by state, for lists and for what waits for a lead.
            models.Index(fields=["run", "state", "id"], name="item_of_run"),
        ]

    def __str__(self) -> str:
        return self.prediction_id

    @property
    def values(self) -> dict[str, Value]:
        """The logged values by feature name."""
        return read_values(self.features)

    @property
    def is_error(self) -> bool | None:
        """Whether people say the model was wrong; None while that is unknown."""
        return self.label != self.predicted if self.label else None
