"""What audits say and want, in a few numbers for the home page."""

from dataclasses import dataclass

from opsportal.accounts.models import User
from opsportal.audits.models import Run
from opsportal.audits.selectors import plotting
from opsportal.audits.selectors.trends import compared_runs, rates_of
from opsportal.audits.selectors.waiting import waiting_on


@dataclass(frozen=True, slots=True, kw_only=True)
class Latest:
    """The error rate of the newest run that is closed. text: the rate, or the bound where that is all."""

    run: Run
    text: str
    interval: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """What one person can do in audits. reviews: still to be done in runs that they review, by anybody.

    runs: how many those are. decisions: rules and thresholds of others to approve. latest: None before the
    first run is closed.
    """

    reviews: int
    runs: int
    disputes: int
    to_close: int
    decisions: int
    latest: Latest | None


def audited(user: User) -> Audited | None:
    """The numbers for this person; None where nothing was ever audited. At most seven queries."""
    if not user.can("audits.view") or not Run.objects.exists():
        return None
    waiting = waiting_on(user)
    return Audited(
        reviews=sum(max(0, run.reviews_needed - run.reviews_done) for run in waiting.to_label),
        runs=len(waiting.to_label),
        disputes=sum(run.to_adjudicate for run in waiting.disputes),
        to_close=len(waiting.to_close),
        decisions=len(waiting.applications) + len(waiting.thresholds),
        latest=_latest(),
    )


def _latest() -> Latest | None:
    newest = compared_runs().values_list("pk", flat=True).first()
    if newest is None:
        return None
    [(run, figure)] = rates_of(Run.objects.filter(pk=newest))
    shown = plotting.show(figure, plotting.scale_of([figure]))
    return Latest(run=run, text=shown.text, interval=shown.interval)
