"""Addresses of the REST API."""

from django.urls import path

from opsportal.explanations.api import views

urlpatterns = [
    path(
        "predictions/<str:prediction_id>/explanation",
        views.ExplanationView.as_view(),
        name="api-prediction-explanation",
    ),
]
