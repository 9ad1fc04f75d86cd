"""Intent (Submission, its items and approvals) and effect (Block, Boost, OptOut)."""

from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.urls import reverse

EVERYWHERE = "*"
BOOST_MAX_DAYS = 90
FACTOR_MIN, FACTOR_MAX = 0.1, 10.0


class Surface(models.Model):
    """A place where a ranker shows products. The row `*` stands for everywhere."""

    slug = models.CharField(max_length=64, primary_key=True)
    name = models.CharField(max_length=100)

    class Meta:
        ordering: ClassVar = ["slug"]

    def __str__(self) -> str:
        return self.name


class Kind(models.TextChoices):
    BLOCK = "block", "Block"
    BOOST = "boost", "Boost"
    OPT_OUT = "opt_out", "Opt-out"


class Action(models.TextChoices):
    ADD = "add", "Add"
    EXTEND = "extend", "Extend"
    WITHDRAW = "withdraw", "Withdraw"
    # Put back what `undoes` changed.
    RESTORE = "restore", "Undo"


class State(models.TextChoices):
    """Where a submission is. Scheduled, publishing, live and ended are told from an applied one's revision
    and window, never stored."""

    DRAFT = "draft", "Draft"
    CHECKING = "checking", "Checking"
    WAITING = "waiting", "Waiting for approval"
    APPLYING = "applying", "Applying"
    APPLIED = "applied", "Applied"
    REJECTED = "rejected", "Rejected"
    CANCELLED = "cancelled", "Cancelled"
    FAILED = "failed", "Failed"


class Triage(models.TextChoices):
    """What would happen to one item, found out before anything happens."""

    NEW = "new", "new"
    CHANGED = "changed", "changed"
    UNCHANGED = "unchanged", "no change"
    PENDING = "pending", "already waiting"
    UNKNOWN = "unknown", "not seen yet"
    INVALID = "invalid", "cannot be used"


# Items with one of these take effect when the submission is applied.
EFFECTIVE = (Triage.NEW, Triage.CHANGED, Triage.UNKNOWN)


class Source(models.TextChoices):
    FORM = "form", "Form"
    CSV = "csv", "CSV"
    API = "api", "API"
    UNDO = "undo", "Undo"


class ReasonCode(models.TextChoices):
    SAFETY = "safety", "Safety or recall"
    LEGAL = "legal", "Legal or rights"
    QUALITY = "quality", "Quality or wrong content"
    STOCK = "stock", "Out of stock"
    COMPLAINT = "complaint", "Customer complaint"
    CAMPAIGN = "campaign", "Campaign"
    NEW_PRODUCT = "new_product", "New product"
    PRIVACY = "privacy", "Privacy request"
    CORRECTION = "correction", "Correction of an earlier change"
    OTHER = "other", "Other"


class Channel(models.TextChoices):
    PHONE = "phone", "Phone"
    EMAIL = "email", "E-mail"
    FORM = "form", "Web form"
    GPC = "gpc", "Global Privacy Control"
    LETTER = "letter", "Letter"
    IN_PERSON = "in_person", "In person"


class Purpose(models.TextChoices):
    PERSONALISATION = "personalisation", "Personalisation"
    TRAINING = "training", "Training of models"
    SHARING = "sharing", "Sharing with others"


