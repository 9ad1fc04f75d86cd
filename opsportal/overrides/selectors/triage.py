"""What would happen to each item of a submission, found out before anything happens, and its risk."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, Q, QuerySet

from opsportal.core import clock
from opsportal.overrides.models import (
    BOOST_MAX_DAYS,
    EFFECTIVE,
    EVERYWHERE,
    Action,
    Block,
    Boost,
    Kind,
    OptOut,
    ProductOverride,
    State,
    Submission,
    SubmissionItem,
    Triage,
)
from opsportal.predictions.selectors import batches, impressions_of, impressions_total, known_products

PRODUCT_MODELS: dict[str, type[Block] | type[Boost]] = {Kind.BLOCK: Block, Kind.BOOST: Boost}
UNDO_WITHOUT_APPROVAL = timedelta(hours=1)
MODELS: dict[str, type[Block] | type[Boost] | type[OptOut]] = {
    Kind.BLOCK: Block,
    Kind.BOOST: Boost,
    Kind.OPT_OUT: OptOut,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """The triage of one item; `before` is what an undo would restore."""

    triage: Triage
    note: str = ""
    before: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Risk:
    """Why a second person has to look: empty `reasons` means nobody has to. Shares are within 0–1."""

    items: int
    share: float
    reasons: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The numbers as they are frozen in the submission."""
        return {"items": self.items, "impression_share": round(self.share, 4), "reasons": self.reasons}


def triage_targets(
    submission: Submission, targets: Sequence[str], *, applying: bool = False
) -> dict[str, Finding]:
    """What adding each target (distinct product IDs or customer keys) would do.

    A handful of queries per 900 targets; no locks, so ask again under the head's lock. Then, with
    `applying`, other submissions that wait for the same target no longer hold this one up.
    """
    found: dict[str, Finding] = {}
    for batch in batches(targets):
        if submission.kind == Kind.OPT_OUT:
            found.update(_triage_customers(submission, batch))
        else:
            found.update(_triage_products(submission, batch, applying=applying))
    return found


def triage_overrides(
    submission: Submission, override_ids: Sequence[int], *, applying: bool = False
) -> dict[int, Finding]:
    """What extending or withdrawing each of these overrides would do; see `triage_targets`."""
    found: dict[int, Finding] = {}
    model = MODELS[submission.kind]
    for batch in batches([str(pk) for pk in override_ids]):
        pks = [int(pk) for pk in batch]
        rows = model.objects.in_bulk(pks)
        waiting = (
            {}
            if applying
            else dict(
                _waiting_items(submission)
                .filter(override_id__in=pks)
                .values_list("override_id", "submission_id")
            )
        )
        renewed = _renewed(submission, [row for row in rows.values() if isinstance(row, OptOut)])
        for pk in pks:
            row = rows.get(pk)
            if row is None:
                found[pk] = Finding(Triage.INVALID, "There is no such override.")
            elif row.closed_at is not None:
                found[pk] = Finding(Triage.UNCHANGED, "Withdrawn already.")
            elif pk in waiting:
                found[pk] = Finding(Triage.PENDING, f"Waiting in submission #{waiting[pk]}.")
            elif pk in renewed:
                found[pk] = Finding(
                    Triage.UNCHANGED, f"The customer opted out again since then: #{renewed[pk]}."
                )
            elif submission.action == Action.WITHDRAW:
                found[pk] = Finding(Triage.CHANGED, "Will be withdrawn.")
            else:
                found[pk] = _extension(submission, row)
    return found


def assess(submission: Submission) -> Risk:
    """Whether a second person must approve the submission's effective items, and the numbers behind it.

    Cost: one count and, for products, one sum per 900 items.
    """
    items = effective_items(submission)
    count = items.count()
    reasons = []
    share = 0.0
    if submission.kind == Kind.OPT_OUT:
        if count and _withdraws(submission):
            reasons.append("Withdrawing an opt-out always needs a second person.")
    elif count:
        surface = None if submission.surface_id == EVERYWHERE else submission.surface_id
        total = impressions_total(surface=surface)
        if total:
            targets = set(items.values_list("target", flat=True))
            share = impressions_of(targets, surface=surface) / total
        if _recent_undo(submission):
            return Risk(count, share)
        if share >= settings.APPROVAL_IMPRESSION_SHARE:
            reasons.append(f"It touches {share:.1%} of last week's impressions.")
    if count >= settings.APPROVAL_MIN_ITEMS:
        reasons.append(f"It changes {count:,} items at once.")
    return Risk(count, share, reasons)


