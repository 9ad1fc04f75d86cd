"""The figures of closed runs: exact where hand can follow, and a sentence where there is no number."""

from collections.abc import Sequence
from itertools import count

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from opsportal.audits import figures
from opsportal.audits.figures import Figure, Results
from opsportal.audits.models import Correction, Estimate, Item, Label, Review, Run, Stratum, Stream
from opsportal.events import outbox
from opsportal.events.models import OutboxMessage
from tests.audits.making import make_items, make_person, make_policy, make_run, make_stratum
from tests.explanations.making import NOON, make_version

pytestmark = pytest.mark.django_db

YES, NO = "survived", "did not survive"
_token = count(1)


def answer(item: Item, value: str, *, person: str = "ana", seconds: float = 4.0, **more: object) -> Label:
    """One person's answer, on the item's first review."""
    review = Review.objects.filter(item=item).order_by("number").first()
    assert review is not None
    return Label.objects.create(
        run_id=item.run_id,
        item=item,
        review=review,
        person=make_person(person),
        token=f"token-{next(_token)}",
        value=value,
        seconds=seconds,
        at=NOON,
        **more,
    )


def settle(items: Sequence[Item], label: str, *, person: str = "ana", provenance: str = "human") -> None:
    """One person answers each of the items, and that is what they are."""
    for item in items:
        answer(item, label, person=person)
    Item.objects.filter(pk__in=[item.pk for item in items]).update(
        state=Item.State.SETTLED, label=label, provenance=provenance, settled_at=NOON
    )


def closed(run: Run) -> Run:
    """The run, closed as the service leaves it."""
    Item.objects.filter(run=run).exclude(state=Item.State.SETTLED).update(state=Item.State.VOID)
    Run.objects.filter(pk=run.pk).update(state=Run.State.CLOSED, closed_at=NOON)
    run.refresh_from_db()
    return run


def results_of(run: Run) -> Results:
    """What the worker stores about the closed run."""
    from opsportal.audits.estimating import results

    results.estimate(closed(run).pk)
    return figures.decode(Estimate.objects.get(run=run).figures)


def holds(figure: Figure) -> None:
    """The bounds contain the value and lie between 0 and 1."""
    assert figure.value is not None
    low, high = (0 if figure.low is None else figure.low), (1 if figure.high is None else figure.high)
    assert 0 <= low <= figure.value <= high <= 1
    assert figure.formula
    assert figure.source


def test_estimate__two_strata__weighs_labels_by_what_they_stand_for() -> None:
    run = make_run(make_policy(strata=["predicted"]))
    yes = make_stratum(run, frame=900, drawn=20, title="Predicted survived", key={"predicted": YES})
    no = make_stratum(run, frame=100, drawn=10, title="Predicted did not survive", key={"predicted": NO})
    said_yes = make_items(run, 20, stratum=yes, predicted=YES)
    said_no = make_items(run, 10, stratum=no, predicted=NO)
    settle(said_yes[:18], YES)
    settle(said_yes[18:], NO)
    settle(said_no[:5], NO)
    settle(said_no[5:], YES)

    found = results_of(run)

    # 900 × 2/20 + 100 × 5/10 = 140 of 1,000.
    assert found.error_rate.value == pytest.approx(0.14)
    holds(found.error_rate)
    assert found.frame == figures.Frame(
        frame=1000,
        excluded=0,
        unusable=0,
        drawn=30,
        labelled=30,
        cannot_tell=0,
        unlabelled=0,
        erased=0,
        gold=0,
    )
    survived, not_survived = found.classes
    assert survived.precision.value == pytest.approx(18 / 20)
    assert not_survived.precision.value == pytest.approx(5 / 10)
    # Really survived: 900 × 18/20 + 100 × 5/10 = 860, of which 810 were found.
    assert survived.recall.value == pytest.approx(810 / 860)
    assert survived.true.value == pytest.approx(0.86)
    assert (survived.predicted.value, survived.predicted.low, survived.predicted.high) == (0.9, 0.9, 0.9)
    for figure in (survived.precision, survived.recall, survived.true, not_survived.recall):
        holds(figure)
    assert [(cell.predicted, cell.true, cell.count) for cell in found.confusion] == [
        (NO, NO, 5),
        (NO, YES, 5),
        (YES, NO, 2),
        (YES, YES, 18),
    ]
    assert [cell.weighted for cell in found.confusion] == pytest.approx([50, 50, 90, 810])
    assert [(one.title, one.errors, one.error_rate.value) for one in found.strata] == [
        ("Predicted survived", 2, 0.1),
        ("Predicted did not survive", 5, 0.5),
    ]
    by_class = {one.value: one for one in found.segments if one.dimension == "predicted"}
    assert by_class[NO].error_rate.value == pytest.approx(0.5)
    p, adjusted = by_class[NO].p, by_class[NO].p_adjusted
    assert p is not None
    assert adjusted is not None
    assert p <= adjusted


