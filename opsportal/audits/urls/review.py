from django.urls import path

from opsportal.audits.views import adjudicate, review

urlpatterns = [
    path("review/", review.review, name="audits-review"),
    path("review/next/", review.next_items, name="audits-review-next"),
    path("review/answer/", review.answer, name="audits-review-answer"),
    path("review/anyway/", review.send_anyway, name="audits-review-anyway"),
    path("review/skip/", review.skip, name="audits-review-skip"),
    path("review/undo/", review.undo, name="audits-review-undo"),
    path("review/reveal/", review.reveal, name="audits-review-reveal"),
    path("review/renew/", review.renew, name="audits-review-renew"),
    path("review/release/", review.release, name="audits-review-release"),
    path("review/decide/", adjudicate.adjudicate, name="audits-adjudicate"),
    path("review/decide/next/", adjudicate.next_disputes, name="audits-adjudicate-next"),
    path("review/decide/answer/", adjudicate.decide, name="audits-adjudicate-answer"),
    path("review/decide/undo/", adjudicate.undo, name="audits-adjudicate-undo"),
    path("review/decide/reveal/", adjudicate.reveal, name="audits-adjudicate-reveal"),
]
