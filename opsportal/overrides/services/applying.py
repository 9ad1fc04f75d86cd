"""Turn intent into effect: override rows, one revision, one event, in one transaction."""

import hashlib
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

import structlog
from django.db import IntegrityError, models, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.core.bulk import insert_from
from opsportal.core.errors import Conflict, Forbidden, PortalError
from opsportal.events import outbox
from opsportal.events import services as events
from opsportal.events.models import Change
from opsportal.overrides.models import (
    EFFECTIVE,
    EVERYWHERE,
    Action,
    Block,
    Boost,
    Kind,
    OptOut,
    Purpose,
    State,
    Submission,
    Triage,
)
from opsportal.overrides.selectors.triage import (
    MODELS,
    PRODUCT_MODELS,
    effective_items,
    renewals,
    triage_overrides,
    triage_targets,
)
from opsportal.overrides.services.drafting import lock_submission, store_findings
from opsportal.overrides.services.intent import Intent, check_intent
from opsportal.predictions import services as predictions
from opsportal.predictions.pseudonyms import KEY_VERSION
from opsportal.predictions.selectors import batches

log = structlog.get_logger(__name__)

APPLY_TASK = "overrides.apply_approved"
PROJECT_TASK = "serving.project"
ROW_BATCH = 2_000
# CCPA regulations § 7026(f): as soon as feasible, at most 15 business days. Public holidays count
# as business days here, which only makes the date earlier.
OPT_OUT_BUSINESS_DAYS = 15
# A rule whose end has passed stays in the store for a day, then it is tidied away.
TIDY_AFTER = timedelta(days=1)
SAMPLE = 20


def apply_locked(submission: Submission) -> None:
    """Give a submission effect; the caller holds its row's lock and has checked that it may.

    Locks the head first, finds out anew what each item does (others may have been faster), writes
    the override rows and allocates one revision for all keys touched; none when nothing changes.
    Raises Conflict when its window has passed or the schema refuses.
    """
    _check_still_possible(submission)
    number = events.lock_head().revision + 1
    try:
        with transaction.atomic():
            keys = _EFFECTS[Action(submission.action)](submission, number)
            if submission.kind == Kind.OPT_OUT:
                _note_profiling(submission, keys)
    except IntegrityError as error:
        raise Conflict(
            "Another change of the same override came first. Look at the submission again.", code="race"
        ) from error
    kind = Change.Kind.CUSTOMER if submission.kind == Kind.OPT_OUT else Change.Kind.PRODUCT
    submission.revision = events.allocate_revision(kind=kind, keys=keys)
    submission.state = State.APPLIED
    submission.applied_at = clock.now()
    submission.error = ""
    submission.save()
    events.record(
        actor=submission.author,
        verb="submission.applied",
        subject_type="submission",
        subject_id=submission.pk,
        summary=_sentence(submission, submission.revision.keys if submission.revision else 0),
        reason=submission.reason,
        after=_evidence(submission),
    )
    if submission.revision:
        outbox.nudge(PROJECT_TASK)


def apply_approved(submission_id: int) -> None:
    """Give effect to a large submission in a worker. Repeats are harmless: the state is checked under lock.

    A refusal leaves it failed, with the sentence, its approval kept and a retry at hand.
    """
    try:
        with transaction.atomic():
            submission = lock_submission(submission_id)
            if submission.state == State.APPLYING:
                apply_locked(submission)
    except PortalError as error:
        _fail(submission_id, error.message)


def retry(*, actor: User, submission_id: int) -> Submission:
    """Try a failed submission again; its approval still counts. Raises NotFound, Forbidden, Conflict."""
    with transaction.atomic():
        submission = lock_submission(submission_id)
        if actor.pk != submission.author_id and not actor.can("overrides.approve"):
            raise Forbidden("Only its author or an approver can try again.")
        if submission.state != State.FAILED:
            raise Conflict(f"#{submission.pk} has not failed.", code="not_failed")
        submission.state = State.APPLYING
        submission.error = ""
        submission.save()
        events.record(
            actor=actor,
            verb="submission.retried",
            subject_type="submission",
            subject_id=submission.pk,
            summary=f"Tried #{submission.pk} again",
        )
        outbox.send(task=APPLY_TASK, key=submission.pk)
    return submission


