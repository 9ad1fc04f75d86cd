"""Pages that gather what needs a person now."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from opsportal.accounts.access import needs, signed_in
from opsportal.core.http import Request


@require_safe
@signed_in
def home(request: Request) -> HttpResponse:
    return render(request, "home/home.html")


@signed_in
def search(request: Request) -> HttpResponse:
    return render(request, "home/home.html")


@require_safe
@needs("activity.view")
def activity(request: Request) -> HttpResponse:
    return render(request, "home/home.html")
