"""Write down what predictions should have been, as people found in a closed run."""

from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from opsportal.audits.models import Correction, Item, Provenance, Run, Stream
from opsportal.core import clock
from opsportal.core.bulk import insert_from
from opsportal.events import services as events

# A rule that is being applied may correct the same prediction at the same moment.
_TRIES = 3


def record_corrections(run: Run) -> int:
    """Correct every prediction that people found wrong in this closed run; how many are new.

    One correction for each settled item of any stream but the known answers whose label differs from
    what the model decided. What a rule said about the same prediction is reverted, whether people
    contradict the rule or confirm it; so is what people said earlier, unless it is the same. Whoever
    settled last is believed. Set-based, a handful of statements for any number of items; repeats add
    nothing. One transaction, with one event. Raises ValueError for a run that is not closed.
    """
    if run.state != Run.State.CLOSED:
        raise ValueError(f"run {run.pk} is {run.state}, not closed")
    with transaction.atomic():
        made, reverted = _correct(run)
        if made or reverted:
            events.record(
                actor=None,
                verb="corrections.recorded",
                subject_type="run",
                subject_id=run.pk,
                summary=f"Corrected {made:,} predictions after “{run.title}”",
                after={"corrected": made, "reverted": reverted},
            )
    return made


def _correct(run: Run) -> tuple[int, int]:
    reverted = 0
    for left in reversed(range(_TRIES)):
        reverted += _outdated(run).update(reverted_at=clock.now())
        try:
            with transaction.atomic():
                return _insert(run), reverted
        except IntegrityError:
            # A rule was faster between the two statements: what it wrote can be seen now.
            if not left:
                raise
    raise AssertionError  # the last try returned or raised


def _judged(run: Run) -> "QuerySet[Item]":
    """What people settled on in this run, with what the model itself had `decided`.

    Where a rule had corrected the prediction, an acceptance sample may show the rule's label as the
    prediction; then the rule's correction knows what the model said.
    """
    by_rule = Correction.objects.filter(
        prediction_id=OuterRef("prediction_id"), provenance=Provenance.RULE
    ).order_by("-id")
    return (
        Item.objects.filter(run=run, state=Item.State.SETTLED)
        .exclude(stream=Stream.GOLD)
        .exclude(label="")
        .annotate(decided=Coalesce(Subquery(by_rule.values("predicted")[:1]), F("predicted")))
    )


def _outdated(run: Run) -> "QuerySet[Correction]":
    """Active corrections of other origin that this run's labels replace or contradict."""
    later = _judged(run).filter(prediction_id=OuterRef("prediction_id"))
    by_rule = Q(provenance=Provenance.RULE) & Exists(later)
    by_people = ~Q(provenance=Provenance.RULE) & Exists(
        later.filter(settled_at__gt=OuterRef("item__settled_at")).exclude(label=OuterRef("label"))
    )
    return Correction.objects.filter(
        by_rule | by_people,
        reverted_at=None,
        prediction_id__in=Item.objects.filter(run=run).values("prediction_id"),
    ).exclude(item__run=run)


def _insert(run: Run) -> int:
    of_item = Correction.objects.filter(item=OuterRef("pk"))
    active = Correction.objects.filter(prediction_id=OuterRef("prediction_id"), reverted_at=None)
    wrong = (
        _judged(run)
        .exclude(label=F("decided"))
        .filter(~Exists(of_item), ~Exists(active.exclude(provenance=Provenance.RULE)))
        .order_by()
    )
    return insert_from(
        Correction,
        wrong,
        model=run.model_id,
        prediction_id=F("prediction_id"),
        customer_key=F("customer_key"),
        predicted=F("decided"),
        label=F("label"),
        provenance=F("provenance"),
        item=F("pk"),
        made_at=clock.now(),
    )
