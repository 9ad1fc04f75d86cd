"""What the worker finds in a run's labels, and what later runs say about it."""

from typing import Any

import pytest

from opsportal.audits.evidence import read_evidence, read_verification
from opsportal.audits.models import Item, Label, Review, Run, Stream, Threshold
from opsportal.audits.selectors.thresholds import threshold_details
from opsportal.events.models import Event
from tests.audits.learning import NO, YES, closed_run, later, make_threshold, strata_of, version_of
from tests.audits.making import make_items, make_person
from tests.explanations.making import NOON, make_prediction

pytestmark = pytest.mark.django_db
State = Threshold.State


def computed(run: Run, **more: Any) -> Threshold:
    """The threshold that the worker finds in the run."""
    from opsportal.audits import thresholding

    row = make_threshold(run, state=State.COMPUTING, value=None, **more)
    thresholding.compute(row.pk)
    row.refresh_from_db()
    return row


def verified(row: Threshold, run: Run) -> str:
    """What that run says of it; empty when it says nothing."""
    from opsportal.audits import thresholding

    thresholding.verify(run.pk)
    row.refresh_from_db()
    found = read_verification(row.verification)
    return "" if found is None else found.outcome


def test_compute__clear_labels__proposed_with_its_evidence() -> None:
    row = computed(closed_run(400))

    evidence = read_evidence(row.evidence)
    assert evidence is not None
    # From 0.44875 on, 20 of 220 are wrong: 9.1 % of 10 % allowed fails; from 0.49875 on none is.
    assert (row.state, row.value) == (State.PROPOSED, 0.49875)
    assert (evidence.exact, evidence.drawn, evidence.labelled, evidence.frame) == (True, 400, 400, 4_000)
    assert [test.passed for test in evidence.tests][-2:] == [True, False]
    assert all(test.p <= 0.05 for test in evidence.tests[:-1])
    assert evidence.tests[-1].p > 0.05
    # It begins where half of what is allowed could still fail, not at the first few labels.
    assert evidence.tests[0].n >= 29
    chosen = next(point for point in evidence.curve if point.threshold == row.value)
    assert (chosen.n, chosen.failed, chosen.accepted) == (201, 1, 0.5025)
    assert Event.objects.get(verb="threshold.computed", subject_id=str(row.pk)).after == {"value": 0.49875}


def test_compute__twice__changes_nothing() -> None:
    from opsportal.audits import thresholding

    row = computed(closed_run(100))
    before = Threshold.objects.filter(pk=row.pk).values().get()

    thresholding.compute(row.pk)

    assert Threshold.objects.filter(pk=row.pk).values().get() == before
    assert Event.objects.filter(verb="threshold.computed").count() == 1


def test_compute__negative_class__accepts_from_below() -> None:
    row = computed(closed_run(400), label=NO, goal=Threshold.Goal.RECALL, target=0.95)

    # Each step of 20 leaves out a tenth of the 200: the first that leaves out any fails.
    assert row.value is not None
    assert row.value >= 0.49
    assert row.state == State.PROPOSED


def test_compute__few_labels__none_and_how_many_more() -> None:
    row = computed(closed_run(20))

    details = threshold_details(row)
    assert (row.state, row.value) == (State.NONE, None)
    assert details.evidence is not None
    assert details.evidence.more_labels is not None
    assert f"About {details.evidence.more_labels:,} more labels" in details.advice


def test_compute__model_worse_than_the_promise__none_and_more_labels_would_not_help() -> None:
    row = computed(closed_run(300, truth=lambda score: YES if int(score * 300) % 2 else NO))

    assert row.state == State.NONE
    assert "more labels would not help" in threshold_details(row).advice


@pytest.mark.parametrize("only", [YES, NO])
def test_compute__one_class_only__ends_in_words(only: str) -> None:
    row = computed(closed_run(200, truth=lambda _: only), goal=Threshold.Goal.RECALL)

    assert row.state == (State.PROPOSED if only == YES else State.NONE)
    assert threshold_details(row).sequence


def test_compute__every_label_cannot_tell__none_and_a_page_all_the_same() -> None:
    run = closed_run(50)
    Item.objects.filter(run=run).update(label="")

    row = computed(run)

    assert row.state == State.NONE
    assert threshold_details(row).curve is None


