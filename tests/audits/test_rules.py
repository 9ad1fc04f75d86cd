"""Rules: written, changed, retired, previewed; which labels their precision rests on."""

from typing import Any

import pytest

from opsportal.accounts.models import User
from opsportal.accounts.permissions import Role
from opsportal.audits.models import Item, Rule, Run, Stream, Suggestion
from opsportal.audits.proof import lower_bound
from opsportal.audits.selectors.rules import audited_items, is_held_out
from opsportal.audits.services import matching, previewing, rules
from opsportal.audits.services.rules import Terms
from opsportal.core.errors import Conflict, Forbidden, Invalid
from opsportal.events import outbox
from opsportal.events.models import Event, OutboxMessage
from opsportal.predictions.models import ModelVersion, Suppression
from opsportal.predictions.pseudonyms import customer_key
from tests.audits.making import make_items, make_run, make_stratum
from tests.audits.ruling import (
    NOT_GOOD,
    log_reviews,
    make_reviews,
    make_rule,
    previewed,
    sample_of,
)
from tests.conftest import make_person
from tests.explanations.making import NOON

pytestmark = pytest.mark.django_db


@pytest.fixture
def version() -> ModelVersion:
    return make_reviews()


@pytest.fixture
def lara(db: None) -> User:
    """An audit lead."""
    return make_person("lara", Role.AUDIT_LEAD)


def terms(**more: Any) -> Terms:
    return Terms(**{"title": "Not good", "condition": NOT_GOOD, "label": "negative", **more})


# -- Writing ----------------------------------------------------------------------------------


def test_create__valid__is_previewed(version: ModelVersion, lara: User) -> None:
    rule = rules.create_rule(actor=lara, model=version.model, terms=terms())

    assert (rule.version, rule.author, rule.condition) == (1, lara, NOT_GOOD)
    assert outbox.is_waiting(task="audits.preview", key=rule.pk)
    event = Event.objects.get(verb="rule.created")
    assert event.after == {"title": "Not good", "condition": NOT_GOOD, "label": "negative", "bar": 0.9}


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"title": " "}, "title"),
        ({"title": "x" * 101}, "title"),
        ({"label": "unheard of"}, "label"),
        ({"bar": 0.4}, "bar"),
        ({"bar": 1.0}, "bar"),
        ({"condition": {"field": "feature:nope", "is": "missing"}}, "condition.field"),
        (
            {"condition": {"all": [{"field": "text", "is": "matches", "value": "(?=a)"}]}},
            "condition.all[0].value",
        ),
    ],
)
def test_create__something_wrong__says_where(
    version: ModelVersion, lara: User, wrong: dict[str, Any], path: str
) -> None:
    with pytest.raises(Invalid) as refused:
        rules.create_rule(actor=lara, model=version.model, terms=terms(**wrong))

    assert [problem.path for problem in refused.value.errors] == [path]
    assert Rule.objects.count() == Event.objects.count() == OutboxMessage.objects.count() == 0


def test_write__not_a_lead__forbidden(version: ModelVersion, lara: User, mallory: User) -> None:
    rule = make_rule(lara, version.model)

    with pytest.raises(Forbidden):
        rules.create_rule(actor=mallory, model=version.model, terms=terms())
    with pytest.raises(Forbidden):
        rules.change_rule(actor=mallory, rule=rule, version=1, terms=terms(bar=0.8))
    with pytest.raises(Forbidden):
        rules.retire_rule(actor=mallory, rule=rule)
    with pytest.raises(Forbidden):
        previewing.want_preview(actor=mallory, rule=rule)


def test_change__a_preview_there__begins_anew(version: ModelVersion, lara: User) -> None:
    rule = previewed(make_rule(lara, version.model))
    assert rule.previewed_at is not None

    rule = rules.change_rule(actor=lara, rule=rule, version=1, terms=terms(bar=0.8))

    assert (rule.version, rule.bar, rule.preview, rule.previewed_at) == (2, 0.8, {}, None)
    with pytest.raises(Conflict):
        rules.change_rule(actor=lara, rule=rule, version=1, terms=terms())
    # Nothing different is no change.
    assert rules.change_rule(actor=lara, rule=rule, version=2, terms=terms(bar=0.8)).version == 2


