"""What the four lists share: the filters that are on, and the words above the table."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse, QueryDict
from django.shortcuts import render

from opsportal.core.http import Request
from opsportal.overrides.forms import FILTER_FORMS, FilterForm
from opsportal.overrides.models import Action, Kind
from opsportal.overrides.selectors import lists
from opsportal.overrides.selectors.wording import count_of
from opsportal.overrides.views.kinds import PAGES, KindPages


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter that is on, and the list without it."""

    label: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OverridesPage:
    """The list of blocks, boosts or opt-outs.

    rows: what `lists.listed` says. next: the cursor of the next page, or None. total: how many match when
    all of them may be changed at once, else None. query: the address's filters, for the bulk form.
    """

    pages: KindPages
    filter_form: FilterForm
    chips: list[Chip]
    is_filtered: bool
    rows: list[lists.Listed]
    next: str | None
    summary: str
    total: int | None
    query: str
    sorts_by_end: bool
    may_add: bool
    may_extend: bool
    may_withdraw: bool
    extra: dict[str, Any]

    @property
    def export_url(self) -> str:
        return f"{self.pages.export_url}?{self.query}" if self.query else self.pages.export_url

    @property
    def may_change(self) -> bool:
        return self.may_extend or self.may_withdraw


def overrides_list(
    request: Request, kind: Kind, template: str, *, status: int = 200, **extra: Any
) -> HttpResponse:
    """One page of the list of this kind."""
    pages = PAGES[kind]
    form = FILTER_FORMS[kind](request.GET)
    filters = form.filters()
    cursor = request.GET.get("cursor")
    found = lists.overrides_page(kind, filters, user=request.user, cursor=cursor)
    summary, total = _summary(request, pages, filters, len(found.results), found.next, cursor)
    page = OverridesPage(
        pages=pages,
        filter_form=form,
        chips=chips(request, form),
        is_filtered=bool(form.chips()),
        rows=lists.listed(found.results),
        next=found.next,
        summary=summary,
        total=total,
        query=request.GET.urlencode(),
        sorts_by_end=filters.state not in {"ended", "all"},
        may_add=pages.allows(request.user, Action.ADD),
        may_extend=kind != Kind.OPT_OUT and pages.allows(request.user, Action.EXTEND),
        may_withdraw=pages.allows(request.user, Action.WITHDRAW),
        extra=extra,
    )
    return render(request, template, {"page": page}, status=status)


def chips(request: Request, form: FilterForm) -> list[Chip]:
    """The filters that are on; each leads to the list without it."""
    return [Chip(words, _without(request, name)) for name, words in form.chips()]


def _without(request: Request, *names: str) -> str:
    query: QueryDict = request.GET.copy()
    for name in (*names, "cursor"):
        query.pop(name, None)
    return f"{request.path}?{query.urlencode()}" if query else request.path


def _summary(
    request: Request,
    pages: KindPages,
    filters: lists.Filters,
    shown: int,
    following: str | None,
    cursor: str | None,
) -> tuple[str, int | None]:
    """Words such as “50 of 1,204 blocks”; the number only where it is known without a long count."""
    if not following and not cursor:
        return count_of(shown, pages.noun), None
    tally = lists.tally(pages.kind, filters, user=request.user)
    return f"{shown:,} of {tally} {pages.plural}", None if tally.more else tally.number
