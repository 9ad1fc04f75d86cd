"""The life of a threshold: computed, proposed, published by a second person, undone."""

from django.db import transaction

from opsportal.accounts.models import User
from opsportal.audits.models import Item, Run, Stream, Threshold
from opsportal.core import clock
from opsportal.core.errors import Conflict, Forbidden, Invalid, NotFound
from opsportal.events import outbox
from opsportal.events import services as events
from opsportal.events.models import Change, Revision
from opsportal.predictions.models import ModelVersion

COMPUTE_TASK = "audits.threshold"
REASON_MAX = 500
# A promise below is none, and above no sample can tell.
TARGET_MIN, TARGET_MAX = 0.5, 0.999


def propose_threshold(
    *,
    actor: User,
    run: Run,
    version: ModelVersion,
    label: str,
    goal: Threshold.Goal,
    target: float,
    confidence: float = 0.95,
) -> Threshold:
    """Have a worker look for the threshold of `version` that keeps the promise in the labels of a closed run.

    Sends "audits.threshold". Raises Forbidden; Invalid for a run that is not closed or no random sample, has
    no labels of this version, for a label that is neither of the version's two, and for a target beyond
    0.5–0.999; Conflict when the same is being looked for or stands.
    """
    _require(actor, "audits.lead")
    _check_basis(run, version, label)
    if not TARGET_MIN <= target <= TARGET_MAX:
        raise Invalid.at("target", "range", "A promise lies between 50 % and 99.9 %.")
    with transaction.atomic():
        # Of two requests for the same one waits here for the other.
        Run.objects.select_for_update(of=("self",)).get(pk=run.pk)
        standing = Threshold.objects.filter(
            run=run, version=version, label=label, goal=goal, target=target, confidence=confidence
        ).exclude(state__in=[Threshold.State.UNDONE, Threshold.State.REJECTED])
        if (there := standing.first()) is not None:
            raise Conflict(
                f"The same was asked of this run before: it is {there.get_state_display().lower()}.",
                code="exists",
            )
        row = Threshold.objects.create(
            version=version,
            run=run,
            label=label,
            goal=goal,
            target=target,
            confidence=confidence,
            author=actor,
            created_at=clock.now(),
        )
        outbox.send(task=COMPUTE_TASK, key=row.pk)
        _record(actor, row, "threshold.proposed", f"Asked for a threshold of {version} from “{run.title}”")
    return row


def ask_to_publish(*, actor: User, threshold: Threshold, reason: str) -> Threshold:
    """Ask an approver to publish a proposed threshold. Raises Forbidden, Invalid, NotFound, Conflict."""
    _require(actor, "audits.lead")
    reason = _checked(reason)
    with transaction.atomic():
        row = _locked(threshold, Threshold.State.PROPOSED)
        row.state, row.asked_by, row.reason = Threshold.State.WAITING, actor, reason
        row.save(update_fields=["state", "asked_by", "reason"])
        _record(actor, row, "threshold.asked", f"Asked to publish threshold {row.value:g}", reason)
    return row


def reject_threshold(*, actor: User, threshold: Threshold, reason: str) -> Threshold:
    """Refuse it for good. Raises Forbidden (who proposed or asked), Invalid, NotFound, Conflict."""
    _require(actor, "audits.approve")
    reason = _checked(reason)
    with transaction.atomic():
        row = _locked(threshold, Threshold.State.WAITING)
        _require_second_person(actor, row)
        row.state, row.decided_by, row.ended_at = Threshold.State.REJECTED, actor, clock.now()
        row.save(update_fields=["state", "decided_by", "ended_at"])
        _record(actor, row, "threshold.rejected", f"Rejected threshold {row.value:g}", reason)
    return row


def approve_threshold(*, actor: User, threshold: Threshold, reason: str = "") -> Threshold:
    """Publish it: a revision carries it into the serving store; what was published before is replaced.

    One transaction. Locks the threshold, then the head of revisions, which makes approvals of one version
    wait for each other. Raises Forbidden (who proposed or asked), NotFound, Conflict.
    """
    _require(actor, "audits.approve")
    with transaction.atomic():
        row = _locked(threshold, Threshold.State.WAITING)
        _require_second_person(actor, row)
        events.lock_head()
        moment = clock.now()
        before = Threshold.objects.filter(version=row.version_id, state=Threshold.State.PUBLISHED).first()
        if before is not None:
            before.state, before.ended_at = Threshold.State.REPLACED, moment
            before.save(update_fields=["state", "ended_at"])
        row.state, row.decided_by, row.published_at = Threshold.State.PUBLISHED, actor, moment
        row.replaces = before
        row.revision = _new_revision(row).number
        row.save(update_fields=["state", "decided_by", "published_at", "replaces", "revision"])
        _record(
            actor,
            row,
            "threshold.published",
            f"Published threshold {row.value:g} for {row.version}",
            reason[:REASON_MAX],
            before=None if before is None else {"threshold": before.pk, "value": before.value},
            after={"value": row.value, "revision": row.revision},
        )
    return row


