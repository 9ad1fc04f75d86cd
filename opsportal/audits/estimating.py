"""Compute the figures of a closed run: labels in, audits.figures.Results out. For workers only.

Only items that were drawn (stream `sample`) say anything about rates. Labelled items of a stratum count as a
random part of it, each for frame / labelled predictions, so what is left unlabelled or cannot be told is
taken to be like the rest of its stratum; the notes say how much that is.
"""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import structlog
from django.db import transaction
from django.db.models.functions import Length
from numpy.typing import NDArray

from opsportal.audits import figures
from opsportal.audits.decisions import Decisions
from opsportal.audits.figures import Figure
from opsportal.audits.models import Estimate, Item, Label, Run, Stratum, Stream
from opsportal.audits.services.applying import settle_acceptance
from opsportal.audits.services.correcting import record_corrections
from opsportal.audits.statistics import agreement, errors, people, powered
from opsportal.audits.statistics.estimators import Estimated, rate, ratio
from opsportal.audits.statistics.intervals import wilson
from opsportal.audits.statistics.multiplicity import adjusted, differs
from opsportal.audits.statistics.remaining import most_left
from opsportal.core import clock
from opsportal.events import outbox
from opsportal.predictions.dictionary import CATEGORY, FLAG, FeatureDictionary, as_text, read_values
from opsportal.predictions.models import ModelVersion

log = structlog.get_logger(__name__)

MINE_TASK, VERIFY_TASK = "audits.mine", "audits.verify"
# A feature with more values is no segment.
VALUES_MAX = 12
BANDS = 5
LENGTH_BANDS = 4
# More than this many people or pairs would be a page of noise.
NAMED_MAX = 5

_PLAIN = "Wilson score interval, finite population corrected"
_STRATIFIED = (
    "Stratified mean Σ N_h k_h/m_h ÷ Σ N_h; score interval from the most likely rates of the strata, "
    "finite population corrected"
)
_RATIO = "Ratio of two stratified means Â ÷ (Â + B̂); square-and-add interval from both score intervals"
_CLEAN = "exact bound where no item of any stratum is a hit, finite population corrected"
_WILSON_SOURCE = "Wilson 1927; Brown, Cai & DasGupta 2001"
_SCORE_SOURCE = "Cochran 1977, §5.3; Miettinen & Nurminen 1985; Martín Andrés & Álvarez Hernández 2011"
_RATIO_SOURCE = "Cochran 1977, §6.11; Zou & Donner 2008; Donner & Zou 2012"
_CLEAN_SOURCE = "Hanley & Lippman-Hand 1983; Buonaccorsi 1987"
_KNOWN = "Count of the whole frame"


def estimate(run_pk: int) -> None:
    """Store the figures of a closed run, once, and start what follows from them.

    In one transaction: the Estimate, corrections of what people found wrong, the verdict on a rule whose
    acceptance sample this is, and the messages "audits.mine" and "audits.verify". Locks the run. Does
    nothing for a run that is not closed, or that has its figures. Six queries and a handful of writes; memory
    grows with items × people.
    """
    run = Run.objects.select_related("model").filter(pk=run_pk).first()
    if run is None or run.state != Run.State.CLOSED or Estimate.objects.filter(run=run).exists():
        return
    results = results_of(run)
    with transaction.atomic():
        locked = Run.objects.select_for_update(of=("self",)).get(pk=run_pk)
        if Estimate.objects.filter(run=locked).exists():
            return
        Estimate.objects.create(
            run=locked, figures=figures.encode(results), method=figures.METHOD, made_at=clock.now()
        )
        corrected = record_corrections(locked)
        settle_acceptance(locked)
        outbox.send(task=MINE_TASK, key=run_pk)
        outbox.send(task=VERIFY_TASK, key=run_pk)
    log.info("audits.estimated", run=run_pk, labelled=results.frame.labelled, corrected=corrected)


def results_of(run: Run) -> figures.Results:
    """Everything a closed run says, from its rows; writes nothing."""
    data = _load(run)
    sample = _sample(run, data)
    dictionary = _dictionary(run, data)
    overall = sample.rate(sample.wrong)
    codes = _Codes(run, data)
    focus = _focus(run, dictionary)
    persons, pooled, person_notes = _people(data, codes, focus)
    is_drawn = sample.drawn > 0
    return figures.Results(
        frame=_frame(run, data, sample),
        error_rate=_named("Error rate", overall, sample, _why_none(run, data, sample)),
        error_rate_powered=_powered(data, sample, overall),
        error_rate_corrected=_corrected(run, data, sample, overall) if is_drawn else None,
        classes=_classes(run, sample),
        confusion=_confusion(sample),
        strata=_strata(sample),
        segments=_segments(sample, dictionary),
        agreement=_agreement(codes),
        people=persons,
        focus=focus,
        pooled=pooled,
        remaining=_remaining(run, data),
        notes=[*_notes(run, data, sample, overall), *person_notes],
    )