def test_compute__stratified__bets_on_weights_and_says_so() -> None:
    row = computed(closed_run(600, strata=[(6_000, 200), (2_000, 200), (6_000, 200)]))

    details = threshold_details(row)
    assert details.evidence is not None
    assert not details.evidence.exact
    assert row.state == State.PROPOSED
    assert row.value is not None
    assert 0.4 < row.value <= 0.62
    assert "bet on weighted failures" in details.sequence
    assert any("stratified" in note for note in details.notes)


def test_compute__stratum_without_labels__is_named() -> None:
    run = closed_run(300, strata=[(2_000, 200), (700, 100)])
    Item.objects.filter(run=run, stratum=strata_of(run)[1]).update(
        label="", state=Item.State.VOID, settled_at=None
    )

    row = computed(run, target=0.5)

    assert "700 predictions lie in strata that nobody labelled" in " ".join(threshold_details(row).notes)


def test_compute__suspects_and_known_answers__never_enter() -> None:
    run = closed_run(200)
    before = computed(run)
    for stream in (Stream.SUSPECT, Stream.GOLD):
        more: dict[str, Any] = {"gold": NO} if stream == Stream.GOLD else {}
        made = make_items(run, 100, stream=stream, score=0.9, version=version_of(), **more)
        Item.objects.filter(pk__in=[item.pk for item in made]).update(
            label=NO, state=Item.State.SETTLED, settled_at=NOON, provenance="human"
        )

    again = computed(run)

    assert again.value == before.value
    assert again.evidence == before.evidence


def test_compute__errors_left_unsettled_at_the_close__count_by_their_first_answer() -> None:
    run = closed_run(200)
    errors = list(Item.objects.filter(run=run, score__gt=0.5).order_by("-score")[:30])
    Item.objects.filter(pk__in=[item.pk for item in errors]).update(
        label="", state=Item.State.VOID, settled_at=None
    )
    assert computed(run).state == State.PROPOSED
    for number, item in enumerate(errors):
        Label.objects.create(
            run=run,
            item=item,
            review=Review.objects.get(item=item),
            person=make_person("ana"),
            token=f"t{number}",
            value=NO,
            seconds=1,
            at=NOON,
        )

    assert computed(run).state == State.NONE


def test_compute__logged_predictions__says_how_many_would_flip() -> None:
    version = version_of()
    for score in (0.1, 0.495, 0.4999, 0.7):
        make_prediction(version, score=score)

    row = computed(closed_run(400))

    assert threshold_details(row).changes == (
        "Of the last 4 logged predictions, 1 would change from “did not survive” to “survived” "
        "(the threshold is 0.5 now)."
    )


def test_compute__nothing_logged__says_it_of_the_frame() -> None:
    row = computed(closed_run(400))

    assert threshold_details(row).changes.startswith(
        "Of the 4,000 predictions that the run stands for, 10 would change from “did not survive”"
    )


@pytest.mark.parametrize(
    ("wrong", "outcome", "word"),
    [(0, "kept", "Kept"), (20, "fits", "Fits"), (60, "broken", "Broken")],
)
def test_verify__next_run__says_what_became_of_the_promise(wrong: int, outcome: str, word: str) -> None:
    row = make_threshold()
    # 200 above the threshold, of which so many are wrong.
    run = closed_run(
        400,
        truth=lambda score: YES if score >= 0.5 and int(score * 400) - 200 >= wrong else NO,
        closed_at=later(),
    )

    assert verified(row, run) == outcome

    verdict = threshold_details(row).verdict
    assert (verdict.word, verdict.run) == (word, run)
    assert "95\u00a0% interval" in verdict.sentence
    found = read_verification(row.verification)
    assert found is not None
    assert (found.n, found.failed, found.kept) == (200, wrong, outcome != "broken")


def test_verify__own_or_earlier_run__says_nothing() -> None:
    run = closed_run(100, closed_at=later())
    row = make_threshold(run)

    assert verified(row, run) == ""
    assert verified(row, closed_run(100)) == ""
    assert Event.objects.filter(verb="threshold.verified").count() == 0


@pytest.mark.parametrize("state", [State.REJECTED, State.UNDONE, State.REPLACED])
def test_verify__over_and_done__says_nothing(state: str) -> None:
    assert verified(make_threshold(state=state), closed_run(100, closed_at=later())) == ""


def test_verify__twice__one_event() -> None:
    row = make_threshold()
    run = closed_run(100, closed_at=later())

    verified(row, run)
    verified(row, run)

    assert Event.objects.filter(verb="threshold.verified").count() == 1


def test_verify__run_of_another_version__says_nothing() -> None:
    other = version_of(version="2")

    assert verified(make_threshold(version=other), closed_run(100, closed_at=later())) == ""
