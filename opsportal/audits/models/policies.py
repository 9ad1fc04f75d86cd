"""What is audited, how often, how much of it, and by whom."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse

from opsportal.predictions.models import Model, ModelVersion


class Period(models.TextChoices):
    """How often a run is drawn, each over the period that has just ended (UTC)."""

    DAILY = "daily", "Daily"
    WEEKLY = "weekly", "Weekly, Monday to Sunday"
    MONTHLY = "monthly", "Monthly"
    BY_HAND = "by_hand", "By hand"


class Sizing(models.TextChoices):
    """What the size of a sample follows from."""

    RATE = "rate", "A share of the predictions"
    SIZE = "size", "A number of items"
    WIDTH = "width", "A half-width of the interval"
    ACCEPTANCE = "acceptance", "An acceptance plan without an error"


class Allocation(models.TextChoices):
    """How a sample is spread over its strata."""

    PROPORTIONAL = "proportional", "In proportion"
    NEYMAN = "neyman", "Where errors vary most (Neyman)"
    BOOST = "boost", "More near the threshold"


class Source(models.TextChoices):
    """Where the predictions come from."""

    LOG = "log", "The prediction log"
    FILES = "files", "Parquet or CSV files"


class Policy(models.Model):
    """One standing order: of this model, draw so much, so often, and ask these people about it."""

    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="policies")
    # One version only; null: whichever predicted.
    version = models.ForeignKey(
        ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    title = models.CharField(max_length=100)
    # A slug, for the command.
    name = models.CharField(max_length=64, unique=True)
    active = models.BooleanField(default=True)
    period = models.CharField(max_length=10, choices=Period, default=Period.WEEKLY)
    source = models.CharField(max_length=10, choices=Source, default=Source.LOG)
    # A pattern of file names inside AUDIT_FILES_DIR; only for files.
    files = models.CharField(max_length=200, blank=True)
    # Column of the files → field, as in import_predictions; only for files.
    columns = models.JSONField(default=dict, blank=True)

    sizing = models.CharField(max_length=10, choices=Sizing, default=Sizing.RATE)
    rate = models.FloatField(null=True, blank=True)
    size = models.PositiveIntegerField(null=True, blank=True)
    half_width = models.FloatField(null=True, blank=True)
    # The error rate that is expected (for the width), or that must not be exceeded (acceptance).
    expected_error = models.FloatField(null=True, blank=True)

    # Of `predicted`, `score_band`, `surface`, `feature:NAME`; [] for one stratum.
    strata = models.JSONField(default=list, blank=True)
    # Inner edges of the score bands, rising.
    score_edges = models.JSONField(default=list, blank=True)
    allocation = models.CharField(max_length=12, choices=Allocation, default=Allocation.PROPORTIONAL)
    # Of the sample, the share that is spread in proportion whatever the allocation: the uniform core.
    core_share = models.FloatField(default=0.3)
    minimum_per_stratum = models.PositiveIntegerField(default=2)

    # [{"value", "title", "key" (a digit), "guideline"}, …]; values as the model names its decisions.
    labels = models.JSONField()
    guidelines = models.TextField(blank=True)
    double_share = models.FloatField(default=0.1)
    # Whoever differs from the model is always given a second look by somebody else.
    second_look_at_errors = models.BooleanField(default=False)
    gold_share = models.FloatField(default=0.0)
    # [{"prediction_id", "label"}, …]: predictions whose label is known.
    gold = models.JSONField(default=list, blank=True)
    blind = models.BooleanField(default=True)
    # Text starts blurred.
    sensitive = models.BooleanField(default=False)
    # Nobody: everybody who may label.
    reviewers = models.ManyToManyField(settings.AUTH_USER_MODEL, blank=True, related_name="+")

    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["title"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(rate__isnull=True) | Q(rate__gt=0, rate__lte=1), name="policy_rate_is_a_share"
            ),
            models.CheckConstraint(
                condition=Q(sizing="rate", rate__isnull=False)
                | Q(sizing="size", size__isnull=False)
                | Q(sizing="width", half_width__isnull=False, expected_error__isnull=False)
                | Q(sizing="acceptance", expected_error__isnull=False),
                name="policy_has_its_size",
            ),
            models.CheckConstraint(
                condition=Q(half_width__isnull=True) | Q(half_width__gt=0, half_width__lt=0.5),
                name="policy_half_width_is_a_share",
            ),
            models.CheckConstraint(
                condition=Q(expected_error__isnull=True) | Q(expected_error__gt=0, expected_error__lt=1),
                name="policy_expected_error_is_a_share",
            ),
            models.CheckConstraint(
                condition=Q(core_share__gt=0, core_share__lte=1), name="policy_core_is_there"
            ),
            models.CheckConstraint(
                condition=Q(double_share__gte=0, double_share__lte=1, gold_share__gte=0, gold_share__lt=0.5),
                name="policy_shares",
            ),
            models.CheckConstraint(
                condition=Q(source="log", files="") | Q(source="files") & ~Q(files=""),
                name="policy_files_for_files",
            ),
        ]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("audits-policy", args=[self.pk])
