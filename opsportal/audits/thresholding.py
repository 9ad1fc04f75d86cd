"""Find the threshold that keeps a promise, and see whether later runs bear it out. For workers only."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import transaction

from opsportal.audits.evidence import (
    BROKEN,
    FITS,
    KEPT,
    UNKNOWN,
    Changes,
    CurvePoint,
    Evidence,
    SequenceTest,
    Verification,
    to_json,
)
from opsportal.audits.figures import METHOD
from opsportal.audits.models import Item, Label, Run, Stratum, Stream, Threshold
from opsportal.audits.selectors.thresholds import current_threshold, score_text, share_text
from opsportal.audits.statistics.fixed_sequence import (
    Found,
    Goal,
    Labelled,
    Promise,
    estimate_at,
    find,
    grid_of,
    labels_needed,
)
from opsportal.core import clock
from opsportal.events import services as events
from opsportal.predictions.models import Prediction

# So many of the newest logged predictions say what would change.
LOG_MAX = 10_000


@dataclass(frozen=True, slots=True)
class _Sample:
    """The sample of a run as far as it concerns one version.

    drawn: all its items, each for N_h / n_h predictions; labelled: those with a label, each for N_h / m_h.
    uniform: one stratum has all the labels. without_labels: predictions of strata that have none.
    """

    drawn: Labelled
    labelled: Labelled
    uniform: bool
    without_labels: int


def compute(threshold_id: int) -> None:
    """Find the threshold that was asked for in the run's labels; it becomes proposed, or none is found.

    Does nothing for one that is not being computed. One transaction with its event. Memory: a few numbers
    for each item of the run.
    """
    row = Threshold.objects.select_related("version__model", "run").filter(pk=threshold_id).first()
    if row is None or row.state != Threshold.State.COMPUTING:
        return
    sample = _sample_of(row)
    promise = promise_of(row)
    current = current_threshold(row.version)
    also = [] if current is None else [current]
    grid = grid_of(sample.drawn.scores, sample.drawn.weights, also=also)
    found = find(sample.labelled, grid, promise, uniform=sample.uniform, frame=sample.drawn)
    chosen = None if found.chosen is None else found.curve[found.chosen].threshold
    evidence = _evidence(row, sample, found, promise, current, chosen)
    with transaction.atomic():
        done = Threshold.objects.filter(pk=row.pk, state=Threshold.State.COMPUTING).update(
            state=Threshold.State.NONE if chosen is None else Threshold.State.PROPOSED,
            value=chosen,
            evidence=to_json(evidence),
        )
        if done:
            events.record(
                actor=None,
                verb="threshold.computed",
                subject_type="threshold",
                subject_id=row.pk,
                summary=f"Found no threshold for {row.version}"
                if chosen is None
                else f"Found the threshold {score_text(chosen)} for {row.version}",
                after={"value": chosen},
            )


def verify(run_id: int) -> None:
    """Check what is proposed, waiting or published against this closed run of the same version.

    Leaves alone what was learnt from this run or from a later one, and what this run has checked already.
    """
    run = Run.objects.filter(pk=run_id, state=Run.State.CLOSED, kind=Run.Kind.AUDIT).first()
    if run is None:
        return
    versions = Item.objects.filter(run=run, stream=Stream.SAMPLE).values("version").distinct().order_by()
    standing = [Threshold.State.PROPOSED, Threshold.State.WAITING, Threshold.State.PUBLISHED]
    rows = Threshold.objects.filter(
        state__in=standing, version__in=versions, run__closed_at__lt=run.closed_at
    )
    for row in rows.exclude(run=run).select_related("version__model", "run"):
        if row.verification.get("run") != run.pk:
            _verify(row, run)


def promise_of(row: Threshold) -> Promise:
    """The promise in the words of the statistics."""
    goal: Goal = "precision" if row.goal == Threshold.Goal.PRECISION else "recall"
    above = row.label == row.version.features.positive
    return Promise(goal, row.target, above=above, confidence=row.confidence)


def _verify(row: Threshold, run: Run) -> None:
    assert row.value is not None  # noqa: S101  the schema sees to it
    sample = _sample_of(row, run)
    promise = promise_of(row)
    estimate, low, high, n, failed = estimate_at(sample.labelled, row.value, promise, uniform=sample.uniform)
    outcome = UNKNOWN
    if low is not None and high is not None:
        outcome = KEPT if low >= row.target else BROKEN if high < row.target else FITS
    found = Verification(
        run=run.pk,
        outcome=outcome,
        estimate=estimate,
        low=low,
        high=high,
        n=n,
        failed=failed,
        at=clock.now().isoformat(),
    )
    words = {KEPT: "keeps", FITS: "fits", BROKEN: "breaks", UNKNOWN: "says nothing about"}[outcome]
    interval = "" if low is None or high is None else f": {share_text(low)} to {share_text(high)}"
    with transaction.atomic():
        Threshold.objects.filter(pk=row.pk).update(verification=to_json(found))
        events.record(
            actor=None,
            verb="threshold.verified",
            subject_type="threshold",
            subject_id=row.pk,
            summary=f"“{run.title}”"[:200] + f" {words} the promise of threshold {row.pk}{interval}",
            after={"run": run.pk, "outcome": outcome},
        )


def _evidence(
    row: Threshold,
    sample: _Sample,
    found: Found,
    promise: Promise,
    current: float | None,
    chosen: float | None,
) -> Evidence:
    labelled = len(sample.labelled.scores)
    # Where none passed, whichever threshold would take the fewest labels; else the one that failed.
    failed = found.curve if not found.passed else [found.curve[found.tests[-1]]]
    if found.passed == len(found.tests):
        failed = []
    needed = [
        (labels, point.threshold)
        for point in failed
        if (labels := labels_needed(point, labelled, promise, uniform=sample.uniform)) is not None
    ]
    more, more_at = min(needed, default=(None, None))
    return Evidence(
        method=METHOD,
        exact=found.exact,
        frame=round(float(sample.drawn.weights.sum())),
        drawn=len(sample.drawn.scores),
        labelled=labelled,
        without_labels=sample.without_labels,
        current=current,
        curve=[
            CurvePoint(
                threshold=point.threshold,
                accepted=point.accepted,
                n=point.n,
                failed=point.failed,
                estimate=point.estimate,
                low=point.low,
                high=point.high,
            )
            for point in found.curve
        ],
        tests=[
            SequenceTest(
                threshold=point.threshold,
                n=point.n,
                failed=point.failed,
                p=point.p,
                passed=number < found.passed,
            )
            for number, point in enumerate(found.curve[place] for place in found.tests)
        ],
        advice=None if found.advice is None else found.curve[found.advice].threshold,
        more_labels=more,
        more_at=more_at,
        changes=None if chosen is None or current is None else _changes(row, sample.drawn, current, chosen),
    )


def _changes(row: Threshold, drawn: Labelled, current: float, chosen: float) -> Changes:
    """How many decisions flip: of the newest logged predictions, else of the run's frame."""
    newest = Prediction.objects.filter(version=row.version).order_by("-predicted_at", "-id")
    logged = np.fromiter(newest.values_list("score", flat=True)[:LOG_MAX].iterator(), dtype=np.float64)
    source = "log" if logged.size else "run"
    scores, weights = (logged, np.ones(logged.size)) if logged.size else (drawn.scores, drawn.weights)
    before, after = scores >= current, scores >= chosen
    return Changes(
        of=round(float(weights.sum())),
        source=source,
        to_positive=round(float(weights[after & ~before].sum())),
        to_negative=round(float(weights[before & ~after].sum())),
    )


