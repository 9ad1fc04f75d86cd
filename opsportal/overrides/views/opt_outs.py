"""Opt-outs: the list, the look-up by customer, the form, and the page of one."""

from dataclasses import dataclass

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from opsportal.accounts.access import needs
from opsportal.core.components import Delivery, Entry
from opsportal.core.http import Request
from opsportal.overrides import services
from opsportal.overrides.forms import ChangeForm, CustomerForm
from opsportal.overrides.models import Action, Kind, OptOut
from opsportal.overrides.selectors import details
from opsportal.overrides.selectors.phases import Badge, Phase, opt_out_clock
from opsportal.overrides.selectors.wording import shown_target
from opsportal.overrides.views.drafting import new_overrides
from opsportal.overrides.views.kinds import PAGES, KindPages
from opsportal.overrides.views.listing import overrides_list
from opsportal.predictions.identifiers import customer_problem

TEMPLATE = "overrides/opt_outs.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class OptOutPage:
    """One opt-out: what the customer objects to, the evidence, the clock, and the proof.

    customer: the short key. history: every opt-out of this customer, this one among them.
    """

    pages: KindPages
    row: OptOut
    customer: str
    badge: Badge
    clock: str
    delivery: Delivery
    timeline: list[Entry]
    history: list[tuple[OptOut, Badge]]
    withdraw_form: ChangeForm | None


@require_safe
@needs("optouts.view")
def opt_outs(request: Request) -> HttpResponse:
    return overrides_list(request, Kind.OPT_OUT, TEMPLATE, find_form=CustomerForm(), sentence="")


@sensitive_post_parameters("customer_id")
@require_POST
@needs("optouts.view")
def find(request: Request) -> HttpResponse:
    """To the opt-out of the customer whose ID was typed; that somebody looked is recorded first.

    The ID stands in the request's body only.
    """
    form = CustomerForm(request.POST)
    if form.is_valid() and (problem := customer_problem(form.cleaned_data["customer_id"])):
        form.add_error("customer_id", problem)
    if not form.is_valid():
        return overrides_list(request, Kind.OPT_OUT, TEMPLATE, status=400, find_form=form, sentence="")
    customer_id = form.cleaned_data["customer_id"]
    found = services.look_up_customer(actor=request.user, customer_id=customer_id)
    if found.opt_out:
        return redirect(found.opt_out)
    sentence = "This customer has not opted out."
    return overrides_list(request, Kind.OPT_OUT, TEMPLATE, find_form=form, sentence=sentence)


@sensitive_post_parameters("customer_ids")
@require_http_methods(["GET", "HEAD", "POST"])
@needs("optouts.write")
def opt_out_new(request: Request) -> HttpResponse:
    return new_overrides(request, Kind.OPT_OUT)


@require_safe
@needs("optouts.view")
def opt_out(request: Request, pk: int) -> HttpResponse:
    row: OptOut | None = details.override(Kind.OPT_OUT, pk)
    if row is None:
        raise Http404
    pages = PAGES[Kind.OPT_OUT]
    badge = details.override_badge(row)
    changeable = badge.kind != Phase.ENDED and pages.allows(request.user, Action.WITHDRAW)
    touching = list(details.submissions_of(row).select_related("revision")[: details.SHOWN_EVENTS])
    page = OptOutPage(
        pages=pages,
        row=row,
        customer=shown_target(Kind.OPT_OUT, row.customer_key),
        badge=badge,
        clock=opt_out_clock(row),
        delivery=details.override_delivery(row, touching),
        timeline=details.entries(touching),
        history=details.opt_outs_of(row.customer_key),
        withdraw_form=ChangeForm(kind=Kind.OPT_OUT, action=Action.WITHDRAW) if changeable else None,
    )
    return render(request, "overrides/opt_out.html", {"page": page})
