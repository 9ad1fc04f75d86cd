"""Addresses of the REST API."""

from django.urls import path

from opsportal.predictions.api import views

urlpatterns = [
    path("predictions", views.PredictionsView.as_view(), name="api-predictions"),
    path("predictions/search", views.PredictionSearchView.as_view(), name="api-predictions-search"),
    path("predictions/<str:prediction_id>", views.PredictionView.as_view(), name="api-prediction"),
]
