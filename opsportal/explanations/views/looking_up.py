"""Look predictions up: by an address that can be shared, or by a customer, who is never named in one."""

from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from opsportal.accounts.access import needs
from opsportal.core.errors import Invalid
from opsportal.core.http import Request
from opsportal.explanations.forms import CustomerForm, LookUpForm
from opsportal.explanations.selectors.looking_up import PAGE_SIZE, TOGETHER_MAX, Found, listed
from opsportal.predictions.selectors import find_predictions
from opsportal.predictions.services.looking_up import look_up as look_up_recorded


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter that is on, and the look-up without it."""

    label: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpPage:
    """The two forms, and what was found. rows: None before anything was asked for.

    asked: the form that was sent. next: the cursor of the next page, or None.
    """

    form: LookUpForm
    customer_form: CustomerForm
    by_customer: bool
    chips: list[Chip]
    rows: list[Found] | None
    next: str | None
    is_later_page: bool
    together_max: int = TOGETHER_MAX

    @property
    def asked(self) -> LookUpForm:
        return self.customer_form if self.by_customer else self.form

    @property
    def summary(self) -> str:
        """How many are shown, above the table."""
        n = len(self.rows or ())
        words = f"{n:,} prediction{'' if n == 1 else 's'}"
        if self.next or self.is_later_page:
            return f"{words} on this page, newest first"
        return f"{words}, newest first" if n > 1 else words


@sensitive_post_parameters("customer_id")
@require_http_methods(["GET", "HEAD", "POST"])
@needs("predictions.view")
def look_up(request: Request) -> HttpResponse:
    """GET by anything but a customer; POST by a customer. Who looked for what is recorded first."""
    if request.method == "POST":
        form: LookUpForm = CustomerForm(request.POST, auto_id="customer_%s")
        cursor = request.POST.get("cursor")
    else:
        form, cursor = LookUpForm(request.GET), request.GET.get("cursor")
    if not form.is_valid():
        return _page(request, form, status=400)
    if form.is_empty:
        return _page(request, LookUpForm())
    wanted = form.wanted()
    if wanted.prediction_id and (exact := find_predictions(wanted).first()):
        return redirect(exact)
    try:
        found = look_up_recorded(actor=request.user, wanted=wanted, cursor=cursor, size=PAGE_SIZE)
    except Invalid as error:
        form.add_error(None, error.message)
        return _page(request, form, status=400)
    return _page(request, form, rows=listed(found.results), following=found.next, is_later=bool(cursor))


def _page(
    request: Request,
    form: LookUpForm,
    *,
    rows: list[Found] | None = None,
    following: str | None = None,
    is_later: bool = False,
    status: int = 200,
) -> HttpResponse:
    by_customer = isinstance(form, CustomerForm)
    page = LookUpPage(
        form=LookUpForm() if by_customer else form,
        customer_form=form if isinstance(form, CustomerForm) else CustomerForm(auto_id="customer_%s"),
        by_customer=by_customer,
        chips=[Chip(words, _without(request, name)) for name, words in form.chips()]
        if rows is not None and not by_customer
        else [],
        rows=rows,
        next=following,
        is_later_page=is_later,
    )
    return render(request, "explanations/look_up.html", {"page": page}, status=status)


def _without(request: Request, name: str) -> str:
    query = request.GET.copy()
    for gone in (name, "cursor"):
        query.pop(gone, None)
    return f"{request.path}?{query.urlencode()}" if query else request.path