def tidy() -> int:
    """Close the rules that ended more than a day ago and drop them from the store; return how many.

    Readers have ignored them since their end; this only saves room. At most 2,000 a call.
    """
    moment = clock.now()
    closed = 0
    with transaction.atomic():
        number = events.lock_head().revision + 1
        keys: list[str] = []
        for model in (Block, Boost):
            ended = model.objects.filter(closed_at=None, ends_at__lt=moment - TIDY_AFTER).order_by("ends_at")
            rows = dict(ended.values_list("id", "product_id")[:ROW_BATCH])
            keys += rows.values()
            closed += _update(model, rows, closed_at=models.F("ends_at"), revision=number)
        if keys:
            events.allocate_revision(kind=Change.Kind.PRODUCT, keys=dict.fromkeys(keys))
            events.record(
                actor=None,
                verb="overrides.tidied",
                subject_type="store",
                subject_id="store",
                summary=f"Tidied away {closed:,} rules that had ended",
            )
            outbox.nudge(PROJECT_TASK)
    return closed


def due_on(received_at: datetime) -> date:
    """The last day to honour a request received then: 15 days later, Saturdays and Sundays not counted.

    The day of receipt is that of the portal's zone.
    """
    day = timezone.localdate(received_at, timezone.get_default_timezone())
    left = OPT_OUT_BUSINESS_DAYS
    while left:
        day += timedelta(days=1)
        left -= day.weekday() < 5
    return day


def _fail(submission_id: int, sentence: str) -> None:
    with transaction.atomic():
        submission = lock_submission(submission_id)
        if submission.state != State.APPLYING:
            return
        submission.state = State.FAILED
        submission.error = sentence[:500]
        submission.save()
        events.record(
            actor=None,
            verb="submission.failed",
            subject_type="submission",
            subject_id=submission.pk,
            summary=f"#{submission.pk} could not be carried out",
            reason=sentence,
        )


def _check_still_possible(submission: Submission) -> None:
    """A window may have passed while the submission waited."""
    if submission.action in {Action.ADD, Action.EXTEND}:
        check_intent(
            Intent(
                kind=Kind(submission.kind),
                action=Action(submission.action),
                surface=submission.surface_id or EVERYWHERE,
                starts_at=submission.starts_at,
                ends_at=submission.ends_at,
                factor=submission.factor,
                purposes=submission.purposes,
                channel=submission.channel,
                received_at=submission.received_at,
                reason_code=submission.reason_code,
                reason=submission.reason,
                ticket=submission.ticket,
            )
        )


def _note_profiling(submission: Submission, keys: QuerySet[Any]) -> None:
    """Let no predictions be kept about those of the customers who now object to personalisation."""
    touched = set(keys.values_list("key", flat=True))
    open_ones = OptOut.objects.filter(closed_at=None, personalisation=True)
    object_to_it: set[str] = set()
    for batch in batches(touched):
        object_to_it.update(open_ones.filter(customer_key__in=batch).values_list("customer_key", flat=True))
    predictions.unsuppress(touched - object_to_it)
    if predictions.suppress(object_to_it):
        predictions.ask_to_erase(submission.pk)


def _add(submission: Submission, number: int) -> QuerySet[Any]:
    _note_what_others_did(submission)
    if submission.kind == Kind.OPT_OUT:
        _add_opt_outs(submission, number)
    else:
        submission.starts_at = max(submission.starts_at or clock.this_second(), clock.this_second())
        _supersede(submission, number)
        extra: dict[str, Any] = {"factor": submission.factor} if submission.kind == Kind.BOOST else {}
        insert_from(
            MODELS[submission.kind],
            effective_items(submission).order_by("row"),
            submission=submission.pk,
            revision=number,
            created_at=clock.now(),
            product_id=F("target"),
            surface=submission.surface_id,
            starts_at=submission.starts_at,
            ends_at=submission.ends_at,
            reason_code=submission.reason_code,
            **extra,
        )
    return effective_items(submission).order_by().values(key=F("target"))


def _note_what_others_did(submission: Submission) -> None:
    """Find out anew what the items do whose targets have an open rule by now; the others stand."""
    column = "customer_key" if submission.kind == Kind.OPT_OUT else "product_id"
    open_rules = MODELS[submission.kind].objects.filter(closed_at=None)
    touched = effective_items(submission).filter(
        Q(Exists(open_rules.filter(**{column: OuterRef("target")}))) | Q(triage=Triage.CHANGED)
    )
    items = dict(touched.values_list("target", "id"))
    findings = triage_targets(submission, list(items), applying=True)
    store_findings({items[target]: found for target, found in findings.items()})


