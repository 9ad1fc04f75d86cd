"""One run before and after it is closed: how far it is, how it was drawn, and its items."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Avg, Count, Exists, F, Max, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from opsportal.accounts.models import User
from opsportal.audits import planning
from opsportal.audits.models import Estimate, Item, Label, Policy, Review, Run, Stratum, Stream
from opsportal.audits.selectors.labels import titles_of
from opsportal.audits.selectors.queue import passed_over
from opsportal.core.errors import NotFound
from opsportal.core.pagination import Page, keyset_page
from opsportal.predictions.models import Prediction

# A badge's kind for each state.
BADGES: dict[str, str] = {
    Run.State.DRAWING: "publishing",
    Run.State.OPEN: "live",
    Run.State.CLOSED: "ended",
    Run.State.FAILED: "failed",
    Run.State.CANCELLED: "neutral",
}
ITEMS_PAGE, TEXT_SHOWN = 50, 240
# Where nothing says what to expect.
EXPECTED_ERROR = 0.05


def run_of(pk: int) -> Run:
    """The run with its model and policy. Raises NotFound."""
    found = (
        Run.objects.select_related(
            "model", "policy__version", "created_by", "closed_by", "parent", "estimate"
        )
        .defer("estimate__figures")
        .filter(pk=pk)
        .first()
    )
    if found is None:
        raise NotFound("There is no such run.")
    return found


def is_estimated(run: Run) -> bool:
    """Whether its figures are there; no query for a run from `run_of`."""
    return hasattr(run, "estimate")


# -- One run --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StratumPlan:
    """A stratum as it was planned. probability: drawn / frame."""

    title: str
    frame: int
    planned: int
    drawn: int
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What one person has done in a run so far."""

    name: str
    labels: int
    seconds: float | None
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Remainder:
    """What closing now would leave: items without a label, of them disputed; reviews in somebody's hands."""

    unlabelled: int
    disputed: int
    held: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the labelling is. needed: labels for the promise; more: how many are missing, in words.

    passed_over: items that everybody who may label them has declined; None for those who do not lead.
    """

    settled: int
    items: int
    needed: int
    labelled: int
    more: str
    second_looks: int
    disputed: int
    workers: list[Worker]
    remainder: Remainder
    passed_over: int | None

    @property
    def second_words(self) -> str:
        """How many items wait for somebody else."""
        if not self.disputed:
            return f"{self.second_looks:,}"
        of_them = "all" if self.disputed == self.second_looks else f"{self.disputed:,}"
        return f"{self.second_looks:,}, {of_them} for an audit lead"

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to label."""
        return bool(self.items) and not self.remainder.unlabelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the items were chosen, in words and by stratum. unusable: why predictions were, with how many."""

    why: str
    strata: list[StratumPlan]
    allocation: str
    sentences: list[str]
    unusable: list[tuple[str, int]]


def progress_of(run: Run, *, user: User) -> Progress:
    """How far an open run is, without a word on errors. Nine queries at most, whatever the number of items.

    Who has done how much is shown to audit leads; everybody else sees only themselves.
    """
    items = Item.objects.filter(run=run)
    labelled = items.filter(state=Item.State.SETTLED, stream=Stream.SAMPLE).exclude(label="").count()
    answered = Label.objects.filter(item=OuterRef("pk"), withdrawn_at=None)
    second = items.filter(Exists(answered), state=Item.State.OPEN).count()
    people = Label.objects.filter(run=run, withdrawn_at=None, adjudicates=False)
    if not user.can("audits.lead"):
        people = people.filter(person=user.pk)
    workers = [
        Worker(name=name, labels=labels, seconds=seconds, last_at=last_at)
        for name, labels, seconds, last_at in people.order_by()
        .values_list("person__username")
        .annotate(number=Count("pk"), pace=Avg("seconds"), last=Max("at"))
        .order_by("-number", "person__username")
    ]
    rest = remainder(run)
    needed, more = _promise(run, labelled)
    return Progress(
        settled=run.settled,
        items=run.items,
        needed=needed,
        labelled=labelled,
        more=more,
        second_looks=second + rest.disputed,
        disputed=rest.disputed,
        workers=workers,
        remainder=rest,
        passed_over=passed_over(run).count() if user.can("audits.lead") else None,
    )


def remainder(run: Run) -> Remainder:
    """What closing the run now would leave undone. Three counts from indexes."""
    items = Item.objects.filter(run=run)
    disputed = items.filter(state=Item.State.DISPUTED).count()
    return Remainder(
        unlabelled=items.filter(state=Item.State.OPEN).count() + disputed,
        disputed=disputed,
        held=Review.objects.filter(run=run, state=Review.State.LEASED, leased_until__gt=Now()).count(),
    )


def _promise(run: Run, labelled: int) -> tuple[int, str]:
    """How many labels the run's promise takes, and how many are missing, as in “412 more for ±0.5 points”.

    The error rate behind it is the one the policy expects, or the one of the policy's last closed run:
    never that of this run. Where the policy promises no width, it is that of the whole sample.
    """
    plan: dict[str, Any] = run.plan
    if run.kind != Run.Kind.AUDIT or not run.frame or not plan.get("sizing"):
        return 0, ""
    if plan["sizing"] == "acceptance":
        expected = plan["expected_error"]
        needed = planning.size_for_acceptance(expected, frame=run.frame)
        more = max(0, needed - labelled)
        promise = f"to show a rate below {planning.percent(expected)}, if none is wrong"
        return needed, f"{more:,} more {promise}" if more else f"Enough {promise}"
    sample = Item.objects.filter(run=run, stream=Stream.SAMPLE).count()
    if not sample:
        return 0, ""
    expected = plan.get("expected_error") or _last_rate(run) or EXPECTED_ERROR
    width = plan.get("half_width") or planning.wilson_half_width(expected, sample, frame=run.frame)
    needed = (
        min(planning.size_for_width(expected, width, frame=run.frame), sample)
        if plan["sizing"] == "width"
        else sample
    )
    more = max(0, needed - labelled)
    promise = planning.points(width)
    return needed, f"{more:,} more for {promise}" if more else f"{promise} is reached"


def _last_rate(run: Run) -> float | None:
    """The error rate of the policy's last closed run, within what an interval can be planned for."""
    value = (
        Estimate.objects.filter(run__policy=run.policy_id, run__kind=Run.Kind.AUDIT, run__lt=run.pk)
        .order_by("-run")
        .values_list("figures__error_rate__value", flat=True)
        .first()
    )
    return None if value is None else min(max(float(value), 0.001), 0.5)