# -- Rows -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    """What figures need of an item. label: what people settled on, else what the first of them said."""

    pk: int
    stratum_id: int | None
    stream: str
    probability: float | None
    version_id: int | None
    score: float
    predicted: str
    surface: str
    length: int
    features: str
    gold: str
    state: str
    label: str
    is_provisional: bool = False


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one person said of an item; `second_look`: asked because somebody had differed from the model."""

    item_id: int
    person: str
    value: str
    adjudicates: bool
    seconds: float
    second_look: bool


@dataclass(frozen=True, slots=True)
class _Data:
    rows: list[_Row]
    answers: list[_Answer]
    strata: list[Stratum]
    versions: dict[int, ModelVersion]

    def drawn(self) -> list[_Row]:
        return [row for row in self.rows if row.stream == Stream.SAMPLE]

    def by_item(self) -> dict[int, list[_Answer]]:
        """The plain answers of each item, first ones first."""
        found: dict[int, list[_Answer]] = defaultdict(list)
        for answer in self.answers:
            if not answer.adjudicates:
                found[answer.item_id].append(answer)
        return found


def _load(run: Run) -> _Data:
    answers = [
        _Answer(*fields)
        for fields in Label.objects.filter(run=run, withdrawn_at=None)
        .order_by("id")
        .values_list("item_id", "person__username", "value", "adjudicates", "seconds", "review__second_look")
    ]
    first: dict[int, str] = {}
    for answer in answers:
        if answer.value and not answer.adjudicates:
            first.setdefault(answer.item_id, answer.value)
    rows: list[_Row] = []
    for values in (
        Item.objects.filter(run=run)
        .order_by("id")
        .values_list(
            "id",
            "stratum_id",
            "stream",
            "inclusion_probability",
            "version_id",
            "score",
            "predicted",
            "surface",
            Length("text"),
            "features",
            "gold",
            "state",
            "label",
        )
        .iterator(chunk_size=5_000)
    ):
        row = _Row(*values)
        if row.state != Item.State.SETTLED and row.pk in first:
            # Whoever differs from the model keeps an item open longer, so leaving out what was not settled
            # in time would leave out errors.
            row = replace(row, label=first[row.pk], is_provisional=True)
        rows.append(row)
    versions = ModelVersion.objects.filter(pk__in={row.version_id for row in rows if row.version_id})
    return _Data(
        rows=rows,
        answers=answers,
        strata=list(Stratum.objects.filter(run=run).order_by("number")),
        versions={version.pk: version for version in versions},
    )


def _dictionary(run: Run, data: _Data) -> FeatureDictionary | None:
    """The dictionary of the version that made most of the predictions; else of the model's newest one."""
    counted = Counter(row.version_id for row in data.rows if row.version_id in data.versions)
    if counted:
        return data.versions[counted.most_common(1)[0][0] or 0].features
    newest = ModelVersion.objects.filter(model_id=run.model_id).order_by("-pk").first()
    return newest.features if newest else None


def _focus(run: Run, dictionary: FeatureDictionary | None) -> str:
    """The label that strictness is about: the model's positive class where people may give it."""
    values = [str(label["value"]) for label in run.labels]
    if dictionary is not None and dictionary.positive in values:
        return dictionary.positive
    return values[0] if values else ""


# -- The sample -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    """A stratum of the design; number 0 for a sample that was drawn without strata."""

    number: int
    title: str
    key: dict[str, str]
    frame: int
    drawn: int
    stated_sum: float | None


Flags = NDArray[np.bool_]


@dataclass(slots=True)
class _Sample:
    """The labelled items that were drawn, with the strata that they stand for.

    rows: with a label; where: the place of each one's part. Counts by part have shape (parts,).
    """

    parts: list[_Part]
    rows: list[_Row]
    where: NDArray[np.int64]
    drawn: int
    cannot_tell: int
    frames: NDArray[np.int64] = field(init=False)
    labelled: NDArray[np.int64] = field(init=False)
    wrong: Flags = field(init=False)

    def __post_init__(self) -> None:
        self.frames = np.array([part.frame for part in self.parts], dtype=np.int64)
        self.labelled = self.count(np.ones(len(self.rows), dtype=np.bool_))
        self.wrong = np.array([row.label != row.predicted for row in self.rows], dtype=np.bool_)

    def count(self, among: Flags) -> NDArray[np.int64]:
        return np.bincount(self.where[among], minlength=len(self.parts))

    def rate(self, hits: Flags) -> Estimated | None:
        """Share of the whole frame."""
        return rate(self.frames, self.labelled, self.count(hits))

    def rate_within(self, part: Flags, hits: Flags, *, dimension: str = "", cell: str = "") -> "_Within":
        """Share of a part of the frame. Where strata are divided by the dimension its size is known."""
        if dimension and all(dimension in one.key for one in self.parts):
            chosen = np.array([one.key[dimension] == cell for one in self.parts], dtype=np.bool_)
            counts = self.count(hits & part)
            return _Within(rate(self.frames[chosen], self.labelled[chosen], counts[chosen]), is_known=True)
        if len(self.parts) == 1 and bool(part.all()):
            return _Within(self.rate(hits), is_known=True)
        return _Within(
            ratio(self.frames, self.labelled, self.count(part & hits), self.count(part & ~hits)),
            is_known=False,
        )

    @property
    def is_stratified(self) -> bool:
        return len(self.parts) > 1


