from django.urls import path

from opsportal.audits.views import rules

urlpatterns = [
    path("rules/", rules.rules_list, name="audits-rules"),
    path("rules/new/", rules.new, name="audits-rule-new"),
    path("rules/<int:rule_id>/", rules.rule, name="audits-rule"),
    path("rules/<int:rule_id>/edit/", rules.edit, name="audits-rule-edit"),
    path("rules/<int:rule_id>/examples/", rules.examples, name="audits-rule-examples"),
    path("rules/<int:rule_id>/preview/", rules.preview, name="audits-rule-preview"),
    path("rules/<int:rule_id>/apply/", rules.apply, name="audits-rule-apply"),
    path("rules/<int:rule_id>/decide/", rules.decide, name="audits-rule-decide"),
    path("rules/<int:rule_id>/revert/", rules.revert, name="audits-rule-revert"),
    path("rules/<int:rule_id>/retire/", rules.retire, name="audits-rule-retire"),
]
