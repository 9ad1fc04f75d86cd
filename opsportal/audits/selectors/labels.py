"""What people said: the rows of a run that can be taken along, the corrections, and what holds for one
prediction.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Q, QuerySet

from opsportal.accounts.models import User
from opsportal.audits.models import Application, Correction, Item, Label, Provenance, Run, Stratum, Stream
from opsportal.audits.selectors.effective import effective_corrections
from opsportal.core.pagination import Page, keyset_page
from opsportal.predictions.selectors import suppressed_among

BATCH = 1_000
# So many verdicts on one prediction are shown; more than a few are rare.
SAID_SHOWN = 10
ACTIVE, REVERTED = "active", "reverted"
_HOW = {Provenance.HUMAN.value: "labelled", Provenance.ADJUDICATED.value: "adjudicated"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """One labelled item as it leaves the portal: nothing of its customer, its text or its values.

    label: empty where it cannot be told; then is_error is None. inclusion_probability: planned / frame of
    its stratum; weight: how many predictions of the frame the label stands for, frame / labelled of its
    stratum; both None outside of the sample. reviewers: people who answered, without who decided.
    """

    prediction_id: str
    predicted: str
    label: str
    is_error: bool | None
    stream: str
    stratum: str
    inclusion_probability: float | None
    weight: float | None
    provenance: str
    reviewers: int
    model: str
    version: str
    run: int
    seed: str
    settled_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionRow:
    """One correction as it leaves the portal. provenance: human, adjudicated or rule:ID@version."""

    prediction_id: str
    predicted: str
    label: str
    provenance: str
    model: str
    run: int | None
    made_at: datetime
    reverted_at: datetime | None


LABEL_COLUMNS: tuple[str, ...] = tuple(LabelRow.__dataclass_fields__)
CORRECTION_COLUMNS: tuple[str, ...] = tuple(CorrectionRow.__dataclass_fields__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What is held to be true of one prediction, and who says so.

    words: as in “People say: not negative”. is_correction: whether it differs from the model's decision.
    """

    words: str
    source: str
    url: str
    at: datetime
    is_correction: bool


# -- The labels of a run --------------------------------------------------------------------


def label_rows(run: Run) -> Iterator[LabelRow]:
    """The settled items of a run in the order of their numbers; constant memory.

    Four queries for every thousand: who has opted out by now is asked anew for each.
    """
    last, weights = 0, weights_of(run)
    while batch := list(_settled(run).filter(pk__gt=last).order_by("pk")[:BATCH]):
        yield from rows_of(run, batch, weights)
        last = batch[-1].pk


def label_page(run: Run, *, cursor: str | None, size: int) -> tuple[list[LabelRow], str | None]:
    """One page of them, and the cursor of the next; a page may be shorter where people have opted out."""
    page = keyset_page(_settled(run), order=("pk",), cursor=cursor, size=size)
    return rows_of(run, page.results, weights_of(run)), page.next


def weights_of(run: Run) -> dict[int, float]:
    """Stratum → how many predictions of its frame each label stands for: frame / labelled. One query."""
    counts = Q(state=Item.State.SETTLED, stream=Stream.SAMPLE) & ~Q(label="")
    labelled = dict(
        Item.objects.filter(counts, run=run, stratum__isnull=False)
        .order_by()
        .values("stratum")
        .annotate(number=Count("pk"))
        .values_list("stratum", "number")
    )
    frames = Stratum.objects.filter(run=run).values_list("pk", "frame")
    return {pk: frame / labelled[pk] for pk, frame in frames if labelled.get(pk)}


def rows_of(run: Run, items: Sequence[Item], weights: dict[int, float]) -> list[LabelRow]:
    """The items as rows, without those whose customers have opted out. Two queries."""
    suppressed = suppressed_among({item.customer_key for item in items if item.customer_key})
    looks = dict(
        Label.objects.filter(item__in=[item.pk for item in items], withdrawn_at=None, adjudicates=False)
        .order_by()
        .values("item")
        .annotate(number=Count("pk"))
        .values_list("item", "number")
    )
    return [
        LabelRow(
            prediction_id=item.prediction_id,
            predicted=item.predicted,
            label=item.label,
            is_error=item.is_error,
            stream=item.stream,
            stratum=item.stratum.title if item.stratum else "",
            inclusion_probability=item.inclusion_probability,
            weight=weights.get(item.stratum_id)
            if item.stratum_id and item.label and item.stream == Stream.SAMPLE
            else None,
            provenance=item.provenance,
            reviewers=looks.get(item.pk, 0),
            model=run.model.name,
            version=item.version.version if item.version else "",
            run=run.pk,
            seed=run.seed,
            settled_at=item.settled_at,
        )
        for item in items
        if item.customer_key not in suppressed and item.settled_at
    ]