@dataclass(frozen=True, slots=True)
class _Within:
    """A rate in a part of the frame; is_known: how large that part is."""

    estimated: Estimated | None
    is_known: bool


def _sample(run: Run, data: _Data) -> _Sample:
    drawn = data.drawn()
    parts = [
        _Part(
            stratum.number,
            stratum.title,
            {str(name): str(cell) for name, cell in stratum.key.items()},
            stratum.frame,
            stratum.drawn,
            stratum.stated_error_sum,
        )
        for stratum in data.strata
    ]
    places: dict[Hashable, int] = {stratum.pk: place for place, stratum in enumerate(data.strata)}
    loose = Counter(row.probability for row in drawn if row.stratum_id is None)
    for probability, count in loose.items():
        places[None, probability] = len(parts)
        frame = max(round(count / probability), count) if probability else count
        parts.append(_Part(0, "All that could be drawn", {}, frame, count, None))
    labelled = [row for row in drawn if row.label]
    where = [
        places[row.stratum_id if row.stratum_id is not None else (None, row.probability)] for row in labelled
    ]
    return _Sample(
        parts=parts,
        rows=labelled,
        where=np.array(where, dtype=np.int64),
        drawn=len(drawn),
        cannot_tell=sum(row.state == Item.State.SETTLED and not row.label for row in drawn),
    )


def _frame(run: Run, data: _Data, sample: _Sample) -> figures.Frame:
    total = int(sample.frames.sum()) if sample.parts else int(run.frame)
    labelled = len(sample.rows)
    return figures.Frame(
        frame=total,
        excluded=run.excluded,
        unusable=run.unusable,
        drawn=sample.drawn,
        labelled=labelled,
        cannot_tell=sample.cannot_tell,
        unlabelled=sample.drawn - labelled - sample.cannot_tell,
        erased=run.erased,
        gold=sum(row.stream == Stream.GOLD for row in data.rows),
    )


# -- Figures --------------------------------------------------------------------------------------


def _named(name: str, found: Estimated | None, sample: _Sample, why_none: str) -> Figure:
    """An estimate of the whole frame as a figure."""
    formula, source = (_STRATIFIED, _SCORE_SOURCE) if sample.is_stratified else (_PLAIN, _WILSON_SOURCE)
    return _figure(name, found, formula, source, why_none)


def _figure(name: str, found: Estimated | None, formula: str, source: str, why_none: str) -> Figure:
    if found is None:
        return Figure(name=name, sentence=why_none)
    sentence = ""
    if found.kind != "two_sided":
        formula, source = f"{formula.split(';')[0]}; {_CLEAN}", _CLEAN_SOURCE
        if (found.low, found.high) == (0.0, 1.0):
            sentence = "Too few labels to bound it."
    return Figure(
        name=name,
        value=found.value,
        low=None if found.kind == "upper" else found.low,
        high=None if found.kind == "lower" else found.high,
        kind=found.kind,
        n=found.n,
        n_effective=found.n_effective,
        formula=formula,
        source=source,
        sentence=sentence,
    )


def _within(name: str, found: _Within, sample: _Sample, why_none: str) -> Figure:
    if found.is_known:
        return _named(name, found.estimated, sample, why_none)
    if not sample.is_stratified:
        return _figure(name, found.estimated, _PLAIN_RATIO, _RATIO_SOURCE, why_none)
    return _figure(name, found.estimated, _RATIO, _RATIO_SOURCE, why_none)


_PLAIN_RATIO = "Share among the labelled items of this part; square-and-add interval from two score intervals"


def _share(
    name: str, hits: int, n: int, why_none: str, *, bounds: tuple[float, float] | None = None
) -> Figure:
    """A plain share of n answers of people."""
    if not n:
        return Figure(name=name, sentence=why_none)
    low, high = bounds or wilson(hits, n)
    return Figure(
        name=name,
        value=hits / n,
        low=low,
        high=high,
        n=n,
        formula="Wilson score interval",
        source=_WILSON_SOURCE,
    )


def _why_none(run: Run, data: _Data, sample: _Sample) -> str:
    if not sample.drawn:
        if data.rows and any(row.stream != Stream.GOLD for row in data.rows):
            return "These items were chosen, not drawn by chance: they say nothing about all predictions."
        return "The sample is empty: there was nothing to draw, or everything drawn has been erased."
    if sample.cannot_tell and sample.cannot_tell == sample.drawn:
        return f"Nobody could tell for any of the {sample.drawn:,} items whether the model is right."
    if sample.cannot_tell:
        return (
            f"None of the {sample.drawn:,} items has a label: for {sample.cannot_tell:,} nobody could tell, "
            "and the others were left unlabelled."
        )
    return f"None of the {sample.drawn:,} items was labelled."


