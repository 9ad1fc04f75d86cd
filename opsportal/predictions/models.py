"""Which models exist, what they predicted, and which products were seen how often."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse

from opsportal.predictions.dictionary import FeatureDictionary, Value, read_dictionary, read_values

PREDICTION_ID_MAX = 128


class Product(models.Model):
    """A product that some ranker has shown. IDs are text: `00701` stays `00701`, `85123A` is not `85123a`."""

    product_id = models.CharField(max_length=128, primary_key=True)
    title = models.CharField(max_length=200, blank=True)

    def __str__(self) -> str:
        return self.product_id


class Impressions(models.Model):
    """How often a product was shown and clicked on one surface on one day (UTC)."""

    # Its index is that of the unique day, which begins with it.
    product = models.ForeignKey(Product, on_delete=models.CASCADE, db_index=False)
    surface = models.CharField(max_length=64)
    day = models.DateField()
    shown = models.PositiveIntegerField()
    clicked = models.PositiveIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["product", "surface", "day"], name="impressions_per_day"),
            models.CheckConstraint(
                condition=models.Q(clicked__lte=models.F("shown")), name="impressions_clicks_within_shown"
            ),
        ]
        indexes: ClassVar = [
            # The share of the last week that a submission touches.
            models.Index(fields=["day", "surface"], name="impressions_week"),
        ]

    def __str__(self) -> str:
        return f"{self.product_id} on {self.day}"


class Model(models.Model):
    """A ranker or classifier whose predictions are logged here, in one or more versions."""

    # A slug: it stands in addresses.
    name = models.CharField(max_length=64, unique=True)
    title = models.CharField(max_length=100)
    purpose = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class Format(models.TextChoices):
    """How a model's file is written. Pickle and joblib are code, not data, and are never loaded."""

    LIGHTGBM = "lightgbm", "LightGBM text"
    XGBOOST = "xgboost", "XGBoost UBJ or JSON"
    SKOPS = "skops", "skops (scikit-learn)"


