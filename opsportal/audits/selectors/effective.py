"""Which corrections count: those of people, and those of rules whose application stands."""

from django.db.models import Q, QuerySet

from opsportal.audits.models import Application, Correction, Provenance

# A rule's corrections are final while its acceptance sample is looked at, and after that has passed.
STANDING = (Application.State.VERIFYING, Application.State.ACCEPTED)


def effective_corrections() -> QuerySet[Correction]:
    """Corrections that hold now, newest first: not reverted, and of no rule that is only half applied."""
    of_rule = Q(provenance=Provenance.RULE)
    return Correction.objects.filter(~of_rule | Q(application__state__in=STANDING), reverted_at=None)
