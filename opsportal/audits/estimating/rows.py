"""The rows of a run: its items with what people settled on, and their answers."""

from collections import Counter, defaultdict
from dataclasses import dataclass, replace

from django.db.models.functions import Length

from opsportal.audits.models import Item, Label, Run, Stratum, Stream
from opsportal.predictions.dictionary import FeatureDictionary
from opsportal.predictions.models import ModelVersion


@dataclass(frozen=True, slots=True)
class Row:
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
class Answer:
    """What one person said of an item; `second_look`: asked because somebody had differed from the model."""

    item_id: int
    person: str
    value: str
    adjudicates: bool
    seconds: float
    second_look: bool


@dataclass(frozen=True, slots=True)
class Data:
    """All rows of a run, as figures need them."""

    rows: list[Row]
    answers: list[Answer]
    strata: list[Stratum]
    versions: dict[int, ModelVersion]

    def drawn(self) -> list[Row]:
        return [row for row in self.rows if row.stream == Stream.SAMPLE]

    def by_item(self) -> dict[int, list[Answer]]:
        """The plain answers of each item, first ones first."""
        found: dict[int, list[Answer]] = defaultdict(list)
        for answer in self.answers:
            if not answer.adjudicates:
                found[answer.item_id].append(answer)
        return found


def load(run: Run) -> Data:
    """What a run holds, in four queries; memory grows with items × people."""
    answers = [
        Answer(*fields)
        for fields in Label.objects.filter(run=run, withdrawn_at=None)
        .order_by("id")
        .values_list("item_id", "person__username", "value", "adjudicates", "seconds", "review__second_look")
    ]
    first: dict[int, str] = {}
    for answer in answers:
        if answer.value and not answer.adjudicates:
            first.setdefault(answer.item_id, answer.value)
    rows: list[Row] = []
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
        row = Row(*values)
        if row.state != Item.State.SETTLED and row.pk in first:
            # Whoever differs from the model keeps an item open longer, so leaving out what was not settled
            # in time would leave out errors.
            row = replace(row, label=first[row.pk], is_provisional=True)
        rows.append(row)
    versions = ModelVersion.objects.filter(pk__in={row.version_id for row in rows if row.version_id})
    return Data(
        rows=rows,
        answers=answers,
        strata=list(Stratum.objects.filter(run=run).order_by("number")),
        versions={version.pk: version for version in versions},
    )


def dictionary_of(run: Run, data: Data) -> FeatureDictionary | None:
    """The dictionary of the version that made most of the predictions; else of the model's newest one."""
    counted = Counter(row.version_id for row in data.rows if row.version_id in data.versions)
    if counted:
        return data.versions[counted.most_common(1)[0][0] or 0].features
    newest = ModelVersion.objects.filter(model_id=run.model_id).order_by("-pk").first()
    return newest.features if newest else None


def focus_of(run: Run, dictionary: FeatureDictionary | None) -> str:
    """The label that strictness is about: the model's positive class where people may give it."""
    values = [str(label["value"]) for label in run.labels]
    if dictionary is not None and dictionary.positive in values:
        return dictionary.positive
    return values[0] if values else ""