class ModelVersion(models.Model):
    """One trained file of a model with its feature dictionary and how it was trained. Never changed."""

    class State(models.TextChoices):
        CHECKING = "checking", "Checking"
        READY = "ready", "Ready"
        REFUSED = "refused", "Refused"

    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="versions", db_index=False)
    version = models.CharField(max_length=64)
    format = models.CharField(max_length=10, choices=Format)
    file = models.FileField(upload_to="models/", max_length=200)
    # Compared with the file at every load.
    sha256 = models.CharField(max_length=64)
    size = models.PositiveBigIntegerField()
    # As predictions.dictionary reads it.
    dictionary = models.JSONField()
    # Hyperparameters, data period, commit and whatever else was told about the training.
    training = models.JSONField(default=dict, blank=True)
    # From this score on the decision is the positive one; null where the model only ranks.
    threshold = models.FloatField(null=True, blank=True)
    # Rows of training data (JSON lines), the reference for LIME, what-if ranges and model-agnostic SHAP.
    background = models.FileField(upload_to="models/", max_length=200, blank=True)
    background_sha256 = models.CharField(max_length=64, blank=True)
    # When they were taken from the log, for want of registered ones; null for those that were registered.
    background_logged_at = models.DateTimeField(null=True, blank=True)
    # What the check found in the file: {"engine", "space", "inputs": [...], "single_precision", ...}.
    facts = models.JSONField(default=dict, blank=True)
    state = models.CharField(max_length=10, choices=State, default=State.CHECKING)
    # Why it was refused, a sentence each.
    problems = models.JSONField(default=list, blank=True)
    registered_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    registered_at = models.DateTimeField()
    checked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["model", "-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["model", "version"],
                condition=~Q(state="refused"),
                name="model_version_once",
            ),
            models.CheckConstraint(condition=~Q(version=""), name="model_version_given"),
            models.CheckConstraint(
                condition=~Q(state="ready") | Q(checked_at__isnull=False), name="model_version_checked"
            ),
        ]
        indexes: ClassVar = [
            # The versions of one model, newest first; refused ones included.
            models.Index(fields=["model", "-id"], name="model_version_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.model.name} {self.version}"

    def get_absolute_url(self) -> str:
        return reverse("models-version", args=[self.model.name, self.version])

    @property
    def features(self) -> FeatureDictionary:
        """The feature dictionary, read anew; keep it when you need it for many rows."""
        return read_dictionary(self.dictionary)


class Prediction(models.Model):
    """What a model version said about one case, with the values it saw. Never changed.

    The customer is a pseudonym (predictions.pseudonyms); the raw ID is stored nowhere.
    """

    # Unique by a constraint: `unique=True` would add a second index on PostgreSQL that nothing reads.
    prediction_id = models.CharField(max_length=PREDICTION_ID_MAX)
    # Its index is the version's, which begins with it.
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+", db_index=False)
    predicted_at = models.DateTimeField()
    received_at = models.DateTimeField()
    # A probability, or for a ranker its score, as it was logged.
    score = models.FloatField()
    # The decision as the system named it; empty where it named none.
    label = models.CharField(max_length=100, blank=True)
    # What turned out to be true, as the dictionary names it; empty while unknown.
    outcome = models.CharField(max_length=100, blank=True)
    product_id = models.CharField(max_length=128, blank=True)
    customer_key = models.CharField(max_length=32, blank=True)
    surface = models.CharField(max_length=64, blank=True)
    # A JSON object, feature name → value, as text: it keeps the values' type, spelling and order.
    features = models.TextField()
    text = models.TextField(blank=True)

    class Meta:
        ordering: ClassVar = ["-predicted_at", "-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["prediction_id"], name="prediction_id_once"),
            models.CheckConstraint(condition=~Q(prediction_id=""), name="prediction_id_given"),
        ]
        indexes: ClassVar = [
            # Look-ups, newest first: by model version, by customer, by product.
            models.Index(fields=["version", "-predicted_at", "-id"], name="prediction_version"),
            models.Index(
                fields=["customer_key", "-predicted_at", "-id"],
                condition=~Q(customer_key=""),
                name="prediction_customer",
            ),
            models.Index(
                fields=["product_id", "-predicted_at", "-id"],
                condition=~Q(product_id=""),
                name="prediction_product",
            ),
            # What is newest at all, and what retention deletes.
            models.Index(fields=["-predicted_at", "-id"], name="prediction_newest"),
        ]

    def __str__(self) -> str:
        return self.prediction_id

    def get_absolute_url(self) -> str:
        return reverse("explain-prediction", args=[self.prediction_id])

    @property
    def values(self) -> dict[str, Value]:
        """The logged values by feature name: text, number, True, False or None for a missing one."""
        return read_values(self.features)


class Word(models.Model):
    """A word (case-folded) of a value that the dictionary calls findable, such as a name."""

    prediction = models.ForeignKey(Prediction, on_delete=models.CASCADE, related_name="words")
    word = models.CharField(max_length=64)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["word", "prediction"], name="word_of_prediction"),
        ]

    def __str__(self) -> str:
        return self.word


class Suppression(models.Model):
    """A customer who opted out of profiling: nothing about them is kept, and nothing new is taken in.

    Written by whoever records and withdraws opt-outs, in the same transaction.
    """

    customer_key = models.CharField(max_length=32, primary_key=True)
    since = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.customer_key[:8]}…"


class PredictionImport(models.Model):
    """A file of predictions that is being taken in, or was: how far it came, and which rows were left out."""

    class State(models.TextChoices):
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        REFUSED = "refused", "Refused"

    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="imports")
    file_name = models.CharField(max_length=200)
    # Size and SHA-256 of the content with the mapping: the same file goes on where it stopped.
    fingerprint = models.CharField(max_length=64)
    state = models.CharField(max_length=10, choices=State, default=State.RUNNING)
    rows_total = models.PositiveBigIntegerField(default=0)
    rows_done = models.PositiveBigIntegerField(default=0)
    created = models.PositiveBigIntegerField(default=0)
    existing = models.PositiveBigIntegerField(default=0)
    suppressed = models.PositiveBigIntegerField(default=0)
    bad = models.PositiveBigIntegerField(default=0)
    # The first hundred: [[row number, sentence], …].
    bad_rows = models.JSONField(default=list, blank=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["version", "fingerprint"], name="prediction_import_once"),
        ]

    def __str__(self) -> str:
        return f"import {self.pk} of {self.file_name}"
