from django.urls import path

from opsportal.serving.api import views

urlpatterns = [
    path("decisions", views.decisions, name="api-decisions"),
    path("decisions/explain", views.explain_decision, name="api-decisions-explain"),
    path("rank", views.rank_items, name="api-rank"),
    path("serving/head", views.head, name="api-serving-head"),
    path("serving/thresholds", views.thresholds, name="api-serving-thresholds"),
]
