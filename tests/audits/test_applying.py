"""Rules relabel in bulk: only what is proven, only once, approved where it is much, and always reversibly."""

from typing import Any

import pytest
from pytest_django import Settings

from opsportal.accounts.models import User
from opsportal.accounts.permissions import Role
from opsportal.audits.models import Application, Correction, Item, Provenance, Rule, Run, Stream
from opsportal.audits.selectors.effective import effective_corrections
from opsportal.audits.services import applying, matching
from opsportal.audits.services.correcting import record_corrections
from opsportal.core.errors import Conflict, Forbidden, Invalid
from opsportal.events import outbox
from opsportal.events.models import Event, OutboxMessage
from opsportal.predictions.models import ModelVersion, Prediction, Suppression
from opsportal.predictions.pseudonyms import customer_key
from tests.audits.making import make_items, make_run
from tests.audits.ruling import (
    label_sample,
    log_reviews,
    make_reviews,
    make_rule,
    previewed,
    sample_of,
)
from tests.conftest import make_person
from tests.explanations.making import NOON

pytestmark = pytest.mark.django_db
SILENT = (
    "None of the audited predictions that people labelled matches this rule, so nothing is known of its "
    "precision. About 29 labels among its matches, all for it, would do."
)
DISAGREED = (
    "People agreed with the rule on 0 of 30 audited predictions; that proves a precision of 0\u00a0%, and "
    "the bar is 90\u00a0%. More labels would not settle it as long as people agree no more often."
)
ALL_RIGHT = (
    "People agreed with 8 of 8 corrections they could judge; 8 were drawn: at least 90\u00a0% of all are "
    "right, 95 % sure."
)
NOT_ALL = (
    "People agreed with 7 of {} corrections they could judge; 8 were drawn: that does not prove that "
    "90\u00a0% of all are right."
)
State = Application.State


@pytest.fixture
def version() -> ModelVersion:
    return make_reviews()


@pytest.fixture
def lara(db: None) -> User:
    """An audit lead."""
    return make_person("lara", Role.AUDIT_LEAD)


@pytest.fixture
def proven(version: ModelVersion, lara: User) -> Rule:
    """A rule with ten predictions to change and a lower bound of 90.5 %; its sample is not in the log."""
    log_reviews(version, 10)
    log_reviews(version, 5, text="good")
    sample_of(version, (30, "not good", "positive", "negative"), (30, "good", "positive", "positive"))
    return previewed(make_rule(lara, version.model))


def applied(rule: Rule, actor: User) -> Application:
    application = applying.apply_rule(actor=actor, rule=rule, version=rule.version, reason="Sarcasm.")
    applying.apply(application.pk)
    application.refresh_from_db()
    return application


def standing() -> int:
    return Correction.objects.filter(reverted_at=None).count()


# -- Asking ---------------------------------------------------------------------------------


def test_apply__proven__corrects_and_opens_a_blind_sample(proven: Rule, lara: User) -> None:
    application = applied(proven, lara)

    assert (application.state, application.corrected, application.passed_over) == ("verifying", 10, 0)
    assert application.rows_done == application.rows_total == 15
    row = Correction.objects.earliest("pk")
    assert (row.predicted, row.label, row.provenance) == ("positive", "negative", Provenance.RULE)
    run = application.acceptance
    assert run is not None
    # 8 of 10 prove 90 %, as in the plan for a finite number.
    assert (run.kind, run.items, run.frame, run.blind, run.state) == ("acceptance", 8, 10, True, "open")
    assert set(Item.objects.filter(run=run).values_list("predicted", "stream", "inclusion_probability")) == {
        ("negative", Stream.SAMPLE, 0.8)
    }
    assert effective_corrections().count() == 10
    assert list(
        Event.objects.filter(subject_type="rule").order_by("sequence").values_list("verb", flat=True)
    ) == [
        "rule.created",
        "rule.applying",
        "rule.applied",
    ]


