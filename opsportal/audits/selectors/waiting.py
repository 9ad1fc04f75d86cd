"""What in the audits waits for a person."""

from dataclasses import dataclass

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from opsportal.accounts.models import User
from opsportal.audits.models import Application, Item, Label, Review, Run, Threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What one person can do now. to_label: open runs with something for them. disputes: runs in which
    people disagree. to_close: open runs with nothing left to label. failed: runs that could not be drawn.
    """

    to_label: list[Run]
    disputes: list[Run]
    to_close: list[Run]
    failed: list[Run]
    applications: list[Application]
    thresholds: list[Threshold]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.count or self.failed)

    @property
    def count(self) -> int:
        """A run to label counts once, however much is left in it; a dispute or a decision counts each."""
        return (
            len(self.to_label)
            + sum(run.to_adjudicate for run in self.disputes)
            + len(self.to_close)
            + len(self.applications)
            + len(self.thresholds)
        )


# Newer failures are worth a word; older ones have been seen.
FAILED_SHOWN = 3


def waiting_for(user: User) -> int:
    """How many things wait for this person, for the rail. At most three queries over what is open."""
    return _waiting(user, failed=False).count


def waiting_on(user: User) -> Waiting:
    """The things themselves. At most four queries."""
    return _waiting(user, failed=True)


def _waiting(user: User, *, failed: bool) -> Waiting:
    leads, labels = user.can("audits.lead"), user.can("audits.label")
    runs: list[Run] = []
    if leads or labels:
        runs = list(open_runs(user, labels=labels, leads=leads))
    applications: list[Application] = []
    thresholds: list[Threshold] = []
    if user.can("audits.approve"):
        applications = list(
            Application.objects.filter(state=Application.State.WAITING)
            .exclude(author=user.pk)
            .select_related("rule__model", "author")
        )
        thresholds = list(
            Threshold.objects.filter(state=Threshold.State.WAITING)
            .exclude(author=user.pk)
            .select_related("version__model", "author")
        )
    return Waiting(
        to_label=[run for run in runs if labels and run.has_work],  # type: ignore[attr-defined]  # annotated
        disputes=[run for run in runs if leads and run.to_adjudicate],
        to_close=[run for run in runs if leads and run.items and not run.has_unsettled],  # type: ignore[attr-defined]
        failed=list(
            Run.objects.filter(state=Run.State.FAILED).select_related("model").order_by("-id")[:FAILED_SHOWN]
        )
        if failed and leads
        else [],
        applications=applications,
        thresholds=thresholds,
    )


def open_runs(user: User, *, labels: bool, leads: bool) -> "QuerySet[Run]":
    """Open runs, oldest first, with `has_work` for this person, and with `has_unsettled` items.

    has_work: something that this person holds or may claim. One query.
    """
    mine = Label.objects.filter(item=OuterRef("item"), person=user.pk, withdrawn_at=None)
    declined = Q(item__declines__person=user.pk)
    free = Q(state=Review.State.OPEN) | Q(state=Review.State.LEASED, leased_until__lt=Now())
    held = Q(state=Review.State.LEASED, holder=user.pk)
    reviewers = Run.reviewers.through.objects.filter(run=OuterRef("pk"))
    work = (
        Review.objects.filter(free | held, run=OuterRef("pk"), kind=Review.Kind.LABEL)
        .exclude(declined)
        .filter(~Exists(mine))
    )
    rows = Run.objects.filter(state=Run.State.OPEN).select_related("model").order_by("id")
    if labels:
        asked = ~Exists(reviewers) | Exists(reviewers.filter(user=user.pk))
        rows = rows.annotate(has_work=asked & Exists(work))
    if leads:
        unsettled = Item.objects.filter(run=OuterRef("pk"), state__in=[Item.State.OPEN, Item.State.DISPUTED])
        rows = rows.annotate(has_unsettled=Exists(unsettled))
    return rows
