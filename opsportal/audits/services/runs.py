"""Start runs: drawn from a policy's period by a worker, or filled at once with items that somebody chose."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction

from opsportal.accounts.models import User
from opsportal.audits.models import Policy, Run
from opsportal.audits.services.filling import NewItem, fill
from opsportal.core import clock
from opsportal.core.errors import Forbidden, Invalid
from opsportal.events import outbox
from opsportal.events import services as events
from opsportal.predictions.models import Model

DRAW_TASK = "audits.draw"
# Which capability starts a run of each kind, beside the system itself.
_STARTED_BY = {
    Run.Kind.AUDIT: ("audits.lead",),
    Run.Kind.TARGETED: ("audits.lead",),
    Run.Kind.ACCEPTANCE: ("audits.lead", "audits.approve"),
    Run.Kind.REFERRED: ("audits.refer",),
}
_TITLE_MAX = 150
# What a run keeps of its policy beside the fields that are its own.
_KEPT = (
    "source",
    "files",
    "columns",
    "period",
    "sizing",
    "rate",
    "size",
    "half_width",
    "expected_error",
    "strata",
    "score_edges",
    "allocation",
    "core_share",
    "minimum_per_stratum",
    "double_share",
    "gold_share",
    "gold",
)


def plan_of(policy: Policy) -> dict[str, Any]:
    """What the policy says, for the run to keep: its later changes touch no run. `version`: a row's key."""
    return {**{name: getattr(policy, name) for name in _KEPT}, "version": policy.version_id}


def start_run(
    *, actor: User | None, policy: Policy, starts_at: datetime, ends_at: datetime, period: str = ""
) -> Run:
    """Start to draw a run of the policy over predictions made from `starts_at` until before `ends_at`.

    A worker draws it ("audits.draw"). period: its name on the schedule, such as `2026-W47`; a period that
    has its run already gives that run and changes nothing, even while another process starts the same.
    actor: None for the schedule and commands. Raises Forbidden, Invalid (a period that ends before it
    begins).
    """
    _require(actor, Run.Kind.AUDIT)
    if starts_at >= ends_at:
        raise Invalid.at("ends_at", "order", "The period ends before it begins.")
    try:
        with transaction.atomic():
            run = Run.objects.create(
                kind=Run.Kind.AUDIT,
                policy=policy,
                model_id=policy.model_id,
                title=f"{policy.title}, {period or _dates(starts_at, ends_at)}"[:_TITLE_MAX],
                period=period,
                starts_at=starts_at,
                ends_at=ends_at,
                seed=secrets.token_hex(16),
                plan=plan_of(policy),
                labels=policy.labels,
                guidelines=policy.guidelines,
                blind=policy.blind,
                sensitive=policy.sensitive,
                second_look_at_errors=policy.second_look_at_errors,
                state=Run.State.DRAWING,
                created_at=clock.now(),
                created_by=actor,
            )
            run.reviewers.set(policy.reviewers.all())
            outbox.send(task=DRAW_TASK, key=run.pk)
            _record(actor, run, "run.started", f"Started to draw “{run.title}”")
    except IntegrityError:
        there = Run.objects.filter(policy=policy, period=period).first() if period else None
        if there is None:
            raise
        return there
    return run


def start_chosen_run(
    *,
    actor: User | None,
    kind: Run.Kind,
    model: Model,
    title: str,
    labels: list[dict[str, Any]],
    guidelines: str = "",
    items: Iterable[NewItem],
    parent: Run | None = None,
    blind: bool = False,
    sensitive: bool = False,
    reviews: int = 1,
    reviewers: Sequence[User] = (),
) -> Run:
    """Open a run of items that were chosen, not drawn by a policy: for review at once.

    kind: any but `audit`. reviews: at least so many for each item. What items need beyond that is theirs.
    One transaction with its event. Raises Forbidden, Invalid (no items).
    """
    _require(actor, kind)
    if kind == Run.Kind.AUDIT:
        raise ValueError("audit runs are drawn")
    moment = clock.now()
    with transaction.atomic():
        run = Run.objects.create(
            kind=kind,
            model=model,
            title=title[:_TITLE_MAX],
            parent=parent,
            seed=secrets.token_hex(16),
            labels=labels,
            guidelines=guidelines,
            blind=blind,
            sensitive=sensitive,
            state=Run.State.OPEN,
            created_at=moment,
            created_by=actor,
            drawn_at=moment,
        )
        run.reviewers.set(reviewers)
        added = fill(run, (replace(item, reviews=max(item.reviews, reviews)) for item in items))
        if not added:
            raise Invalid.at("items", "empty", "There is nothing to review.")
        Run.objects.filter(pk=run.pk).update(frame=added)
        _record(actor, run, "run.opened", f"Opened “{run.title}” with {added:,} items")
    run.refresh_from_db()
    return run


def _require(actor: User | None, kind: Run.Kind) -> None:
    if actor is not None and not any(actor.can(capability) for capability in _STARTED_BY[kind]):
        raise Forbidden("Only an audit lead starts this.")


def _dates(starts_at: datetime, ends_at: datetime) -> str:
    """`16 Nov to 22 Nov 2026`, or one day: the last one is that of the last moment within."""
    first, last = starts_at.date(), (ends_at - timedelta(microseconds=1)).date()
    if first == last:
        return f"{first:%-d %b %Y}"
    return f"{first:%-d %b %Y} to {last:%-d %b %Y}"


def _record(actor: User | None, run: Run, verb: str, summary: str, reason: str = "") -> None:
    events.record(
        actor=actor, verb=verb, subject_type="run", subject_id=run.pk, summary=summary, reason=reason
    )