def plan_view(run: Run) -> Plan:
    """How the sample was drawn. One query."""
    strata = [
        StratumPlan(
            title=one.title,
            frame=one.frame,
            planned=one.planned,
            drawn=one.drawn,
            probability=one.drawn / one.frame if one.frame else 0.0,
        )
        for one in Stratum.objects.filter(run=run)
    ]
    plan: dict[str, Any] = run.plan
    why = ""
    if plan.get("sizing") and run.frame:
        why = planning.planned_size(plan, run.frame).why
    allocation = dict(Policy._meta.get_field("allocation").flatchoices).get(plan.get("allocation"), "")
    return Plan(
        why=why,
        strata=strata,
        allocation=str(allocation),
        sentences=plan.get("words", []),
        unusable=sorted(plan.get("unusable", {}).items()),
    )


# -- Items ----------------------------------------------------------------------------------

SHOWS = {
    "errors": "Errors",
    "right": "Right decisions",
    "disputed": "Decided between answers",
    "cannot_tell": "Cannot be told",
    "unlabelled": "Left unlabelled",
}
OPEN_SHOWS = {"waiting": "Waiting", "disputed": "Waiting for an audit lead", "settled": "Labelled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one person said. name: empty for somebody who may not know."""

    name: str
    text: str
    note: str
    adjudicates: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRow:
    """An item of a list. predicted, label: in words, empty while the run is open. url: of the prediction,
    empty where it has been deleted since or may not be seen yet."""

    item: Item
    text: str
    predicted: str
    label: str
    answers: list[Answer]
    url: str


def items_page(
    run: Run, *, show: str, stream: str, cursor: str | None, user: User
) -> tuple[list[ItemRow], str | None]:
    """A page of the run's items in their order. Four queries.

    While the run is open: no decisions, no labels, and nothing that tells a known answer from a sample.
    """
    closed = run.state == Run.State.CLOSED
    rows: QuerySet[Item] = Item.objects.filter(run=run).select_related("stratum", "version")
    settled = Q(state=Item.State.SETTLED)
    if closed:
        narrowing = {
            "errors": settled & ~Q(label="") & ~Q(label=F("predicted")),
            "right": settled & Q(label=F("predicted")),
            "disputed": Q(provenance="adjudicated"),
            "cannot_tell": settled & Q(label=""),
            "unlabelled": Q(state=Item.State.VOID),
        }
        if stream:
            rows = rows.filter(stream=stream)
    else:
        narrowing = {
            "waiting": Q(state=Item.State.OPEN),
            "disputed": Q(state=Item.State.DISPUTED),
            "settled": settled,
        }
    if show in narrowing:
        rows = rows.filter(narrowing[show])
    page: Page[Item] = keyset_page(rows, order=("pk",), cursor=cursor, size=ITEMS_PAGE)
    titles = titles_of(run)
    answers: dict[int, list[Answer]] = {}
    known: set[str] = set()
    if closed:
        names = user.can("audits.lead")
        for label in (
            Label.objects.filter(item__in=[item.pk for item in page.results], withdrawn_at=None)
            .select_related("person")
            .order_by("pk")
        ):
            answers.setdefault(label.item_id, []).append(
                Answer(
                    name=label.person.get_username() if names else "",
                    text=titles.get(label.value, label.value) if label.value else "cannot tell",
                    note=label.note,
                    adjudicates=label.adjudicates,
                )
            )
        known = set(
            Prediction.objects.filter(
                prediction_id__in=[item.prediction_id for item in page.results]
            ).values_list("prediction_id", flat=True)
        )
    found = [
        ItemRow(
            item=item,
            text=item.text[:TEXT_SHOWN],
            predicted=titles.get(item.predicted, item.predicted) if closed else "",
            label=titles.get(item.label, item.label) if closed else "",
            answers=answers.get(item.pk, []),
            url=Prediction(prediction_id=item.prediction_id).get_absolute_url()
            if item.prediction_id in known
            else "",
        )
        for item in page.results
    ]
    return found, page.next