def _powered(data: _Data, sample: _Sample, plain: Estimated | None) -> Figure | None:
    """The estimate that the score helps, where it is tighter and its interval can be trusted."""
    if plain is None or any(part.stated_sum is None for part in sample.parts):
        return None
    said = _stated(data, sample)
    if said is None:
        return None
    sums = [part.stated_sum or 0.0 for part in sample.parts]
    found = powered.powered_rate(sample.frames, sums, sample.where, sample.wrong, said)
    if found is None or not powered.is_tighter(found.estimated, plain):
        return None
    figure = _figure(
        "Error rate, with the help of the score",
        found.estimated,
        "Difference estimator within strata Σ W_h [ē_h + λ(s̄_frame − s̄_labelled)], λ = "
        f"{found.tuning:.2f} tuned; Wilson on the effective size",
        "Angelopoulos, Duchi & Zrnic 2023 (PPI++); Cochran 1977, §7.3",
        "",
    )
    saved = 1 - (found.estimated.high - found.estimated.low) / (plain.high - plain.low)
    sentence = f"The score makes the interval {saved * 100:.0f} % narrower than labels alone do."
    return _with_sentence(figure, sentence)


def _stated(data: _Data, sample: _Sample) -> NDArray[np.float64] | None:
    """The chance of an error that each labelled item's score states; None where a version is gone."""
    decisions = {pk: Decisions(version) for pk, version in data.versions.items()}
    if any(row.version_id not in decisions for row in sample.rows):
        return None
    return np.array(
        [decisions[row.version_id or 0].stated_error(row.predicted, row.score) for row in sample.rows]
    )


def _corrected(run: Run, data: _Data, sample: _Sample, plain: Estimated | None) -> Figure:
    """The rate with people's own errors taken out."""
    name = "Error rate, corrected for people's errors"
    if plain is None:
        return Figure(name=name, sentence="There is no error rate to correct.")
    by_item = data.by_item()
    doubled = sum(
        sum(not answer.second_look for answer in by_item[row.pk]) >= 2
        for row in sample.rows
        if row.pk in by_item
    )
    mistakes = _mistakes(data, by_item)
    size = plain.n_effective or plain.n
    try:
        found = errors.corrected(
            plain.value,
            size,
            mistakes,
            double_share=doubled / max(len(sample.rows), 1),
            alarms_checked=run.second_look_at_errors,
        )
    except errors.NotCorrectable as problem:
        return Figure(name=name, sentence=str(problem))
    judged = mistakes.wrong + mistakes.right
    how = (
        "both sides taken together, for lack of wrong decisions among them"
        if found.pooled
        else "side by side"
    )
    return Figure(
        name=name,
        value=found.value,
        low=found.bounds[0],
        high=found.bounds[1],
        n=plain.n,
        n_effective=plain.n_effective,
        formula="Rogan–Gladen (rate + specificity − 1) ÷ (sensitivity + specificity − 1); "
        "Lang–Reiczigel interval with both variances",
        source="Rogan & Gladen 1978; Lang & Reiczigel 2014",
        sentence=(
            f"Settled labels find {_per_cent(found.sensitivity)} of wrong decisions and leave "
            f"{_per_cent(found.specificity)} of right ones alone, judged by {judged:,} answers on known or "
            f"doubly labelled items ({how})."
        ),
    )


def _mistakes(data: _Data, by_item: dict[int, list[_Answer]]) -> errors.Mistakes:
    """How single answers fare against known answers and against what two people, or a lead, settled on.

    Where an item has a second look because somebody differed from the model, only that second answer is
    judged: the first was chosen for what it says.
    """
    missed = wrong = alarms = right = 0
    for row in data.rows:
        answers = by_item.get(row.pk, [])
        truth = row.gold
        if row.stream != Stream.GOLD:
            if row.state != Item.State.SETTLED or len(answers) < 2:
                continue
            truth = row.label
            seconds = [answer for answer in answers if answer.second_look]
            answers = seconds or answers
        if not truth:
            continue
        for answer in answers:
            if not answer.value:
                continue
            if truth == row.predicted:
                right += 1
                alarms += answer.value != row.predicted
            else:
                wrong += 1
                missed += answer.value == row.predicted
    return errors.Mistakes(missed=missed, wrong=wrong, alarms=alarms, right=right)


def _classes(run: Run, sample: _Sample) -> list[figures.ClassFigures]:
    found = []
    for label in _labels(run, sample):
        said = np.array([row.predicted == label for row in sample.rows], dtype=np.bool_)
        is_true = np.array([row.label == label for row in sample.rows], dtype=np.bool_)
        found.append(
            figures.ClassFigures(
                label=label,
                precision=_within(
                    "Precision",
                    sample.rate_within(said, is_true, dimension="predicted", cell=label),
                    sample,
                    f"No labelled item was predicted “{label}”.",
                ),
                recall=_within(
                    "Recall", sample.rate_within(is_true, said), sample, f"No labelled item is “{label}”."
                ),
                predicted=_predicted(label, said, sample),
                true=_named("True share", sample.rate(is_true), sample, "Nothing is labelled."),
            )
        )
    return found


