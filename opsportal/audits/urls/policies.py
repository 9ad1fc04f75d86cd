from django.urls import URLPattern, path

from opsportal.audits.views import policies

urlpatterns: list[URLPattern] = [
    path("policies/", policies.policies, name="audits-policies"),
    path("policies/new/", policies.new, name="audits-policy-new"),
    path("policies/<int:policy_id>/", policies.policy, name="audits-policy"),
    path("policies/<int:policy_id>/edit/", policies.edit, name="audits-policy-edit"),
    path("policies/<int:policy_id>/draw/", policies.draw, name="audits-policy-draw"),
    path("policies/<int:policy_id>/pause/", policies.pause, name="audits-policy-pause"),
]
