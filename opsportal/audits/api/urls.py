"""Addresses of the REST API."""

from django.urls import URLPattern, path

from opsportal.audits.api import queue, runs

urlpatterns: list[URLPattern] = [
    path("audits/runs/<int:run_id>", runs.RunView.as_view(), name="api-audit-run"),
    path("audits/runs/<int:run_id>/labels", runs.LabelsView.as_view(), name="api-audit-labels"),
    path("audits/next", queue.NextItemsView.as_view(), name="api-audit-next"),
    path("audits/items/<int:item_id>/label", queue.LabelView.as_view(), name="api-audit-label"),
]