class Submission(models.Model):
    """Somebody's wish to change the overrides. Never deleted; undoing is a new submission."""

    kind = models.CharField(max_length=10, choices=Kind)
    action = models.CharField(max_length=10, choices=Action, default=Action.ADD)
    state = models.CharField(max_length=10, choices=State, default=State.DRAFT)
    source = models.CharField(max_length=10, choices=Source)
    # Its index is that of the author's list.
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    surface = models.ForeignKey(Surface, on_delete=models.PROTECT, default=EVERYWHERE)
    # Null while a draft: "now" is the moment of application.
    starts_at = models.DateTimeField(null=True, blank=True)
    ends_at = models.DateTimeField(null=True, blank=True)
    factor = models.FloatField(null=True, blank=True)
    purposes = models.JSONField(default=list, blank=True)
    channel = models.CharField(max_length=10, choices=Channel, blank=True)
    received_at = models.DateTimeField(null=True, blank=True)
    reason_code = models.CharField(max_length=20, choices=ReasonCode)
    reason = models.TextField()
    ticket = models.CharField(max_length=100, blank=True)
    undoes = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="undone_by"
    )
    # Rises with every edit; an approval names the version that was looked at.
    version = models.PositiveIntegerField(default=1)
    needs_approval = models.BooleanField(default=False)
    # The numbers behind needs_approval, frozen when it was decided.
    risk = models.JSONField(default=dict, blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    rows_total = models.PositiveIntegerField(default=0)
    rows_done = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=500, blank=True)
    idempotency_key = models.CharField(max_length=100, null=True, blank=True)  # noqa: DJ001 null keeps it out of the constraint
    request_digest = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField()
    submitted_at = models.DateTimeField(null=True, blank=True)
    applied_at = models.DateTimeField(null=True, blank=True)
    revision = models.ForeignKey("events.Revision", null=True, blank=True, on_delete=models.PROTECT)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(decided_by=None) | ~Q(decided_by=F("author")), name="submission_second_person"
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[State.APPLIED, State.APPLYING])
                | Q(needs_approval=False)
                | Q(decided_by__isnull=False),
                name="submission_approved_before_applied",
            ),
            models.CheckConstraint(
                condition=~Q(state=State.APPLIED) | Q(applied_at__isnull=False), name="submission_applied_at"
            ),
            models.CheckConstraint(
                condition=Q(ends_at=None) | Q(starts_at=None) | Q(ends_at__gt=F("starts_at")),
                name="submission_ends_after_start",
            ),
            models.CheckConstraint(
                condition=Q(factor=None) | Q(factor__gte=FACTOR_MIN, factor__lte=FACTOR_MAX),
                name="submission_factor_range",
            ),
            models.UniqueConstraint(fields=["author", "idempotency_key"], name="submission_idempotency"),
        ]
        indexes: ClassVar = [
            # The list of submissions by state, newest first.
            models.Index(fields=["state", "-id"], name="submission_state"),
            models.Index(fields=["author", "-id"], name="submission_author"),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"

    def get_absolute_url(self) -> str:
        return reverse("overrides-submission", args=[self.pk])


class SubmissionItem(models.Model):
    """One product, or one customer's key, of a submission, with what would happen to it."""

    # Its index is that of the unique row, which begins with it.
    submission = models.ForeignKey(Submission, on_delete=models.CASCADE, related_name="items", db_index=False)
    # The position in the paste or the row in the file, from 1, for messages about it.
    row = models.PositiveIntegerField()
    # A product ID, or a customer's key; blank where the row could not be used.
    target = models.CharField(max_length=200, blank=True)
    # What EXTEND and WITHDRAW act on: the id of a Block, Boost or OptOut of the submission's kind.
    override_id = models.PositiveBigIntegerField(null=True)
    triage = models.CharField(max_length=10, choices=Triage)
    note = models.CharField(max_length=300, blank=True)
    # What the override was before, so that an undo can restore it.
    before = models.JSONField(null=True)
    dropped = models.BooleanField(default=False)

    class Meta:
        ordering: ClassVar = ["submission", "row"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["submission", "row"], name="item_row"),
        ]
        indexes: ClassVar = [
            # The triage list by group, and what takes effect.
            models.Index(fields=["submission", "triage", "row"], name="item_triage"),
            # "Already waiting in another submission", and the history of one target.
            models.Index(fields=["target", "submission"], name="item_target"),
        ]

    def __str__(self) -> str:
        return f"row {self.row}"


class Approval(models.Model):
    """A second person's verdict on one version of a submission."""

    class Verdict(models.TextChoices):
        APPROVED = "approved", "Approved"
        REJECTED = "rejected", "Rejected"

    submission = models.ForeignKey(Submission, on_delete=models.PROTECT, related_name="approvals")
    # A copy of the submission's author, so that the schema itself can refuse self-approval.
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    approver = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    verdict = models.CharField(max_length=10, choices=Verdict)
    comment = models.TextField(blank=True)
    version = models.PositiveIntegerField()
    at = models.DateTimeField()
    # Set when an edit made the verdict void.
    voided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["at"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(approver=F("author")), name="approval_second_person"),
            models.UniqueConstraint(
                fields=["submission"], condition=Q(voided_at=None), name="approval_one_verdict"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.verdict} #{self.submission_id}"


class Override(models.Model):
    """What blocks, boosts and opt-outs share: they exist once applied, and stay as history when closed."""

    submission = models.ForeignKey(Submission, on_delete=models.PROTECT, related_name="+")
    revision = models.PositiveBigIntegerField()
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_by = models.ForeignKey(
        Submission, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        abstract = True
        ordering: ClassVar = ["-id"]


class ProductOverride(Override):
    """An override of one product, on one surface or everywhere, in a window [starts_at, ends_at)."""

    product_id = models.CharField(max_length=128)
    # Its index is the list's, which begins with it.
    surface = models.ForeignKey(Surface, on_delete=models.PROTECT, db_index=False)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)
    reason_code = models.CharField(max_length=20, choices=ReasonCode)

    class Meta(Override.Meta):
        abstract = True