def _predicted(label: str, said: Flags, sample: _Sample) -> Figure:
    """What share of the frame the model calls this; counted where strata are divided by it."""
    if sample.parts and all("predicted" in part.key for part in sample.parts) and sample.frames.sum():
        frame = sum(part.frame for part in sample.parts if part.key["predicted"] == label)
        value = frame / int(sample.frames.sum())
        return Figure(
            name="Predicted share", value=value, low=value, high=value, n=len(sample.rows), formula=_KNOWN
        )
    return _named("Predicted share", sample.rate(said), sample, "Nothing is labelled.")


def _labels(run: Run, sample: _Sample) -> list[str]:
    """The run's labels in their order, then what else was predicted or answered."""
    values = [str(label["value"]) for label in run.labels]
    met = {row.predicted for row in sample.rows} | {row.label for row in sample.rows}
    return [*values, *sorted(met - set(values))]


def _confusion(sample: _Sample) -> list[figures.Cell]:
    with np.errstate(divide="ignore"):
        weights = np.where(sample.labelled > 0, sample.frames / np.maximum(sample.labelled, 1), 0.0)
    counts: Counter[tuple[str, str]] = Counter()
    weighted: dict[tuple[str, str], float] = defaultdict(float)
    for row, place in zip(sample.rows, sample.where, strict=True):
        counts[row.predicted, row.label] += 1
        weighted[row.predicted, row.label] += float(weights[place])
    return [
        figures.Cell(predicted=predicted, true=true, count=count, weighted=weighted[predicted, true])
        for (predicted, true), count in sorted(counts.items())
    ]


def _strata(sample: _Sample) -> list[figures.StratumFigures]:
    wrong = sample.count(sample.wrong)
    found = []
    for place, part in enumerate(sample.parts):
        labelled = int(sample.labelled[place])
        why = "Nothing here was labelled." if part.frame else "There was nothing in this stratum."
        estimated = rate([part.frame], [labelled], [int(wrong[place])]) if part.frame else None
        found.append(
            figures.StratumFigures(
                number=part.number,
                title=part.title,
                frame=part.frame,
                drawn=part.drawn,
                labelled=labelled,
                errors=int(wrong[place]),
                error_rate=_figure("Error rate", estimated, _PLAIN, _WILSON_SOURCE, why),
            )
        )
    return found


# -- Segments -------------------------------------------------------------------------------------


def _segments(sample: _Sample, dictionary: FeatureDictionary | None) -> list[figures.Segment]:
    """Parts of the frame that are looked at afterwards, each tested against the rest of it."""
    found: list[figures.Segment] = []
    for dimension, cells in _dimensions(sample, dictionary):
        values = _in_order(cells)
        if not 1 < len(values) <= VALUES_MAX:
            continue
        found += [_segment(sample, dimension, value, cells) for value in values]
    corrected = adjusted([one.p for one in found])
    return [
        figures.Segment(
            dimension=one.dimension,
            value=one.value,
            labelled=one.labelled,
            errors=one.errors,
            error_rate=one.error_rate,
            p=one.p,
            p_adjusted=p,
        )
        for one, p in zip(found, corrected, strict=True)
    ]


def _segment(sample: _Sample, dimension: str, value: str, cells: Sequence[str]) -> figures.Segment:
    part = np.array([cell == value for cell in cells], dtype=np.bool_)
    inside = sample.rate_within(part, sample.wrong, dimension=dimension, cell=value)
    rest = sample.rate_within(~part, sample.wrong)
    return figures.Segment(
        dimension=dimension,
        value=value,
        labelled=int(part.sum()),
        errors=int((part & sample.wrong).sum()),
        error_rate=_within("Error rate", inside, sample, "Nothing here was labelled."),
        p=_test(inside.estimated, rest.estimated),
    )


def _test(inside: Estimated | None, rest: Estimated | None) -> float | None:
    """p-value of the two rates being one, from their effective sizes."""
    if inside is None or rest is None:
        return None
    sizes = [one.n_effective if one.n_effective is not None else float(one.n) for one in (inside, rest)]
    return differs(inside.value * sizes[0], sizes[0], rest.value * sizes[1], sizes[1])


def _dimensions(sample: _Sample, dictionary: FeatureDictionary | None) -> Iterable[tuple[str, list[str]]]:
    """What the frame can be looked at by, and the cell of each labelled item."""
    rows = sample.rows
    if not rows:
        return
    keys = [sample.parts[place].key for place in sample.where]
    designed = {name for part in sample.parts for name in part.key}
    yield "predicted", [row.predicted for row in rows]
    if "score_band" in designed:
        yield "score_band", [key.get("score_band", "") for key in keys]
    else:
        yield "score_band", _banded([row.score for row in rows], BANDS, "{:.2f}")
    yield "surface", [row.surface for row in rows]
    if dictionary is not None:
        names = [one.name for one in dictionary.features if one.type in {CATEGORY, FLAG}]
        if names:
            logged = [read_values(row.features) for row in rows]
            for name in names:
                values = [one.get(name) for one in logged]
                yield f"feature:{name}", ["" if value is None else as_text(value)[:60] for value in values]
        for name in sorted(
            designed - {"predicted", "score_band", "surface"} - {f"feature:{n}" for n in names}
        ):
            yield name, [key.get(name, "") for key in keys]
        if dictionary.text_feature is not None:
            yield "text_length", _banded([row.length for row in rows], LENGTH_BANDS, "{:.0f}")


