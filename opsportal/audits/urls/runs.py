"""Addresses of runs, of what they say, and of what can be taken along."""

from django.urls import URLPattern, path

from opsportal.audits.views import comparing, downloads, referring, runs

urlpatterns: list[URLPattern] = [
    path("", runs.overview, name="audits"),
    path("compare/", comparing.compare, name="audits-compare"),
    path("corrections/", downloads.corrections, name="audits-corrections"),
    path("corrections/export/", downloads.corrections_export, name="audits-corrections-export"),
    path("refer/<str:prediction_id>/", referring.send_in, name="audits-refer"),
    path("runs/<int:run_id>/", runs.run, name="audits-run"),
    path("runs/<int:run_id>/cancel/", runs.cancel, name="audits-run-cancel"),
    path("runs/<int:run_id>/close/", runs.close, name="audits-run-close"),
    path("runs/<int:run_id>/export/", downloads.want_export, name="audits-run-export"),
    path("runs/<int:run_id>/export/progress/", downloads.export_progress, name="audits-run-export-progress"),
    path("runs/<int:run_id>/figures/", downloads.figures_of_run, name="audits-run-figures"),
    path("runs/<int:run_id>/items/", runs.items, name="audits-run-items"),
    path("runs/<int:run_id>/labels/", downloads.labels_of_run, name="audits-run-labels"),
    path("runs/<int:run_id>/people/", runs.people, name="audits-run-people"),
    path("runs/<int:run_id>/progress/", runs.progress, name="audits-run-progress"),
]