def _sample_of(row: Threshold, run: Run | None = None) -> _Sample:
    run = run or row.run
    frames: dict[int, int] = dict(Stratum.objects.filter(run=run).values_list("pk", "frame"))
    items = Item.objects.filter(run=run, stream=Stream.SAMPLE, stratum__isnull=False).order_by()
    first = _first_answers(run)
    rows: list[tuple[Any, ...]] = [
        (stratum, version, score, label or first.get(pk, ""))
        for pk, stratum, version, score, label in items.values_list(
            "pk", "stratum_id", "version_id", "score", "label"
        )
    ]
    drawn_of, labelled_of = Counter(row[0] for row in rows), Counter(row[0] for row in rows if row[3])
    mine = [item for item in rows if item[1] == row.version_id]
    labelled = [item for item in mine if item[3]]
    return _Sample(
        drawn=_columns(mine, [frames[item[0]] / drawn_of[item[0]] for item in mine], row.label),
        labelled=_columns(labelled, [frames[item[0]] / labelled_of[item[0]] for item in labelled], row.label),
        uniform=len(labelled_of) == 1,
        without_labels=sum(frame for pk, frame in frames.items() if not labelled_of[pk]),
    )


def _first_answers(run: Run) -> dict[int, str]:
    """Of items that were not settled in time, what the first person said.

    Whoever differs from the model keeps an item open longer, so leaving those out would leave out errors.
    """
    answers = Label.objects.filter(run=run, item__state=Item.State.VOID, withdrawn_at=None, adjudicates=False)
    told = answers.exclude(value="").order_by("-id")
    return dict(told.values_list("item_id", "value"))


def _columns(rows: list[tuple[Any, ...]], weights: list[float], label: str) -> Labelled:
    return Labelled(
        np.array([row[2] for row in rows], dtype=np.float64),
        np.array([row[3] == label for row in rows], dtype=np.bool_),
        np.array(weights, dtype=np.float64),
    )
