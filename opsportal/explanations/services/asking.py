"""Ask for explanations. A worker computes them; a page waits a moment and then shows that it is at work."""

import hashlib
import json
import time
from collections.abc import Mapping
from datetime import timedelta

from django.db import transaction

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.events import outbox
from opsportal.explanations.models import Explanation, Method, State
from opsportal.predictions.dictionary import Value
from opsportal.predictions.models import Prediction
from opsportal.predictions.services import looking_up

EXPLAIN_TASK = "explanations.explain"
# A warm worker answers in a few hundredths of a second; after this the page says that it is being computed.
PATIENCE_SECONDS = 1.0
# A message that failed eight times is given up; whoever asks again after this sends another one.
FORGOTTEN_AFTER = timedelta(minutes=1)
_FIRST_LOOK_SECONDS, _LAST_LOOK_SECONDS = 0.002, 0.02
# Every page that shows a prediction calls this first.
note_viewed = looking_up.note_viewed


def want_explanation(
    *,
    actor: User | None,
    prediction: Prediction,
    method: str = Method.SHAP,
    changes: Mapping[str, Value] | None = None,
) -> Explanation:
    """The explanation of a prediction by a method, asked for if nobody has yet. Any number at once is one.

    changes: values of a what-if that differ from the logged ones, already checked.
    """
    digest = changes_digest(changes or {})
    found = Explanation.objects.filter(prediction=prediction, method=method, changes_digest=digest).first()
    if found is not None:
        if not found.settled and found.wanted_at < clock.now() - FORGOTTEN_AFTER:
            _remind(found)
        return found
    with transaction.atomic():
        found, created = Explanation.objects.get_or_create(
            prediction=prediction,
            method=method,
            changes_digest=digest,
            defaults={"changes": dict(changes or {}), "wanted_at": clock.now(), "wanted_by": actor},
        )
        if created:
            outbox.send(task=EXPLAIN_TASK, key=found.pk)
    return found


def want_again(*, actor: User, explanation: Explanation) -> None:
    """Compute a refused explanation anew, as after the model's file was put right."""
    with transaction.atomic():
        changed = Explanation.objects.filter(pk=explanation.pk, state=State.REFUSED).update(
            state=State.WANTED, incident="", incident_detail="", wanted_at=clock.now(), wanted_by=actor
        )
        if changed:
            outbox.send(task=EXPLAIN_TASK, key=explanation.pk)


def wait_for(explanation: Explanation, *, seconds: float = PATIENCE_SECONDS) -> Explanation:
    """The explanation once it is settled, or as it is when the time is up. Holds no lock while it waits."""
    deadline = time.monotonic() + seconds
    pause = _FIRST_LOOK_SECONDS
    while not explanation.settled and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(pause * 1.5, _LAST_LOOK_SECONDS)
        explanation.refresh_from_db()
    return explanation


def _remind(explanation: Explanation) -> None:
    """Send the message anew when none is on its way any more."""
    with transaction.atomic():
        if not outbox.is_waiting(task=EXPLAIN_TASK, key=explanation.pk):
            outbox.send(task=EXPLAIN_TASK, key=explanation.pk)


def changes_digest(changes: Mapping[str, Value]) -> str:
    """SHA-256 of the changes whatever their order, 64 hex digits; empty for none."""
    if not changes:
        return ""
    text = json.dumps(dict(changes), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
