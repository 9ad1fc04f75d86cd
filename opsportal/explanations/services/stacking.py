"""Put many predictions side by side."""

from django.db import transaction

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.core.errors import Invalid
from opsportal.events import outbox
from opsportal.events import services as events
from opsportal.explanations.models import Stack
from opsportal.predictions.models import ModelVersion
from opsportal.predictions.selectors import LookUp, find_predictions

STACK_MAX = 200
STACK_TASK = "explanations.explain_stack"
TITLE_MAX = 200


def stack_predictions(*, actor: User, wanted: LookUp, version: ModelVersion, title: str) -> Stack:
    """A stack of the newest predictions of one version that match, and a message to explain them.

    title: what was looked for, in words; never a customer or a person's name. Raises Invalid if nothing
    matches.
    """
    matches = find_predictions(wanted).filter(version=version)
    pks = list(matches.values_list("pk", flat=True)[:STACK_MAX])
    if not pks:
        raise Invalid("No prediction of this version matches any more.", code="nothing_found")
    with transaction.atomic():
        stack = Stack.objects.create(
            author=actor,
            title=title[:TITLE_MAX],
            version=version,
            prediction_pks=pks,
            created_at=clock.now(),
        )
        outbox.send(task=STACK_TASK, key=stack.pk)
        events.record(
            actor=actor,
            verb="prediction.stacked",
            subject_type="stack",
            subject_id=stack.pk,
            summary=f"Put {len(pks)} prediction{'' if len(pks) == 1 else 's'} of {version} side by side",
        )
    return stack