def _banded(numbers: Sequence[float], bands: int, form: str) -> list[str]:
    """The band of each number: equal shares of the labelled items, fewer where many are equal."""
    values = np.asarray(numbers, dtype=np.float64)
    cuts = np.unique(np.quantile(values, np.linspace(0, 1, bands + 1)[1:-1]))
    inner = [cut for cut in cuts if values.min() < cut]
    texts = [form.format(edge) for edge in inner]
    if not texts:
        return [form.format(values.min())] * len(values)
    words = [
        f"below {texts[0]}",
        *(f"{low}–{high}" for low, high in itertools.pairwise(texts)),
        f"{texts[-1]} and above",
    ]
    return [words[place] for place in np.searchsorted(inner, values, side="right")]


def _in_order(cells: Sequence[str]) -> list[str]:
    """Distinct cells; bands by their lower edge, others by name."""

    def key(cell: str) -> tuple[float, str]:
        if cell.startswith("below "):
            return -math.inf, cell
        try:
            return float(cell.split("–")[0].removesuffix(" and above")), cell
        except ValueError:
            return math.inf, cell

    return sorted(set(cells), key=key)


# -- People ---------------------------------------------------------------------------------------


class _Codes:
    """Answers as a matrix of label numbers, people × items. Second looks are left out: such items were not
    chosen by chance, and whoever came first would look strict.
    """

    def __init__(self, run: Run, data: _Data) -> None:
        plain = [
            answer
            for answer in data.answers
            if answer.value and not answer.adjudicates and not answer.second_look
        ]
        values = [str(label["value"]) for label in run.labels]
        self.labels = [*values, *sorted({answer.value for answer in plain} - set(values))]
        self.people = sorted({answer.person for answer in data.answers if not answer.adjudicates})
        rows = {name: number for number, name in enumerate(self.people)}
        columns = {pk: place for place, pk in enumerate(dict.fromkeys(answer.item_id for answer in plain))}
        codes = {label: code for code, label in enumerate(self.labels)}
        self.matrix = np.full((len(rows), len(columns)), agreement.MISSING, dtype=np.int64)
        for answer in plain:
            self.matrix[rows[answer.person], columns[answer.item_id]] = codes[answer.value]


def _agreement(codes: _Codes) -> figures.Agreement | None:
    matrix = codes.matrix
    several = (matrix != agreement.MISSING).sum(axis=0) >= 2
    if not several.any():
        return None
    shared = matrix[:, several]
    plain = agreement.percent(shared)
    fleiss, raters = agreement.fleiss(shared)
    one_label = "All answers are the same label, so chance alone explains their agreement."
    pairs = []
    for first in range(len(shared)):
        for second in range(first + 1, len(shared)):
            both = (shared[first] != agreement.MISSING) & (shared[second] != agreement.MISSING)
            if both.any():
                pairs.append(
                    figures.Pair(
                        first=codes.people[first],
                        second=codes.people[second],
                        items=int(both.sum()),
                        agreed=int((shared[first][both] == shared[second][both]).sum()),
                        kappa=_agreed(
                            "Cohen's kappa",
                            agreement.cohen(shared[first], shared[second]),
                            "Cohen's kappa; interval from 1,000 resamples of the items",
                            "Cohen 1960; Efron 1979",
                            one_label,
                        ),
                    )
                )
    return figures.Agreement(
        items=plain.items,
        people=int((shared != agreement.MISSING).any(axis=1).sum()),
        percent=_agreed("Same answer", plain, "Wilson score interval over items", _WILSON_SOURCE, ""),
        fleiss=_agreed(
            "Fleiss' kappa",
            fleiss,
            f"Fleiss' kappa over the items with {raters} answers; interval from 1,000 resamples of the items",
            "Fleiss 1971; Efron 1979",
            one_label,
        ),
        krippendorff=_agreed(
            "Krippendorff's alpha",
            agreement.krippendorff_alpha(shared),
            "Krippendorff's alpha for nominal labels with gaps; interval from 1,000 resamples of the items",
            "Krippendorff 2019, §12.3; Hayes & Krippendorff 2007",
            one_label,
        ),
        pairs=pairs,
        positive=[
            _agreed(
                label,
                agreement.positive(shared, code),
                "2a ÷ (2a + b + c) over all pairs of answers to an item; interval from 1,000 resamples",
                "Cicchetti & Feinstein 1990",
                "Nobody gave this label to an item with several answers.",
            )
            for code, label in enumerate(codes.labels)
        ],
    )


