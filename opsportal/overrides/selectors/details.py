"""One override, or one submission, with everything its page tells about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Q, QuerySet

from opsportal.client import engine
from opsportal.core import clock
from opsportal.core.components import Delivery, Entry, Step
from opsportal.core.templatetags.ui import duration, percent
from opsportal.events.models import Event, Revision
from opsportal.events.selectors import timeline
from opsportal.overrides.models import (
    EFFECTIVE,
    EVERYWHERE,
    Action,
    Approval,
    Block,
    Boost,
    Kind,
    OptOut,
    State,
    Submission,
    SubmissionItem,
    Triage,
)
from opsportal.overrides.selectors.desired import desired_products
from opsportal.overrides.selectors.phases import AnyOverride, Badge, phase_badge, unpublished
from opsportal.overrides.selectors.triage import MODELS, counts
from opsportal.overrides.selectors.wording import count_of, noun_of, shown_target

GROUP_ROWS = 200
SHOWN_EVENTS = 50
SHOWN_RULES = 50
SHOWN_OVERRIDES = 20
# After so long without going live a page says why that may be.
SLOW_AFTER = timedelta(seconds=10)
DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class ItemRow:
    """One row of the triage list."""

    row: int
    shown: str
    note: str
    url: str


@dataclass(frozen=True, slots=True)
class TriageGroup:
    """The rows of a submission that stand under one word, GROUP_ROWS at most; `next_row` pages on."""

    word: str
    label: str
    meaning: str
    badge: str
    count: int
    rows: list[ItemRow]
    next_row: int | None
    droppable: bool
    open: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a product beside others: what became of it and why, by the engine that rankers use."""

    row: Block | Boost
    badge: Badge
    why: str
    wins: bool
    is_this: bool


# -- One override ------------------------------------------------------------------------------


def override(kind: str, pk: int) -> Any:
    """The block, boost or opt-out with what its page shows, or None; one query."""
    related = ["submission__author", "submission__decided_by", "closed_by__author"]
    related.append("submission__revision" if kind == Kind.OPT_OUT else "surface")
    return MODELS[kind]._default_manager.select_related(*related).filter(pk=pk).first()


def override_badge(row: AnyOverride) -> Badge:
    """The override's phase; one query."""
    return phase_badge(row, unpublished=unpublished([row.revision]))


def submissions_of(row: AnyOverride) -> QuerySet[Submission]:
    """Every submission that touched this override, newest first; refused ones too."""
    items = SubmissionItem.objects.filter(
        target=target_of(row), override_id=row.pk, submission__kind=row.kind
    )
    return Submission.objects.filter(
        Q(pk=row.submission_id) | Q(pk=row.closed_by_id) | Q(pk__in=items.values("submission"))
    ).order_by("-id")


def rules_of(product_id: str, *, this: Block | Boost | None = None) -> list[Rule]:
    """The rules of a product: open ones first, the newest first, and which of them wins on its surface.

    SHOWN_RULES of each kind at most; five queries.
    """
    rows: list[Block | Boost] = []
    for model in (Block, Boost):
        found = model._default_manager.filter(product_id=product_id).select_related("surface")
        rows += found.select_related("surface", "submission__author").order_by("-id")[:SHOWN_RULES]
    waiting = unpublished(row.revision for row in rows)
    text = desired_products([product_id]).get(product_id, "")
    rules = [_rule(row, waiting, text, this) for row in rows]
    return sorted(rules, key=lambda rule: (rule.row.closed_at is not None, not rule.wins, -rule.row.revision))


def opt_outs_of(customer_key: str) -> list[tuple[OptOut, Badge]]:
    """Every opt-out of one customer, newest first, with its state; two queries."""
    rows = list(OptOut.objects.filter(customer_key=customer_key).order_by("-id")[:SHOWN_RULES])
    waiting = unpublished(row.revision for row in rows)
    return [(row, phase_badge(row, unpublished=waiting)) for row in rows]