def test_retire__idle__is_put_away(version: ModelVersion, lara: User) -> None:
    rule = rules.retire_rule(actor=lara, rule=make_rule(lara, version.model))

    assert rule.retired_at is not None
    for refused in (
        lambda: rules.retire_rule(actor=lara, rule=rule),
        lambda: rules.change_rule(actor=lara, rule=rule, version=1, terms=terms(bar=0.8)),
        lambda: previewing.want_preview(actor=lara, rule=rule),
    ):
        with pytest.raises(Conflict):
            refused()
    previewing.preview(rule.pk)
    rule.refresh_from_db()
    assert rule.previewed_at is None


# -- The preview: the log ---------------------------------------------------------------------


def test_preview__log__counts_what_it_would_do(version: ModelVersion, lara: User) -> None:
    log_reviews(version, 3)
    log_reviews(version, 2, label="negative")
    log_reviews(version, 4, text="good")
    log_reviews(version, 1, customer_id="c1")
    Suppression.objects.create(customer_key=customer_key("c1"), since=NOON)
    other = make_rule(lara, version.model, title="Stays", label="positive")
    same = make_rule(lara, version.model, title="Same label")

    rule = previewed(make_rule(lara, version.model))

    seen = rule.preview
    assert {
        name: seen[name] for name in ("rows", "matches", "changes", "same", "opted_out", "corrected")
    } == {
        "rows": 10,
        "matches": 6,
        "changes": 3,
        "same": 2,
        "opted_out": 1,
        "corrected": 0,
    }
    assert seen["other_rules"] == [{"rule": other.pk, "title": "Stays", "count": 5}]
    assert same.pk != other.pk
    assert sorted(seen["examples"]["changes"]) == ["review-0", "review-1", "review-2"]
    assert (rule.rows_done, rule.rows_total, rule.preview_wanted_at) == (10, 10, None)


def test_preview__people_spoke__conflicts_are_counted_and_nothing_of_open_runs(
    version: ModelVersion, lara: User
) -> None:
    first, second, third = log_reviews(version, 3)
    closed, still_open = make_run(state=Run.State.CLOSED), make_run(state=Run.State.OPEN)
    for run, row, label in (
        (closed, first, "negative"),
        (closed, second, "positive"),
        (still_open, third, "positive"),
    ):
        item = make_items(run, 1)[0]
        Item.objects.filter(pk=item.pk).update(
            prediction_id=row.prediction_id, state="settled", label=label, settled_at=NOON
        )

    seen = previewed(make_rule(lara, version.model)).preview

    assert (seen["people"], seen["changes"]) == ({"agree": 1, "against": 1}, 1)


