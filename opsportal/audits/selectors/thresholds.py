"""Thresholds as their pages show them: the promise in words, the curve, the tests, the way to the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Exists, OuterRef

from opsportal.accounts.models import User
from opsportal.audits.evidence import (
    BROKEN,
    FITS,
    KEPT,
    Evidence,
    Verification,
    read_evidence,
    read_verification,
)
from opsportal.audits.models import Item, Run, Stream, Threshold
from opsportal.core import clock
from opsportal.core.components import Delivery, Entry, Step
from opsportal.events.models import Event, Revision
from opsportal.predictions.models import ModelVersion

SPACE = "\u00a0"
SLOW_AFTER = timedelta(seconds=5)
SHOWN = 100
State = Threshold.State
# State → what colour and icon stand for it.
BADGES = {
    State.COMPUTING: "publishing",
    State.NONE: "ended",
    State.PROPOSED: "scheduled",
    State.WAITING: "waiting",
    State.REJECTED: "failed",
    State.PUBLISHED: "live",
    State.REPLACED: "ended",
    State.UNDONE: "ended",
}
VERB_ICONS = {
    "threshold.proposed": "edit",
    "threshold.computed": "check",
    "threshold.asked": "waiting",
    "threshold.rejected": "reject",
    "threshold.published": "live",
    "threshold.undone": "undo",
    "threshold.verified": "compare",
}
# Where the plot lies within its picture, in per cent.
_LEFT, _WIDTH, _TOP, _HEIGHT = 11.0, 86.0, 6.0, 78.0


@dataclass(frozen=True, slots=True)
class Mark:
    """A tick: its place across or down in per cent of the picture, and its words."""

    at: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The goal over the thresholds. line, band: points within 100 × 100; the rest in per cent of all."""

    line: str
    band: str
    across: list[Mark]
    down: list[Mark]
    target: Mark
    chosen: Mark | None
    current: Mark | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveRow:
    """A threshold of the curve as the table reads it. test: what the sequence said of it."""

    threshold: str
    accepted: str
    estimate: str
    interval: str
    n: int
    failed: int
    test: str
    is_chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a later run says. kind: of a badge."""

    kind: str
    word: str
    sentence: str
    run: Run | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdRow:
    """One line of the list."""

    threshold: Threshold
    badge: str
    promise: str
    value: str
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdDetails:
    """Everything about one threshold. evidence: None while it is being computed.

    rule: what the threshold decides, in words. notes: sentences that the reader must know.
    """

    threshold: Threshold
    badge: str
    promise: str
    value: str
    rule: str
    evidence: Evidence | None
    curve: Curve | None
    rows: list[CurveRow]
    sequence: str
    changes: str
    advice: str
    notes: list[str]
    verdict: Verdict
    delivery: Delivery
    timeline: list[Entry]
    before: Threshold | None


# -- Words ---------------------------------------------------------------------------------------


def score_text(score: float) -> str:
    """A score as it is shown: six significant digits."""
    return f"{score:.6g}"


def share_text(share: float, digits: int = 1) -> str:
    """A share of one as per cent: 92.5 %; whole ones without the dot."""
    text = f"{100 * share:.{digits}f}"
    return f"{text.removesuffix('.0')}{SPACE}%"


def promise_words(threshold: Threshold) -> str:
    """The promise in a sentence."""
    sure, target = share_text(threshold.confidence), share_text(threshold.target)
    label = threshold.label
    if threshold.goal == Threshold.Goal.PRECISION:
        return f"{sure} sure that at least {target} of what is called “{label}” is “{label}”"
    return f"{sure} sure that at least {target} of what is “{label}” is called “{label}”"


def rule_words(threshold: Threshold) -> str:
    """What the threshold decides; empty without one."""
    if threshold.value is None:
        return ""
    words, value = threshold.version.features, score_text(threshold.value)
    return f"A score of {value} or more is called “{words.positive}”, a lower one “{words.negative}”."


def current_threshold(version: ModelVersion) -> float | None:
    """What decides now: the published threshold, else the one that the version was registered with."""
    published = Threshold.objects.filter(version=version, state=State.PUBLISHED)
    value = published.values_list("value", flat=True).first()
    return version.threshold if value is None else value


# -- The list --------------------------------------------------------------------------------------


def threshold_rows(*, run: Run | None = None, current: bool = False) -> list[ThresholdRow]:
    """The newest thresholds, SHOWN at most, those published first; two queries.

    current: only those that are published, or wait to be.
    """
    found = Threshold.objects.select_related("version__model", "run", "author").order_by("-id")
    if current:
        found = found.filter(state__in=[State.PUBLISHED, State.WAITING])
    rows = list((found.filter(run=run) if run else found)[:SHOWN])
    runs = _runs_of(rows)
    rows.sort(key=lambda row: (row.state != State.PUBLISHED, row.state != State.WAITING, -row.pk))
    return [
        ThresholdRow(
            threshold=row,
            badge=BADGES[State(row.state)],
            promise=promise_words(row),
            value="–" if row.value is None else score_text(row.value),
            verdict=_verdict(row, runs),
        )
        for row in rows
    ]


def runs_to_learn_from() -> list[Run]:
    """Closed random samples that have labels, the newest first, SHOWN at most; one query."""
    labelled = Item.objects.filter(run=OuterRef("pk"), stream=Stream.SAMPLE).exclude(label="")
    runs = Run.objects.filter(kind=Run.Kind.AUDIT, state=Run.State.CLOSED).filter(Exists(labelled))
    return list(runs.select_related("model").order_by("-closed_at", "-id")[:SHOWN])


def versions_of(run: Run) -> list[ModelVersion]:
    """The versions that have labels in the run's sample, the newest first; one query."""
    labelled = Item.objects.filter(run=run, stream=Stream.SAMPLE).exclude(label="").order_by()
    versions = ModelVersion.objects.filter(pk__in=labelled.values("version").distinct())
    return list(versions.select_related("model").order_by("-id"))