def undo_threshold(*, actor: User, threshold: Threshold, reason: str) -> Threshold:
    """Take a published threshold back: the one it replaced is published again, or none is.

    A new revision carries that into the store. Locks as `approve_threshold`. Raises Forbidden, Invalid,
    NotFound, Conflict.
    """
    if not (actor.can("audits.lead") or actor.can("audits.approve")):
        raise Forbidden("Only an audit lead or an approver undoes a threshold.")
    reason = _checked(reason)
    with transaction.atomic():
        row = _locked(threshold, Threshold.State.PUBLISHED)
        events.lock_head()
        moment = clock.now()
        row.state, row.ended_at = Threshold.State.UNDONE, moment
        row.revision = _new_revision(row).number
        row.save(update_fields=["state", "ended_at", "revision"])
        again = Threshold.objects.filter(replaced_by=row, state=Threshold.State.REPLACED).first()
        if again is not None:
            again.state, again.published_at, again.ended_at = Threshold.State.PUBLISHED, moment, None
            again.revision = row.revision
            again.save(update_fields=["state", "published_at", "ended_at", "revision"])
        _record(
            actor,
            row,
            "threshold.undone",
            f"Undid threshold {row.value:g} of {row.version}"
            + (f"; {again.value:g} is published again" if again is not None else ""),
            reason,
            before={"value": row.value},
            after={"value": None if again is None else again.value, "revision": row.revision},
        )
    return row


def _check_basis(run: Run, version: ModelVersion, label: str) -> None:
    if run.kind != Run.Kind.AUDIT or run.state != Run.State.CLOSED:
        raise Invalid.at("run", "basis", "A threshold is learnt from a closed run that was drawn at random.")
    if version.model_id != run.model_id:
        raise Invalid.at("version", "version", "The run is of another model.")
    words = version.features
    if label not in (words.positive, words.negative):
        raise Invalid.at(
            "label", "label", f"The version decides between “{words.positive}” and “{words.negative}”."
        )
    labelled = Item.objects.filter(run=run, version=version, stream=Stream.SAMPLE).exclude(label="")
    if not labelled.exists():
        raise Invalid.at("version", "labels", "Nobody labelled predictions of this version in the run.")


def _new_revision(row: Threshold) -> Revision:
    revision = events.allocate_revision(kind=Change.Kind.THRESHOLD, keys=[row.version.model.name])
    assert revision is not None  # noqa: S101  there is always the one key
    return revision


def _require(actor: User, capability: str) -> None:
    if not actor.can(capability):
        who = "an audit lead" if capability == "audits.lead" else "an approver"
        raise Forbidden(f"Only {who} does this.")


def _require_second_person(actor: User, row: Threshold) -> None:
    if actor.pk in (row.author_id, row.asked_by_id):
        raise Forbidden(
            "Somebody else has to decide on this: it was proposed or asked for by the same person."
        )


def _locked(threshold: Threshold, state: Threshold.State) -> Threshold:
    rows = Threshold.objects.select_related("version__model").select_for_update(of=("self",))
    row = rows.filter(pk=threshold.pk).first()
    if row is None:
        raise NotFound("There is no such threshold.")
    if row.state != state:
        raise Conflict(f"The threshold is {row.get_state_display().lower()} by now.", code="state")
    return row


def _checked(reason: str) -> str:
    reason = reason.strip()
    if not reason:
        raise Invalid.at("reason", "required", "Give a reason; it goes into the audit trail.")
    if len(reason) > REASON_MAX:
        raise Invalid.at("reason", "too_long", f"At most {REASON_MAX} characters are possible.")
    return reason


def _record(
    actor: User,
    row: Threshold,
    verb: str,
    summary: str,
    reason: str = "",
    before: object = None,
    after: object = None,
) -> None:
    events.record(
        actor=actor,
        verb=verb,
        subject_type="threshold",
        subject_id=row.pk,
        summary=summary,
        reason=reason,
        before=before,
        after=after,
    )