def _agreed(name: str, found: agreement.Agreed, formula: str, source: str, why_none: str) -> Figure:
    if found.value is None:
        return Figure(name=name, n=found.items, sentence=why_none)
    sentence = ""
    if found.bounds is None:
        sentence = f"Fewer than {agreement.LEAST_ITEMS} items: too few for an interval."
    low, high = found.bounds or (None, None)
    return Figure(
        name=name,
        value=found.value,
        low=low,
        high=high,
        n=found.items,
        formula=formula,
        source=source,
        sentence=sentence,
    )


def _people(data: _Data, codes: _Codes, focus: str) -> tuple[list[figures.Person], Figure | None, list[str]]:
    """Everybody who answered, the rate of all, and what chance explains of the differences, in words."""
    if not codes.people:
        return [], None, []
    code = codes.labels.index(focus) if focus in codes.labels else len(codes.labels)
    spread = people.spread(codes.matrix, code)
    found = people.strictness(codes.matrix, code)
    rows = {row.pk: row for row in data.rows}
    answers: dict[str, list[_Answer]] = defaultdict(list)
    decided = {answer.item_id for answer in data.answers if answer.adjudicates}
    for answer in data.answers:
        if not answer.adjudicates and answer.item_id in rows:
            answers[answer.person].append(answer)
    together = sum(one.n > 0 for one in found)
    persons = [
        _person(name, one, answers[name], rows, decided, focus, together)
        for name, one in zip(codes.people, found, strict=True)
    ]
    pooled = None
    if spread is not None:
        pooled = Figure(
            name=f"“{focus}”, all people",
            value=spread.pooled,
            low=spread.bounds[0],
            high=spread.bounds[1],
            n=int((codes.matrix != agreement.MISSING).sum()),
            n_effective=spread.n_effective,
            formula="Share of all answers; Wilson on the effective size, items as clusters",
            source="Wilson 1927; Kish 1965, §5.4",
        )
    return persons, pooled, _spread_words(spread, together, focus)


def _spread_words(spread: people.Spread | None, count: int, focus: str) -> list[str]:
    if spread is None or spread.chance_share is None or spread.p is None:
        return []
    if spread.p >= 0.05:
        sentence = (
            f"Between {count} people the share of “{focus}” differs no more than chance explains "
            f"(p = {spread.p:.2f})."
        )
    else:
        sentence = (
            f"Of the spread between {count} people in how often they say “{focus}”, chance explains "
            f"{_per_cent(spread.chance_share)}; the rest is how they judge, or which items they were given."
        )
    return [sentence]


def _person(
    name: str,
    found: people.Strictness,
    answers: Sequence[_Answer],
    rows: dict[int, _Row],
    decided: set[int],
    focus: str,
    together: int,
) -> figures.Person:
    told = [answer for answer in answers if answer.value]
    gold = [answer for answer in answers if rows[answer.item_id].stream == Stream.GOLD]
    knew = sum(answer.value == rows[answer.item_id].gold for answer in gold)
    disputed = [answer for answer in told if answer.item_id in decided]
    sided = sum(answer.value == rows[answer.item_id].label for answer in disputed)
    seconds = sorted(answer.seconds for answer in answers)
    return figures.Person(
        person=name,
        labelled=len(told),
        cannot_tell=len(answers) - len(told),
        rate=_rate_of(name, found, focus, together),
        difference=_difference_of(name, found, together),
        gold=_share("Known answers", knew, len(gold), "No known answer was among their items."),
        adjudicated=_share("Sided with", sided, len(disputed), "No answer of theirs went to an audit lead."),
        seconds=float(np.median(seconds)) if seconds else None,
        standing=found.standing,
        sentence=_standing_words(found, focus),
    )


def _rate_of(name: str, found: people.Strictness, focus: str, together: int) -> Figure:
    if not found.n:
        return Figure(name=name, sentence="They gave no label that could be compared.")
    return Figure(
        name=f"“{focus}”, {name}",
        value=found.hits / found.n,
        low=found.bounds[0],
        high=found.bounds[1],
        n=found.n,
        formula=f"Wilson score interval; holds for all {together} people at once (Bonferroni)",
        source="Wilson 1927; Dunn 1961",
    )


def _difference_of(name: str, found: people.Strictness, together: int) -> Figure:
    if found.difference is None or found.difference_bounds is None:
        return Figure(name=name, sentence="Nobody else labelled.")
    how = (
        f"Mean of (answer − others' mean) over {found.shared:,} shared items; t interval over items"
        if found.matched
        else "Share of answers less the others' share; Newcombe interval"
    )
    return Figure(
        name=f"Difference to the others, {name}",
        value=found.difference,
        low=found.difference_bounds[0],
        high=found.difference_bounds[1],
        n=found.shared if found.matched else found.n,
        formula=f"{how}; holds for all {together} people at once (Bonferroni)",
        source="Cochran 1977, §9; Dunn 1961" if found.matched else "Newcombe 1998; Dunn 1961",
    )


