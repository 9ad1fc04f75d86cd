"""A threshold's way: proposed by one, published by another, live in the store, undone."""

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.db import IntegrityError, transaction
from django.test import Client

from opsportal.accounts.models import User
from opsportal.accounts.permissions import Role
from opsportal.audits.models import Run, Threshold
from opsportal.audits.services import thresholds as services
from opsportal.audits.services.thresholds import (
    approve_threshold,
    ask_to_publish,
    propose_threshold,
    reject_threshold,
    undo_threshold,
)
from opsportal.client import DirectReader
from opsportal.core.errors import Conflict, Forbidden, Invalid
from opsportal.events import outbox
from opsportal.events.models import Change, Event, OutboxMessage, Revision
from opsportal.serving.services import project
from tests.audits.learning import NO, YES, closed_run, lead, make_threshold, version_of
from tests.audits.making import make_run
from tests.conftest import make_person
from tests.explanations.making import make_version

pytestmark = pytest.mark.django_db
State = Threshold.State
ClientFor = Callable[[User], Client]


def served() -> dict[str, float]:
    """What rankers read for the model, version → threshold, after a push."""
    project()
    reader = DirectReader(settings.REDIS_URL, settings.STORE_PREFIX, timeout=1)
    try:
        found = reader.thresholds(["survival"]).thresholds.get("survival", [])
    finally:
        reader.close()
    return {threshold.version: threshold.value for threshold in found}


def vera() -> User:
    return User.objects.filter(username="vera").first() or make_person("vera", Role.APPROVER)


def published(value: float = 0.5, *, run: Run | None = None) -> Threshold:
    """Asked for by leo, published by vera."""
    row = make_threshold(run, value=value)
    ask_to_publish(actor=lead(), threshold=row, reason="The promise holds.")
    return approve_threshold(actor=vera(), threshold=row, reason="Seen.")


def events_of(row: Threshold) -> list[str]:
    found = Event.objects.filter(subject_type="threshold", subject_id=str(row.pk)).order_by("sequence")
    return list(found.values_list("verb", flat=True))


# -- Services -------------------------------------------------------------------------------------


def test_propose__closed_run__a_worker_looks_for_it() -> None:
    run = closed_run(40)

    row = propose_threshold(
        actor=lead(),
        run=run,
        version=version_of(),
        label=YES,
        goal=Threshold.Goal.PRECISION,
        target=0.9,
    )

    assert row.state == State.COMPUTING
    assert OutboxMessage.objects.get(task="audits.threshold").key == str(row.pk)
    outbox.drain(lane="audits.")
    row.refresh_from_db()
    assert row.state in (State.PROPOSED, State.NONE)
    assert events_of(row) == ["threshold.proposed", "threshold.computed"]


def test_propose__what_cannot_be__refused_and_nothing_written(otto: User) -> None:
    run, version = closed_run(4), version_of()
    good: dict[str, Any] = {
        "actor": lead(),
        "run": run,
        "version": version,
        "label": YES,
        "goal": Threshold.Goal.PRECISION,
        "target": 0.9,
    }
    other = make_version(model="other")
    refused: list[tuple[type[Exception], dict[str, Any]]] = [
        (Forbidden, {"actor": otto}),
        (Invalid, {"run": make_run()}),
        (Invalid, {"version": other}),
        (Invalid, {"version": version_of(version="2")}),
        (Invalid, {"label": "neither"}),
        (Invalid, {"target": 0.4}),
        (Invalid, {"target": 1.0}),
    ]
    for error, change in refused:
        with pytest.raises(error):
            propose_threshold(**{**good, **change})

    assert not Threshold.objects.exists()
    assert not OutboxMessage.objects.filter(task="audits.threshold").exists()
    propose_threshold(**good)
    with pytest.raises(Conflict, match="being computed"):
        propose_threshold(**good)


def test_approve__by_another__published_in_a_revision_and_read_by_rankers() -> None:
    row = published(0.42)

    revision = Revision.objects.get()
    assert (row.state, row.revision) == (State.PUBLISHED, revision.number)
    assert Change.objects.get().key == "survival"
    assert served() == {"1": 0.42}
    revision.refresh_from_db()
    assert revision.live_at is not None
    assert events_of(row) == ["threshold.asked", "threshold.published"]


def test_approve__second_one_of_the_version__replaces_the_first() -> None:
    first, second = published(0.4), published(0.6)

    first.refresh_from_db()
    assert (first.state, second.state, second.replaces) == (State.REPLACED, State.PUBLISHED, first)
    assert first.ended_at is not None
    assert served() == {"1": 0.6}


def test_undo__nothing_before__gone_from_the_store() -> None:
    row = published(0.42)
    assert served() == {"1": 0.42}

    row = undo_threshold(actor=lead(), threshold=row, reason="It cost too much.")

    assert (row.state, row.revision) == (State.UNDONE, 2)
    assert served() == {}
    assert Event.objects.get(verb="threshold.undone").reason == "It cost too much."


