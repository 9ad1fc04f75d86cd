"""Which models there are, and the newest versions of each: for the list under /models/."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery, Window
from django.db.models.functions import RowNumber

from opsportal.explanations.models import Explanation, Space, State
from opsportal.predictions.models import Model, ModelVersion, Prediction

MODELS_SHOWN, VERSIONS_SHOWN = 200, 5
# Nobody counts further on a page.
COUNTED_MAX = 10_000
# Of all versions; one with more incidents hides those of others.
INCIDENTS_SEEN = 1_000

BADGES = {
    ModelVersion.State.CHECKING.value: ("publishing", "Checking"),
    ModelVersion.State.READY.value: ("live", "Ready"),
    ModelVersion.State.REFUSED.value: ("failed", "Refused"),
}


@dataclass(frozen=True, slots=True)
class Tally:
    """A number that was counted up to a bound; `text` says where it may be more."""

    number: int
    bound: int

    @property
    def text(self) -> str:
        """`1,204`, or `more than 10,000`."""
        return f"more than {self.bound:,}" if self.number > self.bound else f"{self.number:,}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """One version in the list. kind: how its file is written and what its score is."""

    row: ModelVersion
    badge: tuple[str, str]
    kind: str
    predictions: Tally
    last_at: datetime | None
    incidents: Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """One model with its newest versions. more: how many older ones are not among them."""

    model: Model
    versions: list[VersionRow]
    more: int


def model_cards(name: str = "") -> list[ModelCard]:
    """Every model by name with its five newest versions, or one model with all of its versions."""
    models = list(Model.objects.filter(name=name) if name else Model.objects.all()[:MODELS_SHOWN])
    place = Window(RowNumber(), partition_by="model", order_by="-id")
    ranked = ModelVersion.objects.filter(model__in=models).annotate(place=place).order_by()
    if not name:
        ranked = ranked.filter(place__lte=VERSIONS_SHOWN)
    totals: dict[int, int] = dict(
        ModelVersion.objects.filter(model__in=models)
        .order_by()
        .values("model")
        .annotate(total=Count("pk"))
        .values_list("model", "total")
    )
    pks = [row.pk for row in ranked.only("pk")[: MODELS_SHOWN * VERSIONS_SHOWN]]
    rows: dict[int, list[VersionRow]] = defaultdict(list)
    incidents = Counter(version for _, version in newest_incidents())
    for row in with_numbers(ModelVersion.objects.select_related("model").filter(pk__in=pks)).order_by("-id"):
        rows[row.model_id].append(
            VersionRow(
                row=row,
                badge=BADGES[row.state],
                kind=kind_of(row),
                predictions=Tally(row.counted, COUNTED_MAX),
                last_at=row.last_at,
                incidents=Tally(incidents[row.pk], INCIDENTS_SEEN - 1),
            )
        )
    return [
        ModelCard(model=model, versions=rows[model.pk], more=totals.get(model.pk, 0) - len(rows[model.pk]))
        for model in models
    ]


def model_names() -> list[str]:
    """The names of the models, to choose from."""
    return list(Model.objects.values_list("name", flat=True)[:MODELS_SHOWN])


def kind_of(version: ModelVersion) -> str:
    """What the file is, and what its attributions add up in once that is known."""
    space = version.facts.get("space")
    words = {str(Space.LOG_ODDS): "probability, in log-odds", str(Space.PROBABILITY): "probability"}
    return version.get_format_display() + (f" · {words.get(space, 'plain score')}" if space else "")


class _BoundedCount(Subquery):
    """How many rows a sliced subquery has."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) counted)"
    output_field = IntegerField()


def with_numbers(versions: QuerySet[ModelVersion]) -> QuerySet[Any]:
    """The versions with `counted` predictions (up to one more than 10,000) and the newest one's `last_at`."""
    mine = Prediction.objects.filter(version=OuterRef("pk"))
    newest = mine.order_by("-predicted_at", "-id").values("predicted_at")[:1]
    return versions.defer("dictionary", "training", "problems").annotate(
        counted=_BoundedCount(mine.order_by().values("pk")[: COUNTED_MAX + 1]), last_at=Subquery(newest)
    )


def newest_incidents() -> list[tuple[int, int]]:
    """(explanation, version) of the newest thousand refused explanations, whose index is small."""
    refused = Explanation.objects.filter(state=State.REFUSED).order_by("-computed_at")
    return list(refused.values_list("pk", "prediction__version_id")[:INCIDENTS_SEEN])
