"""Pages about the serving store; all of them from the database alone, so that they show when the store does not."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from opsportal.accounts.access import needs
from opsportal.core.http import Request


@require_safe
@needs("serving.view")
def serving(request: Request) -> HttpResponse:
    return render(request, "serving/status.html")


@require_safe
@needs("serving.view")
def pill(request: Request) -> HttpResponse:
    return render(request, "components/serving_pill.html")