# -- One -------------------------------------------------------------------------------------------


def threshold_of(pk: int) -> Threshold | None:
    """The threshold with what its page shows; one query."""
    related = ("version__model", "run", "author", "asked_by", "decided_by", "replaces")
    return Threshold.objects.select_related(*related).filter(pk=pk).first()


def threshold_details(row: Threshold) -> ThresholdDetails:
    """Everything about one threshold; four queries at most."""
    evidence = read_evidence(row.evidence)
    verdict = _verdict(row, _runs_of([row]))
    return ThresholdDetails(
        threshold=row,
        badge=BADGES[State(row.state)],
        promise=promise_words(row),
        value="" if row.value is None else score_text(row.value),
        rule=rule_words(row),
        evidence=evidence,
        curve=None if evidence is None else _curve(row, evidence),
        rows=[] if evidence is None else _curve_rows(row, evidence),
        sequence="" if evidence is None else _sequence_words(row, evidence),
        changes="" if evidence is None else _changes_words(row, evidence),
        advice="" if evidence is None else _advice_words(row, evidence),
        notes=[] if evidence is None else _notes(evidence),
        verdict=verdict,
        delivery=delivery(row),
        timeline=_timeline(row),
        before=row.replaces,
    )


def delivery(row: Threshold) -> Delivery:
    """Saved → Queued → Live of the newest revision that carried it or its end; one query."""
    if row.revision is None:
        return Delivery([], True, "", "")
    revision = Revision.objects.filter(number=row.revision).first()
    if revision is None:
        return Delivery([], True, "", "")
    label = "Live" if row.state == State.PUBLISHED else "Taken out of the store"
    saved = Step("Saved", "done", f"revision {revision.number:,}", revision.at)
    if revision.live_at is not None:
        took = f"after {(revision.live_at - revision.at).total_seconds():.1f}{SPACE}s"
        steps = [saved, Step("Queued", "done"), Step(label, "done", took, revision.live_at)]
        return Delivery(steps, True, "", f"{label} {took}.")
    if clock.now() - revision.at > SLOW_AFTER:
        warning = "Saved. Not live yet: the serving store does not answer; it goes live by itself."
        return Delivery(
            [saved, Step("Queued", "waiting", "trying again"), Step(label, "todo")], False, warning, warning
        )
    return Delivery([saved, Step("Queued", "now"), Step(label, "todo")], False, "", "Saved and queued.")


