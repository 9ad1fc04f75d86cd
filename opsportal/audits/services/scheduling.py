"""Start the runs that the schedule asks for: one for each period, whoever ticks and however often."""

from datetime import datetime

from opsportal.audits.models import Period, Policy, Run
from opsportal.audits.periods import Span, last_ended
from opsportal.audits.services.runs import start_run
from opsportal.core import clock


def start_due_runs() -> list[Run]:
    """Start a run for the latest period that ended of every active policy that lacks one; those started.

    Of several missed periods only the latest is caught up. Periods that ended before a policy was made are
    none of its own. A run that failed or was cancelled is still the run of its period. Two at once start
    one: a period is unique for a policy. Two queries where nothing is due.
    """
    moment = clock.now()
    policies = Policy.objects.filter(active=True).exclude(period=Period.BY_HAND).select_related("model")
    due = {policy: last_ended(Period(policy.period), moment) for policy in policies}
    there = set(
        Run.objects.filter(policy__in=due, period__in={span.name for span in due.values()}).values_list(
            "policy_id", "period"
        )
    )
    return [
        start_run(actor=None, policy=policy, starts_at=span.starts_at, ends_at=span.ends_at, period=span.name)
        for policy, span in due.items()
        if span.ends_at > policy.created_at and (policy.pk, span.name) not in there
    ]


def latest_span(policy: Policy, moment: datetime) -> Span:
    """The last period of this policy that ended, for which a run could be drawn now; by hand, a week."""
    period = Period.WEEKLY if policy.period == Period.BY_HAND else Period(policy.period)
    return last_ended(period, moment)