def test_estimate__closed_run__corrects_and_sends_what_follows_once() -> None:
    run = make_run()
    items = make_items(run, 30)
    settle(items[:29], YES)
    settle(items[29:], NO)

    first = results_of(run)
    again = results_of(run)

    assert first == again
    assert Estimate.objects.get().method == figures.METHOD
    correction = Correction.objects.get()
    assert (correction.prediction_id, correction.predicted, correction.label) == (
        items[29].prediction_id,
        YES,
        NO,
    )
    assert sorted(OutboxMessage.objects.values_list("task", "key")) == [
        ("audits.mine", str(run.pk)),
        ("audits.verify", str(run.pk)),
    ]


def test_estimate__open_run__does_nothing() -> None:
    from opsportal.audits.estimating import results

    run = make_run()
    settle(make_items(run, 5), YES)

    results.estimate(run.pk)
    results.estimate(run.pk + 1)

    assert not Estimate.objects.exists()
    assert not OutboxMessage.objects.exists()


def test_task__closed_run__stores_the_figures() -> None:
    run = make_run()
    settle(make_items(run, 5), YES)
    closed(run)
    outbox.send(task="audits.estimate", key=run.pk)

    outbox.drain(lane="audits.estimate")

    assert Estimate.objects.filter(run=run).exists()


def test_estimate__no_errors__gives_one_sided_bound() -> None:
    run = make_run()
    settle(make_items(run, 50, frame=100_000), YES)

    found = results_of(run)

    rate = found.error_rate
    assert (rate.value, rate.low, rate.kind, rate.n) == (0, None, "upper", 50)
    assert rate.high == pytest.approx(1 - 0.05 ** (1 / 50), rel=1e-3)
    assert "exact bound" in rate.formula
    survived, not_survived = found.classes
    assert (survived.precision.value, survived.precision.kind, survived.precision.high) == (1, "lower", None)
    assert not_survived.precision.sentence == "No labelled item was predicted “did not survive”."
    assert not_survived.recall.sentence == "No labelled item is “did not survive”."
    # One class only, so there is nothing to compare it with.
    assert [one.dimension for one in found.segments] == []


def test_estimate__all_errors__gives_a_lower_bound() -> None:
    run = make_run()
    settle(make_items(run, 50, frame=100_000), NO)

    rate = results_of(run).error_rate

    assert (rate.value, rate.high, rate.kind) == (1, None, "lower")
    assert rate.low == pytest.approx(0.05 ** (1 / 50), rel=1e-3)


def test_estimate__nobody_can_tell__says_so() -> None:
    run = make_run()
    settle(make_items(run, 12), "")

    found = results_of(run)

    assert found.error_rate.value is None
    assert (
        found.error_rate.sentence == "Nobody could tell for any of the 12 items whether the model is right."
    )
    assert (found.frame.cannot_tell, found.frame.labelled, found.frame.unlabelled) == (12, 0, 0)
    assert found.error_rate_corrected is not None
    assert found.error_rate_corrected.sentence == "There is no error rate to correct."
    assert found.confusion == []
    (person,) = found.people
    assert (person.labelled, person.cannot_tell) == (0, 12)
    assert person.sentence == "They gave no label that could be compared."


