"""How often the model is wrong: overall, by class, by cell of the confusion, by stratum."""

from collections import Counter, defaultdict

import numpy as np
from numpy.typing import NDArray

from opsportal.audits import figures
from opsportal.audits.decisions import Decisions
from opsportal.audits.estimating.as_figures import (
    PLAIN,
    WILSON_SOURCE,
    figure_of,
    figure_within,
    named,
    per_cent,
    with_sentence,
)
from opsportal.audits.estimating.rows import Answer, Data
from opsportal.audits.estimating.sample import Flags, Sample
from opsportal.audits.figures import Figure
from opsportal.audits.models import Item, Run, Stream
from opsportal.audits.statistics import errors, powered
from opsportal.audits.statistics.estimators import Estimated, rate

_KNOWN = "Count of the whole frame"


def why_none(run: Run, data: Data, sample: Sample) -> str:
    """Why there is no error rate, in words."""
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


def powered_of(data: Data, sample: Sample, plain: Estimated | None) -> Figure | None:
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
    figure = figure_of(
        "Error rate, with the help of the score",
        found.estimated,
        "Difference estimator within strata Σ W_h [ē_h + λ(s̄frame_of − s̄_labelled)], λ = "
        f"{found.tuning:.2f} tuned; Wilson on the effective size",
        "Angelopoulos, Duchi & Zrnic 2023 (PPI++); Cochran 1977, §7.3",
        "",
    )
    saved = 1 - (found.estimated.high - found.estimated.low) / (plain.high - plain.low)
    sentence = f"The score makes the interval {saved * 100:.0f} % narrower than labels alone do."
    return with_sentence(figure, sentence)


def _stated(data: Data, sample: Sample) -> NDArray[np.float64] | None:
    """The chance of an error that each labelled item's score states; None where a version is gone."""
    decisions = {pk: Decisions(version) for pk, version in data.versions.items()}
    if any(row.version_id not in decisions for row in sample.rows):
        return None
    return np.array(
        [decisions[row.version_id or 0].stated_error(row.predicted, row.score) for row in sample.rows]
    )


def corrected_of(run: Run, data: Data, sample: Sample, plain: Estimated | None) -> Figure:
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
            f"Settled labels find {per_cent(found.sensitivity)} of wrong decisions and leave "
            f"{per_cent(found.specificity)} of right ones alone, judged by {judged:,} answers on known or "
            f"doubly labelled items ({how})."
        ),
    )


def _mistakes(data: Data, by_item: dict[int, list[Answer]]) -> errors.Mistakes:
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


def classes_of(run: Run, sample: Sample) -> list[figures.ClassFigures]:
    """Precision, recall and both shares of each label."""
    found = []
    for label in _labels(run, sample):
        said = np.array([row.predicted == label for row in sample.rows], dtype=np.bool_)
        is_true = np.array([row.label == label for row in sample.rows], dtype=np.bool_)
        found.append(
            figures.ClassFigures(
                label=label,
                precision=figure_within(
                    "Precision",
                    sample.rate_within(said, is_true, dimension="predicted", cell=label),
                    sample,
                    f"No labelled item was predicted “{label}”.",
                ),
                recall=figure_within(
                    "Recall", sample.rate_within(is_true, said), sample, f"No labelled item is “{label}”."
                ),
                predicted=_predicted(label, said, sample),
                true=named("True share", sample.rate(is_true), sample, "Nothing is labelled."),
            )
        )
    return found


def _predicted(label: str, said: Flags, sample: Sample) -> Figure:
    """What share of the frame the model calls this; counted where strata are divided by it."""
    if sample.parts and all("predicted" in part.key for part in sample.parts) and sample.frames.sum():
        frame = sum(part.frame for part in sample.parts if part.key["predicted"] == label)
        value = frame / int(sample.frames.sum())
        return Figure(
            name="Predicted share", value=value, low=value, high=value, n=len(sample.rows), formula=_KNOWN
        )
    return named("Predicted share", sample.rate(said), sample, "Nothing is labelled.")


def _labels(run: Run, sample: Sample) -> list[str]:
    """The run's labels in their order, then what else was predicted or answered."""
    values = [str(label["value"]) for label in run.labels]
    met = {row.predicted for row in sample.rows} | {row.label for row in sample.rows}
    return [*values, *sorted(met - set(values))]


def confusion_of(sample: Sample) -> list[figures.Cell]:
    """Labelled items by what was predicted and what is true, counted and weighted to the frame."""
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


def strata_of(sample: Sample) -> list[figures.StratumFigures]:
    """What was found in each stratum."""
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
                error_rate=figure_of("Error rate", estimated, PLAIN, WILSON_SOURCE, why),
            )
        )
    return found
