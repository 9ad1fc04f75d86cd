"""Addresses of the pages."""

from django.urls import path

from opsportal.explanations.views import what_if

urlpatterns = [
    path("<str:prediction_id>/what-if/", what_if.what_if, name="explain-what-if"),
]
