"""Import of a CSV file: read at once, checked by a worker, looked at before it takes effect."""

from dataclasses import dataclass

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from opsportal.accounts.access import needs
from opsportal.core.errors import Forbidden, PortalError
from opsportal.core.http import Request
from opsportal.overrides import services
from opsportal.overrides.forms import IMPORT_FORMS, IntentForm, show_refusal
from opsportal.overrides.models import Action, Kind, Source
from opsportal.overrides.views.kinds import PAGES, KindPages
from opsportal.predictions.identifiers import CSV_MAX_ROWS


@dataclass(frozen=True, slots=True)
class ImportPage:
    """The form for a file. `kinds`: what the person may import; `column`: the column that is read."""

    pages: KindPages
    kinds: list[KindPages]
    form: IntentForm
    column: str
    max_rows: int


@require_http_methods(["GET", "HEAD", "POST"])
@needs("overrides.view")
def import_file(request: Request) -> HttpResponse:
    kinds = [pages for pages in PAGES.values() if pages.allows(request.user, Action.ADD)]
    if not kinds:
        raise Http404
    asked = request.GET.get("kind", kinds[0].kind)
    pages = next((pages for pages in kinds if pages.kind == asked), None)
    if pages is None:
        raise Http404
    form_class = IMPORT_FORMS[pages.kind]
    if request.method != "POST":
        return _page(request, pages, kinds, form_class())
    form = form_class(request.POST, request.FILES)
    if not form.is_valid():
        return _page(request, pages, kinds, form, status=400)
    try:
        submission = services.receive_file(
            actor=request.user,
            intent=form.intent(source=Source.CSV),
            chunks=form.cleaned_data["file"].chunks(),
        )
    except Forbidden:
        raise
    except PortalError as error:
        show_refusal(form, error)
        return _page(request, pages, kinds, form, status=error.status)
    return redirect(submission)


def _page(
    request: Request, pages: KindPages, kinds: list[KindPages], form: IntentForm, *, status: int = 200
) -> HttpResponse:
    column = "customer_id" if pages.kind == Kind.OPT_OUT else "product_id"
    page = ImportPage(pages, kinds, form, column, CSV_MAX_ROWS)
    return render(request, "overrides/import.html", {"page": page}, status=status)
