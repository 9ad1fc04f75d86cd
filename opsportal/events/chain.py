"""How the events of the audit trail are linked: whoever writes and whoever checks hash alike."""

import hashlib
import json

from opsportal.events.models import Event

# What the first event follows.
GENESIS = "0" * 64


def chain_hash(event: Event) -> str:
    """SHA-256 (64 hex digits) over the event's content and the previous event's hash, as canonical JSON."""
    content = [
        event.sequence,
        event.at.isoformat(),
        event.actor_id,
        event.actor_name,
        event.verb,
        event.subject_type,
        event.subject_id,
        event.summary,
        event.reason,
        event.before,
        event.after,
        event.previous_hash,
    ]
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
