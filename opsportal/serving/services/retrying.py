"""Give up no message for good: a person may have a dead one tried again."""

from django.db import transaction

from opsportal.accounts.models import User
from opsportal.core.errors import Forbidden, NotFound
from opsportal.events import outbox
from opsportal.events import services as events
from opsportal.events.models import OutboxMessage


def retry_message(*, actor: User, message_id: int) -> OutboxMessage:
    """Give a dead outbox message another eight attempts, starting now, and record who wanted it.

    Locks the message. Raises Forbidden, and NotFound when it is not (or no longer) dead.
    """
    if not actor.can("serving.operate"):
        raise Forbidden("Only an administrator can have a message tried again.")
    with transaction.atomic():
        dead = OutboxMessage.objects.select_for_update().filter(dead_at__isnull=False)
        message = dead.filter(pk=message_id).first()
        if message is None:
            raise NotFound("This message is no longer dead: somebody was faster, or it was delivered.")
        outbox.retry_dead(message.pk)
        events.record(
            actor=actor,
            verb="outbox.retried",
            subject_type="outbox",
            subject_id=message.pk,
            summary=f"Tried {message.task} for {message.key} again after {message.attempts} failures",
            before={"attempts": message.attempts, "last_error": message.last_error},
            after={"attempts": 0},
        )
        outbox.nudge(message.task, message.key)
    return message
