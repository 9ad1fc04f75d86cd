"""Ask for the importance of a version's features. A worker computes it."""

from django.db import transaction

from opsportal.accounts.models import User
from opsportal.core.errors import Conflict, Forbidden
from opsportal.events import outbox
from opsportal.events import services as events
from opsportal.predictions.models import ModelVersion

PROFILE_TASK = "explanations.profile"


def want_importance(*, actor: User, version: ModelVersion) -> None:
    """Have the importance of this version's features computed anew, from the predictions there are now.

    Raises Forbidden, and Conflict for a version that is not ready.
    """
    if not actor.can("models.write"):
        raise Forbidden("You may not have the importance computed.")
    if version.state != ModelVersion.State.READY:
        raise Conflict("Only a version that is ready has an importance.")
    with transaction.atomic():
        outbox.send(task=PROFILE_TASK, key=version.pk)
        events.record(
            actor=actor,
            verb="model.importance_wanted",
            subject_type="model",
            subject_id=version.model.name,
            summary=f"Asked for the importance of {version} again",
        )