def _rule(row: Block | Boost, waiting: frozenset[int], text: str, this: Block | Boost | None) -> Rule:
    badge = phase_badge(row, unpublished=waiting)
    letter = engine.BLOCK if isinstance(row, Block) else engine.BOOST
    explanation = engine.explain(text, surface=row.surface_id, now=clock.now().timestamp())
    mine = next(
        (v for v in explanation.verdicts if v.rule[0] == letter and v.rule.override_id == row.pk), None
    )
    is_this = this is not None and type(row) is type(this) and row.pk == this.pk
    if mine is None or row.closed_at is not None:
        return Rule(
            row, badge, "It was withdrawn." if badge.text == "Withdrawn" else "It has ended.", False, is_this
        )
    return Rule(row, badge, mine.why, mine.wins, is_this)


# -- One submission ----------------------------------------------------------------------------


def triage_groups(
    submission: Submission, *, tally: Mapping[str, int], editable: bool, only: str = "", after: int = 0
) -> list[TriageGroup]:
    """The triage list by its words, each with its first rows; one query per word that has any.

    only, after: show one group from that row on, for the pages of a long one.
    """
    groups = []
    for word in (*_GROUPS, DROPPED):
        if not tally.get(word) or (only and word != only):
            continue
        items = submission.items.filter(row__gt=after if only else 0)
        items = items.filter(dropped=True) if word == DROPPED else items.filter(triage=word, dropped=False)
        rows = list(items.order_by("row")[: GROUP_ROWS + 1])
        shown = rows[:GROUP_ROWS]
        label, meaning, badge = _WORDS[word]
        if word == Triage.CHANGED:
            label, meaning, badge = _CHANGES.get(submission.action, (label, meaning, badge))
        groups.append(
            TriageGroup(
                word=word,
                label=label,
                meaning=meaning,
                badge=submission.kind if badge == "kind" else badge,
                count=tally[word],
                rows=[_item_row(submission.kind, item) for item in shown],
                next_row=shown[-1].row if len(rows) > GROUP_ROWS else None,
                droppable=editable and word != DROPPED,
                open=bool(only) or tally[word] <= GROUP_ROWS or word == Triage.INVALID,
            )
        )
    return groups


def effective_count(tally: Mapping[str, int]) -> int:
    """How many items take effect, from the counts of `triage.counts`."""
    return sum(tally[word] for word in EFFECTIVE)


def item_counts(submission: Submission) -> dict[str, int]:
    """How many items stand under each word; one query."""
    return counts(submission)


def consequences(submission: Submission, items: int) -> str:
    """What the submission will do, in numbers; empty when it does nothing."""
    if not items:
        return ""
    share = submission.risk.get("impression_share", 0)
    where = "everywhere" if submission.surface_id == EVERYWHERE else f"on {submission.surface.name}"
    pronoun, place = (
        ("It" if items == 1 else "They"),
        ("" if submission.surface_id == EVERYWHERE else " there"),
    )
    shown = f" {pronoun} made {percent(share)} of last week’s impressions{place}." if share else ""
    products = count_of(items, "product")
    match Action(submission.action), Kind(submission.kind):
        case Action.ADD, Kind.BLOCK:
            return f"This hides {products} {where}.{shown}"
        case Action.ADD, Kind.BOOST:
            factor = submission.factor or 1
            way = "up" if factor > 1 else "down"
            return f"This moves {products} {way} {where}: each score counts ×{factor:g}.{shown}"
        case Action.ADD, _:
            what = ", ".join(submission.purposes) or "nothing"
            return f"{count_of(items, 'customer').capitalize()} will no longer be used for: {what}."
        case Action.WITHDRAW, Kind.OPT_OUT:
            return f"{count_of(items, 'customer').capitalize()} will be personalised for again."
        case Action.WITHDRAW, Kind.BLOCK:
            return f"{products.capitalize()} can be shown again {where}.{shown}"
        case Action.WITHDRAW, _:
            return f"{products.capitalize()} go back to the model’s own score.{shown}"
        case Action.EXTEND, _:
            return f"{count_of(items, noun_of(submission.kind)).capitalize()} get the new end.{shown}"
        case _:
            undone = f"#{submission.undoes_id}" if submission.undoes_id else "an earlier submission"
            return f"What {undone} changed goes back to what it was."


