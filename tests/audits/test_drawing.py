"""Drawing from the prediction log: who is drawn, with which chance, and what is left out."""

import json
import random
from collections import Counter
from datetime import timedelta
from hashlib import blake2b
from typing import Any

import pytest

from opsportal.audits.models import Estimate, Item, Policy, Review, Run, Stratum, Stream
from opsportal.audits.services.runs import start_run
from opsportal.events import outbox
from opsportal.events.models import Event
from opsportal.predictions.models import ModelVersion, Prediction, Suppression
from opsportal.predictions.pseudonyms import customer_key
from tests.audits.making import SEED, WEEK_BEGINS, WEEK_ENDS, make_policy
from tests.explanations.making import AYOUB, NOON, make_version

pytestmark = pytest.mark.django_db


def log_predictions(version: ModelVersion, n: int, **more: Any) -> list[Prediction]:
    """`n` predictions in the first week of November; scores from 0 to 1, surfaces and customers in turn."""
    rows = [
        Prediction(
            **{
                "prediction_id": f"p-{number:05}",
                "version": version,
                "predicted_at": WEEK_BEGINS + timedelta(minutes=number % 10_000),
                "received_at": NOON,
                "score": number / n,
                "surface": ("search", "home", "")[number % 3],
                "customer_key": customer_key(f"customer {number % 50}"),
                "features": json.dumps(
                    {
                        **AYOUB,
                        "sex": ("female", "male")[number % 2],
                        "age": None if number % 10 == 0 else number % 80,
                    }
                ),
                "text": f"text {number}",
                **more,
            }
        )
        for number in range(n)
    ]
    return Prediction.objects.bulk_create(rows)


def drawn(policy: Policy, *, seed: str = SEED) -> Run:
    """A run of the policy over the week, as workers leave it."""
    run = start_run(actor=None, policy=policy, starts_at=WEEK_BEGINS, ends_at=WEEK_ENDS)
    Run.objects.filter(pk=run.pk).update(seed=seed)
    outbox.drain(lane="audits.")
    run.refresh_from_db()
    return run


def smallest(ids: list[str], n: int, seed: str = SEED) -> set[str]:
    """The IDs with the smallest keyed hashes, by the definition itself."""

    def number(one: str) -> bytes:
        return blake2b(one.encode(), key=bytes.fromhex(seed), digest_size=8).digest()

    return set(sorted(ids, key=number)[:n])


def test_draw__one_stratum__takes_the_smallest_hashes() -> None:
    version = make_version()
    log_predictions(version, 500)

    run = drawn(make_policy(version.model, rate=0.02))

    assert (run.state, run.frame, run.items, run.excluded, run.unusable) == ("open", 500, 10, 0, 0)
    items = list(Item.objects.filter(run=run))
    assert {item.prediction_id for item in items} == smallest([f"p-{n:05}" for n in range(500)], 10)
    assert {item.inclusion_probability for item in items} == {10 / 500}
    assert {item.stream for item in items} == {Stream.SAMPLE}
    stratum = Stratum.objects.get(run=run)
    assert (stratum.title, stratum.frame, stratum.planned, stratum.drawn) == ("All predictions", 500, 10, 10)
    assert Review.objects.filter(run=run, state="open").count() == run.reviews_needed == 10
    assert Event.objects.filter(verb="run.opened", subject_id=str(run.pk)).count() == 1
    assert (run.rows_done, run.rows_total, run.erased) == (500, 500, 0)


def test_draw__an_item__is_a_snapshot_of_its_prediction() -> None:
    version = make_version()
    log_predictions(version, 10)

    run = drawn(make_policy(version.model, sizing="size", size=10))

    item = Item.objects.get(run=run, prediction_id="p-00007")
    assert (item.predicted, item.score, item.surface, item.text) == ("survived", 0.7, "home", "text 7")
    assert item.version_id == version.pk
    assert item.values["age"] == 7
    assert item.customer_key == customer_key("customer 7")
    assert Item.objects.get(run=run, prediction_id="p-00003").predicted == "did not survive"


def test_draw__every_dimension__sorts_like_one_row_at_a_time() -> None:
    from opsportal.audits.decisions import Decisions
    from opsportal.audits.strata import cells_of, dimensions_of, key_of

    version = make_version()
    log_predictions(version, 400)
    names = ["predicted", "score_band", "surface", "feature:sex"]
    run = drawn(
        make_policy(
            version.model,
            sizing="size",
            size=400,
            strata=names,
            score_edges=[0.25, 0.5, 0.8],
            minimum_per_stratum=1,
        )
    )

    dimensions, decisions = dimensions_of(names, [0.25, 0.5, 0.8], version.features), Decisions(version)
    frames: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    for row in Prediction.objects.all():
        predicted = decisions.predicted(row.label, row.score)
        cells = cells_of(
            dimensions, predicted=predicted, score=row.score, surface=row.surface, values=row.values
        )
        key = json.dumps(key_of(dimensions, cells), sort_keys=True)
        frames[key] += 1
        sums[key] += decisions.stated_error(predicted, row.score)  # type: ignore[assignment]
    strata = {json.dumps(one.key, sort_keys=True): one for one in Stratum.objects.filter(run=run)}
    assert {key: one.frame for key, one in strata.items()} == dict(frames)
    assert all(one.stated_error_sum == pytest.approx(sums[key], abs=1e-6) for key, one in strata.items())


