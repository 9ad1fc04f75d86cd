"""What a request says, checked, and the two answers that several views give."""

import re
from typing import Any

from django.urls import reverse
from rest_framework.request import Request
from rest_framework.response import Response

from opsportal.accounts.authentication import caller
from opsportal.core.errors import Invalid
from opsportal.overrides.api import serializers as shapes
from opsportal.overrides.models import State, Submission
from opsportal.overrides.selectors import answers
from opsportal.predictions.pseudonyms import request_digest

IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,100}", re.ASCII)


def idempotency(request: Request) -> dict[str, Any]:
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return {}
    if not IDEMPOTENCY_KEY.fullmatch(key):
        raise Invalid.at(
            "Idempotency-Key", "invalid", "An Idempotency-Key has 1 to 100 visible ASCII characters."
        )
    return {"idempotency_key": key, "request_digest": request_digest(request.path, dict(request.data))}


def receipt(submission: Submission) -> Response:
    body = {
        "submission": submission.pk,
        "state": submission.state,
        "revision": submission.revision_id,
        "items": answers.outcomes(submission),
    }
    status = 201 if submission.state == State.APPLIED else 202
    location = reverse("api-submission", args=[submission.pk])
    return Response(shapes.ReceiptSerializer(body).data, status=status, headers={"Location": location})


def detail(request: Request, submission_id: int) -> Response:
    found = answers.submission_answer(submission_id, user=caller(request))
    return Response(shapes.SubmissionDetailSerializer(found).data)
