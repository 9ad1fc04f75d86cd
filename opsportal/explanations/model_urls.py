"""Addresses of the pages about models."""

from django.urls import path

from opsportal.explanations.views import models

urlpatterns = [
    path("", models.models, name="models"),
    path("new/", models.new, name="models-new"),
    path("<slug:name>/<str:version>/", models.version, name="models-version"),
    path("<slug:name>/<str:version>/importance/", models.measure, name="models-measure"),
]