def test_undo__one_before__put_back_one_after_the_other() -> None:
    first, second, third = published(0.4), published(0.5), published(0.6)

    undo_threshold(actor=vera(), threshold=third, reason="Back.")
    assert served() == {"1": 0.5}
    undo_threshold(actor=vera(), threshold=second, reason="Back.")
    assert served() == {"1": 0.4}
    undo_threshold(actor=vera(), threshold=first, reason="Back.")

    assert served() == {}
    assert list(Threshold.objects.values_list("state", flat=True)) == [State.UNDONE] * 3


def test_undo__one_that_was_undone_by_a_person__does_not_come_back() -> None:
    first = published(0.4)
    undo_threshold(actor=lead(), threshold=first, reason="Wrong.")
    second = published(0.5)

    undo_threshold(actor=lead(), threshold=second, reason="Wrong, too.")

    assert served() == {}


@pytest.mark.parametrize("decision", [approve_threshold, reject_threshold])
def test_decide__who_proposed_or_asked__refused_and_nothing_changed(
    lena: User, decision: Callable[..., Threshold]
) -> None:
    by_lena = make_threshold(author=lena)
    ask_to_publish(actor=lead(), threshold=by_lena, reason="Please.")
    asked_by_lena = make_threshold()
    ask_to_publish(actor=lena, threshold=asked_by_lena, reason="Please.")

    for row in (by_lena, asked_by_lena):
        with pytest.raises(Forbidden, match="Somebody else"):
            decision(actor=lena, threshold=row, reason="Yes.")
        row.refresh_from_db()
        assert row.state == State.WAITING
    assert not Revision.objects.exists()


def test_schema__decided_by_its_author__impossible(lena: User) -> None:
    row = make_threshold(author=lena)

    with pytest.raises(IntegrityError), transaction.atomic():
        Threshold.objects.filter(pk=row.pk).update(decided_by=lena)
    with pytest.raises(IntegrityError), transaction.atomic():
        Threshold.objects.filter(pk=row.pk).update(author=lead(), asked_by=lena, decided_by=lena)


def test_every_step__wrong_person_or_state__refused(otto: User) -> None:
    row = make_threshold()
    for person, step in (
        (otto, ask_to_publish),
        (otto, approve_threshold),
        (otto, undo_threshold),
        (lead(), approve_threshold),
        (vera(), ask_to_publish),
    ):
        with pytest.raises(Forbidden):
            step(actor=person, threshold=row, reason="So.")
    for person, step in ((vera(), approve_threshold), (vera(), reject_threshold), (lead(), undo_threshold)):
        with pytest.raises(Conflict, match="proposed by now"):
            step(actor=person, threshold=row, reason="So.")
    for reason in ("", "  ", "x" * 501):
        with pytest.raises(Invalid):
            ask_to_publish(actor=lead(), threshold=row, reason=reason)

    row.refresh_from_db()
    assert row.state == State.PROPOSED
    assert not Event.objects.filter(subject_type="threshold").exists()


def test_reject__with_a_reason__for_good() -> None:
    row = make_threshold()
    ask_to_publish(actor=lead(), threshold=row, reason="Please.")

    row = reject_threshold(actor=vera(), threshold=row, reason="Not verified.")

    assert (row.state, row.decided_by) == (State.REJECTED, vera())
    assert not Revision.objects.exists()
    with pytest.raises(Conflict):
        approve_threshold(actor=vera(), threshold=row)


