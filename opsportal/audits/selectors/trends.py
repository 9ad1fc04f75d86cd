"""Error rates over runs: of every model for the overview, of one model for the comparison."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from django.db.models import Exists, F, OuterRef, QuerySet, Window
from django.db.models.functions import RowNumber

from opsportal.audits.figures import Figure
from opsportal.audits.models import Period, Policy, Run
from opsportal.audits.periods import span_at
from opsportal.audits.selectors.plotting import FEW_STEPS, Scale, Shown, Tick, ends_of, scale_of, show
from opsportal.core import clock
from opsportal.predictions.models import Model

TREND_RUNS, RUNS_SHOWN = 12, 20
TREND_HEIGHT = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendPoint:
    """The error rate of one run, placed: `at` per cent across, the others pixels down."""

    run: Run
    shown: Shown
    at: str
    value: str
    low: str
    high: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """Error rates over runs, oldest first. lines: from point to point, as (x1, y1, x2, y2)."""

    points: list[TrendPoint]
    lines: list[tuple[str, str, str, str]]
    ticks: list[Tick]
    height: int = int(TREND_HEIGHT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """A model that is audited. latest: its newest rate, None before the first; trend: older ones too.

    policies: each with the moment of its next run, None by hand.
    """

    model: Model
    latest: Shown | None
    latest_run: Run | None
    scale: Scale
    trend: Trend
    open_runs: list[Run]
    policies: list[tuple[Policy, datetime | None]]


def model_cards() -> list[ModelCard]:
    """Every model with a policy or a run, by title. Four queries, whatever the number of models."""
    points = rates_of(
        Run.objects.filter(kind=Run.Kind.AUDIT, state=Run.State.CLOSED, estimate__isnull=False)
        .annotate(
            place=Window(RowNumber(), partition_by=F("model"), order_by=F("pk").desc()),
        )
        .filter(place__lte=TREND_RUNS)
    )
    policies: dict[int, list[Policy]] = {}
    for policy in Policy.objects.filter(active=True).order_by("title"):
        policies.setdefault(policy.model_id, []).append(policy)
    running: dict[int, list[Run]] = {}
    for run in Run.objects.filter(state__in=[Run.State.DRAWING, Run.State.OPEN]).order_by("pk"):
        running.setdefault(run.model_id, []).append(run)
    known = {*policies, *running, *(run.model_id for run, _ in points)}
    cards = []
    for model in Model.objects.filter(pk__in=known).order_by("title"):
        own = [(run, figure) for run, figure in points if run.model_id == model.pk]
        newest = own[-1] if own else None
        scale = scale_of([newest[1] if newest else None], steps=FEW_STEPS)
        cards.append(
            ModelCard(
                model=model,
                latest=show(newest[1], scale) if newest else None,
                latest_run=newest[0] if newest else None,
                scale=scale,
                trend=trend_of(own),
                open_runs=running.get(model.pk, []),
                policies=[(policy, _next_at(policy)) for policy in policies.get(model.pk, [])],
            )
        )
    return cards


def _next_at(policy: Policy) -> datetime | None:
    period = Period(policy.period)
    return None if period == Period.BY_HAND else span_at(period, clock.now()).ends_at


def newest_runs() -> list[Run]:
    """The newest runs of every model. One query."""
    return list(Run.objects.select_related("model", "policy").order_by("-pk")[:RUNS_SHOWN])


def trend_of(rates: Sequence[tuple[Run, Figure]]) -> Trend:
    """Rates (oldest first) placed over each other's scale."""
    scale = scale_of([figure for _, figure in rates])
    span = scale.high - scale.low

    def down(share: float) -> str:
        return f"{TREND_HEIGHT * (1 - (share - scale.low) / span):.1f}"

    points = []
    for number, (run, figure) in enumerate(rates):
        low, high = ends_of(figure)
        at = figure.value if figure.value is not None else high
        points.append(
            TrendPoint(
                run=run,
                shown=show(figure, scale, label=run.title),
                at=f"{100 * (number + 0.5) / len(rates):.2f}%",
                value="" if at is None else down(at),
                low="" if low is None else down(low),
                high="" if high is None else down(high),
                title=run.period or run.title,
            )
        )
    drawn = [point for point in points if point.value]
    return Trend(
        points=points,
        lines=[(one.at, one.value, other.at, other.value) for one, other in itertools.pairwise(drawn)],
        ticks=[Tick(down(_value_of(scale, tick)), tick.text) for tick in scale.ticks],
    )


def _value_of(scale: Scale, tick: Tick) -> float:
    return scale.low + float(tick.at.rstrip("%")) / 100 * (scale.high - scale.low)


def rates_of(runs: "QuerySet[Run]") -> list[tuple[Run, Figure]]:
    """Runs with their error rates, oldest first; of the stored figures only that one is read."""
    rows = (
        runs.select_related("model", "policy__version")
        .annotate(rate=F("estimate__figures__error_rate"))
        .order_by("pk")
    )
    return [(run, msgspec.convert(run.rate, Figure)) for run in rows]


def compared_runs(model: str = "") -> "QuerySet[Run]":
    """Closed samples whose figures are there, newest first."""
    rows = Run.objects.filter(kind=Run.Kind.AUDIT, state=Run.State.CLOSED, estimate__isnull=False)
    if model:
        rows = rows.filter(model__name=model)
    return rows.select_related("model", "policy__version").order_by("-pk")


def trend_over(model: str) -> Trend:
    """The newest runs of a model, oldest first."""
    newest = compared_runs(model).values_list("pk", flat=True)[: 2 * TREND_RUNS]
    return trend_of(rates_of(Run.objects.filter(pk__in=list(newest))))


def models_compared() -> list[Model]:
    """Models with at least one closed sample, by title."""
    return list(
        Model.objects.filter(
            Exists(Run.objects.filter(model=OuterRef("pk"), kind=Run.Kind.AUDIT, state=Run.State.CLOSED))
        ).order_by("title")
    )
