"""Walk through the log of a model and find what a condition is true of. For workers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from opsportal.audits.conditions import Case, Condition
from opsportal.audits.decisions import Decisions
from opsportal.audits.models import Correction, Item, Provenance, Run, Stream
from opsportal.predictions.models import Model, ModelVersion, Prediction
from opsportal.predictions.selectors import batches, suppressed_among

BATCH = 1_000
# A worker gives a task up after 300 s; long before that it hands the rest to the next message.
BUDGET_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Match:
    """A prediction that the condition is true of. decided: what the model said, in words."""

    prediction: Prediction
    decided: str
    case: Case


@dataclass(frozen=True, slots=True)
class Stretch:
    """A piece of the log: how many predictions were looked at up to which key, and what matched."""

    rows: int
    last: int
    matches: list[Match]


class Log:
    """The predictions of all versions of one model, from the oldest key to `upto`, included."""

    def __init__(self, model: Model, *, upto: int) -> None:
        self._upto = upto
        versions = ModelVersion.objects.filter(model=model, state=ModelVersion.State.READY)
        self._decisions = {version.pk: Decisions(version) for version in versions}

    def count(self) -> int:
        """How many predictions there are."""
        return Prediction.objects.filter(version__in=self._decisions, pk__lte=self._upto).count()

    def stretch(self, after: int, condition: Condition) -> Stretch | None:
        """The next predictions beyond the key `after`, at most BATCH; None at the end. One query.

        Read by primary key in pages, so that memory is bounded and no cursor stays open. What a model
        merely scored, without a decision, never matches.
        """
        rows = list(
            Prediction.objects.filter(version__in=self._decisions, pk__gt=after, pk__lte=self._upto).order_by(
                "pk"
            )[:BATCH]
        )
        if not rows:
            return None
        matches = []
        for row in rows:
            decided = self._decisions[row.version_id].predicted(row.label, row.score)
            if decided and condition.holds(case := condition.case(row, decided)):
                matches.append(Match(row, decided, case))
        return Stretch(len(rows), rows[-1].pk, matches)


def newest_key() -> int:
    """The key of the newest prediction of any model; 0 when there is none."""
    return Prediction.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def opted_out(matches: Sequence[Match]) -> set[str]:
    """IDs of the predictions whose customers have opted out by now."""
    suppressed = suppressed_among(
        {match.prediction.customer_key for match in matches if match.prediction.customer_key}
    )
    return {
        match.prediction.prediction_id for match in matches if match.prediction.customer_key in suppressed
    }


def said_by_people(prediction_ids: Iterable[str], *, closed: bool = False) -> dict[str, str]:
    """Prediction → what people settled on, the latest word; without known answers. A query per 900.

    closed: only in runs that are closed, for whoever may tell others.
    """
    found: dict[str, str] = {}
    for batch in batches(prediction_ids):
        settled = Item.objects.filter(prediction_id__in=batch, state=Item.State.SETTLED).exclude(label="")
        if closed:
            settled = settled.filter(run__state=Run.State.CLOSED)
        rows = settled.exclude(stream=Stream.GOLD).order_by("settled_at")
        found.update(rows.values_list("prediction_id", "label"))
    return found


def corrected_by_rules(prediction_ids: Iterable[str]) -> dict[str, str]:
    """Prediction → what an applied rule says. A query per 900."""
    found: dict[str, str] = {}
    for batch in batches(prediction_ids):
        rows = Correction.objects.filter(
            prediction_id__in=batch, reverted_at=None, provenance=Provenance.RULE
        )
        found.update(rows.values_list("prediction_id", "label"))
    return found
