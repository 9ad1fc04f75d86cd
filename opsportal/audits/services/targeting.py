"""Start a targeted run: what is most likely wrong, and a random look at the rest."""

import secrets
from collections.abc import Sequence

from django.db import transaction

from opsportal.accounts.models import User
from opsportal.audits.models import Run
from opsportal.core import clock
from opsportal.core.errors import Conflict, Forbidden, Invalid
from opsportal.events import outbox
from opsportal.events import services as events

SUSPECT_TASK = "audits.suspect"
SUSPECTS_MAX, LOOK_MAX = 2_000, 2_000
_TITLE_MAX = 150


def start_targeted_run(
    *, actor: User, run: Run, suspects: int, look: int, reviewers: Sequence[User] = ()
) -> Run:
    """Have a worker choose `suspects` predictions that are most likely wrong, for people to label.

    It learns from all labels of the model and ranks what the log holds beyond them. look: so many more are
    drawn at random from the rest, with a known probability, so that the errors still unfound can be bounded;
    they alone enter that bound. run: a closed random sample, whose labels, guidelines and blindness are
    taken over. Sends "audits.suspect". Raises Forbidden, Invalid, and Conflict while another one of the model
    is being put together.
    """
    if not actor.can("audits.lead"):
        raise Forbidden("Only an audit lead starts a targeted run.")
    if run.kind != Run.Kind.AUDIT or run.state != Run.State.CLOSED:
        raise Invalid.at(
            "run", "basis", "Likely errors are learnt from a closed run that was drawn at random."
        )
    if not 1 <= suspects <= SUSPECTS_MAX:
        raise Invalid.at("suspects", "range", f"Between 1 and {SUSPECTS_MAX:,} are possible.")
    if not 0 <= look <= LOOK_MAX:
        raise Invalid.at("look", "range", f"Between 0 and {LOOK_MAX:,} are possible.")
    with transaction.atomic():
        # Of two requests at once one waits here for the other.
        Run.objects.select_for_update(of=("self",)).get(pk=run.pk)
        busy = Run.objects.filter(kind=Run.Kind.TARGETED, model=run.model_id, state=Run.State.DRAWING)
        if busy.exists():
            raise Conflict("Another targeted run of this model is being put together.", code="busy")
        made = Run.objects.create(
            kind=Run.Kind.TARGETED,
            model_id=run.model_id,
            title=f"Likely errors after {run.title}"[:_TITLE_MAX],
            parent=run,
            seed=secrets.token_hex(16),
            plan={"suspects": {"wanted": suspects}, "random_look": {"wanted": look}},
            labels=run.labels,
            guidelines=run.guidelines,
            blind=run.blind,
            sensitive=run.sensitive,
            state=Run.State.DRAWING,
            created_at=clock.now(),
            created_by=actor,
        )
        made.reviewers.set(reviewers or run.reviewers.all())
        outbox.send(task=SUSPECT_TASK, key=made.pk)
        events.record(
            actor=actor,
            verb="run.started",
            subject_type="run",
            subject_id=made.pk,
            summary=f"Started to look for likely errors after “{run.title}”"[:300],
            after={"suspects": suspects, "look": look},
        )
    return made
