"""A worker is killed in the middle of applying or reverting a rule: after its restart all is done once."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from django.conf import LazySettings
from django.db.models import Count
from django.db.models.functions import Now

from opsportal.accounts.permissions import Role
from opsportal.audits.models import Application, Correction
from opsportal.audits.selectors.effective import effective_corrections
from opsportal.audits.services import applying
from opsportal.events.models import OutboxMessage
from tests.audits.ruling import log_reviews, make_reviews, make_rule, previewed, sample_of
from tests.conftest import make_person
from tests.faults.test_store_faults import ROOT, database_url, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True)]

# Small batches and a pause after each, so that there is a middle in which to die.
WORKER = """
import sys, time
import django
django.setup()
from opsportal.audits.services import applying, matching
from opsportal.events import outbox
matching.BATCH = applying.BATCH = 20
renew = outbox.renew
def slowly(*arguments):
    renew(*arguments)
    time.sleep(0.05)
outbox.renew = slowly
outbox.drain(lane=sys.argv[1])
"""
CHANGES = 600
Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start_worker(settings: LazySettings) -> Iterator[Start]:
    """Start a process that does what is due of one task, on the tests' database."""
    started = []

    def start(lane: str) -> "subprocess.Popen[bytes]":
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, lane],
            cwd=ROOT,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "opsportal.settings",
                "DATABASE_URL": database_url(),
                "REDIS_URL": settings.REDIS_URL,
                "LOG_LEVEL": "ERROR",
            },
        )
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.kill()
        worker.wait()


def kill_in_the_middle(worker: "subprocess.Popen[bytes]", lies_between: Callable[[], bool]) -> None:
    wait_until(lies_between, 60)
    worker.send_signal(signal.SIGKILL)
    worker.wait()


def expire_lease(task: str) -> None:
    """As if half a minute had passed: a killed worker's message comes back then."""
    OutboxMessage.objects.filter(task=task, delivered_at=None).update(leased_until=Now())


def test_apply_and_revert__worker_killed_in_between__everything_once(
    start_worker: Start, settings: LazySettings
) -> None:
    lara = make_person("lara", Role.AUDIT_LEAD)
    version = make_reviews()
    log_reviews(version, CHANGES)
    sample_of(version, (30, "not good", "positive", "negative"))
    rule = previewed(make_rule(lara, version.model))
    settings.AUDIT_RULE_APPROVAL_MIN = CHANGES + 1
    application = applying.apply_rule(actor=lara, rule=rule, version=1, reason="Sarcasm.")

    def corrected() -> int:
        return Correction.objects.filter(reverted_at=None).count()

    kill_in_the_middle(start_worker("audits.apply"), lambda: corrected() > 40)
    application.refresh_from_db()
    assert 40 < corrected() == application.corrected < CHANGES
    assert application.state == Application.State.APPLYING
    assert effective_corrections().count() == 0
    expire_lease("audits.apply")
    assert start_worker("audits.apply").wait(60) == 0

    application.refresh_from_db()
    assert (application.state, application.corrected) == (Application.State.VERIFYING, CHANGES)
    assert effective_corrections().count() == CHANGES
    twice = Correction.objects.values("prediction_id").annotate(times=Count("pk")).filter(times__gt=1)
    assert not twice.exists()

    applying.revert_application(actor=lara, application=application, reason="A mistake.")
    kill_in_the_middle(start_worker("audits.revert"), lambda: corrected() < CHANGES - 40)
    application.refresh_from_db()
    assert 0 < corrected() < CHANGES
    assert application.state == Application.State.REVERTING
    assert effective_corrections().count() == 0
    expire_lease("audits.revert")
    assert start_worker("audits.revert").wait(60) == 0

    application.refresh_from_db()
    assert (application.state, corrected(), Correction.objects.count()) == (
        Application.State.REVERTED,
        0,
        CHANGES,
    )