def test_apply__not_proven__refused_with_numbers(version: ModelVersion, lara: User) -> None:
    log_reviews(version, 10)
    sample_of(version, (20, "not good", "positive", "negative"))
    rule = previewed(make_rule(lara, version.model))

    with pytest.raises(Conflict) as refused:
        applying.apply_rule(actor=lara, rule=rule, version=1, reason="Sarcasm.")

    assert refused.value.message == (
        "People agreed with the rule on 20 of 20 audited predictions; that proves a precision of "
        "86\u00a0%, and the bar is 90\u00a0%. About 9 more labels among its matches would settle it if "
        "people go on agreeing."
    )
    assert Application.objects.count() == 0


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            [(30, "not good", "positive", "positive")],
            DISAGREED,
        ),
        (
            [(30, "fine", "positive", "positive")],
            SILENT,
        ),
        # Where the model says so already the rule changes nothing, and proves nothing.
        (
            [(30, "not good", "negative", "negative")],
            SILENT,
        ),
    ],
)
def test_why_not__nothing_proven__says_what_is_missing(
    version: ModelVersion, lara: User, said: list[tuple[int, str, str, str]], sentence: str
) -> None:
    log_reviews(version, 1)
    sample_of(version, *said)

    assert applying.why_not(previewed(make_rule(lara, version.model))) == sentence


def test_why_not__before_a_preview_or_without_matches__says_so(version: ModelVersion, lara: User) -> None:
    rule = make_rule(lara, version.model)

    assert applying.why_not(rule) == "What this version of the rule would do has not been previewed yet."
    assert applying.why_not(previewed(rule)) == "This rule would change nothing."


def test_apply__version_changed_or_no_reason_or_no_lead__refused(
    proven: Rule, lara: User, mallory: User
) -> None:
    for error, more in (
        (Forbidden, {"actor": mallory}),
        (Conflict, {"version": 2}),
        (Invalid, {"reason": "  "}),
        (Invalid, {"reason": "x" * 501}),
    ):
        given: dict[str, Any] = {"actor": lara, "rule": proven, "version": 1, "reason": "Sarcasm.", **more}
        with pytest.raises(error):
            applying.apply_rule(**given)

    assert Application.objects.count() == 0


def test_apply__twice__the_second_is_refused(proven: Rule, lara: User) -> None:
    applying.apply_rule(actor=lara, rule=proven, version=1, reason="Sarcasm.")

    with pytest.raises(Conflict):
        applying.apply_rule(actor=lara, rule=proven, version=1, reason="Again.")

    assert Application.objects.count() == 1


# -- Approval -------------------------------------------------------------------------------


def test_approve__many_changes__waits_for_another_person(
    proven: Rule, lara: User, lena: User, mallory: User, settings: Settings
) -> None:
    settings.AUDIT_RULE_APPROVAL_MIN = 10
    application = applying.apply_rule(actor=lara, rule=proven, version=1, reason="Sarcasm.")
    applying.apply(application.pk)
    assert (application.state, standing()) == (State.WAITING, 0)

    with pytest.raises(Forbidden):
        applying.approve_application(actor=mallory, application=application)
    application = applying.approve_application(actor=lena, application=application, comment="Fine.")

    assert (application.state, application.decided_by) == (State.APPLYING, lena)
    assert OutboxMessage.objects.filter(task="audits.apply", key=str(application.pk)).count() == 1
    with pytest.raises(Conflict):
        applying.approve_application(actor=lena, application=application)


def test_approve__own_wish__refused(proven: Rule, lena: User, settings: Settings) -> None:
    settings.AUDIT_RULE_APPROVAL_MIN = 1
    application = applying.apply_rule(actor=lena, rule=proven, version=1, reason="Sarcasm.")

    with pytest.raises(Forbidden):
        applying.approve_application(actor=lena, application=application)

    application.refresh_from_db()
    assert application.state == State.WAITING


