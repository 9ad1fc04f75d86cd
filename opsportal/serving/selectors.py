"""How the store is doing, as far as the database knows: pages stay fast when the store is frozen."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Min

from opsportal.core import clock
from opsportal.events.models import Head, OutboxMessage, Revision
from opsportal.overrides.models import Submission
from opsportal.serving.models import Drift, Projection, Rebuild

# Two heartbeats of five seconds.
STALE_AFTER = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """The store for the pill and the serving page.

    state: `live` (holds the newest revision), `behind` (a revision is on its way), `stale` (out of
    reach, or nobody publishes) or `unknown` (never published). lag_seconds: age of the oldest
    revision that is not live. delivery_seconds: how long the newest live one took.
    """

    state: str
    revision: int
    store_revision: int
    epoch: int
    pending: int
    lag_seconds: float
    delivery_seconds: float | None
    heartbeat_at: datetime | None
    heartbeat_age_seconds: float | None
    failing_since: datetime | None
    error: str
    products: int
    customers: int
    thresholds: int
    digest: str
    rebuilding: Rebuild | None


def store_status() -> StoreStatus:
    """The state of the store; four small queries, nothing but the database."""
    moment = clock.now()
    head = Head.objects.filter(pk=1).first() or Head()
    projection = Projection.objects.filter(pk=1).first() or Projection()
    waiting = Revision.objects.filter(live_at=None).aggregate(count=Count("number"), oldest=Min("at"))
    newest = Revision.objects.filter(live_at__isnull=False).order_by("-number").first()
    lag = (moment - waiting["oldest"]).total_seconds() if waiting["oldest"] else 0.0
    age = (moment - projection.heartbeat_at).total_seconds() if projection.heartbeat_at else None
    if projection.pushed_at is None and projection.failing_since is None:
        state = "unknown"
    elif projection.failing_since is not None or age is None or age > STALE_AFTER.total_seconds():
        state = "stale"
    else:
        state = "behind" if waiting["count"] else "live"
    return StoreStatus(
        state=state,
        revision=head.revision,
        store_revision=projection.revision,
        epoch=head.epoch,
        pending=waiting["count"],
        lag_seconds=max(0.0, lag),
        delivery_seconds=(newest.live_at - newest.at).total_seconds() if newest and newest.live_at else None,
        heartbeat_at=projection.heartbeat_at,
        heartbeat_age_seconds=None if age is None else max(0.0, age),
        failing_since=projection.failing_since,
        error=projection.last_error or _sentence(state),
        products=projection.products,
        customers=projection.customers,
        thresholds=projection.thresholds,
        digest=projection.digest,
        rebuilding=Rebuild.objects.filter(finished_at=None).first() if projection.leased_until else None,
    )


@dataclass(frozen=True, slots=True)
class PendingRevision:
    """A revision that the store does not hold yet, and the submission that made it, if one did."""

    number: int
    at: datetime
    keys: int
    submission: Submission | None


@dataclass(frozen=True, slots=True)
class StoreHistory:
    """What the serving page shows below the state; each list is bounded.

    proved_at: when all entries were last compared. rebuild_wanted: why the next push fills the store anew.
    """

    pending: list[PendingRevision]
    rebuilds: list[Rebuild]
    drifts: list[Drift]
    dead: list[OutboxMessage]
    dead_total: int
    proved_at: datetime | None
    rebuild_wanted: str


def store_history(*, rows: int = 10) -> StoreHistory:
    """The newest rebuilds and findings, the oldest pending revisions and the dead messages; 7 queries."""
    projection = Projection.objects.filter(pk=1).first() or Projection()
    waiting = list(Revision.objects.filter(live_at=None).order_by("number")[:rows])
    submissions = Submission.objects.filter(revision__in=[revision.number for revision in waiting])
    made_by = {submission.revision_id: submission for submission in submissions.select_related("author")}
    dead = OutboxMessage.objects.filter(dead_at__isnull=False)
    return StoreHistory(
        pending=[
            PendingRevision(revision.number, revision.at, revision.keys, made_by.get(revision.number))
            for revision in waiting
        ],
        rebuilds=list(Rebuild.objects.order_by("-id")[:rows]),
        drifts=list(Drift.objects.order_by("-id")[:rows]),
        dead=list(dead.order_by("-dead_at", "-id")[:rows]),
        dead_total=dead.count(),
        proved_at=projection.compared_at,
        rebuild_wanted=projection.rebuild_wanted,
    )


def _sentence(state: str) -> str:
    if state == "stale":
        return "Nobody has published for more than ten seconds: is the pusher or the worker running?"
    return "Nothing has been published yet." if state == "unknown" else ""