def _settled(run: Run) -> "QuerySet[Item]":
    return (
        Item.objects.filter(run=run, state=Item.State.SETTLED)
        .select_related("version", "stratum")
        .defer("text", "features")
    )


# -- Corrections ----------------------------------------------------------------------------


def corrections(*, model: str = "", provenance: str = "", state: str = "") -> "QuerySet[Correction]":
    """Corrections, narrowed down. state: active (they hold now), reverted, or empty for all."""
    rows = effective_corrections() if state == ACTIVE else Correction.objects.all()
    rows = rows.select_related("model", "item__run", "application__rule")
    rows = rows.defer("item__text", "item__features")
    if model:
        rows = rows.filter(model__name=model)
    if provenance:
        rows = rows.filter(provenance=provenance)
    if state == REVERTED:
        rows = rows.filter(reverted_at__isnull=False)
    return rows


def correction_page(rows: "QuerySet[Correction]", *, cursor: str | None, size: int) -> Page[Correction]:
    """One page, newest first."""
    return keyset_page(rows, order=("-pk",), cursor=cursor, size=size)


def correction_rows(rows: "QuerySet[Correction]") -> Iterator[CorrectionRow]:
    """Corrections as they leave the portal, newest first; constant memory, two queries a thousand.

    Without those whose customers have opted out by now.
    """
    last: int | None = None
    while batch := list((rows if last is None else rows.filter(pk__lt=last)).order_by("-pk")[:BATCH]):
        suppressed = suppressed_among({row.customer_key for row in batch if row.customer_key})
        for row in batch:
            if row.customer_key not in suppressed:
                yield CorrectionRow(
                    prediction_id=row.prediction_id,
                    predicted=row.predicted,
                    label=row.label,
                    provenance=provenance_of(row),
                    model=row.model.name,
                    run=row.item.run_id if row.item else None,
                    made_at=row.made_at,
                    reverted_at=row.reverted_at,
                )
        last = batch[-1].pk


def provenance_of(row: Correction) -> str:
    """human, adjudicated, or rule:ID@version."""
    return rule_provenance(row.application) if row.application else row.provenance


def rule_provenance(application: Application) -> str:
    """As in rule:7@2: which rule, and which version of it was applied."""
    terms: dict[str, Any] = application.terms
    return f"rule:{application.rule_id}@{terms.get('version', application.rule.version)}"


# -- One prediction -------------------------------------------------------------------------


def corrections_of(prediction_id: str, *, user: User) -> list[Said]:
    """What people and rules hold to be true of a prediction, newest first. Two queries.

    Only what closed runs say: before, it would tell reviewers what others answered.
    """
    said = [
        Said(
            words=_words(item.label, item.predicted, item.run),
            source=f"{item.run.title}, {_HOW.get(item.provenance, 'labelled')}",
            url=item.run.get_absolute_url() if user.can("audits.view") else "",
            at=item.settled_at,
            is_correction=item.label != item.predicted,
        )
        for item in Item.objects.filter(
            prediction_id=prediction_id, state=Item.State.SETTLED, run__state=Run.State.CLOSED
        )
        .exclude(label="")
        .exclude(stream=Stream.GOLD)
        .select_related("run")
        .defer("text", "features")
        .order_by("-settled_at")[:SAID_SHOWN]
        if item.settled_at
    ]
    said += [
        Said(
            words=f"A rule says: {row.label}",
            source=f"{row.application.rule.title}, version {row.application.terms.get('version', 1)}",
            url=row.application.rule.get_absolute_url() if user.can("audits.view") else "",
            at=row.made_at,
            is_correction=True,
        )
        for row in effective_corrections()
        .filter(prediction_id=prediction_id, provenance=Provenance.RULE)
        .select_related("application__rule")
        if row.application
    ]
    return said


def _words(label: str, predicted: str, run: Run) -> str:
    title = titles_of(run).get(label, label)
    return f"People say: {title}" if label != predicted else f"People say so too: {title}"


def titles_of(run: Run) -> dict[str, str]:
    """Label value → how people read it."""
    return {
        str(label.get("value", "")): str(label.get("title") or label.get("value", "")) for label in run.labels
    }