def _standing_words(found: people.Strictness, focus: str) -> str:
    """What the difference means, and how much of it chance explains."""
    if found.difference is None or found.difference_bounds is None or found.by_chance is None:
        return "There is nobody to compare with." if found.n else "They gave no label that could be compared."
    if found.n < people.LEAST_LABELS:
        return f"Only {found.n} labels: too few to compare."
    low, high = found.difference_bounds
    points = f"{abs(found.difference) * 100:.1f} points"
    interval = f"{low * 100:+.1f} to {high * 100:+.1f}".replace("-", "−")
    where = (
        f"on {found.shared:,} items others labelled too" if found.matched else "on other items than theirs"
    )
    chance = f"{found.by_chance * 100:.1f}"
    if found.standing == people.USUAL:
        return (
            f"Says “{focus}” about as often as others ({interval} points {where}): "
            f"chance alone explains differences of up to {chance} points."
        )
    more = "more" if found.standing == people.STRICT else "less"
    share = min(found.by_chance / abs(found.difference), 1.0)
    return (
        f"Says “{focus}” {more} often than others, by {points} ({interval} {where}). Chance alone "
        f"explains at most {chance} of them ({_per_cent(share)} of the difference); the rest is how strictly "
        "they judge."
    )


# -- What is left, and what to know ---------------------------------------------------------------


def _remaining(run: Run, data: _Data) -> Figure | None:
    """For targeted runs: from a random look at the rest, how many errors may still be unfound."""
    if run.kind != Run.Kind.TARGETED:
        return None
    name = "Errors still unfound"
    looked = data.drawn()
    told = [row for row in looked if row.label]
    if not told:
        return Figure(
            name=name, sentence="Nothing of the rest was labelled at random, so nobody knows what it hides."
        )
    pool = max(round(sum(1 / row.probability for row in looked if row.probability)), len(looked))
    hits = sum(row.label != row.predicted for row in told)
    left = most_left(pool, len(told), hits)
    unseen = pool - len(told)
    return Figure(
        name=name,
        value=None,
        high=left / unseen if unseen else 0.0,
        kind="upper",
        n=len(told),
        formula="Exact hypergeometric upper bound from a random look at the rest",
        source="Buonaccorsi 1987",
        sentence=(
            f"A random look at {len(told):,} of {pool:,} predictions that did not look suspicious found "
            f"{hits:,} wrong, so at most {left:,} of the other {unseen:,} are wrong (95 % sure)."
        ),
    )


def _notes(run: Run, data: _Data, sample: _Sample, overall: Estimated | None) -> list[str]:
    notes = []
    empty = [
        part
        for part, labelled in zip(sample.parts, sample.labelled, strict=True)
        if part.frame and not labelled
    ]
    if empty and overall is not None:
        hidden = sum(part.frame for part in empty) / int(sample.frames.sum())
        named = ", ".join(f"“{part.title}”" for part in empty[:NAMED_MAX])
        named += f" and {len(empty) - NAMED_MAX} more" if len(empty) > NAMED_MAX else ""
        notes.append(
            f"No item of {named} has a label: {_per_cent(hidden)} of the frame is left out of the "
            f"rates. Whatever is there, the error rate lies between "
            f"{_per_cent(overall.low * (1 - hidden))} and {_per_cent(overall.high * (1 - hidden) + hidden)}."
        )
    if sample.cannot_tell and overall is not None:
        notes.append(_cannot_tell_words(sample))
    provisional = sum(row.is_provisional for row in sample.rows)
    if provisional:
        notes.append(
            f"{_items(provisional)} had answers but no settled label when the run was closed; the first "
            "answer counts, since leaving them out would leave out errors."
        )
    left = sample.drawn - len(sample.rows) - sample.cannot_tell
    if left and overall is not None:
        notes.append(
            f"{_items(left)} of the sample stayed unlabelled; the rates take them to be like the labelled "
            "ones of their stratum."
        )
    if run.erased:
        notes.append(
            f"{_items(run.erased)} erased since they were drawn, because their customers opted out."
            if run.erased != 1
            else "1 item was erased since it was drawn, because its customer opted out."
        )
    if sample.drawn and any(row.stream in {Stream.SUSPECT, Stream.REFERRED} for row in data.rows):
        notes.append("Only what was drawn by chance counts towards the rates; chosen items do not.")
    if any(answer.second_look for answer in data.answers):
        notes.append(
            "Second looks at suspected errors are left out of agreement and of the comparison of people: "
            "those items were not chosen by chance."
        )
    return notes


def _cannot_tell_words(sample: _Sample) -> str:
    """How far the items that nobody could judge could move the rate."""
    told = len(sample.rows)
    share = sample.cannot_tell / (told + sample.cannot_tell)
    return (
        f"For {_items(sample.cannot_tell)} ({_per_cent(share)} of those looked at) nobody could "
        "tell. The rates take them to be like the others of their stratum."
    )


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count:,} items"


def _per_cent(share: float) -> str:
    """`1.3 %`; two digits that matter below a tenth of a per cent, no false zero."""
    if 0 < share < 0.001:
        return "less than 0.1 %"
    return f"{share * 100:.1f} %"


def _with_sentence(figure: Figure, sentence: str) -> Figure:
    values: dict[str, Any] = {name: getattr(figure, name) for name in figure.__struct_fields__}
    return Figure(**{**values, "sentence": sentence})
