"""The figures of a closed run as its page shows them: sentences, intervals on shared scales, tables."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from opsportal.accounts.models import User
from opsportal.audits import figures
from opsportal.audits.figures import Figure, Person, Results
from opsportal.audits.models import Estimate, Run
from opsportal.audits.selectors.labels import titles_of
from opsportal.audits.selectors.plotting import (
    FEW_STEPS,
    SPACE,
    UPPER,
    Basis,
    Scale,
    Shown,
    bases_of,
    ends_of,
    interval_text,
    scale_of,
    share_text,
    show,
    value_text,
)

# After Benjamini and Hochberg, so that of all flags at most so many are expected to be false.
FLAG_BELOW = 0.05
# How dark a cell of the confusion matrix may be.
HEAT_LEVELS = 5
MORE, FEWER = "more", "fewer"
USUAL = "usual"
_RATES = {
    "As labelled": "From the labels alone, each weighted by how many predictions it stands for. This is the "
    "figure to quote: it assumes nothing of the model.",
    "With the score's help": "The score's own doubt, known for every prediction, put right by the labels. As "
    "unbiased as the first, and narrower where the score knows when it errs.",
    "Without people's own errors": "What the rate would be had nobody mislabelled anything, judged by known "
    "answers and second looks. Wider, since that is estimated, too.",
}
_DIMENSIONS = {
    "surface": "Surface",
    "score_band": "Score",
    "predicted": "Model's decision",
    "version": "Version",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One way to state the error rate, and what it means."""

    title: str
    shown: Shown
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """One class as it is read."""

    label: str
    precision: Shown
    recall: Shown
    predicted: Shown
    true: Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixCell:
    """How many of the labelled items, and of the frame, the model called one and people called another.

    share: of what the model gave this label; heat: 0–5.
    """

    count: int
    weighted: str
    share: str
    heat: int
    is_right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """The confusion matrix: a row for each decision of the model, a column for each label of people."""

    columns: list[str]
    rows: list[tuple[str, list[MatrixCell]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StratumRow:
    """A stratum of the design with what came of it."""

    title: str
    frame: int
    drawn: int
    labelled: int
    errors: int
    shown: Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRow:
    """A part of the frame. Its flag says whether it stands out, more or fewer; adjusted: its p as read."""

    value: str
    labelled: int
    errors: int
    shown: Shown
    adjusted: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """Segments of one kind."""

    title: str
    rows: list[SegmentRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRow:
    """Two people."""

    first: str
    second: str
    items: int
    agreed: int
    shown: Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementView:
    """How far people agree. shares: percent and positive agreement; coefficients: Fleiss and Krippendorff."""

    items: int
    people: int
    shares: list[Shown]
    share_scale: Scale
    coefficients: list[Shown]
    scale: Scale
    bases: list[Basis]


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRow:
    """One person's labels. standing: strict, lenient or usual."""

    name: str
    labelled: int
    cannot_tell: int
    rate: Shown
    difference: str
    gold: Shown
    adjudicated: Shown
    seconds: float | None
    standing: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleView:
    """People beside each other. pooled: the rate of all of them."""

    focus: str
    pooled: Shown | None
    rows: list[PersonRow]
    scale: Scale
    gold_scale: Scale
    pairs: list[PairRow]
    pair_scale: Scale
    bases: list[Basis]
    hidden: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsView:
    """A closed run, ready to read."""

    results: Results
    headline: str
    in_numbers: str
    rates: list[Rate]
    rate_scale: Scale
    remaining: Shown | None
    remaining_scale: Scale
    classes: list[ClassRow]
    class_scale: Scale
    matrix: Matrix | None
    strata: list[StratumRow]
    strata_scale: Scale
    dimensions: list[Dimension]
    segment_scale: Scale
    flagged: int
    agreement: AgreementView | None
    bases: dict[str, list[Basis]]


def results_view(run: Run, results: Results) -> ResultsView:
    """Everything but people, whom `people_view` shows to fewer."""
    titles = titles_of(run)
    rates, rate_scale = _rates(results)
    class_figures = [
        figure for one in results.classes for figure in (one.precision, one.recall, one.predicted, one.true)
    ]
    class_scale = scale_of(class_figures)
    classes = [
        ClassRow(
            label=titles.get(one.label, one.label),
            precision=show(one.precision, class_scale, label="Precision"),
            recall=show(one.recall, class_scale, label="Recall"),
            predicted=show(one.predicted, class_scale, label="Share, says the model"),
            true=show(one.true, class_scale, label="Share, say people"),
        )
        for one in results.classes
    ]
    strata_scale = scale_of([one.error_rate for one in results.strata])
    strata = [
        StratumRow(
            title=one.title,
            frame=one.frame,
            drawn=one.drawn,
            labelled=one.labelled,
            errors=one.errors,
            shown=show(one.error_rate, strata_scale, label=one.title, reference=results.error_rate.value),
        )
        for one in results.strata
    ]
    dimensions, segment_scale, flagged = _dimensions(results, titles)
    remaining_scale = scale_of([results.remaining])
    remaining = show(results.remaining, remaining_scale, label="Errors left") if results.remaining else None
    return ResultsView(
        results=results,
        headline=_headline(results),
        in_numbers=_in_numbers(results),
        rates=rates,
        rate_scale=rate_scale,
        remaining=remaining,
        remaining_scale=remaining_scale,
        classes=classes,
        class_scale=class_scale,
        matrix=_matrix(results, titles),
        strata=strata,
        strata_scale=strata_scale,
        dimensions=dimensions,
        segment_scale=segment_scale,
        flagged=flagged,
        agreement=_agreement(results, titles),
        bases={
            "rates": bases_of([rate.shown for rate in rates]),
            "remaining": bases_of([remaining]),
            "classes": bases_of(
                [shown for one in classes for shown in (one.precision, one.recall, one.predicted, one.true)]
            ),
            "strata": bases_of([one.shown for one in strata])[:1],
            "segments": bases_of([row.shown for one in dimensions for row in one.rows])[:1],
        },
    )


def people_view(results: Results, *, titles: Mapping[str, str], only: str = "") -> PeopleView:
    """People beside each other. only: a user name, for somebody who may see nobody else."""
    people = [one for one in results.people if not only or one.person == only]
    pooled = results.pooled
    scale = scale_of([pooled, *(one.rate for one in people)])
    gold_scale = scale_of([figure for one in people for figure in (one.gold, one.adjudicated)])
    pairs = [
        pair
        for pair in (results.agreement.pairs if results.agreement else [])
        if not only or only in {pair.first, pair.second}
    ]
    pair_scale = scale_of([pair.kappa for pair in pairs], is_share=False, steps=FEW_STEPS)
    rows = [_person(one, scale, gold_scale, pooled) for one in people]
    pair_rows = [
        PairRow(
            first=pair.first,
            second=pair.second,
            items=pair.items,
            agreed=pair.agreed,
            shown=show(pair.kappa, pair_scale, label="Cohen's kappa"),
        )
        for pair in pairs
        if not only
    ]
    return PeopleView(
        focus=titles.get(results.focus, results.focus),
        pooled=show(pooled, scale, label="Everybody") if pooled else None,
        rows=rows,
        scale=scale,
        gold_scale=gold_scale,
        pairs=pair_rows,
        pair_scale=pair_scale,
        bases=bases_of(
            [
                *(shown for row in rows for shown in (row.rate, row.gold, row.adjudicated)),
                *(row.shown for row in pair_rows),
            ]
        ),
        hidden=len(results.people) - len(people),
    )


def results_of(run: Run) -> Results | None:
    """The stored figures of a run; None while they are being computed."""
    estimate = Estimate.objects.filter(run=run).first()
    return figures.decode(estimate.figures) if estimate else None


def for_reader(results: Results, user: User) -> Results:
    """The figures that this person may read: single people are shown to audit leads, else only oneself."""
    if user.can("audits.lead"):
        return results
    own = user.get_username()
    people = [one for one in results.people if user.can("audits.label") and one.person == own]
    agreement = results.agreement
    if agreement is not None:
        agreement = figures.Agreement(
            items=agreement.items,
            people=agreement.people,
            percent=agreement.percent,
            fleiss=agreement.fleiss,
            krippendorff=agreement.krippendorff,
            pairs=[],
            positive=agreement.positive,
        )
    values = {name: getattr(results, name) for name in results.__struct_fields__}
    return Results(**{**values, "people": people, "agreement": agreement})


# -- Parts ----------------------------------------------------------------------------------


def _headline(results: Results) -> str:
    rate = results.error_rate
    if rate.value is None and rate.high is None:
        return rate.sentence or "There is no error rate."
    if rate.kind == UPPER and not rate.value:
        return f"No error was found: the rate is {value_text(rate)}."
    return f"An estimated {value_text(rate)} of decisions are wrong."


def _in_numbers(results: Results) -> str:
    """What the rate means in predictions: “About 160 of 12,345, between 111 and 235 (95 % sure).”"""
    rate, frame = results.error_rate, results.frame.frame
    low, high = ends_of(rate)
    if low is None or high is None:
        return ""
    n = results.frame.labelled
    sure = f"95{SPACE}% sure, from {n:,} label{'' if n == 1 else 's'}"
    most = f"at most {math.ceil(high * frame - 1e-9):,}"
    if rate.kind == UPPER and not rate.value:
        return f"{sure}: {most} of {frame:,} predictions."
    about = f"About {round((rate.value or 0) * frame):,} of {frame:,} predictions"
    least = f"at least {math.floor(low * frame + 1e-9):,}"
    return f"{sure}: between {interval_text(rate, joint='and')}. {about}, {least} and {most}."


def _rates(results: Results) -> tuple[list[Rate], Scale]:
    scale = scale_of([results.error_rate, results.error_rate_powered, results.error_rate_corrected])
    wanted = zip(
        _RATES.items(),
        (results.error_rate, results.error_rate_powered, results.error_rate_corrected),
        strict=True,
    )
    return [
        Rate(title=title, shown=show(figure, scale, label=title), meaning=meaning)
        for (title, meaning), figure in wanted
        if figure is not None
    ], scale


def _matrix(results: Results, titles: Mapping[str, str]) -> Matrix | None:
    if not results.confusion:
        return None
    known = [
        *titles,
        *(cell.predicted for cell in results.confusion),
        *(cell.true for cell in results.confusion),
    ]
    present = {cell.predicted for cell in results.confusion} | {cell.true for cell in results.confusion}
    labels = [label for label in dict.fromkeys(known) if label in present]
    cells = {(cell.predicted, cell.true): cell for cell in results.confusion}
    rows = []
    for predicted in labels:
        of_row = [cells.get((predicted, true)) for true in labels]
        total = sum(cell.weighted for cell in of_row if cell)
        row = []
        for true, cell in zip(labels, of_row, strict=True):
            share = cell.weighted / total if cell and total else 0.0
            row.append(
                MatrixCell(
                    count=cell.count if cell else 0,
                    weighted=f"{cell.weighted:,.0f}" if cell else "0",
                    share=share_text(share) if total else "–",
                    heat=math.ceil(HEAT_LEVELS * share - 1e-9),
                    is_right=predicted == true,
                )
            )
        rows.append((titles.get(predicted, predicted), row))
    return Matrix(columns=[titles.get(label, label) for label in labels], rows=rows)


def _dimensions(results: Results, titles: Mapping[str, str]) -> tuple[list[Dimension], Scale, int]:
    scale = scale_of([one.error_rate for one in results.segments])
    found: dict[str, list[SegmentRow]] = {}
    overall = results.error_rate.value
    flagged = 0
    for one in results.segments:
        flag = ""
        if one.p_adjusted is not None and one.p_adjusted < FLAG_BELOW and one.error_rate.value is not None:
            more = overall is not None and one.error_rate.value > overall
            flag = MORE if more else FEWER
            flagged += 1
        value = titles.get(one.value, one.value) if one.dimension == "predicted" else one.value
        found.setdefault(one.dimension, []).append(
            SegmentRow(
                value=value or "not given",
                labelled=one.labelled,
                errors=one.errors,
                shown=show(one.error_rate, scale, label=value, reference=overall, flag=flag),
                adjusted=p_text(one.p_adjusted),
            )
        )
    return [Dimension(title=dimension_title(name), rows=rows) for name, rows in found.items()], scale, flagged


def dimension_title(name: str) -> str:
    """What a dimension is called: Score, Surface, or the name of a feature."""
    return _DIMENSIONS.get(name) or name.removeprefix("feature:").replace("_", " ").capitalize()


def p_text(p: float | None) -> str:
    """A p as it is read."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _agreement(results: Results, titles: Mapping[str, str]) -> AgreementView | None:
    found = results.agreement
    if found is None:
        return None
    share_scale = scale_of([found.percent, *found.positive], steps=FEW_STEPS)
    scale = scale_of([found.fleiss, found.krippendorff], is_share=False, steps=FEW_STEPS)
    shares = [
        show(found.percent, share_scale, label="Same answer"),
        *(
            show(one, share_scale, label=f"Both say “{titles.get(one.name, one.name)}”")
            for one in found.positive
        ),
    ]
    coefficients = [
        show(found.krippendorff, scale, label="Krippendorff's alpha"),
        show(found.fleiss, scale, label="Fleiss' kappa"),
    ]
    return AgreementView(
        items=found.items,
        people=found.people,
        shares=shares,
        share_scale=share_scale,
        coefficients=coefficients,
        scale=scale,
        bases=bases_of([*shares, *coefficients]),
    )


def _person(one: Person, scale: Scale, gold_scale: Scale, pooled: Figure | None) -> PersonRow:
    return PersonRow(
        name=one.person,
        labelled=one.labelled,
        cannot_tell=one.cannot_tell,
        rate=show(
            one.rate,
            scale,
            label=one.person,
            reference=pooled.value if pooled else None,
            flag="" if one.standing == USUAL else MORE,
        ),
        difference=value_text(one.difference),
        gold=show(one.gold, gold_scale, label="Known answers"),
        adjudicated=show(one.adjudicated, gold_scale, label="Sided with"),
        seconds=one.seconds,
        standing=one.standing,
        sentence=one.sentence,
    )
