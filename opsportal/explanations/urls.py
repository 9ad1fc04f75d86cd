"""Addresses of the pages."""

from django.urls import path

from opsportal.explanations.views import (
    alternatives,
    comparing,
    letters,
    looking_up,
    pages,
    second_opinion,
    stacks,
    what_if,
)

urlpatterns = [
    path("", looking_up.look_up, name="explain"),
    # A prediction cannot have the ID `together`.
    path("together/", stacks.together, name="explain-together"),
    path("together/<int:stack_id>/", stacks.stack, name="explain-stack"),
    path("<str:prediction_id>/", pages.prediction, name="explain-prediction"),
    path("<str:prediction_id>/again/", pages.again, name="explain-again"),
    path("<str:prediction_id>/alternatives/", alternatives.alternatives, name="explain-alternatives"),
    path("<str:prediction_id>/compare/", comparing.compare, name="explain-compare"),
    path("<str:prediction_id>/copied/", pages.copied, name="explain-copied"),
    path("<str:prediction_id>/letter/", letters.letter, name="explain-letter"),
    path("<str:prediction_id>/progress/", pages.progress, name="explain-progress"),
    path("<str:prediction_id>/second-opinion/", second_opinion.opinion, name="explain-second-opinion"),
    path("<str:prediction_id>/what-if/", what_if.what_if, name="explain-what-if"),
]