def _supersede(submission: Submission, number: int) -> None:
    """Close the open rules that lie wholly inside the new window: the new rule says it all."""
    changed = submission.items.filter(triage=Triage.CHANGED, dropped=False).values("target")
    rows = PRODUCT_MODELS[submission.kind].objects.filter(
        product_id__in=changed,
        surface=submission.surface_id,
        closed_at=None,
        starts_at__gte=submission.starts_at,
    )
    if submission.ends_at is not None:
        rows = rows.filter(ends_at__lte=submission.ends_at)
    rows.update(closed_at=clock.now(), closed_by=submission, revision=number)


def _add_opt_outs(submission: Submission, number: int) -> None:
    received = submission.received_at or clock.now()
    items = effective_items(submission)
    added = dict.fromkeys(submission.purposes, True)
    widened = items.filter(triage=Triage.CHANGED).values("target")
    OptOut.objects.filter(customer_key__in=widened, closed_at=None).update(revision=number, **added)
    insert_from(
        OptOut,
        items.exclude(triage=Triage.CHANGED).order_by("row"),
        submission=submission.pk,
        revision=number,
        created_at=clock.now(),
        customer_key=F("target"),
        key_version=KEY_VERSION,
        channel=submission.channel,
        received_at=received,
        due_on=due_on(received),
        personalisation=Purpose.PERSONALISATION in submission.purposes,
        training=Purpose.TRAINING in submission.purposes,
        sharing=Purpose.SHARING in submission.purposes,
    )


def _withdraw(submission: Submission, number: int) -> QuerySet[Any]:
    model = MODELS[submission.kind]
    _update(
        model,
        _still_effective(submission),
        closed_at=clock.now(),
        closed_by=submission,
        revision=number,
    )
    return _keys_at(submission, number)


def _extend(submission: Submission, number: int) -> QuerySet[Any]:
    model = MODELS[submission.kind]
    _update(model, _still_effective(submission), ends_at=submission.ends_at, revision=number)
    return _keys_at(submission, number)


def _still_effective(submission: Submission) -> list[int]:
    """The overrides of the items that still change something; what others did first is noted."""
    rows = effective_items(submission).values_list("override_id", "id")
    items = {override: pk for override, pk in rows if override is not None}
    findings = triage_overrides(submission, list(items), applying=True)
    store_findings({items[override]: found for override, found in findings.items()})
    return [override for override in items if findings[override].triage in EFFECTIVE]


def _restore(submission: Submission, number: int) -> QuerySet[Any]:
    """Put back what the undone submission changed, as far as nobody has changed it since."""
    undone = submission.undoes
    if undone is None:
        raise Conflict("There is nothing to undo.", code="nothing_to_undo")
    return _RESTORERS[Action(undone.action)](submission, undone, number)


def _restore_added(submission: Submission, undone: Submission, number: int) -> QuerySet[Any]:
    model = MODELS[undone.kind]
    # A customer who asked for more, or once more, since then keeps it.
    renewed = Exists(renewals(submission).filter(target=OuterRef("customer_key")))
    added = model.objects.filter(submission=undone, closed_at=None)
    if undone.kind == Kind.OPT_OUT:
        added = added.filter(~renewed, revision=undone.revision_id or 0)
    added.update(closed_at=clock.now(), closed_by=submission, revision=number)
    _reopen(undone, number)
    if undone.kind == Kind.OPT_OUT:
        widened = undone.items.filter(before__isnull=False, dropped=False, triage=Triage.CHANGED)
        for item in widened:
            kept = (item.before or {}).get("purposes", [])
            purposes = {purpose: purpose in kept for purpose in Purpose.values}
            OptOut.objects.filter(
                ~renewed, customer_key=item.target, closed_at=None, revision=undone.revision_id or 0
            ).update(revision=number, **purposes)
    return _keys_at(submission, number)


def _restore_withdrawn(submission: Submission, undone: Submission, number: int) -> QuerySet[Any]:
    _reopen(undone, number)
    return _keys_at(submission, number)


def _restore_extended(submission: Submission, undone: Submission, number: int) -> QuerySet[Any]:
    model = PRODUCT_MODELS[undone.kind]
    for item in undone.items.filter(triage__in=EFFECTIVE, dropped=False):
        before = (item.before or {}).get("ends_at")
        end = datetime.fromisoformat(before) if before else None
        rows = model.objects.filter(pk=item.override_id or 0, closed_at=None, ends_at=undone.ends_at)
        rows.update(ends_at=end, revision=number)
    return _keys_at(submission, number)