def delivery(submission: Submission) -> Delivery:
    """Saved → Queued → Live, with how long it took; no query when the revision is selected."""
    revision: Revision | None = submission.revision
    if submission.state == State.FAILED:
        steps = [
            Step("Saved", "done", at=submission.submitted_at),
            Step("Failed", "failed", submission.error),
        ]
        return Delivery(steps, True, "", "It failed.")
    if submission.state == State.APPLYING:
        steps = [
            Step("Saved", "done", at=submission.submitted_at),
            Step("Being carried out", "now"),
            Step("Live", "todo"),
        ]
        return Delivery(steps, False, "", "It is being carried out.")
    if submission.state != State.APPLIED:
        return Delivery([], True, "", "")
    if revision is None:
        done = Step("Saved", "done", "Nothing had to change", submission.applied_at)
        return Delivery([done], True, "", "Nothing had to change.")
    saved = Step("Saved", "done", f"revision {revision.number:,}", revision.at)
    if revision.live_at is not None:
        took = duration(revision.live_at - revision.at)
        steps = [saved, Step("Queued", "done"), Step("Live", "done", f"after {took}", revision.live_at)]
        return Delivery(steps, True, "", f"Live after {took}.")
    if clock.now() - revision.at > SLOW_AFTER:
        warning = "Saved. Not live yet: the serving store does not answer; it goes live by itself."
        return Delivery(
            [saved, Step("Queued", "waiting", "trying again"), Step("Live", "todo")], False, warning, warning
        )
    return Delivery([saved, Step("Queued", "now"), Step("Live", "todo")], False, "", "Saved and queued.")


def override_delivery(row: AnyOverride, touching: Sequence[Submission]) -> Delivery:
    """How far the newest change of an override has come; `touching` with their revisions selected."""
    newest = next((one for one in touching if one.revision_id == row.revision), None)
    if newest is not None:
        return delivery(newest)
    # Its row was tidied away long after its end, by no submission.
    return Delivery([], True, "", "")


def target_of(row: AnyOverride) -> str:
    """The product's ID or the customer's key."""
    return row.customer_key if isinstance(row, OptOut) else row.product_id


def votes(submission: Submission) -> list[Approval]:
    """The verdicts of second persons, the void ones too, oldest first; one query."""
    return list(submission.approvals.select_related("approver"))


def undone_by(submission: Submission) -> Submission | None:
    """The submission that undoes this one, unless it was given up; one query."""
    given_up = [State.REJECTED, State.CANCELLED]
    return Submission.objects.filter(undoes=submission).exclude(state__in=given_up).first()


def overrides_made(submission: Submission) -> list[AnyOverride]:
    """The first overrides that an applied submission opened, changed or closed; two queries at most."""
    if submission.state != State.APPLIED or submission.revision_id is None:
        return []
    manager = MODELS[submission.kind]._default_manager
    if submission.action == Action.ADD:
        return list(manager.filter(submission=submission).order_by("id")[:SHOWN_OVERRIDES])
    if submission.action == Action.RESTORE:
        return []
    items = submission.items.filter(triage__in=EFFECTIVE, dropped=False).order_by("row")
    pks = [pk for pk in items.values_list("override_id", flat=True)[:SHOWN_OVERRIDES] if pk is not None]
    return list(manager.filter(pk__in=pks).order_by("id"))


