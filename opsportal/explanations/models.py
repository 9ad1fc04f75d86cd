"""Explanations: numbers computed once by a worker, kept, and shown for ever after as they were."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse

from opsportal.predictions.models import ModelVersion, Prediction


class Method(models.TextChoices):
    """How a prediction is explained."""

    SHAP = "shap", "Attributions (SHAP)"
    LIME = "lime", "Second opinion (LIME)"
    COUNTERFACTUAL = "counterfactual", "What would change the decision"


class State(models.TextChoices):
    """Where an explanation is: asked for, computed and checked, or refused by a check."""

    WANTED = "wanted", "Being computed"
    READY = "ready", "Ready"
    REFUSED = "refused", "Refused"


class Incident(models.TextChoices):
    """Which check an explanation failed. Then there is no chart, and the page says this."""

    ADDITIVITY = "additivity", "The attributions do not add up to the model's output"
    SCORE = "score", "The score computed now differs from the score that was logged"
    FILE = "file", "The model's file is not the one that was registered"
    LOADING = "loading", "The model's file cannot be loaded"
    INPUT = "input", "The model cannot read the logged values"
    ENGINE = "engine", "The computation failed"


class Space(models.TextChoices):
    """What attributions add up in."""

    LOG_ODDS = "log_odds", "log-odds"
    PROBABILITY = "probability", "probability"
    SCORE = "score", "score"


class Explanation(models.Model):
    """One prediction explained by one method, as logged or with some values changed (a what-if)."""

    prediction = models.ForeignKey(
        Prediction, on_delete=models.CASCADE, related_name="explanations", db_index=False
    )
    method = models.CharField(max_length=14, choices=Method, default=Method.SHAP)
    # What a what-if changed, feature → value; empty for the prediction as it was logged.
    changes = models.JSONField(default=dict, blank=True)
    # SHA-256 of the canonical changes; empty for none.
    changes_digest = models.CharField(max_length=64, blank=True)
    state = models.CharField(max_length=10, choices=State, default=State.WANTED)
    incident = models.CharField(max_length=10, choices=Incident, blank=True)
    # The numbers behind the incident, in a sentence.
    incident_detail = models.CharField(max_length=500, blank=True)
    # Library and method with their version, e.g. `lightgbm 4.7.0 pred_contrib`.
    engine = models.CharField(max_length=100, blank=True)
    model_sha256 = models.CharField(max_length=64, blank=True)
    space = models.CharField(max_length=12, choices=Space, blank=True)
    # margin = base_value + Σ attributions + residual, all in `space`.
    base_value = models.FloatField(null=True)
    margin = models.FloatField(null=True)
    residual = models.FloatField(null=True)
    # The model's output in the space of the logged score: a probability, or the ranker's score.
    score = models.FloatField(null=True)
    # [[feature, attribution], …] in the model's order. For LIME: its weights × the case, likewise.
    attributions = models.JSONField(default=list, blank=True)
    # What one method alone has: LIME's fit, words with their places, counterfactuals.
    detail = models.JSONField(default=dict, blank=True)
    wanted_at = models.DateTimeField()
    wanted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    computed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["prediction", "method", "changes_digest"], name="explanation_once"
            ),
            models.CheckConstraint(
                condition=~Q(state="ready")
                | Q(computed_at__isnull=False, model_sha256__gt="") & ~Q(engine=""),
                name="explanation_ready_is_whole",
            ),
            models.CheckConstraint(
                condition=Q(state="refused") & ~Q(incident="") | ~Q(state="refused") & Q(incident=""),
                name="explanation_refused_says_why",
            ),
        ]
        indexes: ClassVar = [
            # Incidents, newest first: few rows among many good ones.
            models.Index(fields=["-computed_at"], condition=Q(state="refused"), name="explanation_incidents"),
        ]

    def __str__(self) -> str:
        return f"{self.method} of prediction {self.prediction_id}"

    @property
    def settled(self) -> bool:
        """Whether there is something to show: numbers, or why there are none."""
        return self.state != State.WANTED


class Stack(models.Model):
    """Up to 200 predictions that somebody wants to see explained side by side."""

    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    # What was looked for, in words; never a customer.
    title = models.CharField(max_length=200)
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    # Primary keys of the predictions, newest first. Those erased since are simply gone.
    prediction_pks = models.JSONField()
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"stack {self.pk}"

    def get_absolute_url(self) -> str:
        return reverse("explain-stack", args=[self.pk])


class ImportanceProfile(models.Model):
    """Mean |attribution| of each feature over a sample of predictions: of one day, or of all (day null)."""

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="profiles")
    day = models.DateField(null=True, blank=True)
    rows = models.PositiveIntegerField()
    # Left out because they failed a check.
    refused = models.PositiveIntegerField(default=0)
    space = models.CharField(max_length=12, choices=Space)
    # [[feature, mean |attribution|, mean attribution], …] in the model's order; then of each group, whose
    # members are summed in each prediction first, [group, …, …, "group"].
    importance = models.JSONField()
    # Feature → [[value, attribution], …] of at most 500 predictions; only where day is null.
    dependence = models.JSONField(default=dict, blank=True)
    computed_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["version", "day"], condition=Q(day__isnull=False), name="importance_of_day"
            ),
            models.UniqueConstraint(
                fields=["version"], condition=Q(day__isnull=True), name="importance_of_all"
            ),
        ]

    def __str__(self) -> str:
        return f"importance {self.day or 'of all'}"