def test_approve__fails_at_the_end__nothing_is_half_done(monkeypatch: pytest.MonkeyPatch) -> None:
    first = published(0.4)
    row = make_threshold(value=0.6)
    ask_to_publish(actor=lead(), threshold=row, reason="Please.")

    def fail(*args: object, **more: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(services, "_record", fail)
    with pytest.raises(RuntimeError):
        approve_threshold(actor=vera(), threshold=row)

    first.refresh_from_db()
    row.refresh_from_db()
    assert (first.state, row.state, Revision.objects.count()) == (State.PUBLISHED, State.WAITING, 1)
    assert served() == {"1": 0.4}


# -- Pages ----------------------------------------------------------------------------------------


def test_pages__from_a_run_to_the_store_and_back(client_for: ClientFor) -> None:
    run = closed_run(300)
    browser, second = client_for(lead()), client_for(vera())
    choose = browser.get("/audits/thresholds/new/")
    assert run.title in choose.content.decode()

    sent = browser.post(
        f"/audits/thresholds/new/?run={run.pk}",
        {"version": version_of().pk, "label": YES, "goal": "precision", "target": "90"},
    )
    row = Threshold.objects.get()
    assert sent["Location"] == f"/audits/thresholds/{row.pk}/"
    assert "A worker tests thresholds" in browser.get(sent["Location"]).content.decode()
    outbox.drain(lane="audits.")
    page = browser.get(sent["Location"]).content.decode()
    assert "95\u00a0% sure that at least 90\u00a0% of what is called “survived” is “survived”" in page
    assert "All thresholds in numbers" in page
    browser.post(f"/audits/thresholds/{row.pk}/ask/", {"reason": "It holds."})
    waiting = second.get(sent["Location"]).content.decode()
    assert "Not verified on a later run" in waiting
    assert "leo asks: It holds." in waiting
    assert "Decide" not in browser.get(sent["Location"]).content.decode()
    second.post(f"/audits/thresholds/{row.pk}/decide/", {"verdict": "approve", "reason": ""})
    assert "Queued" in second.get(sent["Location"]).content.decode()
    assert list(served()) == ["1"]
    stepper = browser.get(f"/audits/thresholds/{row.pk}/delivery/", headers={"HX-Request": "true"})
    assert (stepper.status_code, "Live" in stepper.content.decode()) == (286, True)
    browser.post(f"/audits/thresholds/{row.pk}/undo/", {"reason": "Enough."})

    row.refresh_from_db()
    assert row.state == State.UNDONE
    assert served() == {}
    assert "Taken out of the store" in browser.get(sent["Location"]).content.decode()
    assert "Undone" in browser.get("/audits/thresholds/").content.decode()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"target": "120"}, "less than or equal to 99.9"),
        ({"target": "many"}, "Give a number such as 95."),
        ({"target": ""}, "Say how much is promised."),
        ({"target": "nan"}, "Give a number such as 95."),
        ({"label": "neither"}, "Select a valid choice"),
        ({"version": "0"}, "Select a valid choice"),
        ({"goal": ""}, "This field is required"),
    ],
)
def test_new__bad_input__a_sentence_at_the_field(
    client_for: ClientFor, change: dict[str, str], sentence: str
) -> None:
    run = closed_run(4)
    form = {"version": str(version_of().pk), "label": NO, "goal": "recall", "target": "90"}

    response = client_for(lead()).post(f"/audits/thresholds/new/?run={run.pk}", {**form, **change})

    assert response.status_code == 400
    assert sentence in response.content.decode()
    assert not Threshold.objects.exists()


def test_new__same_again__says_that_it_was_asked_before(client_for: ClientFor) -> None:
    run = closed_run(4)
    make_threshold(run)
    form = {"version": str(version_of().pk), "label": YES, "goal": "precision", "target": "90"}

    response = client_for(lead()).post(f"/audits/thresholds/new/?run={run.pk}", form)

    assert response.status_code == 409
    assert "The same was asked of this run before" in response.content.decode()


@pytest.mark.parametrize("run", ["0", "x", "1e9", "99999999999999999999"])
def test_new__no_such_run__not_found(client_for: ClientFor, run: str) -> None:
    assert client_for(lead()).get(f"/audits/thresholds/new/?run={run}").status_code == 404


def test_forms__empty__shown_again_with_what_is_missing(client_for: ClientFor) -> None:
    row = make_threshold()
    browser, second = client_for(lead()), client_for(vera())
    asked = browser.post(f"/audits/thresholds/{row.pk}/ask/", {"reason": ""})
    ask_to_publish(actor=lead(), threshold=row, reason="Please.")
    rejected = second.post(f"/audits/thresholds/{row.pk}/decide/", {"verdict": "reject"})
    approve_threshold(actor=vera(), threshold=row)
    undone = second.post(f"/audits/thresholds/{row.pk}/undo/", {})

    assert [response.status_code for response in (asked, rejected, undone)] == [400, 400, 400]
    assert "Say why." in asked.content.decode()
    assert "Say why it is rejected." in rejected.content.decode()
    assert "Say why." in undone.content.decode()
    row.refresh_from_db()
    assert row.state == State.PUBLISHED


def test_decide__too_late__says_so_and_changes_nothing(client_for: ClientFor) -> None:
    row = published()

    response = client_for(vera()).post(
        f"/audits/thresholds/{row.pk}/decide/", {"verdict": "reject", "reason": "Late."}, follow=True
    )

    assert "published by now" in response.content.decode()
    row.refresh_from_db()
    assert row.state == State.PUBLISHED


def test_delivery__store_away_for_long__warns(client_for: ClientFor) -> None:
    row = published()
    Revision.objects.update(at="2026-11-01T00:00:00Z")

    response = client_for(lead()).get(
        f"/audits/thresholds/{row.pk}/delivery/", headers={"HX-Request": "true"}
    )

    assert response.status_code == 200
    assert "it goes live by itself" in response.content.decode()
