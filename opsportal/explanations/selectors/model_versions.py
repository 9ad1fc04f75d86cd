"""What is known of one version of a model: for its page under /models/."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import SuspiciousFileOperation
from django.db.models import Case, CharField, Count, IntegerField, Value, When
from django.db.models.fields.files import FieldFile

from opsportal.core import clock
from opsportal.core.errors import NotFound
from opsportal.events.models import OutboxMessage
from opsportal.explanations.models import Explanation, Incident, Space
from opsportal.explanations.selectors.models import (
    BADGES,
    COUNTED_MAX,
    Tally,
    kind_of,
    newest_incidents,
    with_numbers,
)
from opsportal.explanations.selectors.verdicts import CONFIDENT, side_of
from opsportal.predictions.dictionary import LOGIT, Feature, FeatureDictionary
from opsportal.predictions.models import ModelVersion, Prediction, PredictionImport

CHECK_TASK, PROFILE_TASK = "explanations.check_model", "explanations.profile"
INCIDENTS_SHOWN, IMPORTS_SHOWN, OTHERS_SHOWN, BAD_ROWS_SHOWN = 8, 5, 20, 20
TRAINING_SHOWN, TRAINING_TEXT_MAX = 200, 300
# After this a check that nobody has begun is worth a word.
CHECK_PATIENCE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Setting:
    """One entry of how a version was trained; `path` as in `params.learning_rate`."""

    path: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureLine:
    """One row of the dictionary's table, everything in words. low_high: the range seen in training."""

    feature: Feature
    group: str
    low_high: str
    categories: list[str]
    constant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """How decisions and outcomes agree among the newest predictions whose outcome is known.

    Of `known` ones: said and was, as in said_yes_was_no. sure_and_wrong: None for a score that is no
    probability.
    """

    positive: str
    negative: str
    said_yes_was_yes: int
    said_yes_was_no: int
    said_no_was_yes: int
    said_no_was_no: int
    sure_and_wrong: int | None
    looked_at: int

    @property
    def right(self) -> int:
        """Decisions that came true."""
        return self.said_yes_was_yes + self.said_no_was_no

    @property
    def wrong(self) -> int:
        """Decisions that did not."""
        return self.said_yes_was_no + self.said_no_was_yes

    @property
    def known(self) -> int:
        """Predictions with a decision and a known outcome."""
        return self.right + self.wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRow:
    """A file of predictions that was taken in, with the rows that were left out."""

    row: PredictionImport
    state: str
    bad_rows: list[tuple[int, str]]

    @property
    def progress_id(self) -> str:
        """The id of its progress bar on the page."""
        return f"import-{self.row.pk}"

    @property
    def detail(self) -> str:
        """How far it is, in words."""
        if self.state == "failed":
            return f"given up after {self.row.rows_done:,} rows"
        return f"{self.row.rows_done:,} rows" if self.state else ""

    @property
    def more_bad(self) -> int:
        """Bad rows beyond those that are listed."""
        return self.row.bad - len(self.bad_rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFacts:
    """Everything of one version that does not come from its profiles.

    trouble: a sentence about a check or a file that is not as it should be; empty when all is well.
    """

    badge: tuple[str, str]
    kind: str
    trouble: str
    facts: list[tuple[str, str]]
    training: list[Setting]
    training_more: int
    lines: list[FeatureLine]
    predictions: Tally
    last_at: datetime | None
    truth: Truth | None
    incidents: list[Explanation]
    incident_counts: list[tuple[str, int]]
    imports: list[ImportRow]
    others: list[tuple[ModelVersion, tuple[str, str]]]
    is_measuring: bool = False


def version_of(name: str, version: str) -> ModelVersion:
    """The version under this address: of several the one that was not refused, else the newest.

    Raises NotFound.
    """
    refused_last = Case(
        When(state=ModelVersion.State.REFUSED, then=1), default=0, output_field=IntegerField()
    )
    found = (
        ModelVersion.objects.select_related("model", "registered_by")
        .filter(model__name=name, version=version)
        .order_by(refused_last, "-id")
        .first()
    )
    if found is None:
        raise NotFound("There is no such version of a model.")
    return found


def version_facts(version: ModelVersion, dictionary: FeatureDictionary) -> VersionFacts:
    """What the page of a version shows beside its importance; a dozen small queries, whatever its size."""
    numbers = with_numbers(ModelVersion.objects.filter(pk=version.pk)).get()
    training = list(_settings(version.training))
    mine = [pk for pk, of in newest_incidents() if of == version.pk]
    incidents = list(
        Explanation.objects.select_related("prediction")
        .filter(pk__in=mine[:INCIDENTS_SHOWN])
        .order_by("-computed_at")
    )
    return VersionFacts(
        badge=BADGES[version.state],
        kind=kind_of(version),
        trouble=_check_trouble(version) or _file_trouble(version.file, version.size),
        facts=list(_facts(version)),
        training=training[:TRAINING_SHOWN],
        training_more=max(0, len(training) - TRAINING_SHOWN),
        lines=[_line(feature, dictionary) for feature in dictionary.features],
        predictions=Tally(numbers.counted, COUNTED_MAX),
        last_at=numbers.last_at,
        truth=truth_of(version, dictionary),
        incidents=incidents,
        incident_counts=_incident_counts(mine),
        imports=[_import_row(row) for row in version.imports.all()[:IMPORTS_SHOWN]],
        others=[(other, BADGES[other.state]) for other in _others(version)],
        is_measuring=_waits(PROFILE_TASK, version.pk),
    )


def truth_of(version: ModelVersion, dictionary: FeatureDictionary) -> Truth | None:
    """Right and wrong decisions among the newest 10,000 predictions; None where no outcome is known.

    The decision is the logged one, else what the threshold makes of the score.
    """
    newest = (
        Prediction.objects.filter(version=version).order_by("-predicted_at", "-id").values("pk")[:COUNTED_MAX]
    )
    sure = Case(
        When(score__gte=CONFIDENT, then=Value("yes")),
        When(score__lte=1 - CONFIDENT, then=Value("no")),
        default=Value(""),
        output_field=CharField(),
    )
    decided = Value("", output_field=CharField())
    if version.threshold is not None:
        decided = Case(  # type: ignore[assignment]  # either is an expression
            When(score__gte=version.threshold, then=Value("yes")),
            default=Value("no"),
            output_field=CharField(),
        )
    rows = (
        Prediction.objects.filter(pk__in=newest)
        .exclude(outcome="")
        .annotate(decided=decided, sure=sure)
        .order_by()
        .values("outcome", "label", "decided", "sure")
        .annotate(rows=Count("pk"))
    )
    cells: Counter[tuple[bool, bool]] = Counter()
    sure_and_wrong = 0
    for row in rows:
        was = side_of(row["outcome"], dictionary)
        said = (
            side_of(row["label"], dictionary)
            if row["label"]
            else {"yes": True, "no": False}.get(row["decided"])
        )
        if was is None or said is None:
            continue
        cells[said, was] += row["rows"]
        if row["sure"] == ("no" if was else "yes"):
            sure_and_wrong += row["rows"]
    if not cells:
        return None
    return Truth(
        positive=dictionary.positive,
        negative=dictionary.negative,
        said_yes_was_yes=cells[True, True],
        said_yes_was_no=cells[True, False],
        said_no_was_yes=cells[False, True],
        said_no_was_no=cells[False, False],
        sure_and_wrong=sure_and_wrong if dictionary.link == LOGIT else None,
        looked_at=COUNTED_MAX,
    )


# -- Parts --------------------------------------------------------------------------------------


def _incident_counts(pks: Iterable[int]) -> list[tuple[str, int]]:
    counts = (
        Explanation.objects.filter(pk__in=list(pks)).order_by().values("incident").annotate(rows=Count("pk"))
    )
    return [(Incident(row["incident"]).label, row["rows"]) for row in counts.order_by("-rows")]


def _others(version: ModelVersion) -> list[ModelVersion]:
    others = ModelVersion.objects.filter(model=version.model_id).exclude(pk=version.pk).order_by("-id")
    found = list(others.only("version", "state", "model_id", "registered_at")[:OTHERS_SHOWN])
    for other in found:
        other.model = version.model
    return found


def _waits(task: str, pk: int) -> bool:
    return OutboxMessage.objects.filter(task=task, key=str(pk), delivered_at=None, dead_at=None).exists()


def _check_trouble(version: ModelVersion) -> str:
    if version.state != ModelVersion.State.CHECKING:
        return ""
    dead = OutboxMessage.objects.filter(task=CHECK_TASK, key=str(version.pk), dead_at__isnull=False).first()
    if dead is not None:
        return f"The check failed again and again ({dead.last_error}) and was given up. Serving lists it."
    if clock.now() - version.registered_at > CHECK_PATIENCE:
        return "No worker has checked it yet. One that explains (queue “explain”) has to run."
    return ""


def _file_trouble(file: FieldFile, size: int) -> str:
    """What a glance at the storage tells; the worker compares the SHA-256 at every load."""
    what_to_do = "Nothing of this version can be explained until the same file is registered again."
    try:
        found = file.storage.size(file.name or "")
    except (OSError, SuspiciousFileOperation):
        return f"The file is no longer in the storage. {what_to_do}"
    if found != size:
        other = f"The file in the storage has {found:,} bytes, registered were {size:,}: it is another one."
        return f"{other} {what_to_do}"
    return ""


def _facts(version: ModelVersion) -> Iterator[tuple[str, str]]:
    facts = version.facts
    if engine := facts.get("engine"):
        yield "Engine", str(engine)
    if space := facts.get("space"):
        yield "Adds up in", Space(space).label
    if inputs := facts.get("inputs"):
        yield "Inputs", f"{len(inputs):,}"
    if trees := facts.get("trees"):
        yield "Trees", f"{trees:,}"
    if facts.get("single_precision"):
        yield "Precision", "single (float32)"
    if tried := facts.get("tried"):
        yield "Tried on", f"{tried} row{'' if tried == 1 else 's'} of training"


def _settings(training: Mapping[str, Any], path: str = "") -> Iterator[Setting]:
    for name, value in training.items():
        below = f"{path}.{name}" if path else name
        if isinstance(value, dict) and value:
            yield from _settings(value, below)
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield Setting(below, text if len(text) <= TRAINING_TEXT_MAX else f"{text[:TRAINING_TEXT_MAX]}…")


def _line(feature: Feature, dictionary: FeatureDictionary) -> FeatureLine:
    group = dictionary.group_by_name.get(feature.group)
    return FeatureLine(
        feature=feature,
        group=group.label if group else "",
        low_high=_range(feature),
        categories=[feature.show(category) for category in feature.categories],
        constant="" if feature.constant is None else feature.show(feature.constant),
    )


def _range(feature: Feature) -> str:
    low = "" if feature.low is None else feature.show(_plain(feature.low))
    high = "" if feature.high is None else feature.show(_plain(feature.high))
    if low and high:
        return f"{low} to {high}"
    return f"from {low}" if low else f"up to {high}" if high else ""


def _plain(number: float) -> float:
    return int(number) if number.is_integer() else number


def _import_row(row: PredictionImport) -> ImportRow:
    states = {PredictionImport.State.DONE.value: "done", PredictionImport.State.REFUSED.value: "failed"}
    bad = [(int(number), str(words)) for number, words in row.bad_rows[:BAD_ROWS_SHOWN]]
    return ImportRow(row=row, state=states.get(row.state, ""), bad_rows=bad)
