"""Remember what had drifted, for the serving page and the audit trail."""

from collections import Counter

import structlog
from django.db import transaction

from opsportal.core import clock
from opsportal.events import services as events
from opsportal.serving.models import Drift

log = structlog.get_logger(__name__)


def note_drift(kinds: Counter[Drift.Kind]) -> None:
    """Record how many entries of each kind were found wrong and have been repaired."""
    found = ", ".join(f"{count:,} {kind.label.lower()}" for kind, count in kinds.items())
    log.warning("store.drift", found=found)
    with transaction.atomic():
        moment = clock.now()
        Drift.objects.bulk_create(
            Drift(at=moment, kind=kind, keys=count, repaired=True) for kind, count in kinds.items()
        )
        events.record(
            actor=None,
            verb="serving.drift_repaired",
            subject_type="store",
            subject_id="store",
            summary=f"Found and repaired entries of the store: {found}",
        )