def test_estimate__nothing_labelled__says_so() -> None:
    run = make_run()
    make_items(run, 12)

    found = results_of(run)

    assert found.error_rate.sentence == "None of the 12 items was labelled."
    assert found.frame.unlabelled == 12
    assert (found.agreement, found.people, found.pooled) == (None, [], None)
    assert found.strata[0].error_rate.sentence == "Nothing here was labelled."


def test_estimate__some_cannot_be_told_and_some_are_left__says_how_many() -> None:
    run = make_run()
    items = make_items(run, 20)
    settle(items[:5], "")
    settle(items[5:15], YES)
    settle(items[15:17], NO)

    found = results_of(run)

    assert found.error_rate.value == pytest.approx(2 / 12)
    assert (found.frame.labelled, found.frame.cannot_tell, found.frame.unlabelled) == (12, 5, 3)
    assert any(note.startswith("For 5 items (29.4 % of those looked at)") for note in found.notes)
    assert any(note.startswith("3 items of the sample stayed unlabelled") for note in found.notes)


def test_estimate__empty_stratum__is_shown_with_a_sentence() -> None:
    run = make_run()
    Stratum.objects.create(run=run, number=9, title="Nobody", frame=0, planned=0, drawn=0)
    settle(make_items(run, 10), YES)

    found = results_of(run)

    assert found.error_rate.kind == "upper"
    empty = next(one for one in found.strata if one.title == "Nobody")
    assert empty.error_rate.sentence == "There was nothing in this stratum."


def test_estimate__stratum_without_labels__is_named_and_bounded() -> None:
    run = make_run()
    make_items(run, 5, stratum=make_stratum(run, frame=100, drawn=5, title="Left alone"))
    items = make_items(run, 30, stratum=make_stratum(run, frame=900, drawn=30, title="Looked at"))
    settle(items[:27], YES)
    settle(items[27:], NO)

    found = results_of(run)

    assert found.error_rate.value == pytest.approx(0.1)
    note = next(
        note for note in found.notes if note.startswith("No item of “Left alone” has a label: 10.0 %")
    )
    assert "Whatever is there, the error rate lies between" in note


def test_estimate__erased_items__are_counted_and_the_rest_stands_for_them() -> None:
    run = make_run()
    items = make_items(run, 20)
    settle(items[:15], YES)
    Item.objects.filter(pk__in=[item.pk for item in items[15:]]).delete()
    Run.objects.filter(pk=run.pk).update(erased=5)

    found = results_of(run)

    assert (found.frame.erased, found.frame.drawn, found.frame.labelled) == (5, 15, 15)
    assert found.error_rate.n == 15
    assert any("5 items erased" in note for note in found.notes)


def test_estimate__everything_erased__says_so() -> None:
    run = make_run()
    Item.objects.filter(pk__in=[item.pk for item in make_items(run, 5)]).delete()
    Run.objects.filter(pk=run.pk).update(erased=5)

    found = results_of(run)

    assert found.error_rate.sentence.startswith("The sample is empty")


def test_estimate__chosen_and_known_items__never_enter_the_rate() -> None:
    run = make_run()
    settle(make_items(run, 20), YES)
    settle(make_items(run, 5, stream=Stream.SUSPECT), NO)
    settle(make_items(run, 3, stream=Stream.GOLD, gold=NO), NO)

    found = results_of(run)

    assert (found.error_rate.value, found.error_rate.n) == (0, 20)
    assert (found.frame.drawn, found.frame.gold) == (20, 3)
    assert any("Only what was drawn by chance counts" in note for note in found.notes)
    (person,) = found.people
    assert (person.gold.value, person.gold.n) == (1, 3)