def _reopen(undone: Submission, number: int) -> None:
    """Open again what the undone submission closed.

    A rule whose end has passed stays closed, and so does one that has been made anew since.
    """
    reopened = {"closed_at": None, "closed_by": None, "revision": number}
    if undone.kind == Kind.OPT_OUT:
        same_customer = OptOut.objects.filter(closed_at=None, customer_key=OuterRef("customer_key"))
        OptOut.objects.filter(closed_by=undone).exclude(Exists(same_customer)).update(**reopened)
        return
    closed = PRODUCT_MODELS[undone.kind].objects.filter(closed_by=undone)
    if undone.kind == Kind.BLOCK:
        same_block = Block.objects.filter(
            closed_at=None, ends_at=None, product_id=OuterRef("product_id"), surface=OuterRef("surface")
        )
        closed = closed.exclude(Exists(same_block), ends_at=None)
    closed.filter(Q(ends_at=None) | Q(ends_at__gt=clock.now())).update(**reopened)


def _keys_at(submission: Submission, number: int) -> QuerySet[Any]:
    """The keys whose rows this revision touched; through the items, since no index leads from it to them."""
    column = "customer_key" if submission.kind == Kind.OPT_OUT else "product_id"
    targets = (submission.undoes or submission).items.values("target")
    touched = MODELS[submission.kind].objects.filter(revision=number, **{f"{column}__in": targets})
    return touched.order_by().values(key=F(column)).distinct()


def _update(model: type[models.Model], pks: Iterable[int], **values: object) -> int:
    return sum(
        model._default_manager.filter(pk__in=[int(pk) for pk in batch]).update(**values)
        for batch in batches([str(pk) for pk in pks])
    )


def _sentence(submission: Submission, count: int) -> str:
    noun = {"block": "product", "boost": "product", "opt_out": "customer"}[submission.kind]
    plural = noun if count == 1 else f"{noun}s"
    where = "" if submission.surface_id == EVERYWHERE else f" on {submission.surface_id}"
    verb = {
        (Action.ADD, Kind.BLOCK): f"Blocked {count:,} {plural}{where}",
        (Action.ADD, Kind.BOOST): f"Boosted {count:,} {plural} ×{submission.factor or 1:g}{where}",
        (Action.ADD, Kind.OPT_OUT): f"Recorded the opt-out of {count:,} {plural}",
        (Action.EXTEND, Kind.BLOCK): f"Moved the end of {count:,} blocks",
        (Action.EXTEND, Kind.BOOST): f"Moved the end of {count:,} boosts",
        (Action.WITHDRAW, Kind.BLOCK): f"Withdrew the blocks of {count:,} {plural}",
        (Action.WITHDRAW, Kind.BOOST): f"Withdrew the boosts of {count:,} {plural}",
        (Action.WITHDRAW, Kind.OPT_OUT): f"Withdrew the opt-outs of {count:,} {plural}",
    }.get((Action(submission.action), Kind(submission.kind)))
    return verb or f"Undid #{submission.undoes_id} for {count:,} {plural}"


def _evidence(submission: Submission) -> dict[str, Any]:
    """What the event keeps: numbers and a digest of all keys; a sample of products, never of customers."""
    changes = (
        Change.objects.filter(revision=submission.revision_id or 0)
        .order_by("key")
        .values_list("key", flat=True)
    )
    digest, sample, count = hashlib.sha256(), [], 0
    for key in changes.values_list("key", flat=True).iterator():
        digest.update(key.encode() + b"\n")
        count += 1
        if count <= SAMPLE:
            sample.append(key)
    return {
        "revision": submission.revision_id,
        "items": count,
        "digest": digest.hexdigest(),
        "starts_at": submission.starts_at.isoformat() if submission.starts_at else None,
        "ends_at": submission.ends_at.isoformat() if submission.ends_at else None,
        "surface": submission.surface_id,
        "approved_by": submission.decided_by_id,
        "products": None if submission.kind == Kind.OPT_OUT else sample,
    }


_EFFECTS = {Action.ADD: _add, Action.WITHDRAW: _withdraw, Action.EXTEND: _extend, Action.RESTORE: _restore}
_RESTORERS = {
    Action.ADD: _restore_added,
    Action.WITHDRAW: _restore_withdrawn,
    Action.EXTEND: _restore_extended,
}