def entries(submissions: Sequence[Submission]) -> list[Entry]:
    """The newest events of these submissions as a timeline; one query."""
    kinds = {str(submission.pk): submission.kind for submission in submissions}
    urls = {str(submission.pk): submission.get_absolute_url() for submission in submissions}
    events = timeline("submission", *kinds)[:SHOWN_EVENTS]
    several = len(kinds) > 1
    found: list[Entry] = []
    said: dict[str, str] = {}
    for event in reversed(events):
        # A reason is said once, where it was given first.
        is_new = said.get(event.subject_id) != event.reason
        said[event.subject_id] = event.reason or said.get(event.subject_id, "")
        found.append(_entry(event, kinds, urls if several else {}, reason=event.reason if is_new else ""))
    return found[::-1]


def _entry(event: Event, kinds: Mapping[str, str], urls: Mapping[str, str], *, reason: str) -> Entry:
    icon = _EVENT_ICONS.get(event.verb, "neutral")
    if icon == "kind":
        icon = {"opt_out": "privacy"}.get(kinds[event.subject_id], kinds[event.subject_id])
    text = event.summary[:1].lower() + event.summary[1:] if event.actor_id else event.summary
    return Entry(
        kind=icon,
        actor=event.actor_name if event.actor_id else "",
        text=text,
        at=event.at,
        detail=f"“{reason}”" if reason else "",
        url=urls.get(event.subject_id, ""),
        diff=_diff(event) if event.verb == "submission.edited" else [],
    )


def _diff(event: Event) -> list[dict[str, str]]:
    before, after = event.before or {}, event.after or {}
    return [
        {
            "label": _FIELD_WORDS.get(name, name),
            "before": _said(before.get(name)),
            "after": _said(after.get(name)),
        }
        for name in after
        if before.get(name) != after[name]
    ]


def _said(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(part) for part in value)
    return "" if value is None else str(value)


def _item_row(kind: str, item: SubmissionItem) -> ItemRow:
    shown = shown_target(kind, item.target)
    url = ""
    if item.override_id:
        url = MODELS[kind](pk=item.override_id).get_absolute_url()
    return ItemRow(item.row, shown, item.note, url)


_GROUPS = (Triage.INVALID, Triage.NEW, Triage.CHANGED, Triage.UNKNOWN, Triage.PENDING, Triage.UNCHANGED)
# Word → what it is called, what it means, and its badge ("kind": that of the submission's kind).
_WORDS = {
    Triage.INVALID: ("Cannot be used", "These rows are left aside.", "failed"),
    Triage.NEW: ("New", "These take effect.", "kind"),
    Triage.CHANGED: ("Changed", "These exist already and will be changed.", "kind"),
    Triage.UNKNOWN: (
        "Not seen yet",
        "No ranker has shown these; they take effect as soon as one does.",
        "waiting",
    ),
    Triage.PENDING: (
        "Already waiting",
        "Somebody has asked for these; they are left to that submission.",
        "waiting",
    ),
    Triage.UNCHANGED: ("No change", "These are as you want them already.", "neutral"),
    DROPPED: ("Left out", "You took these out of the submission.", "ended"),
}
# What "changed" means where nothing is added.
_CHANGES: dict[str, tuple[str, str, str]] = {
    Action.EXTEND: ("New end", "These get the new end.", "scheduled"),
    Action.WITHDRAW: ("Withdrawn", "These stop having an effect.", "ended"),
    Action.RESTORE: ("Goes back", "These become what they were before.", "neutral"),
}
_EVENT_ICONS = {
    "submission.drafted": "edit",
    "submission.received": "import",
    "submission.edited": "edit",
    "submission.waiting": "waiting",
    "submission.approved": "approve",
    "submission.rejected": "failed",
    "submission.applied": "kind",
    "submission.failed": "failed",
    "submission.retried": "refresh",
    "submission.cancelled": "ended",
}
_FIELD_WORDS = {
    "surface": "Surface",
    "starts_at": "Starts",
    "ends_at": "Ends",
    "factor": "Factor",
    "purposes": "Purposes",
    "reason_code": "Reason",
}
