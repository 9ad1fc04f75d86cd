"""What audit leads see of the queue: items that nobody is left to label."""

from django.db.models import Exists, OuterRef, Q, QuerySet

from opsportal.accounts.models import User
from opsportal.accounts.permissions import CAPABILITIES
from opsportal.audits.models import Decline, Item, Label, Review, Run


def passed_over(run: Run) -> "QuerySet[Item]":
    """Items with an open review that everybody who reviews this run has declined or answered already.

    Nobody will ever be given them: they wait until somebody else reviews the run, or it is closed.
    One query; it looks only at open items that somebody declined or answered.
    """
    declined = Decline.objects.filter(item=OuterRef("pk"))
    answered = Label.objects.filter(item=OuterRef("pk"), withdrawn_at=None)
    left = (
        reviewers_of(run)
        .filter(~Exists(Decline.objects.filter(item=OuterRef(OuterRef("pk")), person=OuterRef("pk"))))
        .filter(
            ~Exists(
                Label.objects.filter(item=OuterRef(OuterRef("pk")), person=OuterRef("pk"), withdrawn_at=None)
            )
        )
    )
    waiting = Review.objects.filter(
        item=OuterRef("pk"), kind=Review.Kind.LABEL, state__in=[Review.State.OPEN, Review.State.LEASED]
    )
    return Item.objects.filter(
        Exists(declined) | Exists(answered), Exists(waiting), ~Exists(left), run=run, state=Item.State.OPEN
    ).order_by("pk")


def reviewers_of(run: Run) -> "QuerySet[User]":
    """Whoever is asked about this run: those it names, else everybody whose roles include labelling."""
    may = Q(role_grants__role__in=CAPABILITIES["audits.label"])
    named = run.reviewers.filter(is_active=True)
    people = named if named.exists() else User.objects.filter(may, is_active=True)
    return people.distinct().order_by()
