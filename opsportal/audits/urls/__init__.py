"""Addresses of the pages, a module for each noun."""

from opsportal.audits.urls import policies, review, rules, runs, thresholds

urlpatterns = [
    *runs.urlpatterns,
    *policies.urlpatterns,
    *review.urlpatterns,
    *rules.urlpatterns,
    *thresholds.urlpatterns,
]