def effective_items(submission: Submission) -> QuerySet[SubmissionItem]:
    """The items that take effect when the submission is applied."""
    return submission.items.filter(triage__in=EFFECTIVE, dropped=False)


def counts(submission: Submission) -> dict[str, int]:
    """How many items (not dropped) stand under each triage word, and how many were dropped; one query."""
    tally: dict[str, int] = dict.fromkeys([*Triage.values, "dropped"], 0)
    groups = submission.items.order_by().values_list("triage", "dropped").annotate(n=Count("id"))
    for triage, dropped, n in groups:
        tally["dropped" if dropped else triage] += n
    return tally


def renewals(submission: Submission) -> QuerySet[SubmissionItem]:
    """The opt-outs that were asked for after this submission, which must not take them away."""
    return SubmissionItem.objects.filter(
        submission__kind=Kind.OPT_OUT,
        submission__action=Action.ADD,
        submission__created_at__gt=submission.created_at,
        dropped=False,
    ).exclude(submission__state__in=[State.REJECTED, State.CANCELLED])


def _renewed(submission: Submission, rows: Sequence[OptOut]) -> dict[int, int]:
    """Opt-out → the later submission that asked for it again."""
    pks = {row.customer_key: row.pk for row in rows}
    if not pks or submission.action != Action.WITHDRAW:
        return {}
    items = renewals(submission).filter(target__in=pks).order_by("submission")
    return {pks[target]: number for target, number in items.values_list("target", "submission_id")}


def _withdraws(submission: Submission) -> bool:
    """Whether it takes something away: undoing an addition does what a withdrawal does."""
    undone = submission.undoes
    return submission.action == Action.WITHDRAW or bool(undone and undone.action == Action.ADD)


def _recent_undo(submission: Submission) -> bool:
    """An undo soon after restores what was there before, so that a mistake need not wait for anybody."""
    undone = submission.undoes
    return bool(undone and undone.applied_at and clock.now() - undone.applied_at <= UNDO_WITHOUT_APPROVAL)


def _waiting_items(submission: Submission) -> QuerySet[SubmissionItem]:
    return SubmissionItem.objects.filter(
        submission__state__in=[State.WAITING, State.APPLYING],
        submission__kind=submission.kind,
        triage__in=EFFECTIVE,
        dropped=False,
    ).exclude(submission=submission.pk)


def _waiting_targets(submission: Submission, targets: Sequence[str]) -> dict[str, str]:
    items = _waiting_items(submission).filter(
        target__in=targets, submission__action=Action.ADD, submission__surface=submission.surface_id
    )
    return {
        target: f"Waiting for approval in submission #{pk} by {author}."
        for target, pk, author in items.values_list("target", "submission_id", "submission__author__username")
    }


def _triage_products(submission: Submission, targets: Sequence[str], *, applying: bool) -> dict[str, Finding]:
    moment = clock.this_second()
    start = max(submission.starts_at or moment, moment)
    end = submission.ends_at
    known = known_products(targets)
    waiting = {} if applying else _waiting_targets(submission, targets)
    open_rows: defaultdict[str, list[ProductOverride]] = defaultdict(list)
    other_rows: defaultdict[str, list[ProductOverride]] = defaultdict(list)
    current = Q(closed_at=None) & (Q(ends_at=None) | Q(ends_at__gt=moment))
    for model in (Block, Boost):
        rows = open_rows if model.kind == submission.kind else other_rows
        for row in model.objects.filter(current, product_id__in=targets).order_by("id"):
            rows[row.product_id].append(row)
    found = {}
    for target in targets:
        covering = [
            row
            for row in open_rows[target]
            if _covers(row, submission, start, end) and not _is_beaten(row, open_rows[target], start, end)
        ]
        overlapping = [
            row
            for row in open_rows[target]
            if row.surface_id == submission.surface_id and _overlaps(row, start, end)
        ]
        conflict = _conflict_note(submission, other_rows[target])
        if covering:
            found[target] = Finding(Triage.UNCHANGED, _already_note(covering[0]))
        elif target in waiting:
            found[target] = Finding(Triage.PENDING, waiting[target])
        elif overlapping:
            found[target] = Finding(Triage.CHANGED, _join(_now_note(overlapping[0]), conflict))
        elif target not in known:
            found[target] = Finding(Triage.UNKNOWN, _join("Not seen in the log yet.", conflict))
        else:
            found[target] = Finding(Triage.NEW, conflict)
    return found


