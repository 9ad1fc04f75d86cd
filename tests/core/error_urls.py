"""The portal's addresses, and some that fail in every way a view can."""

from typing import Any, NoReturn

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from rest_framework import serializers
from rest_framework.exceptions import Throttled
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from opsportal.core.api import PortalAPIView, StrictSerializer
from opsportal.core.errors import Conflict, Problem
from opsportal.urls import (  # noqa: F401  Django looks for the handlers here
    handler400,
    handler403,
    handler404,
    handler500,
)
from opsportal.urls import urlpatterns as portal


class Line(StrictSerializer):
    product_id = serializers.CharField(max_length=5)


class Echo(StrictSerializer):
    text = serializers.CharField(required=False, allow_blank=True)
    product_ids = serializers.ListField(child=serializers.CharField(max_length=5), required=False)
    lines = Line(many=True, required=False)


class EchoView(PortalAPIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)

    def post(self, request: Request) -> Response:
        echo = Echo(data=request.data)
        echo.is_valid(raise_exception=True)
        return Response(echo.validated_data)


class ScopedView(PortalAPIView):
    required_scope = {"GET": "overrides:read", "POST": "overrides:write"}
    required_capability = {"GET": "overrides.view", "POST": "blocks.write"}

    def get(self, request: Request) -> Response:
        return Response({"user": request.user.get_username()})

    def post(self, request: Request) -> Response:
        return Response({"user": request.user.get_username()})


class UndeclaredView(PortalAPIView):
    def get(self, request: Request) -> Response:
        return Response({})


FAULTS: dict[str, Exception] = {
    "conflict": Conflict("Too late.", errors=[Problem("revision", "stale", "It is 7 by now.")]),
    "denied": PermissionDenied(),
    "suspicious": SuspiciousOperation("detail for the log"),
    "database": OperationalError("secret host name"),
    "bug": ZeroDivisionError("secret detail"),
}


class FaultView(PortalAPIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)

    def get(self, request: Request, fault: str) -> NoReturn:
        raise Throttled(wait=7) if fault == "throttled" else FAULTS[fault]


def fault_page(request: HttpRequest, fault: str) -> NoReturn:
    raise FAULTS[fault]


@csrf_exempt
def form_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("|".join(f"{name}={value}" for name, value in request.POST.items()))


def csrf_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("saved")


urlpatterns: list[Any] = [
    *portal,
    path("api/v1/test/echo", EchoView.as_view()),
    path("api/v1/test/scoped", ScopedView.as_view()),
    path("api/v1/test/undeclared", UndeclaredView.as_view()),
    path("api/v1/test/faults/<fault>", FaultView.as_view()),
    path("test/faults/<fault>", fault_page),
    path("test/form", form_page),
    path("test/csrf", csrf_page),
]
