"""The review queue: one row per required review, what people answered, and what they would not answer."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from opsportal.audits.models.runs import Item, Run


class Review(models.Model):
    """One review that an item needs. Claimed by one person at a time, under a lease with a token."""

    class Kind(models.TextChoices):
        LABEL = "label", "Label"
        ADJUDICATION = "adjudication", "Decision between answers"

    class State(models.TextChoices):
        OPEN = "open", "Open"
        LEASED = "leased", "In somebody's hands"
        DONE = "done", "Done"
        VOID = "void", "No longer needed"

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="reviews", db_index=False)
    item = models.ForeignKey(Item, on_delete=models.CASCADE, related_name="reviews", db_index=False)
    number = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=12, choices=Kind, default=Kind.LABEL)
    state = models.CharField(max_length=8, choices=State, default=State.OPEN)
    # Asked for because the first answer differs from the model's: such items are no random ones.
    second_look = models.BooleanField(default=False)
    # Lower comes first; within a priority the order is by chance.
    priority = models.SmallIntegerField(default=0)
    shuffle = models.BigIntegerField()
    holder = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
    )
    token = models.CharField(max_length=32, blank=True)
    # By the database's clock. Token and holder outlive the lease until somebody else takes the review.
    leased_at = models.DateTimeField(null=True, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["item", "number"], name="review_number_once"),
            models.UniqueConstraint(
                fields=["item", "holder"], condition=Q(state="leased"), name="review_held_once_per_person"
            ),
            models.CheckConstraint(
                condition=Q(state="leased", holder__isnull=False, leased_until__isnull=False) & ~Q(token="")
                | ~Q(state="leased"),
                name="review_leased_by_somebody",
            ),
        ]
        indexes: ClassVar = [
            # The next one of a run.
            models.Index(
                fields=["run", "kind", "priority", "shuffle"], condition=Q(state="open"), name="review_next"
            ),
            # What somebody holds, and which leases have expired.
            models.Index(
                fields=["holder", "leased_until"], condition=Q(state="leased"), name="review_leased"
            ),
        ]

    def __str__(self) -> str:
        return f"review {self.number} of item {self.item_id}"


class Label(models.Model):
    """What one person said about one item. Never changed: who thinks better of it adds another."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="+", db_index=False)
    item = models.ForeignKey(Item, on_delete=models.CASCADE, related_name="answers", db_index=False)
    review = models.ForeignKey(Review, on_delete=models.CASCADE, related_name="answers")
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    # The random part of the review's token, so that the same answer sent twice is one.
    token = models.CharField(max_length=32)
    # Empty: cannot tell.
    value = models.CharField(max_length=100, blank=True)
    note = models.CharField(max_length=500, blank=True)
    # Whether the person could not see the model's answer or others' answers.
    blind = models.BooleanField(default=True)
    # A decision between answers, by an audit lead.
    adjudicates = models.BooleanField(default=False)
    # From claim to answer, by the database's clock.
    seconds = models.FloatField()
    at = models.DateTimeField()
    # Undone, or replaced by a later one.
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["item", "person"], condition=Q(withdrawn_at=None), name="label_once_per_person"
            ),
            models.UniqueConstraint(fields=["token"], name="label_token_once"),
        ]
        indexes: ClassVar = [
            # A person's last twenty, their pace, and what they did today.
            models.Index(fields=["person", "-at"], name="label_of_person"),
            # All of a run, for its results.
            models.Index(fields=["run", "id"], name="label_of_run"),
        ]

    def __str__(self) -> str:
        return f"label of item {self.item_id}"


class Decline(models.Model):
    """A person passed an item over; they are not asked again."""

    class Reason(models.TextChoices):
        SKILL = "skill", "Not my language or field"
        BROKEN = "broken", "Something is missing or broken"
        UPSETTING = "upsetting", "I would rather not read this"
        OTHER = "other", "Another reason"

    item = models.ForeignKey(Item, on_delete=models.CASCADE, related_name="declines", db_index=False)
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=10, choices=Reason)
    note = models.CharField(max_length=500, blank=True)
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["item", "person"], name="decline_once"),
        ]

    def __str__(self) -> str:
        return f"item {self.item_id} declined"