def test_preview__killed_in_between__goes_on_where_it_stopped(
    version: ModelVersion, lara: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_reviews(version, 10)
    rule = make_rule(lara, version.model)
    monkeypatch.setattr(matching, "BATCH", 4)
    calls = []

    def die(*_: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("killed")

    with monkeypatch.context() as dying:
        dying.setattr(outbox, "renew", die)
        with pytest.raises(RuntimeError):
            previewing.preview(rule.pk)
    rule.refresh_from_db()
    assert (rule.rows_done, rule.rows_total, rule.previewed_at) == (8, 10, None)
    # What comes in meanwhile is not looked at.
    log_reviews(version, 5)

    rule = previewed(rule)

    assert (rule.preview["rows"], rule.preview["changes"]) == (10, 10)
    assert len(rule.preview["examples"]["changes"]) == 10


def test_preview__time_is_up__the_rest_is_a_new_message(
    version: ModelVersion, lara: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_reviews(version, 10)
    rule = make_rule(lara, version.model)
    monkeypatch.setattr(matching, "BATCH", 4)
    monkeypatch.setattr(previewing, "BUDGET_SECONDS", -1.0)

    rounds = 0
    while outbox.is_waiting(task="audits.preview", key=rule.pk):
        outbox.drain(lane="audits.preview")
        rounds += 1

    rule.refresh_from_db()
    assert (rounds, rule.preview["changes"]) == (4, 10)


def test_preview__changed_meanwhile__the_old_one_leaves_nothing(
    version: ModelVersion, lara: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_reviews(version, 2)
    rule = make_rule(lara, version.model)

    def change(*_: object) -> None:
        rules.change_rule(actor=lara, rule=rule, version=1, terms=terms(bar=0.8))

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(outbox, "renew", change)
        previewing.preview(rule.pk)

    rule.refresh_from_db()
    assert (rule.version, rule.preview, rule.previewed_at) == (2, {}, None)


# -- The preview: precision -------------------------------------------------------------------


def test_precision__equal_weights__exact_on_the_counts(version: ModelVersion, lara: User) -> None:
    sample_of(
        version,
        (18, "not good", "positive", "negative"),
        (2, "not good", "positive", "positive"),
        (5, "not good", "positive", ""),
        (9, "not good", "negative", "negative"),
        (9, "good", "positive", "negative"),
    )

    seen = previewed(make_rule(lara, version.model)).preview["precision"]

    assert (seen["n"], seen["right"], seen["share"], seen["weighted"]) == (20, 18, pytest.approx(0.9), False)
    assert seen["low"] == pytest.approx(lower_bound(18, 20))
    assert seen["effective"] == pytest.approx(20)


def test_precision__weights_differ__fewer_count(version: ModelVersion, lara: User) -> None:
    """Ten items that stand for 10 each and agree, ten that stand for 1 each and do not: 91 %, not half."""
    run = sample_of(version, (10, "not good", "positive", "negative"), frame=100)
    thin = make_stratum(run, frame=10, drawn=10)
    for item in make_items(run, 10, stratum=thin, version=version, predicted="positive", text="not good"):
        Item.objects.filter(pk=item.pk).update(state="settled", label="positive", settled_at=NOON)

    seen = previewed(make_rule(lara, version.model)).preview["precision"]

    assert seen["share"] == pytest.approx(100 / 110)
    assert seen["effective"] == pytest.approx(110**2 / (10 * 100 + 10))
    assert (seen["n"], seen["weighted"]) == (20, True)
    # ⌊11.98⌋ items, of which ⌊0.909 × 11⌋ agree.
    assert seen["low"] == pytest.approx(lower_bound(10, 11))


@pytest.mark.parametrize(
    "change",
    [
        {"stream": Stream.SUSPECT, "inclusion_probability": None},
        {"stream": Stream.GOLD, "inclusion_probability": None, "gold": "negative"},
        {"text": "", "features": "{}"},
        {"state": "void", "label": "", "settled_at": None},
    ],
)
def test_precision__not_of_the_random_sample_or_erased__does_not_count(
    version: ModelVersion, lara: User, change: dict[str, Any]
) -> None:
    run = sample_of(version, (10, "not good", "positive", "negative"))
    Item.objects.filter(pk=Item.objects.filter(run=run).earliest("pk").pk).update(**change)

    assert previewed(make_rule(lara, version.model)).preview["precision"]["n"] == 9


@pytest.mark.parametrize(
    "change", [{"state": "open", "closed_at": None}, {"kind": "targeted"}, {"kind": "acceptance"}]
)
def test_precision__other_or_open_runs__do_not_count(
    version: ModelVersion, lara: User, change: dict[str, Any]
) -> None:
    run = sample_of(version, (10, "not good", "positive", "negative"))
    Run.objects.filter(pk=run.pk).update(**change)

    assert previewed(make_rule(lara, version.model)).preview["precision"]["n"] == 0


def test_precision__of_a_suggestion__only_the_held_out_half_of_its_run(
    version: ModelVersion, lara: User
) -> None:
    run = sample_of(version, (40, "not good", "positive", "negative"), frame=400)
    suggestion = Suggestion.objects.create(
        run=run, condition=NOT_GOOD, words="", label="negative", made_at=NOON
    )
    sample_of(version, (7, "not good", "positive", "negative"))
    held_out = sum(is_held_out(run.seed, item.prediction_id) for item in Item.objects.filter(run=run))

    rule = rules.create_rule(actor=lara, model=version.model, terms=terms(), suggestion=suggestion)
    seen = previewed(rule).preview["precision"]

    assert 0 < held_out < 40
    assert (seen["n"], seen["held_out"], seen["runs"]) == (held_out + 7, run.pk, 2)
    # Half as many labels stand for the same frame.
    weights = {round(one.weight, 9) for one in audited_items(run, only_held_out=True)}
    assert weights == {round(400 / held_out, 9)}