def _product_indexes(name: str) -> list[models.Index]:
    return [
        # The projection and triage: open rules of these products.
        models.Index(fields=["product_id"], condition=Q(closed_at=None), name=f"{name}_open"),
        # A product's history.
        models.Index(fields=["product_id", "-id"], name=f"{name}_product"),
        # Lists by surface, and what ends next.
        models.Index(fields=["surface", "-id"], name=f"{name}_surface"),
        models.Index(fields=["ends_at", "id"], condition=Q(closed_at=None), name=f"{name}_ends"),
        # Lists of what is scheduled, and by reason.
        models.Index(fields=["starts_at", "id"], condition=Q(closed_at=None), name=f"{name}_starts"),
        models.Index(fields=["reason_code", "-id"], name=f"{name}_reason"),
    ]


class Block(ProductOverride):
    """A product that must not be shown."""

    kind = Kind.BLOCK

    class Meta(ProductOverride.Meta):
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(ends_at=None) | Q(ends_at__gt=F("starts_at")), name="block_ends_after_start"
            ),
            models.CheckConstraint(condition=~Q(product_id=""), name="block_product_given"),
            models.UniqueConstraint(
                fields=["product_id", "surface"],
                condition=Q(closed_at=None, ends_at=None),
                name="block_one_without_end",
            ),
        ]
        indexes: ClassVar = _product_indexes("block")

    def __str__(self) -> str:
        return f"block {self.pk} of {self.product_id}"

    def get_absolute_url(self) -> str:
        return reverse("overrides-block", args=[self.pk])


class Boost(ProductOverride):
    """A product whose score is multiplied for a limited time."""

    kind = Kind.BOOST
    factor = models.FloatField()

    class Meta(ProductOverride.Meta):
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(ends_at__gt=F("starts_at")), name="boost_ends_after_start"),
            models.CheckConstraint(condition=Q(ends_at__isnull=False), name="boost_has_an_end"),
            models.CheckConstraint(
                condition=Q(ends_at__lte=F("starts_at") + timedelta(days=BOOST_MAX_DAYS)),
                name="boost_within_90_days",
            ),
            models.CheckConstraint(
                condition=Q(factor__gte=FACTOR_MIN, factor__lte=FACTOR_MAX), name="boost_factor_range"
            ),
            models.CheckConstraint(condition=~Q(product_id=""), name="boost_product_given"),
        ]
        indexes: ClassVar = _product_indexes("boost")

    def __str__(self) -> str:
        return f"boost {self.pk} of {self.product_id}"

    def get_absolute_url(self) -> str:
        return reverse("overrides-boost", args=[self.pk])


class OptOut(Override):
    """A customer who told us not to personalise, train or share. The raw customer ID is stored nowhere."""

    kind = Kind.OPT_OUT
    customer_key = models.CharField(max_length=32)
    # Which CUSTOMER_KEY made the pseudonym.
    key_version = models.PositiveSmallIntegerField(default=1)
    personalisation = models.BooleanField()
    training = models.BooleanField()
    sharing = models.BooleanField()
    channel = models.CharField(max_length=10, choices=Channel)
    received_at = models.DateTimeField()
    due_on = models.DateField()

    class Meta(Override.Meta):
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["customer_key"], condition=Q(closed_at=None), name="opt_out_one_per_customer"
            ),
            models.CheckConstraint(
                condition=Q(personalisation=True) | Q(training=True) | Q(sharing=True),
                name="opt_out_has_a_purpose",
            ),
            models.CheckConstraint(condition=~Q(customer_key=""), name="opt_out_customer_given"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["customer_key", "-id"], name="opt_out_customer"),
            # The clock: what is due next.
            models.Index(fields=["due_on", "id"], condition=Q(closed_at=None), name="opt_out_due"),
        ]

    def __str__(self) -> str:
        return f"opt-out {self.pk}"

    def get_absolute_url(self) -> str:
        return reverse("overrides-opt-out", args=[self.pk])

    @property
    def purposes(self) -> list[str]:
        """The purposes the customer objects to, in the order of `Purpose`."""
        return [purpose for purpose in Purpose.values if getattr(self, purpose)]
