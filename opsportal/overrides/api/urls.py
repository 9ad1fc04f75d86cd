from django.urls import path

from opsportal.overrides.api import views

urlpatterns = [
    path("blocks", views.BlocksView.as_view(), name="api-blocks"),
    path("blocks/<int:override_id>", views.BlockView.as_view(), name="api-block"),
    path("blocks/<int:override_id>/withdraw", views.BlockWithdrawView.as_view(), name="api-block-withdraw"),
    path("blocks/<int:override_id>/extend", views.BlockExtendView.as_view(), name="api-block-extend"),
    path("boosts", views.BoostsView.as_view(), name="api-boosts"),
    path("boosts/<int:override_id>", views.BoostView.as_view(), name="api-boost"),
    path("boosts/<int:override_id>/withdraw", views.BoostWithdrawView.as_view(), name="api-boost-withdraw"),
    path("boosts/<int:override_id>/extend", views.BoostExtendView.as_view(), name="api-boost-extend"),
    path("opt-outs", views.OptOutsView.as_view(), name="api-opt-outs"),
    path("opt-outs/search", views.OptOutSearchView.as_view(), name="api-opt-outs-search"),
    path("opt-outs/<int:override_id>", views.OptOutView.as_view(), name="api-opt-out"),
    path(
        "opt-outs/<int:override_id>/withdraw",
        views.OptOutWithdrawView.as_view(),
        name="api-opt-out-withdraw",
    ),
    path("submissions", views.SubmissionsView.as_view(), name="api-submissions"),
    path("submissions/<int:submission_id>", views.SubmissionView.as_view(), name="api-submission"),
    path(
        "submissions/<int:submission_id>/items",
        views.SubmissionItemsView.as_view(),
        name="api-submission-items",
    ),
    path("submissions/<int:submission_id>/approve", views.ApproveView.as_view(), name="api-approve"),
    path("submissions/<int:submission_id>/reject", views.RejectView.as_view(), name="api-reject"),
    path("submissions/<int:submission_id>/undo", views.UndoView.as_view(), name="api-undo"),
]
