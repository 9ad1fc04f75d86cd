"""All figures of a closed run in one: computed from its rows, stored once.

`estimate` is the body of the task "audits.estimate".
"""

import structlog
from django.db import transaction

from opsportal.audits import figures
from opsportal.audits.estimating.agreement import Codes, agreement_of
from opsportal.audits.estimating.as_figures import named
from opsportal.audits.estimating.notes import notes_of, remaining_of
from opsportal.audits.estimating.people import people_of
from opsportal.audits.estimating.rates import (
    classes_of,
    confusion_of,
    corrected_of,
    powered_of,
    strata_of,
    why_none,
)
from opsportal.audits.estimating.rows import dictionary_of, focus_of, load
from opsportal.audits.estimating.sample import frame_of, sample_of
from opsportal.audits.estimating.segments import segments_of
from opsportal.audits.models import Estimate, Run
from opsportal.audits.services.applying import settle_acceptance
from opsportal.audits.services.correcting import record_corrections
from opsportal.core import clock
from opsportal.events import outbox

log = structlog.get_logger(__name__)

MINE_TASK, VERIFY_TASK = "audits.mine", "audits.verify"


def estimate(run_pk: int) -> None:
    """Store the figures of a closed run, once, and start what follows from them.

    In one transaction: the Estimate, corrections of what people found wrong, the verdict on a rule whose
    acceptance sample this is, and the messages "audits.mine" and "audits.verify". Locks the run. Does
    nothing for a run that is not closed, or that has its figures. Six queries and a handful of writes; memory
    grows with items × people.
    """
    run = Run.objects.select_related("model").filter(pk=run_pk).first()
    if run is None or run.state != Run.State.CLOSED or Estimate.objects.filter(run=run).exists():
        return
    results = results_of(run)
    with transaction.atomic():
        locked = Run.objects.select_for_update(of=("self",)).get(pk=run_pk)
        if Estimate.objects.filter(run=locked).exists():
            return
        Estimate.objects.create(
            run=locked, figures=figures.encode(results), method=figures.METHOD, made_at=clock.now()
        )
        corrected = record_corrections(locked)
        settle_acceptance(locked)
        outbox.send(task=MINE_TASK, key=run_pk)
        outbox.send(task=VERIFY_TASK, key=run_pk)
    log.info("audits.estimated", run=run_pk, labelled=results.frame.labelled, corrected=corrected)


def results_of(run: Run) -> figures.Results:
    """Everything a closed run says, from its rows; writes nothing."""
    data = load(run)
    sample = sample_of(data)
    dictionary = dictionary_of(run, data)
    overall = sample.rate(sample.wrong)
    codes = Codes(run, data)
    focus = focus_of(run, dictionary)
    persons, pooled, person_notes = people_of(data, codes, focus)
    is_drawn = sample.drawn > 0
    return figures.Results(
        frame=frame_of(run, data, sample),
        error_rate=named("Error rate", overall, sample, why_none(run, data, sample)),
        error_rate_powered=powered_of(data, sample, overall),
        error_rate_corrected=corrected_of(run, data, sample, overall) if is_drawn else None,
        classes=classes_of(run, sample),
        confusion=confusion_of(sample),
        strata=strata_of(sample),
        segments=segments_of(sample, dictionary),
        agreement=agreement_of(codes),
        people=persons,
        focus=focus,
        pooled=pooled,
        remaining=remaining_of(run, data),
        notes=[*notes_of(run, data, sample, overall), *person_notes],
    )
