"""Look a customer up, which leaves a trace."""

from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q

from opsportal.accounts.models import User
from opsportal.core.errors import Forbidden, Invalid
from opsportal.events import services as events
from opsportal.events.models import Revision
from opsportal.overrides.models import Kind, OptOut, State, Submission
from opsportal.overrides.selectors.lists import find_opt_out
from opsportal.overrides.selectors.wording import shown_target
from opsportal.predictions.identifiers import customer_problem
from opsportal.predictions.pseudonyms import customer_key


@dataclass(frozen=True, slots=True)
class CustomerFacts:
    """What we know about a customer: the opt-out in force or the last one withdrawn, and if it is live.

    unfinished: a submission that would change this and is not carried out yet.
    """

    pseudonym: str
    opt_out: OptOut | None
    live: bool
    unfinished: Submission | None

    @property
    def in_force(self) -> bool:
        """Whether the customer has opted out and not withdrawn it."""
        return self.opt_out is not None and self.opt_out.closed_at is None


def look_up_customer(*, actor: User, customer_id: str) -> CustomerFacts:
    """What the customer opted out of. Who looked is recorded first, with the pseudonym and never the ID.

    Raises Forbidden without `optouts.view`, and Invalid for what cannot be a customer ID.
    """
    if not actor.can("optouts.view"):
        raise Forbidden("You may not look customers up.")
    if problem := customer_problem(customer_id):
        raise Invalid.at("customer_id", "invalid", problem)
    key = customer_key(customer_id)
    with transaction.atomic():
        events.record(
            actor=actor,
            verb="customer.looked_up",
            subject_type="customer",
            subject_id=key,
            summary=f"Looked up customer {shown_target(Kind.OPT_OUT, key)}",
        )
    opt_out = find_opt_out(key)
    pending = opt_out is not None and Revision.objects.filter(number=opt_out.revision, live_at=None).exists()
    return CustomerFacts(
        shown_target(Kind.OPT_OUT, key),
        opt_out,
        live=not pending,
        unfinished=_unfinished(actor, key, opt_out),
    )


def _unfinished(actor: User, key: str, opt_out: OptOut | None) -> Submission | None:
    """The newest submission about the customer that somebody has asked for, or that the person drafted."""
    about = Q(items__target=key)
    if opt_out is not None:
        about |= Q(items__override_id=opt_out.pk)
    asked = Q(state__in=[State.WAITING, State.APPLYING, State.FAILED]) | Q(state=State.DRAFT, author=actor)
    found = Submission.objects.filter(about, asked, kind=Kind.OPT_OUT).select_related(
        "author", "surface", "revision"
    )
    return found.order_by("-id").first()