def may_decide(user: User, row: Threshold) -> bool:
    """Whether this person may publish or reject it: an approver who neither proposed nor asked for it."""
    return (
        row.state == State.WAITING
        and user.can("audits.approve")
        and user.pk not in (row.author_id, row.asked_by_id)
    )


def _runs_of(rows: Sequence[Threshold]) -> dict[int, Run]:
    wanted = {number for row in rows if isinstance(number := row.verification.get("run"), int)}
    return Run.objects.in_bulk(wanted) if wanted else {}


def _verdict(row: Threshold, runs: dict[int, Run]) -> Verdict:
    found: Verification | None = read_verification(row.verification)
    if row.state in (State.COMPUTING, State.NONE):
        return Verdict(kind="neutral", word="–", sentence="", run=None)
    if found is None:
        sentence = (
            "No later run has been closed since, so nothing but the run it was learnt from speaks for it."
        )
        return Verdict(kind="waiting", word="Not verified", sentence=sentence, run=None)
    run, target = runs.get(found.run), share_text(row.target)
    goal = row.get_goal_display().lower()
    if found.estimate is None or found.low is None or found.high is None:
        sentence = "The next run had no labels that tell."
        return Verdict(kind="neutral", word="Nothing to tell", sentence=sentence, run=run)
    interval = f"{share_text(found.low)} to {share_text(found.high)}"
    numbers = f"{goal} {share_text(found.estimate)}, 95{SPACE}% interval {interval}, from {found.n:,} labels"
    if found.outcome == BROKEN:
        sentence = f"A later run breaks the promise: {numbers}. All of that is below {target}."
        return Verdict(kind="failed", word="Broken", sentence=sentence, run=run)
    if found.outcome == KEPT:
        sentence = f"A later run keeps the promise: {numbers}."
        return Verdict(kind="live", word="Kept", sentence=sentence, run=run)
    assert found.outcome == FITS  # noqa: S101  with an interval there are these three
    sentence = f"A later run fits the promise without settling it: {numbers}."
    return Verdict(kind="scheduled", word="Fits", sentence=sentence, run=run)


def _sequence_words(row: Threshold, evidence: Evidence) -> str:
    tests, error = evidence.tests, share_text(1 - row.confidence)
    passed = sum(test.passed for test in tests)
    how = (
        "exact binomial tests of a uniform sample"
        if evidence.exact
        else "tests that bet on weighted failures, since the sample is stratified"
    )
    begin = "few" if row.goal == Threshold.Goal.PRECISION else "nearly all"
    start = (
        f"Thresholds fixed beforehand from the scores alone were tested in a fixed order, from the one where "
        f"{begin} get the label, by {how}, each at {error}, until the first that failed: "
    )
    if not passed:
        return start + "it was the first."
    count = f"{passed} passed"
    return start + (f"{count}, then one failed." if passed < len(tests) else f"{count}, and none failed.")


def _changes_words(row: Threshold, evidence: Evidence) -> str:
    changes = evidence.changes
    if changes is None:
        return ""
    words = row.version.features
    of = (
        f"Of the last {changes.of:,} logged predictions"
        if changes.source == "log"
        else f"Of the {changes.of:,} predictions that the run stands for"
    )
    flips = [
        f"{count:,} would change from “{before}” to “{after}”"
        for count, before, after in (
            (changes.to_positive, words.negative, words.positive),
            (changes.to_negative, words.positive, words.negative),
        )
        if count
    ]
    now = "" if evidence.current is None else f" (the threshold is {score_text(evidence.current)} now)"
    return f"{of}, {' and '.join(flips) or 'no decision would change'}{now}."


