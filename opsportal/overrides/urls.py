from django.urls import path, register_converter

from opsportal.overrides.views import changes, exports, imports, opt_outs, product_rules, submissions
from opsportal.overrides.views.kinds import KindConverter

register_converter(KindConverter, "kind")

urlpatterns = [
    path("blocks/", product_rules.blocks, name="overrides-blocks"),
    path("blocks/new/", product_rules.block_new, name="overrides-block-new"),
    path("blocks/<int:pk>/", product_rules.block, name="overrides-block"),
    path("boosts/", product_rules.boosts, name="overrides-boosts"),
    path("boosts/new/", product_rules.boost_new, name="overrides-boost-new"),
    path("boosts/<int:pk>/", product_rules.boost, name="overrides-boost"),
    path("opt-outs/", opt_outs.opt_outs, name="overrides-opt-outs"),
    path("opt-outs/find/", opt_outs.find, name="overrides-opt-out-find"),
    path("opt-outs/new/", opt_outs.opt_out_new, name="overrides-opt-out-new"),
    path("opt-outs/<int:pk>/", opt_outs.opt_out, name="overrides-opt-out"),
    path("<kind:kind>/bulk/", changes.bulk, name="overrides-bulk"),
    path("<kind:kind>/export/", exports.overrides, name="overrides-export"),
    path("import/", imports.import_file, name="overrides-import"),
    path("submissions/", submissions.submissions, name="overrides-submissions"),
    path("submissions/export/", exports.submissions, name="overrides-submissions-export"),
    path("submissions/<int:pk>/", submissions.submission, name="overrides-submission"),
    path("submissions/<int:pk>/apply/", submissions.apply, name="overrides-submission-apply"),
    path("submissions/<int:pk>/approve/", submissions.approve, name="overrides-submission-approve"),
    path("submissions/<int:pk>/cancel/", submissions.cancel, name="overrides-submission-cancel"),
    path("submissions/<int:pk>/delivery/", submissions.delivery, name="overrides-submission-delivery"),
    path("submissions/<int:pk>/drop/", submissions.drop, name="overrides-submission-drop"),
    path("submissions/<int:pk>/edit/", submissions.edit, name="overrides-submission-edit"),
    path("submissions/<int:pk>/progress/", submissions.progress, name="overrides-submission-progress"),
    path("submissions/<int:pk>/reject/", submissions.reject, name="overrides-submission-reject"),
    path("submissions/<int:pk>/retry/", submissions.retry, name="overrides-submission-retry"),
    path("submissions/<int:pk>/undo/", submissions.undo, name="overrides-submission-undo"),
]
