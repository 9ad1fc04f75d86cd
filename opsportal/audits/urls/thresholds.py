"""Addresses of thresholds and of targeted runs."""

from django.urls import URLPattern, path

from opsportal.audits.views import targeting, thresholds

urlpatterns: list[URLPattern] = [
    path("targeted/new/", targeting.new, name="audits-target-new"),
    path("thresholds/", thresholds.thresholds, name="audits-thresholds"),
    path("thresholds/new/", thresholds.new, name="audits-threshold-new"),
    path("thresholds/<int:threshold_id>/", thresholds.threshold, name="audits-threshold"),
    path("thresholds/<int:threshold_id>/ask/", thresholds.ask, name="audits-threshold-ask"),
    path("thresholds/<int:threshold_id>/decide/", thresholds.decide, name="audits-threshold-decide"),
    path("thresholds/<int:threshold_id>/delivery/", thresholds.delivery, name="audits-threshold-delivery"),
    path("thresholds/<int:threshold_id>/undo/", thresholds.undo, name="audits-threshold-undo"),
]
