"""Blocks and boosts: their lists, their forms, and the page of one."""

from dataclasses import dataclass

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_safe

from opsportal.accounts.access import needs
from opsportal.core.components import Delivery, Entry
from opsportal.core.http import Request
from opsportal.overrides.forms import ChangeForm
from opsportal.overrides.models import Action, Block, Boost, Kind
from opsportal.overrides.selectors import details
from opsportal.overrides.selectors.phases import Badge, Phase
from opsportal.overrides.views.drafting import new_overrides
from opsportal.overrides.views.kinds import PAGES, KindPages
from opsportal.overrides.views.listing import overrides_list


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductRulePage:
    """One block or boost.

    delivery: how far its newest change has come. rules: every rule of the product, this one among them.
    extend_form, withdraw_form: None when the person may not, or when nothing is left to change.
    """

    pages: KindPages
    row: Block | Boost
    badge: Badge
    delivery: Delivery
    rules: list[details.Rule]
    standing: details.Rule | None
    timeline: list[Entry]
    extend_form: ChangeForm | None
    withdraw_form: ChangeForm | None
    may_block: bool


@require_safe
@needs("overrides.view")
def blocks(request: Request) -> HttpResponse:
    return overrides_list(request, Kind.BLOCK, "overrides/product_rules.html")


@require_safe
@needs("overrides.view")
def boosts(request: Request) -> HttpResponse:
    return overrides_list(request, Kind.BOOST, "overrides/product_rules.html")


@require_http_methods(["GET", "HEAD", "POST"])
@needs("blocks.write")
def block_new(request: Request) -> HttpResponse:
    return new_overrides(request, Kind.BLOCK)


@require_http_methods(["GET", "HEAD", "POST"])
@needs("boosts.write")
def boost_new(request: Request) -> HttpResponse:
    return new_overrides(request, Kind.BOOST)


@require_safe
@needs("overrides.view")
def block(request: Request, pk: int) -> HttpResponse:
    return _product_rule(request, Kind.BLOCK, pk)


@require_safe
@needs("overrides.view")
def boost(request: Request, pk: int) -> HttpResponse:
    return _product_rule(request, Kind.BOOST, pk)


def _product_rule(request: Request, kind: Kind, pk: int) -> HttpResponse:
    row: Block | Boost | None = details.override(kind, pk)
    if row is None:
        raise Http404
    pages = PAGES[kind]
    badge = details.override_badge(row)
    rules = details.rules_of(row.product_id, this=row)
    changeable = badge.kind != Phase.ENDED and pages.allows(request.user, Action.EXTEND)
    touching = list(details.submissions_of(row).select_related("revision")[: details.SHOWN_EVENTS])
    page = ProductRulePage(
        pages=pages,
        row=row,
        badge=badge,
        delivery=details.override_delivery(row, touching),
        rules=rules,
        standing=next((rule for rule in rules if rule.is_this), None),
        timeline=details.entries(touching),
        extend_form=_change_form(kind, Action.EXTEND, row) if changeable else None,
        withdraw_form=_change_form(kind, Action.WITHDRAW, row) if changeable else None,
        may_block=kind == Kind.BOOST and request.user.can("blocks.write"),
    )
    return render(request, "overrides/product_rule.html", {"page": page})


def _change_form(kind: Kind, action: Action, row: Block | Boost) -> ChangeForm:
    # Two forms on one page: their fields need ids of their own.
    return ChangeForm(kind=kind, action=action, initial={"ends_at": row.ends_at}, auto_id=f"{action}_%s")