def test_draw__a_number__is_cut_into_bands_of_its_range() -> None:
    version = make_version()
    log_predictions(version, 200)

    run = drawn(make_policy(version.model, sizing="size", size=50, strata=["feature:age"]))

    titles = [one.title for one in Stratum.objects.filter(run=run)]
    assert titles[0].startswith("No ")
    assert len(titles) == 5
    assert sum(one.frame for one in Stratum.objects.filter(run=run)) == 200


@pytest.mark.parametrize("shuffled", [1, 2])
def test_draw__other_order_and_pages__draws_the_same(shuffled: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from opsportal.audits.drawing import from_log

    version = make_version()
    log_predictions(version, 300)
    policy = make_policy(
        version.model,
        sizing="size",
        size=60,
        strata=["predicted", "surface"],
        allocation="neyman",
        double_share=0.25,
    )
    first = drawn(policy)
    rows = list(Prediction.objects.all())
    Prediction.objects.all().delete()
    random.Random(shuffled).shuffle(rows)  # noqa: S311  an order, not a secret
    for row in rows:
        row.pk = None
    Prediction.objects.bulk_create(rows)
    monkeypatch.setattr(from_log, "PAGE", 7 * shuffled)
    monkeypatch.setattr(from_log, "ONE_PASS_MAX", 0 if shuffled == 2 else 10_000)

    second = drawn(policy)

    assert contents(second) == contents(first)
    assert sum(reviews == 2 for *_, reviews in contents(first)) == 15


def contents(run: Run) -> list[tuple[Any, ...]]:
    """What was drawn, and how often each is to be looked at."""
    return sorted(
        (
            item.prediction_id,
            item.stratum.title if item.stratum else "",
            item.inclusion_probability,
            item.reviews.count(),
        )
        for item in Item.objects.filter(run=run).select_related("stratum")
    )


def test_draw__customers_opted_out__are_left_out_and_counted() -> None:
    version = make_version()
    log_predictions(version, 500)
    gone = customer_key("customer 3")
    Suppression.objects.create(customer_key=gone, since=NOON)

    run = drawn(make_policy(version.model, sizing="size", size=490))

    assert (run.frame, run.excluded, run.items) == (490, 10, 490)
    assert not Item.objects.filter(run=run, customer_key=gone).exists()


def test_draw__opt_out_after_the_start__loses_its_place_and_is_counted_as_erased() -> None:
    version = make_version()
    log_predictions(version, 500)
    policy = make_policy(version.model, sizing="size", size=500)
    run = start_run(actor=None, policy=policy, starts_at=WEEK_BEGINS, ends_at=WEEK_ENDS)
    Suppression.objects.create(customer_key=customer_key("customer 3"), since=run.created_at + timedelta(1))

    outbox.drain(lane="audits.")

    run.refresh_from_db()
    assert (run.frame, run.excluded, run.items, run.erased) == (500, 0, 490, 10)
    stratum = Stratum.objects.get(run=run)
    assert (stratum.planned, stratum.drawn) == (500, 490)


def test_draw__rows_without_a_decision__are_counted_with_the_reason() -> None:
    version = make_version()
    log_predictions(version, 20)
    Prediction.objects.filter(prediction_id__in=["p-00001", "p-00002"]).update(label="perhaps")

    run = drawn(make_policy(version.model, sizing="size", size=20))

    assert (run.frame, run.unusable, run.items) == (18, 2, 18)
    assert run.plan["unusable"] == {"a decision that is not among the labels": 2}


def test_draw__other_periods_and_models__are_no_part_of_the_frame() -> None:
    version = make_version()
    log_predictions(version, 30)
    Prediction.objects.filter(prediction_id="p-00001").update(predicted_at=WEEK_ENDS)
    Prediction.objects.filter(prediction_id="p-00002").update(
        predicted_at=WEEK_BEGINS - timedelta(microseconds=1)
    )
    Prediction.objects.filter(prediction_id="p-00003").update(version=make_version(model="other"))

    run = drawn(make_policy(version.model, sizing="size", size=30))

    assert run.frame == 27


def test_draw__boost__takes_more_at_the_threshold_and_some_of_everything() -> None:
    version = make_version()
    log_predictions(version, 1_000)

    run = drawn(
        make_policy(
            version.model,
            sizing="size",
            size=100,
            strata=["score_band"],
            score_edges=[0.4, 0.6],
            allocation="boost",
        )
    )

    low, middle, high = Stratum.objects.filter(run=run)
    assert middle.drawn / middle.frame > 2 * low.drawn / low.frame
    assert low.drawn + middle.drawn + high.drawn == 100
    assert min(low.drawn, high.drawn) >= 0.3 * 100 * 0.4


def test_draw__known_answers__come_in_by_their_share() -> None:
    version = make_version()
    log_predictions(version, 100)
    gold = [{"prediction_id": f"p-{n:05}", "label": "survived"} for n in range(0, 100, 2)]

    run = drawn(
        make_policy(
            version.model,
            sizing="size",
            size=45,
            gold_share=0.1,
            gold=[*gold, {"prediction_id": "gone", "label": "survived"}],
        )
    )

    sample, known = (Item.objects.filter(run=run, stream=one) for one in (Stream.SAMPLE, Stream.GOLD))
    assert (sample.count(), known.count(), run.items) == (45, 5, 50)
    assert all(item.gold == "survived" and item.inclusion_probability is None for item in known)


def test_draw__nothing_there__fails_with_a_sentence() -> None:
    run = drawn(make_policy(make_version().model))

    assert (run.state, run.items) == ("failed", 0)
    assert run.problem == "There is nothing to draw from: no prediction was made in this period."
    assert Event.objects.filter(verb="run.failed").count() == 1


def test_draw__sample_too_small_for_its_strata__fails_with_the_numbers() -> None:
    version = make_version()
    log_predictions(version, 100)

    run = drawn(make_policy(version.model, sizing="size", size=5, strata=["surface"], minimum_per_stratum=2))

    assert run.state == "failed"
    assert "3 strata with at least 2 items each need 6 items" in run.problem


def test_draw__too_many_strata__fails_with_a_sentence() -> None:
    version = make_version()
    rows = log_predictions(version, 300)
    for number, row in enumerate(rows):
        row.surface = f"surface {number}"
    Prediction.objects.bulk_update(rows, ["surface"])

    run = drawn(make_policy(version.model, strata=["surface"], sizing="size", size=300))

    assert run.state == "failed"
    assert "more than 200 parts" in run.problem
    assert not Stratum.objects.filter(run=run).exists()


def test_draw__repeated__changes_nothing() -> None:
    from opsportal.audits.drawing import steps

    version = make_version()
    log_predictions(version, 100)
    run = drawn(make_policy(version.model, sizing="size", size=10))
    before = contents(run)

    steps.draw(run.pk)

    assert contents(run) == before
    assert Event.objects.filter(verb="run.opened").count() == 1


def test_draw__cancelled_meanwhile__leaves_nothing() -> None:
    version = make_version()
    log_predictions(version, 100)
    policy = make_policy(version.model, sizing="size", size=10)
    run = start_run(actor=None, policy=policy, starts_at=WEEK_BEGINS, ends_at=WEEK_ENDS)
    Run.objects.filter(pk=run.pk).update(state="cancelled")

    outbox.drain(lane="audits.")

    assert not Item.objects.filter(run=run).exists()
    assert not Stratum.objects.filter(run=run).exists()


def test_draw__neyman__takes_the_spread_that_the_last_run_found() -> None:
    from opsportal.audits import figures

    version = make_version()
    log_predictions(version, 300)
    policy = make_policy(
        version.model, sizing="size", size=60, strata=["surface"], allocation="neyman", core_share=0.1
    )
    first = drawn(policy)
    Run.objects.filter(pk=first.pk).update(state="closed", closed_at=NOON)
    rate = figures.Figure(name="error rate")
    found = [
        figures.StratumFigures(
            number=one.number,
            title=one.title,
            frame=one.frame,
            drawn=one.drawn,
            labelled=20,
            errors=10 if one.key["surface"] == "home" else 0,
            error_rate=rate,
        )
        for one in Stratum.objects.filter(run=first)
    ]
    Estimate.objects.create(
        run=first, method="audits/1", made_at=NOON,
        figures=figures.encode(
            figures.Results(
                frame=figures.Frame(
                    frame=300, excluded=0, unusable=0, drawn=60, labelled=60, cannot_tell=0, unlabelled=0,
                    erased=0, gold=0,
                ),
                error_rate=rate, error_rate_powered=None, error_rate_corrected=None, classes=[], confusion=[],
                strata=found, segments=[], agreement=None, people=[], focus="survived", pooled=None,
            )
        ),
    )  # fmt: skip

    second = drawn(policy)

    drawn_of = {one.key["surface"]: one.drawn for one in Stratum.objects.filter(run=second)}
    assert drawn_of["home"] > 1.8 * drawn_of["search"]
    assert sum(drawn_of.values()) == 60
