"""`manage.py draw_audit POLICY`: draw a run now, in this process, and say how far it is."""

from datetime import UTC, date, datetime, time, timedelta
from time import sleep
from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser

from opsportal.audits.models import Policy, Run, Stratum
from opsportal.audits.selectors.policies import forecast, sentences
from opsportal.audits.services.runs import start_run
from opsportal.audits.services.scheduling import latest_span
from opsportal.core import clock
from opsportal.core.errors import PortalError
from opsportal.events import outbox

LANE = "audits."
# A worker may hold a step of it; then there is nothing to do here but wait.
_PATIENCE_SECONDS = 0.5


class Command(BaseCommand):
    help = (
        "Draw a run of a policy now, over its last period that ended or over the days given, and say how many"
        " items were drawn from how many predictions. Exit 1 with the reason when it cannot be drawn."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("policy", help="The name of the policy, as its page shows it.")
        parser.add_argument("--from", dest="first", type=_day, metavar="DATE", help="The first day, in UTC.")
        parser.add_argument("--to", dest="last", type=_day, metavar="DATE", help="The last day, included.")

    def handle(self, *args: Any, **options: Any) -> None:
        policy = (
            Policy.objects.select_related("model", "version", "created_by")
            .filter(name=options["policy"])
            .first()
        )
        if policy is None:
            names = ", ".join(Policy.objects.order_by("name").values_list("name", flat=True)) or "none"
            raise CommandError(f"There is no policy “{options['policy']}”. There are: {names}.")
        starts_at, ends_at = _span(policy, options["first"], options["last"])
        for sentence in sentences(policy, list(policy.reviewers.all())):
            self.stdout.write(sentence)
        self.stdout.write(forecast(policy).sentence)
        try:
            run = start_run(actor=None, policy=policy, starts_at=starts_at, ends_at=ends_at)
        except PortalError as error:
            raise CommandError(error.message) from None
        self._work(run)
        self._say(run)

    def _work(self, run: Run) -> None:
        """Do what is due for audits until the run is drawn, whoever does the last step."""
        said = -1
        while run.state == Run.State.DRAWING:
            done = outbox.drain(lane=LANE)
            run.refresh_from_db()
            if run.rows_done != said and run.rows_total:
                said = run.rows_done
                self.stderr.write(f"{run.title}: {said:,} of {run.rows_total:,} rows")
            if not done and run.state == Run.State.DRAWING:
                sleep(_PATIENCE_SECONDS)

    def _say(self, run: Run) -> None:
        if run.state != Run.State.OPEN:
            raise CommandError(run.problem or f"The run is {run.get_state_display().lower()}.")
        self.stdout.write(
            f"Drew {run.items:,} items from {run.frame:,} predictions; {run.excluded:,} left out because the"
            f" customer opted out, {run.unusable:,} without a decision that could be right or wrong."
        )
        for stratum in Stratum.objects.filter(run=run):
            self.stdout.write(f"  {stratum.title}: {stratum.drawn:,} of {stratum.frame:,}")
        self.stdout.write(f"Run {run.pk}, {run.get_absolute_url()}")


def _span(policy: Policy, first: date | None, last: date | None) -> tuple[datetime, datetime]:
    if (first is None) != (last is None):
        raise CommandError("Give both --from and --to, or neither.")
    if first is None or last is None:
        span = latest_span(policy, clock.now())
        return span.starts_at, span.ends_at
    if first > last:
        raise CommandError("--to lies before --from.")
    return _midnight(first), _midnight(last + timedelta(days=1))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def _day(text: str) -> date:
    return date.fromisoformat(text)
