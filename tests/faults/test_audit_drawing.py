"""A worker that is killed while it draws: another one takes over, and there is one whole run."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.conf import LazySettings
from django.db.models.functions import Now

from opsportal.audits.models import Item, Review, Run, Stratum
from opsportal.audits.services.runs import start_run
from opsportal.events import outbox
from opsportal.events.models import Event, OutboxMessage
from tests.audits.making import SEED, WEEK_BEGINS, WEEK_ENDS, make_policy
from tests.audits.test_drawing import log_predictions, smallest
from tests.explanations.making import make_version
from tests.faults.test_store_faults import ROOT, database_url

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.faults]

# A worker that stands still at the worst moment and says so.
WORKER = """
import itertools, sys, time
import django
django.setup()
from opsportal.audits.drawing import finishing, progress
from opsportal.events import outbox

def stand_still(*_, **__):
    print("stands still", flush=True)
    time.sleep(600)

if sys.argv[1] == "filling":
    fill = finishing.fill

    def fill_half(run, items):
        fill(run, itertools.islice(items, 5))
        stand_still()

    finishing.fill = fill_half
else:
    progress.Progress.add = stand_still

while outbox.drain(lane="audits."):
    pass
"""


@pytest.mark.parametrize(
    ("source", "moment"), [("log", "filling"), ("files", "reading"), ("files", "filling")]
)
def test_draw__worker_killed__another_begins_again_and_there_is_one_whole_run(
    source: str, moment: str, tmp_path: Path, settings: LazySettings
) -> None:
    settings.AUDIT_FILES_DIR = tmp_path
    version = make_version()
    log_predictions(version, 200)
    rows = [{"prediction_id": f"p-{n:05}", "predicted_at": WEEK_BEGINS, "score": n / 200} for n in range(200)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    files: dict[str, Any] = (
        {"source": "files", "files": "*.parquet", "version": version} if source == "files" else {}
    )
    policy = make_policy(version.model, sizing="size", size=20, **files)
    run = start_run(actor=None, policy=policy, starts_at=WEEK_BEGINS, ends_at=WEEK_ENDS)
    Run.objects.filter(pk=run.pk).update(seed=SEED)

    kill_a_worker(moment, tmp_path)

    run.refresh_from_db()
    assert (run.state, run.items) == ("drawing", 0)
    assert not Item.objects.exists()
    assert not Stratum.objects.exists()
    outbox.drain(lane="audits.")
    run.refresh_from_db()
    assert run.state == "drawing"  # the dead worker's lease still holds

    OutboxMessage.objects.filter(leased_until__isnull=False).update(leased_until=Now() - timedelta(seconds=1))
    while outbox.drain(lane="audits."):
        pass
    run.refresh_from_db()
    assert (run.state, run.problem, run.items, run.reviews_needed) == ("open", "", 20, 20)
    drawn = set(Item.objects.filter(run=run).values_list("prediction_id", flat=True))
    assert drawn == smallest([f"p-{n:05}" for n in range(200)], 20)
    assert Review.objects.filter(run=run).count() == 20
    assert Stratum.objects.get(run=run).drawn == 20
    assert Event.objects.filter(verb="run.opened").count() == 1
    assert not OutboxMessage.objects.filter(delivered_at=None).exists()


def kill_a_worker(moment: str, folder: Path) -> None:
    """Let a worker come so far, then kill it as the system does when memory runs out."""
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, moment],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "opsportal.settings",
            "DATABASE_URL": database_url(),
            "AUDIT_FILES_DIR": str(folder),
            "LOG_LEVEL": "ERROR",
        },
        stdout=subprocess.PIPE,
    )
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"stands still\n"
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        if worker.stdout is not None:
            worker.stdout.close()
