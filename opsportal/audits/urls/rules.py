from django.urls import path

from opsportal.audits.views import rules

urlpatterns = [
    path("audits/rules/", rules.rules_list, name="audits-rules"),
    path("audits/rules/new/", rules.new, name="audits-rule-new"),
    path("audits/rules/<int:rule_id>/", rules.rule, name="audits-rule"),
    path("audits/rules/<int:rule_id>/edit/", rules.edit, name="audits-rule-edit"),
    path("audits/rules/<int:rule_id>/examples/", rules.examples, name="audits-rule-examples"),
    path("audits/rules/<int:rule_id>/preview/", rules.preview, name="audits-rule-preview"),
    path("audits/rules/<int:rule_id>/apply/", rules.apply, name="audits-rule-apply"),
    path("audits/rules/<int:rule_id>/decide/", rules.decide, name="audits-rule-decide"),
    path("audits/rules/<int:rule_id>/revert/", rules.revert, name="audits-rule-revert"),
    path("audits/rules/<int:rule_id>/retire/", rules.retire, name="audits-rule-retire"),
]