def _advice_words(row: Threshold, evidence: Evidence) -> str:
    sentences = []
    if evidence.advice is not None and evidence.advice != row.value:
        sentences.append(
            f"Had {score_text(evidence.advice)} been the only one tested, it would have passed: a hint where "
            "more labels could lead, not a promise."
        )
    if evidence.more_labels is not None and evidence.more_at is not None:
        sentences.append(
            f"About {evidence.more_labels:,} more labels like these would settle "
            f"{score_text(evidence.more_at)}, if its estimate stays."
        )
    elif row.state == State.NONE:
        sentences.append(
            "The estimate itself is below what is wanted at every threshold: more labels would not help, a "
            "lower promise or a better model would."
        )
    return " ".join(sentences)


def _notes(evidence: Evidence) -> list[str]:
    notes = ["What people settled on is taken as true; their own errors widen nothing here."]
    if not evidence.exact:
        notes.append(
            "The sample is stratified: intervals are Wilson's on the effective number of labels, for reading "
            "only; the tests alone make the promise."
        )
    if evidence.without_labels:
        notes.append(
            f"{evidence.without_labels:,} predictions lie in strata that nobody labelled: of them nothing is "
            "promised."
        )
    return notes


def _curve_rows(row: Threshold, evidence: Evidence) -> list[CurveRow]:
    tests = {test.threshold: test for test in evidence.tests}
    rows = []
    for point in evidence.curve:
        test = tests.get(point.threshold)
        words = "not tested" if test is None else f"{'passed' if test.passed else 'failed'}, p {_p(test.p)}"
        has_interval = point.low is not None and point.high is not None
        rows.append(
            CurveRow(
                threshold=score_text(point.threshold),
                accepted=share_text(point.accepted),
                estimate="–" if point.estimate is None else share_text(point.estimate),
                interval=f"{share_text(point.low or 0)} to {share_text(point.high or 0)}"
                if has_interval
                else "–",
                n=point.n,
                failed=point.failed,
                test=words,
                is_chosen=point.threshold == row.value,
            )
        )
    return rows


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _curve(row: Threshold, evidence: Evidence) -> Curve | None:
    """The curve where there are at least two points to draw it through."""
    points = [point for point in evidence.curve if point.estimate is not None]
    if len(points) < 2:
        return None
    first, last = evidence.curve[0].threshold, evidence.curve[-1].threshold
    lowest = min(row.target, *(point.low if point.low is not None else 1.0 for point in points))
    floor = max(0.0, int(lowest * 10) / 10 - (0.1 if lowest * 10 == int(lowest * 10) else 0))

    def x(threshold: float) -> float:
        return 100 * (threshold - first) / (last - first)

    def y(share: float) -> float:
        return 100 * (1 - share) / (1 - floor)

    def across(threshold: float) -> str:
        return f"{_LEFT + _WIDTH * x(threshold) / 100:.2f}%"

    def down(share: float) -> str:
        return f"{_TOP + _HEIGHT * y(share) / 100:.2f}%"

    def inside(threshold: float | None) -> Mark | None:
        if threshold is None or not first <= threshold <= last:
            return None
        return Mark(across(threshold), score_text(threshold))

    line = " ".join(f"{x(point.threshold):.2f},{y(point.estimate or 0):.2f}" for point in points)
    upper = [f"{x(point.threshold):.2f},{y(point.high or 0):.2f}" for point in points]
    lower = [f"{x(point.threshold):.2f},{y(point.low or 0):.2f}" for point in reversed(points)]
    step = 0.1 if 1 - floor <= 0.55 else 0.2
    levels = [1 - step * number for number in range(int((1 - floor) / step + 1e-9) + 1)]
    return Curve(
        line=line,
        band=" ".join(upper + lower),
        across=[Mark(across(t), f"{t:.3g}") for t in (first, (first + last) / 2, last)],
        down=[Mark(down(level), share_text(level, 0)) for level in levels],
        target=Mark(down(row.target), share_text(row.target)),
        chosen=inside(row.value),
        current=inside(evidence.current),
    )


def _timeline(row: Threshold) -> list[Entry]:
    found = Event.objects.filter(subject_type="threshold", subject_id=str(row.pk)).order_by("-sequence")
    return [
        Entry(
            kind=VERB_ICONS.get(event.verb, "neutral"),
            actor="" if event.actor_id is None else event.actor_name,
            text=event.summary,
            at=event.at,
            detail=event.reason,
        )
        for event in found[:50]
    ]
