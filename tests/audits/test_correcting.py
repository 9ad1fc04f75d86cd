"""Corrections of a closed run: what people said against the model, beside rules and earlier runs."""

from datetime import timedelta

import pytest

from opsportal.accounts.models import User
from opsportal.audits.models import Application, Correction, Item, Rule, Run, Stream
from opsportal.audits.selectors.labels import corrections_of
from opsportal.audits.services.correcting import record_corrections
from opsportal.events.models import Event
from tests.audits.making import make_items, make_model, make_person, make_policy, make_run
from tests.audits.resulting import close, settle
from tests.explanations.making import NOON

pytestmark = pytest.mark.django_db


def corrected() -> list[tuple[str, str, str, str, bool]]:
    """(prediction, predicted, label, provenance, active) of every correction, oldest first."""
    return [
        (row.prediction_id, row.predicted, row.label, row.provenance, row.reverted_at is None)
        for row in Correction.objects.order_by("pk")
    ]


def rule_says(
    prediction_id: str, *, predicted: str = "survived", label: str = "did not survive"
) -> Correction:
    author = make_person("author")
    rule = Rule.objects.create(
        model=make_model(), title="Rule", condition={}, label=label, author=author, created_at=NOON
    )
    application = Application.objects.create(
        rule=rule,
        terms={"version": 2},
        state=Application.State.ACCEPTED,
        author=author,
        reason="Test.",
        created_at=NOON,
    )
    return Correction.objects.create(
        model=rule.model,
        prediction_id=prediction_id,
        predicted=predicted,
        label=label,
        provenance="rule",
        application=application,
        made_at=NOON,
    )


def test_record__errors_of_people__become_corrections() -> None:
    run = make_run()
    right, wrong, decided, untold, left = make_items(run, 5, customer_id="C-1")
    settle([right], "survived")
    settle([wrong], "did not survive")
    settle([decided], "did not survive", provenance="adjudicated")
    settle([untold], "")
    close(run)

    made = record_corrections(run)

    assert made == 2
    assert corrected() == [
        (wrong.prediction_id, "survived", "did not survive", "human", True),
        (decided.prediction_id, "survived", "did not survive", "adjudicated", True),
    ]
    first = Correction.objects.order_by("pk").first()
    assert first is not None
    assert (first.item, first.model, first.customer_key) == (wrong, run.model, wrong.customer_key)
    assert left.customer_key
    event = Event.objects.get(verb="corrections.recorded")
    assert event.after == {"corrected": 2, "reverted": 0}


def test_record__other_streams__all_but_known_answers_count() -> None:
    run = make_run()
    gold = make_items(run, 1, stream=Stream.GOLD, gold="did not survive")
    suspect = make_items(run, 1, stream=Stream.SUSPECT)
    referred = make_items(run, 1, stream=Stream.REFERRED)
    settle([*gold, *suspect, *referred], "did not survive")
    close(run)

    record_corrections(run)

    assert [row[0] for row in corrected()] == [suspect[0].prediction_id, referred[0].prediction_id]


def test_record__again__adds_nothing() -> None:
    run = make_run()
    settle(make_items(run, 3), "did not survive")
    close(run)
    record_corrections(run)

    again = record_corrections(run)

    assert again == 0
    assert Correction.objects.count() == 3
    assert Event.objects.filter(verb="corrections.recorded").count() == 1


def test_record__open_run__is_refused() -> None:
    run = make_run()
    settle(make_items(run, 1), "did not survive")

    with pytest.raises(ValueError, match="not closed"):
        record_corrections(run)

    assert not Correction.objects.exists()


def test_record__rule_said_so_too__people_replace_it() -> None:
    run = make_run()
    item, other = make_items(run, 2)
    settle([item], "did not survive")
    settle([other], "survived")
    for one in (item, other):
        rule_says(one.prediction_id)
    unrelated = rule_says("elsewhere")
    close(run)

    record_corrections(run)

    assert corrected() == [
        (item.prediction_id, "survived", "did not survive", "rule", False),
        # People say that the model was right, so the rule was not.
        (other.prediction_id, "survived", "did not survive", "rule", False),
        ("elsewhere", "survived", "did not survive", "rule", True),
        (item.prediction_id, "survived", "did not survive", "human", True),
    ]
    unrelated.refresh_from_db()
    assert unrelated.reverted_at is None


def test_record__acceptance_shows_the_rules_label__the_models_decision_is_kept() -> None:
    run = make_run()
    item = make_items(run, 1, predicted="did not survive")[0]
    rule_says(item.prediction_id, predicted="survived", label="did not survive")
    settle([item], "did not survive")
    close(run)

    record_corrections(run)

    assert corrected()[-1] == (item.prediction_id, "survived", "did not survive", "human", True)


def two_runs(earlier: str, later: str) -> tuple[Run, Run]:
    """One prediction in two closed runs of the same model, labelled a day apart."""
    policy = make_policy()
    runs = [make_run(policy), make_run(policy)]
    for number, (run, label) in enumerate(zip(runs, (earlier, later), strict=True)):
        item = make_items(run, 1)[0]
        Item.objects.filter(pk=item.pk).update(prediction_id="twice")
        item.refresh_from_db()
        settle([item], label, at=NOON + timedelta(days=number))
        close(run)
    return runs[0], runs[1]


def test_record__later_run_disagrees__the_later_is_believed() -> None:
    first, second = two_runs("did not survive", "survived")
    record_corrections(first)

    record_corrections(second)

    assert corrected() == [("twice", "survived", "did not survive", "human", False)]
    assert record_corrections(first) == 0


def test_record__later_run_agrees__the_first_stays() -> None:
    first, second = two_runs("did not survive", "did not survive")
    record_corrections(first)

    made = record_corrections(second)

    assert made == 0
    assert corrected() == [("twice", "survived", "did not survive", "human", True)]


def test_record__earlier_run_estimated_late__changes_nothing() -> None:
    first, second = two_runs("did not survive", "did not survive")
    record_corrections(second)

    record_corrections(first)

    active = Correction.objects.get(reverted_at=None)
    assert active.item is not None
    assert active.item.run == second


def test_corrections_of__closed_and_open_runs__tells_only_what_closed_ones_say(ana: User) -> None:
    policy = make_policy()
    closed, running = make_run(policy, title="November"), make_run(policy)
    for run in (closed, running):
        item = make_items(run, 1)[0]
        Item.objects.filter(pk=item.pk).update(prediction_id="p-1")
        item.refresh_from_db()
        settle([item], "did not survive", provenance="adjudicated")
    close(closed)

    said = corrections_of("p-1", user=ana)

    assert [(one.words, one.source, one.url, one.is_correction) for one in said] == [
        ("People say: Did not survive", "November, adjudicated", f"/audits/runs/{closed.pk}/", True)
    ]


def test_corrections_of__rule_and_agreement__names_both(ana: User) -> None:
    run = make_run(title="November")
    item = make_items(run, 1)[0]
    settle([item], "survived")
    close(run)
    rule_says(item.prediction_id)

    said = corrections_of(item.prediction_id, user=ana)

    assert [(one.words, one.source) for one in said] == [
        ("People say so too: Survived", "November, labelled"),
        ("A rule says: did not survive", "Rule, version 2"),
    ]