def test_estimate__only_chosen_items__have_no_rate() -> None:
    run = make_run(kind=Run.Kind.TARGETED)
    settle(make_items(run, 5, stream=Stream.SUSPECT), NO)

    found = results_of(run)

    assert found.error_rate.sentence.startswith("These items were chosen, not drawn by chance")
    assert found.error_rate_corrected is None
    assert found.remaining is not None
    assert found.remaining.sentence.startswith("Nothing of the rest was labelled at random")


def test_estimate__targeted_run_with_a_random_look__bounds_what_is_left() -> None:
    from scipy import stats

    run = make_run(kind=Run.Kind.TARGETED)
    settle(make_items(run, 5, stream=Stream.SUSPECT), NO)
    looked = make_items(run, 40, frame=400)
    settle(looked[:39], YES)
    settle(looked[39:], NO)

    found = results_of(run).remaining

    most = max(k for k in range(1, 362) if stats.hypergeom.cdf(1, 400, k, 40) >= 0.05)
    assert found is not None
    assert (found.kind, found.n) == ("upper", 40)
    assert found.high == pytest.approx((most - 1) / 360)
    assert f"at most {most - 1} of the other 360 are wrong" in found.sentence


def test_estimate__run_without_strata__takes_the_frame_from_probabilities() -> None:
    run = make_run(kind=Run.Kind.ACCEPTANCE)
    items = make_items(run, 20, frame=200)
    Item.objects.filter(run=run).update(stratum=None)
    Stratum.objects.filter(run=run).delete()
    settle(items[:18], YES)
    settle(items[18:], NO)

    found = results_of(run)

    assert found.frame.frame == 200
    assert found.error_rate.value == pytest.approx(0.1)
    assert [one.title for one in found.strata] == ["All that could be drawn"]


def test_estimate__second_look_still_pending__counts_the_first_answer() -> None:
    run = make_run()
    items = make_items(run, 20)
    settle(items[:15], YES)
    for item in items[15:]:
        answer(item, NO)

    found = results_of(run)

    # Leaving them out would say that no decision was wrong.
    assert found.error_rate.value == pytest.approx(0.25)
    assert any(note.startswith("5 items had answers but no settled label") for note in found.notes)
    assert not Correction.objects.exists()


def test_estimate__known_answers__takes_peoples_errors_out() -> None:
    run = make_run()
    items = make_items(run, 100, frame=100_000)
    settle(items[:90], YES)
    settle(items[90:], NO)
    known_right = make_items(run, 40, stream=Stream.GOLD, gold=YES)
    known_wrong = make_items(run, 20, stream=Stream.GOLD, gold=NO)
    settle(known_right[:38], YES)
    settle(known_right[38:], NO)
    settle(known_wrong[:19], NO)
    settle(known_wrong[19:], YES)

    found = results_of(run).error_rate_corrected

    # (0.1 + 0.95 − 1) / (0.95 + 0.95 − 1)
    assert found is not None
    assert found.value == pytest.approx(0.05 / 0.9)
    holds(found)
    assert "judged by 60 answers" in found.sentence


def test_estimate__no_known_answers__says_why_there_is_no_correction() -> None:
    run = make_run()
    settle(make_items(run, 20), YES)

    found = results_of(run).error_rate_corrected

    assert found is not None
    assert found.value is None
    assert found.sentence.endswith("no item has a known answer or a second label.")


def test_estimate__two_people__agree_as_far_as_they_do() -> None:
    run = make_run()
    items = make_items(run, 40, reviews=2)
    settle(items[:20], YES)
    settle(items[20:], NO)
    for place, item in enumerate(items):
        # They differ on four of them.
        same, other = (YES, NO) if place < 20 else (NO, YES)
        answer(item, other if place % 10 == 0 else same, person="ben", seconds=9.0)

    found = results_of(run)

    assert found.agreement is not None
    assert (found.agreement.items, found.agreement.people) == (40, 2)
    assert found.agreement.percent.value == pytest.approx(0.9)
    (pair,) = found.agreement.pairs
    assert (pair.first, pair.second, pair.items, pair.agreed) == ("ana", "ben", 40, 36)
    assert pair.kappa.value == pytest.approx(0.8)
    assert [one.name for one in found.agreement.positive] == [YES, NO]
    assert found.agreement.positive[0].value == pytest.approx(0.9)
    ana, ben = found.people
    assert (ana.seconds, ben.seconds) == (4.0, 9.0)
    assert (ana.standing, ben.standing) == ("usual", "usual")
    assert any("no more than chance explains" in note for note in found.notes)