def test_reject_or_withdraw__waiting__ends_without_a_correction(
    proven: Rule, lara: User, lena: User, settings: Settings
) -> None:
    settings.AUDIT_RULE_APPROVAL_MIN = 1
    first = applying.apply_rule(actor=lara, rule=proven, version=1, reason="Sarcasm.")
    with pytest.raises(Invalid):
        applying.reject_application(actor=lena, application=first, comment="")
    first = applying.reject_application(actor=lena, application=first, comment="Too broad.")
    second = applying.apply_rule(actor=lara, rule=proven, version=1, reason="Look again.")
    second = applying.revert_application(actor=lara, application=second, reason="Never mind.")

    assert (first.state, first.outcome, first.decided_by) == (State.REJECTED, "Too broad.", lena)
    assert (second.state, second.outcome, second.decided_by) == (State.REJECTED, "Never mind.", None)
    assert standing() == 0


# -- What is touched ------------------------------------------------------------------------


def test_apply__people_spoke_or_opted_out_or_says_so_already__left_alone(
    proven: Rule, version: ModelVersion, lara: User
) -> None:
    """Everything that arrives between the preview and the application, except what is newer than it."""
    rows = list(Prediction.objects.filter(text="not good").order_by("pk"))
    confirmed, corrected, gone, same = rows[:4]
    run = make_run(state=Run.State.OPEN)
    item = make_items(run, 1)[0]
    Item.objects.filter(pk=item.pk).update(
        prediction_id=confirmed.prediction_id, state="settled", label="positive", settled_at=NOON
    )
    Correction.objects.create(
        model=version.model,
        prediction_id=corrected.prediction_id,
        predicted="positive",
        label="mixed",
        provenance=Provenance.HUMAN,
        item=make_items(run, 1)[0],
        made_at=NOON,
    )
    Prediction.objects.filter(pk=gone.pk).update(customer_key=customer_key("c1"))
    Suppression.objects.create(customer_key=customer_key("c1"), since=NOON)
    Prediction.objects.filter(pk=same.pk).update(label="negative")
    log_reviews(version, 3)

    application = applied(proven, lara)

    assert (application.corrected, application.passed_over, application.rows_done) == (6, 3, 15)
    assert Correction.objects.get(prediction_id=corrected.prediction_id).label == "mixed"
    assert not Correction.objects.filter(
        prediction_id__in=[confirmed.prediction_id, gone.prediction_id]
    ).exists()


def test_apply__in_parts__each_once(proven: Rule, lara: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "BATCH", 4)
    monkeypatch.setattr(applying, "BUDGET_SECONDS", -1.0)
    application = applying.apply_rule(actor=lara, rule=proven, version=1, reason="Sarcasm.")

    positions = []
    while OutboxMessage.objects.filter(task="audits.apply", delivered_at=None).exists():
        outbox.drain(lane="audits.apply")
        application.refresh_from_db()
        positions.append((application.rows_done, application.corrected, application.state))

    assert positions == [
        (4, 4, "applying"),
        (8, 8, "applying"),
        (12, 10, "applying"),
        (15, 10, "applying"),
        (15, 10, "verifying"),
    ]
    assert standing() == 10


def test_apply__fails_within_a_batch__the_batch_leaves_nothing(
    proven: Rule, lara: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "BATCH", 4)
    application = applying.apply_rule(actor=lara, rule=proven, version=1, reason="Sarcasm.")
    assert applying._apply_batch(application.pk)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(Application.objects, "filter", fail)
        with pytest.raises(RuntimeError):
            applying._apply_batch(application.pk)
    application.refresh_from_db()
    assert (application.rows_done, application.corrected, standing()) == (4, 4, 4)
    # Half applied, it counts for nothing.
    assert effective_corrections().count() == 0

    applying.apply(application.pk)
    application.refresh_from_db()
    assert (application.corrected, standing()) == (10, 10)


