"""Load models before the first question comes, in the processes that explain and in no others."""

import threading
from typing import Any

import structlog
from celery.signals import celeryd_after_setup, worker_process_init
from django.db import connection

from opsportal.predictions.models import ModelVersion

log = structlog.get_logger(__name__)

QUEUE = "explain"
_consumed: set[str] = set()


@celeryd_after_setup.connect
def note_queues(*, instance: Any, **_: Any) -> None:
    """Remember, before the worker forks, which queues its children will serve."""
    _consumed.clear()
    _consumed.update(instance.app.amqp.queues.consume_from)


@worker_process_init.connect
def warm_child(**_: Any) -> None:
    """In a child that explains: load models in a thread, so that a question need not wait for all of them."""
    if QUEUE in _consumed:
        threading.Thread(target=_warm_apart, name="warm", daemon=True).start()


def warm() -> int:
    """Load LightGBM, and the newest ready version of the models registered last; how many were loaded.

    A model that cannot be loaded is left to the explanation that needs it, which says why.
    """
    import lightgbm  # noqa: F401, PLC0415  seconds, and nearly every model's library

    from opsportal.explanations.loaded import ENGINES_MAX, loaded  # noqa: PLC0415  the numeric half

    ready = ModelVersion.objects.select_related("model").filter(state=ModelVersion.State.READY)
    newest = {version.model_id: version for version in ready.order_by("pk")}
    done = 0
    for version in sorted(newest.values(), key=lambda version: -version.pk)[:ENGINES_MAX]:
        try:
            # The first row costs more than any other.
            loaded(version).engine.explain([{}])
            done += 1
        except Exception as error:  # noqa: BLE001  nothing may keep the worker from its work
            log.warning("model.not_warmed", version=version.pk, error=type(error).__name__)
    return done


def _warm_apart() -> None:
    try:
        log.info("models.warmed", count=warm())
    except Exception as error:  # noqa: BLE001  the database may not be there yet
        log.warning("models.not_warmed", error=type(error).__name__)
    finally:
        connection.close()