def _covers(row: ProductOverride, submission: Submission, start: datetime, end: datetime | None) -> bool:
    """Whether the existing rule already does all that the new one would do."""
    same_effect = (
        row.surface_id in {EVERYWHERE, submission.surface_id}
        if isinstance(row, Block)
        else row.surface_id == submission.surface_id and getattr(row, "factor", None) == submission.factor
    )
    ends_late_enough = row.ends_at is None or (end is not None and row.ends_at >= end)
    return same_effect and row.starts_at <= start and ends_late_enough


def _is_beaten(
    row: ProductOverride, others: Sequence[ProductOverride], start: datetime, end: datetime | None
) -> bool:
    """Whether a later boost of the same surface takes over somewhere in the window; blocks unite."""
    return isinstance(row, Boost) and any(
        isinstance(other, Boost)
        and other.pk > row.pk
        and other.surface_id == row.surface_id
        and other.factor != row.factor
        and _overlaps(other, start, end)
        for other in others
    )


def _overlaps(row: ProductOverride, start: datetime, end: datetime | None) -> bool:
    return (end is None or row.starts_at < end) and (row.ends_at is None or row.ends_at > start)


def _conflict_note(submission: Submission, others: Sequence[ProductOverride]) -> str:
    if not others:
        return ""
    other = others[0]
    if submission.kind == Kind.BLOCK:
        return f"Boosted until {_day(other.ends_at)} (boost {other.pk}): the block wins."
    return f"Blocked now (block {other.pk}): the boost has no effect until the block ends."


def _already_note(row: ProductOverride) -> str:
    word = "Blocked" if isinstance(row, Block) else "Boosted the same"
    until = f" until {_day(row.ends_at)}" if row.ends_at else ""
    return f"{word} already{until} ({_name(row)})."


def _now_note(row: ProductOverride) -> str:
    until = f"until {_day(row.ends_at)}" if row.ends_at else "without an end"
    factor = f" ×{row.factor:g}" if isinstance(row, Boost) else ""
    return f"Until now{factor} from {_day(row.starts_at)} {until} ({_name(row)})."


def _name(row: ProductOverride) -> str:
    return f"{'block' if isinstance(row, Block) else 'boost'} {row.pk}"


def _extension(submission: Submission, row: Block | Boost | OptOut) -> Finding:
    if isinstance(row, OptOut):
        return Finding(Triage.INVALID, "An opt-out has no end to extend.")
    end = submission.ends_at
    if end == row.ends_at:
        return Finding(Triage.UNCHANGED, "Ends then already.")
    if end is not None and end <= max(row.starts_at, clock.now()):
        return Finding(Triage.INVALID, "The new end has passed, or is before the start.")
    if isinstance(row, Boost) and (end is None or end > row.starts_at + timedelta(days=BOOST_MAX_DAYS)):
        return Finding(
            Triage.INVALID, f"A boost lasts {BOOST_MAX_DAYS} days at most: until {_last_day(row)}."
        )
    before = {"ends_at": row.ends_at.isoformat() if row.ends_at else None}
    return Finding(Triage.CHANGED, f"Ends {_day(row.ends_at)} until now.", before)


def _triage_customers(submission: Submission, targets: Sequence[str]) -> Mapping[str, Finding]:
    rows = {row.customer_key: row for row in OptOut.objects.filter(customer_key__in=targets, closed_at=None)}
    wanted = set(submission.purposes)
    found = {}
    for target in targets:
        row = rows.get(target)
        if row is None:
            found[target] = Finding(Triage.NEW)
        elif wanted <= set(row.purposes):
            found[target] = Finding(
                Triage.UNCHANGED, f"Opted out already since {_day(row.received_at)} (opt-out {row.pk})."
            )
        else:
            found[target] = Finding(
                Triage.CHANGED,
                f"Opted out of {', '.join(row.purposes)} until now (opt-out {row.pk}).",
                {"purposes": row.purposes},
            )
    return found


def _join(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


def _day(moment: datetime | None) -> str:
    return f"{moment:%-d %b %Y}" if moment else "never"


def _last_day(row: Boost) -> str:
    return _day(row.starts_at + timedelta(days=BOOST_MAX_DAYS))