def test_estimate__second_looks__stay_out_of_agreement() -> None:
    run = make_run(second_look_at_errors=True)
    items = make_items(run, 20, reviews=2)
    settle(items, NO)
    for item in items:
        later = Review.objects.get(item=item, number=2)
        Review.objects.filter(pk=later.pk).update(second_look=True)
        Label.objects.create(
            run=run,
            item=item,
            review=later,
            person=make_person("ben"),
            token=f"token-{next(_token)}",
            value=NO,
            seconds=3,
            at=NOON,
        )

    found = results_of(run)

    assert found.agreement is None
    assert any(note.startswith("Second looks at suspected errors are left out") for note in found.notes)
    assert [one.person for one in found.people] == ["ana", "ben"]


def test_estimate__an_audit_lead_decides__counts_whom_they_sided_with() -> None:
    run = make_run()
    (item,) = make_items(run, 1, reviews=2)
    settle([item], YES)
    answer(item, NO, person="ben")
    answer(item, YES, person="lena", adjudicates=True)

    found = results_of(run)

    assert {one.person: (one.adjudicated.value, one.adjudicated.n) for one in found.people} == {
        "ana": (1.0, 1),
        "ben": (0.0, 1),
    }


def test_estimate__informative_score__gives_a_tighter_estimate_beside_the_plain_one() -> None:
    version = make_version()
    run = make_run()
    n, frame = 400, 40_000
    # A third is uncertain and wrong in every second case; the rest is certain and right.
    scores = [0.5 if place % 3 == 0 else 0.99 for place in range(n)]
    stratum = make_stratum(run, frame=frame, drawn=n, stated_error_sum=frame * (0.5 / 3 + 0.01 * 2 / 3))
    items = make_items(run, n, stratum=stratum, version=version, score=scores, predicted=YES)
    settle([item for place, item in enumerate(items) if place % 6], YES)
    settle([item for place, item in enumerate(items) if place % 6 == 0], NO)

    found = results_of(run)

    plain, powered = found.error_rate, found.error_rate_powered
    assert powered is not None
    holds(powered)
    assert plain.low is not None
    assert plain.high is not None
    assert powered.low is not None
    assert powered.high is not None
    assert powered.high - powered.low < 0.95 * (plain.high - plain.low)
    assert powered.value == pytest.approx(plain.value or 0, abs=0.01)
    assert "narrower than labels alone" in powered.sentence


def test_estimate__features_of_the_dictionary__become_segments() -> None:
    version = make_version()
    run = make_run()
    women = make_items(run, 30, version=version, features='{"sex": "female", "age": 30}', surface="app")
    men = make_items(run, 30, version=version, features='{"sex": "male", "age": 30}', surface="shop")
    settle(women, YES)
    settle(men[:10], YES)
    settle(men[10:], NO)

    found = results_of(run)

    by_sex = {one.value: one for one in found.segments if one.dimension == "feature:sex"}
    assert {value: (one.labelled, one.errors) for value, one in by_sex.items()} == {
        "female": (30, 0),
        "male": (30, 20),
    }
    assert by_sex["male"].p_adjusted is not None
    assert by_sex["male"].p_adjusted < 1e-6
    assert {one.value for one in found.segments if one.dimension == "surface"} == {"app", "shop"}
    assert found.focus == YES


def test_estimate__any_number_of_items__asks_the_database_equally_often() -> None:
    from opsportal.audits.estimating import results

    counts = []
    for size in (5, 50):
        run = make_run()
        items = make_items(run, size)
        settle(items, YES)
        with CaptureQueriesContext(connection) as queries:
            results.results_of(closed(run))
        counts.append(len(queries))

    assert counts[0] == counts[1]