# -- Acceptance -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "state", "outcome"),
    [
        (
            {"right": 8},
            State.ACCEPTED,
            ALL_RIGHT,
        ),
        (
            {"right": 7, "wrong": 1},
            State.REVERTING,
            NOT_ALL.format(8),
        ),
        (
            {"right": 7, "cannot_tell": 1},
            State.REVERTING,
            NOT_ALL.format(7),
        ),
    ],
)
def test_settle__closed_sample__accepts_or_reverts(
    proven: Rule, lara: User, answers: dict[str, int], state: str, outcome: str
) -> None:
    application = applied(proven, lara)
    run = label_sample(application, **answers)

    for _ in range(2):
        applying.settle_acceptance(run)

    application.refresh_from_db()
    assert (application.state, application.outcome) == (state, outcome)
    assert effective_corrections().count() == (10 if state == State.ACCEPTED else 0)
    assert OutboxMessage.objects.filter(task="audits.revert").count() == (state == State.REVERTING)


def test_settle__other_runs__nothing(proven: Rule, lara: User) -> None:
    application = applied(proven, lara)

    assert application.acceptance is not None
    applying.settle_acceptance(application.acceptance)
    applying.settle_acceptance(make_run(state=Run.State.CLOSED))

    application.refresh_from_db()
    assert application.state == State.VERIFYING


def test_settle__people_disagree__their_word_replaces_the_rules(proven: Rule, lara: User) -> None:
    application = applied(proven, lara)
    run = label_sample(application, right=7, wrong=1)
    record_corrections(run)
    applying.settle_acceptance(run)
    applying.revert(application.pk)

    application.refresh_from_db()
    assert application.state == State.REVERTED
    assert sorted(effective_corrections().values_list("predicted", "label", "provenance")) == [
        ("positive", "negative", "human"),
        ("positive", "negative", "human"),
        ("positive", "negative", "human"),
        ("positive", "negative", "human"),
        ("positive", "negative", "human"),
        ("positive", "negative", "human"),
        ("positive", "negative", "human"),
        ("positive", "something else", "human"),
    ]


# -- Reverting ------------------------------------------------------------------------------


def test_revert__accepted__all_taken_back(proven: Rule, lara: User, mallory: User) -> None:
    application = applied(proven, lara)
    applying.settle_acceptance(label_sample(application, right=8))
    with pytest.raises(Forbidden):
        applying.revert_application(actor=mallory, application=application, reason="x")

    application = applying.revert_application(actor=lara, application=application, reason="A mistake.")
    assert (application.state, effective_corrections().count(), standing()) == (State.REVERTING, 0, 10)
    for _ in range(2):
        applying.revert(application.pk)

    application.refresh_from_db()
    assert (application.state, application.outcome, standing()) == (State.REVERTED, "A mistake.", 0)
    assert Correction.objects.count() == 10
    with pytest.raises(Conflict):
        applying.revert_application(actor=lara, application=application, reason="Again.")


def test_revert__sample_still_open__is_closed_with_it(proven: Rule, lara: User) -> None:
    application = applying.revert_application(actor=lara, application=applied(proven, lara), reason="No.")

    assert application.acceptance is not None
    assert Run.objects.get(pk=application.acceptance.pk).state == Run.State.CLOSED
    applying.revert(application.pk)
    # A worker that was still applying finds nothing to do.
    applying.apply(application.pk)
    application.refresh_from_db()
    assert (application.state, standing()) == (State.REVERTED, 0)


def test_apply__again_after_a_revert__corrects_again(proven: Rule, lara: User) -> None:
    first = applying.revert_application(actor=lara, application=applied(proven, lara), reason="No.")
    applying.revert(first.pk)

    second = applied(previewed(proven), lara)

    assert (second.state, second.corrected, standing()) == (State.VERIFYING, 10, 10)
    assert second.pk != first.pk


def test_apply__nothing_left__ends_without_a_sample(proven: Rule, lara: User) -> None:
    application = applying.apply_rule(actor=lara, rule=proven, version=1, reason="Sarcasm.")
    Prediction.objects.all().delete()

    applying.apply(application.pk)

    application.refresh_from_db()
    assert (application.state, application.acceptance) == (State.REVERTED, None)
    assert application.ended_at is not None
