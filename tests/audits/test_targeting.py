"""Targeted runs: what is most likely wrong comes first, and a random look bounds what is left."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from opsportal.accounts.models import User
from opsportal.audits.models import Item, Run, Stream
from opsportal.audits.services.closing import cancel_run
from opsportal.audits.services.targeting import start_targeted_run
from opsportal.core.errors import Conflict, Forbidden, Invalid
from opsportal.events import outbox
from opsportal.events.models import Event
from opsportal.predictions.models import Prediction, Suppression
from opsportal.predictions.pseudonyms import customer_key
from tests.audits.learning import NO, YES, closed_run, lead, version_of
from tests.audits.making import make_items, make_run
from tests.explanations.making import NOON, make_prediction

pytestmark = pytest.mark.django_db
LOOK = "random look at the rest"


def log_predictions(count: int, **more: Any) -> list[Prediction]:
    """Logged predictions, sure of themselves: their scores lie between 0.9 and 1."""
    version = version_of()
    return [
        make_prediction(version, score=0.9 + 0.1 * number / count, sex="male", **more)
        for number in range(count)
    ]


def ranked(run: Run, suspects: int = 5, look: int = 10) -> Run:
    """The targeted run as the worker leaves it."""
    made = start_targeted_run(actor=lead(), run=run, suspects=suspects, look=look)
    outbox.drain(lane="audits.")
    made.refresh_from_db()
    return made


def labelled_by_sex(n: int = 60) -> Run:
    """A closed run in which the model calls everybody survived, and people say: women only."""
    run = make_run(state=Run.State.CLOSED, closed_at=NOON)
    for sex, label in (("female", YES), ("male", NO)):
        items = make_items(
            run, n // 2, version=version_of(), score=0.9, predicted=YES, features=f'{{"sex": "{sex}"}}'
        )
        Item.objects.filter(pk__in=[item.pk for item in items]).update(
            label=label, state=Item.State.SETTLED, settled_at=NOON, provenance="human"
        )
    return run


def test_rank__few_labels__the_scores_own_doubt_alone() -> None:
    run = closed_run(10)
    log_predictions(30)
    doubtful = [make_prediction(version_of(), score=score) for score in (0.5001, 0.45, 0.56)]

    made = ranked(run, suspects=3, look=0)

    items = list(Item.objects.filter(run=made).order_by("-suspicion"))
    assert [item.prediction_id for item in items] == [row.prediction_id for row in doubtful]
    assert (made.state, made.frame, made.items) == (Run.State.OPEN, 33, 3)
    assert items[0].why == "Its own score 0.5 leaves it 50 % in doubt"
    assert "the score's own doubt alone" in made.plan["words"][0]


def test_rank__labels_disagree_with_the_model__learnt_from_and_named() -> None:
    run = labelled_by_sex()
    log_predictions(20)
    women = [make_prediction(version_of(), score=0.95, sex="female") for _ in range(20)]

    made = ranked(run, suspects=15, look=0)

    found = Item.objects.filter(run=made)
    assert not found.filter(prediction_id__in=[row.prediction_id for row in women]).exists()
    why = found.order_by("-suspicion").values_list("why", flat=True)[0]
    assert why.startswith("A model trained on the labels says “did not survive”")
    assert made.plan["suspects"] == {"wanted": 15, "chosen": 15, "labels": 60}


def test_rank__streams__suspects_without_probability_and_the_look_with_its_own() -> None:
    run = closed_run(10)
    log_predictions(40)

    made = ranked(run, suspects=5, look=7)

    suspects = Item.objects.filter(run=made, stream=Stream.SUSPECT)
    look = Item.objects.filter(run=made, stream=Stream.SAMPLE)
    assert (suspects.count(), look.count()) == (5, 7)
    assert set(suspects.values_list("inclusion_probability", flat=True)) == {None}
    assert set(look.values_list("inclusion_probability", "why", "suspicion")) == {(7 / 35, LOOK, None)}
    assert made.plan["random_look"] == {"wanted": 7, "rest": 35, "drawn": 7}
    assert len(made.plan["words"]) == 2
    assert (made.parent, made.labels, made.blind) == (run, run.labels, run.blind)


def test_rank__look__every_prediction_of_the_rest_is_drawn_about_as_often() -> None:
    from opsportal.audits import suspecting

    run = closed_run(10)
    rows = log_predictions(12)
    drawn: dict[str, int] = {row.prediction_id: 0 for row in rows}
    for number in range(30):
        made = start_targeted_run(actor=lead(), run=run, suspects=2, look=4)
        Run.objects.filter(pk=made.pk).update(seed=f"{number:032x}")
        suspecting.rank(made.pk)
        for name in Item.objects.filter(run=made, why=LOOK).values_list("prediction_id", flat=True):
            drawn[name] += 1
        Run.objects.filter(pk=made.pk).delete()

    # The two most suspicious never; the other ten 30 × 4 / 10 = 12 times, give or take four deviations.
    never = [name for name, count in drawn.items() if not count]
    assert never == [row.prediction_id for row in rows[:2]]
    assert all(2 <= count <= 22 for name, count in drawn.items() if name not in never)


def test_rank__labelled_opted_out_or_undecided__left_out() -> None:
    run = closed_run(10)
    rows = log_predictions(4)
    gone = make_prediction(version_of(), score=0.5, customer_id="c-1")
    odd = make_prediction(version_of(), score=0.5, label="neither")
    Suppression.objects.create(customer_key=customer_key("c-1"), since=NOON)
    make_items(make_run(), 1)
    Item.objects.filter(run__state=Run.State.OPEN).update(prediction_id=rows[0].prediction_id)

    made = ranked(run, suspects=10, look=0)

    names = set(Item.objects.filter(run=made).values_list("prediction_id", flat=True))
    assert names == {row.prediction_id for row in rows[1:]}
    assert names.isdisjoint({gone.prediction_id, odd.prediction_id})


def test_rank__nothing_left__failed_with_a_sentence() -> None:
    made = ranked(closed_run(10))

    assert (made.state, made.items) == (Run.State.FAILED, 0)
    assert made.problem == "The log holds no prediction of this model that nobody has labelled yet."


def test_rank__fewer_than_wanted__all_of_them() -> None:
    log_predictions(3)

    made = ranked(closed_run(10), suspects=50, look=50)

    assert Item.objects.filter(run=made, stream=Stream.SUSPECT).count() == 3
    assert made.plan["random_look"] == {"wanted": 50, "rest": 0, "drawn": 0}


def test_rank__cancelled_or_repeated__nothing_more_is_filled() -> None:
    from opsportal.audits import suspecting

    run = closed_run(10)
    log_predictions(6)
    cancelled = start_targeted_run(actor=lead(), run=run, suspects=2, look=0)
    cancel_run(actor=lead(), run=cancelled, reason="Not needed.")
    suspecting.rank(cancelled.pk)
    made = ranked(run, suspects=2, look=2)
    suspecting.rank(made.pk)

    assert not Item.objects.filter(run=cancelled).exists()
    assert Item.objects.filter(run=made).count() == 4
    assert Event.objects.filter(verb="run.opened", subject_id=str(made.pk)).count() == 1


def test_estimate__targeted_run__suspects_enter_no_rate_and_the_look_bounds_the_rest() -> None:
    from opsportal.audits.figures import decode
    from opsportal.audits.models import Estimate

    run = closed_run(10)
    log_predictions(40)
    made = ranked(run, suspects=10, look=20)
    # Every suspect was wrong, and nobody of the look.
    for stream, label in ((Stream.SUSPECT, NO), (Stream.SAMPLE, YES)):
        Item.objects.filter(run=made, stream=stream).update(
            label=label, state=Item.State.SETTLED, settled_at=NOON, provenance="human"
        )
    Run.objects.filter(pk=made.pk).update(state=Run.State.CLOSED, closed_at=NOON)
    outbox.send(task="audits.estimate", key=made.pk)

    outbox.drain(lane="audits.")

    results = decode(Estimate.objects.get(run=made).figures)
    assert results.error_rate.n == 20
    assert results.error_rate.value in (0, None)
    remaining = results.remaining
    assert remaining is not None
    # With 3 errors among 30, 20 looks miss all of them in 3.0 % of cases, with 2 in 10.3 %.
    assert (remaining.kind, remaining.n) == ("upper", 20)
    assert remaining.high == pytest.approx(2 / 10)


@pytest.mark.parametrize(
    ("change", "path"),
    [({"suspects": 0}, "suspects"), ({"suspects": 2_001}, "suspects"), ({"look": -1}, "look")],
)
def test_start__out_of_range__refused(change: dict[str, int], path: str) -> None:
    given: dict[str, Any] = {"actor": lead(), "run": closed_run(4), "suspects": 5, "look": 5}

    with pytest.raises(Invalid) as caught:
        start_targeted_run(**{**given, **change})

    assert caught.value.errors[0].path == path
    assert not Run.objects.filter(kind=Run.Kind.TARGETED).exists()


def test_start__wrong_person_run_or_moment__refused(otto: User) -> None:
    run = closed_run(4)
    with pytest.raises(Forbidden):
        start_targeted_run(actor=otto, run=run, suspects=5, look=5)
    with pytest.raises(Invalid):
        start_targeted_run(actor=lead(), run=make_run(), suspects=5, look=5)
    start_targeted_run(actor=lead(), run=run, suspects=5, look=5)
    with pytest.raises(Conflict, match="Another targeted run"):
        start_targeted_run(actor=lead(), run=run, suspects=5, look=5)


def test_page__starts_a_run(client_for: Callable[[User], Client]) -> None:
    browser = client_for(lead())
    assert "No run is closed yet" in browser.get("/audits/targeted/new/").content.decode()
    run = closed_run(4)
    page = browser.get(f"/audits/targeted/new/?run={run.pk}").content.decode()
    assert f'<option value="{run.pk}" selected>' in page

    refused = browser.post("/audits/targeted/new/", {"run": run.pk, "suspects": "x", "look": ""})
    sent = browser.post("/audits/targeted/new/", {"run": run.pk, "suspects": "5", "look": "10"})
    again = browser.post("/audits/targeted/new/", {"run": run.pk, "suspects": "5", "look": "10"})

    made = Run.objects.get(kind=Run.Kind.TARGETED)
    assert (refused.status_code, sent["Location"], again.status_code) == (
        400,
        f"/audits/runs/{made.pk}/",
        409,
    )
    assert "Give a whole number." in refused.content.decode()
    assert "Another targeted run of this model" in again.content.decode()
    assert browser.get(sent["Location"]).status_code == 200
