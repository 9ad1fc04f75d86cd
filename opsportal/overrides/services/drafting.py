"""Prepare a submission: receive its items, find out what each would do, change it, give it up."""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress

from django.db import DatabaseError, transaction
from django.db.models import F

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.core.bulk import insert_from
from opsportal.core.errors import Conflict, Forbidden, Invalid, NotFound, Problem
from opsportal.events import outbox
from opsportal.events import services as events
from opsportal.overrides.models import (
    EFFECTIVE,
    Action,
    Approval,
    Kind,
    Source,
    State,
    Submission,
    SubmissionItem,
    Triage,
)
from opsportal.overrides.selectors.triage import (
    MODELS,
    Finding,
    assess,
    triage_overrides,
    triage_targets,
)
from opsportal.overrides.selectors.wording import command
from opsportal.overrides.services.intent import Intent, check_intent, require_permission
from opsportal.predictions.identifiers import Row, read_csv, rows_of
from opsportal.predictions.pseudonyms import customer_key
from opsportal.predictions.selectors import batches

ITEM_BATCH = 500
# Between two batches of a file other writers get their turn: SQLite hands its lock to whoever asks first.
PAUSE_SECONDS = 0.025
CHECK_TASK = "overrides.check_file"


def draft_targets(*, actor: User, intent: Intent, texts: Iterable[str]) -> Submission:
    """Open a draft that adds an override for each product or customer ID, with its triage.

    Raw customer IDs become keys here and are kept nowhere. One transaction. Raises Forbidden and
    Invalid; IDs that cannot be used become named rows, not errors.
    """
    require_permission(actor, intent.kind, intent.action)
    check_intent(intent)
    rows = rows_of(texts, customers=intent.kind == Kind.OPT_OUT)
    if not rows:
        raise Invalid.at(_ids_path(intent), "required", "Give at least one ID.")
    with transaction.atomic():
        submission = _open(actor, intent, rows_total=len(rows))
        items = _items_from_rows(submission, rows)
        findings = triage_targets(submission, [item.target for item in items if item.target])
        for item in items:
            if item.triage == Triage.NEW:
                _set_finding(item, findings[item.target])
        SubmissionItem.objects.bulk_create(items, batch_size=ITEM_BATCH)
        _finish_draft(actor, submission)
    return submission


def draft_changes(*, actor: User, intent: Intent, override_ids: Sequence[int]) -> Submission:
    """Open a draft that extends or withdraws existing overrides of one kind, with its triage.

    One transaction. Raises Forbidden, Invalid.
    """
    require_permission(actor, intent.kind, intent.action)
    check_intent(intent)
    wanted = list(dict.fromkeys(override_ids))
    if not wanted:
        raise Invalid.at("ids", "required", "Choose at least one override.")
    with transaction.atomic():
        submission = _open(actor, intent, rows_total=len(wanted))
        findings = triage_overrides(submission, wanted)
        targets = _targets_of(intent.kind, wanted)
        items = [
            SubmissionItem(submission=submission, row=row, target=targets.get(pk, ""), override_id=pk)
            for row, pk in enumerate(wanted, start=1)
        ]
        for item in items:
            _set_finding(item, findings[item.override_id or 0])
        SubmissionItem.objects.bulk_create(items, batch_size=ITEM_BATCH)
        _finish_draft(actor, submission)
    return submission


def draft_undo(*, actor: User, submission_id: int, reason: str) -> Submission:
    """Open a draft that puts back what an applied submission changed.

    Locks the undone submission. Raises NotFound, Forbidden, and Conflict when it took no effect or
    is undone already.
    """
    with transaction.atomic():
        undone = lock_submission(submission_id)
        require_permission(actor, undone.kind, _action_of_undo(undone))
        if undone.state != State.APPLIED or undone.revision_id is None:
            raise Conflict("Only a submission that took effect can be undone.", code="not_applied")
        if undone.action == Action.RESTORE:
            raise Conflict("An undo cannot be undone. Make the change again instead.", code="undo_of_undo")
        existing = Submission.objects.filter(undoes=undone).first()
        if existing and existing.state not in {State.REJECTED, State.CANCELLED}:
            raise Conflict(f"It is undone already by #{existing.pk}.", code="undone")
        if existing:
            # The schema allows one undo; one that was given up makes room for the next.
            Submission.objects.filter(pk=existing.pk).update(undoes=None)
        submission = Submission.objects.create(
            kind=undone.kind,
            action=Action.RESTORE,
            source=Source.UNDO,
            author=actor,
            surface=undone.surface,
            reason_code="correction",
            reason=reason.strip() or f"Undo of #{undone.pk}",
            undoes=undone,
            created_at=clock.now(),
        )
        submission.rows_total = insert_from(
            SubmissionItem,
            undone.items.filter(triage__in=EFFECTIVE, dropped=False),
            submission=submission.pk,
            row=F("row"),
            target=F("target"),
            override_id=F("override_id"),
            triage=Triage.CHANGED.value,
            note="Goes back to what it was.",
            dropped=False,
        )
        _finish_draft(actor, submission)
    return submission


def receive_file(*, actor: User, intent: Intent, chunks: Iterable[bytes]) -> Submission:
    """Take a CSV file's IDs into a new submission and leave its triage to a worker (state "checking").

    The file is read once as a stream and not kept. Rows are stored in short transactions, so that
    other writers are not held up; a file that cannot be read leaves nothing behind.
    Raises Forbidden, Invalid, TooLarge.
    """
    require_permission(actor, intent.kind, intent.action)
    check_intent(intent)
    customers = intent.kind == Kind.OPT_OUT
    rows, _passed_over = read_csv(chunks, column="customer_id" if customers else "product_id")
    with transaction.atomic():
        submission = _open(actor, intent, rows_total=len(rows))
        submission.state = State.CHECKING
        submission.save(update_fields=["state"])
    try:
        _fill(actor, submission, rows)
    except Exception:
        # Whoever sent it is told that nothing was saved, so it must not look as if it were being checked.
        with suppress(DatabaseError):
            Submission.objects.filter(pk=submission.pk).update(state=State.CANCELLED)
        raise
    return submission


def check_file(submission_id: int) -> None:
    """Find out what each row of a received file would do; then the submission is a draft to look at.

    Repeats are harmless. Short transactions of 500 rows; progress is visible in `rows_done`.
    """
    submission = Submission.objects.get(pk=submission_id)
    if submission.state != State.CHECKING:
        return
    last = 0
    while True:
        batch = list(
            submission.items.filter(row__gt=last)
            .order_by("row")
            .values_list("id", "row", "target", "triage")[:ITEM_BATCH]
        )
        if not batch:
            break
        last = batch[-1][1]
        # Repeats of an ID and rows that cannot be used were marked when the file came in.
        pending = {target: pk for pk, _row, target, triage in batch if triage == Triage.NEW}
        findings = triage_targets(submission, list(pending))
        with transaction.atomic():
            store_findings({pk: findings[target] for target, pk in pending.items()})
            submission.rows_done = min(submission.rows_done + len(batch), submission.rows_total)
            submission.save(update_fields=["rows_done"])
        outbox.renew(CHECK_TASK, str(submission_id))
        time.sleep(PAUSE_SECONDS)
    with transaction.atomic():
        submission = lock_submission(submission_id)
        if submission.state == State.CHECKING:
            submission.state = State.DRAFT
            submission.rows_done = submission.rows_total
            _store_risk(submission)
            submission.save(update_fields=["state", "rows_done", "needs_approval", "risk"])


def drop_items(*, actor: User, submission_id: int, version: int, rows: Sequence[int] | None) -> Submission:
    """Leave out the given rows, or every row that cannot be used when `rows` is None.

    Only the author, and only while it is a draft or waits; what a second person looked at before is
    void afterwards. An undo puts everything back, so nothing can be left out of one: its risk would be
    weighed by fewer rows than it changes. Locks the submission. Raises NotFound, Forbidden, Conflict.
    """
    with transaction.atomic():
        submission = _editable(actor, submission_id, version)
        if submission.action == Action.RESTORE:
            raise Conflict("An undo puts everything back: no row can be left out.", code="not_editable")
        items = submission.items.filter(dropped=False)
        items = items.filter(triage=Triage.INVALID) if rows is None else items.filter(row__in=rows)
        dropped = items.update(dropped=True)
        if dropped:
            _edited(actor, submission, f"Left out {dropped:,} rows of #{submission.pk}")
    return submission


def edit(*, actor: User, submission_id: int, version: int, intent: Intent) -> Submission:
    """Change what a draft or waiting submission wants, and find out anew what each item would do.

    Votes become void. Locks the submission. Raises NotFound, Forbidden, Conflict, Invalid.
    """
    check_intent(intent)
    with transaction.atomic():
        submission = _editable(actor, submission_id, version)
        if submission.action != Action.ADD or intent.kind != submission.kind:
            raise Conflict("Only what is being added can be edited.", code="not_editable")
        require_permission_for(actor, submission)
        before = _content(submission)
        for name, value in _fields(intent).items():
            setattr(submission, name, value)
        submission.save()
        items = submission.items.exclude(triage=Triage.INVALID).exclude(target="")
        pending = {target: pk for pk, target in items.order_by("-row").values_list("id", "target")}
        findings = triage_targets(submission, list(pending))
        store_findings({pk: findings[target] for target, pk in pending.items()})
        _edited(actor, submission, f"Edited #{submission.pk}", before=before, after=_content(submission))
    return submission


def cancel(*, actor: User, submission_id: int, reason: str = "") -> Submission:
    """Give up a submission that has not taken effect. Locks it. Raises NotFound, Forbidden, Conflict."""
    with transaction.atomic():
        submission = _editable(actor, submission_id, None, while_checking=True)
        submission.state = State.CANCELLED
        submission.save(update_fields=["state"])
        events.record(
            actor=actor,
            verb="submission.cancelled",
            subject_type="submission",
            subject_id=submission.pk,
            summary=f"Gave up #{submission.pk}",
            reason=reason,
        )
    return submission


def _fill(actor: User, submission: Submission, rows: Sequence[Row]) -> None:
    items = _items_from_rows(submission, rows)
    for start in range(0, len(items), ITEM_BATCH):
        with transaction.atomic():
            SubmissionItem.objects.bulk_create(items[start : start + ITEM_BATCH])
        time.sleep(PAUSE_SECONDS)
    with transaction.atomic():
        events.record(
            actor=actor,
            verb="submission.received",
            subject_type="submission",
            subject_id=submission.pk,
            summary=f"Uploaded a file of {len(rows):,} rows as #{submission.pk}",
            reason=submission.reason,
        )
        outbox.send(task=CHECK_TASK, key=submission.pk)


def _open(actor: User, intent: Intent, *, rows_total: int) -> Submission:
    return Submission.objects.create(
        kind=intent.kind,
        action=intent.action,
        source=intent.source,
        author=actor,
        rows_total=rows_total,
        created_at=clock.now(),
        **_fields(intent),
    )


def _fields(intent: Intent) -> dict[str, object]:
    return {
        "surface_id": intent.surface,
        "starts_at": clock.floor_second(intent.starts_at) if intent.starts_at else None,
        "ends_at": clock.floor_second(intent.ends_at) if intent.ends_at else None,
        "factor": intent.factor,
        "purposes": sorted(set(intent.purposes)),
        "channel": intent.channel,
        "received_at": intent.received_at
        or (clock.now() if intent.kind == Kind.OPT_OUT and intent.action == Action.ADD else None),
        "reason_code": intent.reason_code,
        "reason": intent.reason.strip(),
        "ticket": intent.ticket.strip(),
    }


def _content(submission: Submission) -> dict[str, object]:
    return {
        "surface": submission.surface_id,
        "starts_at": submission.starts_at.isoformat() if submission.starts_at else None,
        "ends_at": submission.ends_at.isoformat() if submission.ends_at else None,
        "factor": submission.factor,
        "purposes": submission.purposes,
        "reason_code": submission.reason_code,
    }


def _ids_path(intent: Intent) -> str:
    return "customer_ids" if intent.kind == Kind.OPT_OUT else "product_ids"


def _items_from_rows(submission: Submission, rows: Sequence[Row]) -> list[SubmissionItem]:
    """Items with their targets; a row that cannot be used or repeats another says so."""
    customers = submission.kind == Kind.OPT_OUT
    first_row: dict[str, int] = {}
    items = []
    for row in rows:
        item = SubmissionItem(submission=submission, row=row.number, triage=Triage.NEW)
        if row.problem:
            item.triage, item.note = Triage.INVALID, row.problem
            # What cannot be a customer's ID may still be somebody's: only products are shown again.
            item.target = "" if customers else _printable(row.text)
        else:
            item.target = customer_key(row.text) if customers else row.text
            if item.target in first_row:
                item.triage = Triage.UNCHANGED
                item.note = f"The same ID as in row {first_row[item.target]}."
            else:
                first_row[item.target] = row.number
        items.append(item)
    return items


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "�" for character in text)[:80]


def _targets_of(kind: str, override_ids: Sequence[int]) -> dict[int, str]:
    column = "customer_key" if kind == Kind.OPT_OUT else "product_id"
    model = MODELS[kind]
    return {
        pk: target
        for batch in batches([str(pk) for pk in override_ids])
        for pk, target in model.objects.filter(pk__in=[int(pk) for pk in batch]).values_list("id", column)
    }


def _set_finding(item: SubmissionItem, finding: Finding) -> None:
    item.triage, item.note, item.before = finding.triage, finding.note[:300], finding.before


def store_findings(findings: dict[int, Finding]) -> None:
    """Write findings to their items; equal ones share a statement, since most rows of a file are alike."""
    groups: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    singles = []
    for pk, finding in findings.items():
        if finding.before is None:
            groups[finding.triage, finding.note[:300]].append(pk)
        else:
            singles.append(
                SubmissionItem(pk=pk, triage=finding.triage, note=finding.note[:300], before=finding.before)
            )
    for (triage, note), pks in groups.items():
        for batch in batches([str(pk) for pk in pks]):
            SubmissionItem.objects.filter(pk__in=[int(pk) for pk in batch]).update(
                triage=triage, note=note, before=None
            )
    SubmissionItem.objects.bulk_update(singles, ["triage", "note", "before"], batch_size=200)


def _store_risk(submission: Submission) -> None:
    risk = assess(submission)
    submission.needs_approval = bool(risk.reasons)
    submission.risk = risk.as_json()


def _finish_draft(actor: User, submission: Submission) -> None:
    submission.rows_done = submission.rows_total
    _store_risk(submission)
    submission.save()
    events.record(
        actor=actor,
        verb="submission.drafted",
        subject_type="submission",
        subject_id=submission.pk,
        summary=f"Drafted #{submission.pk}: {command(submission, submission.rows_total)}",
        reason=submission.reason,
    )


def lock_submission(submission_id: int) -> Submission:
    """Lock the submission's row until the transaction ends. Raises NotFound."""
    submission = Submission.objects.select_for_update(of=("self",)).filter(pk=submission_id).first()
    if submission is None:
        raise NotFound("There is no such submission.")
    return submission


def require_permission_for(actor: User, submission: Submission) -> None:
    """Raise Forbidden unless the person may still do what the submission does: roles may have gone since."""
    undone = submission.undoes
    require_permission(actor, submission.kind, _action_of_undo(undone) if undone else submission.action)


def _action_of_undo(undone: Submission) -> Action:
    """Undoing an addition does what a withdrawal does."""
    return Action.WITHDRAW if undone.action == Action.ADD else Action.RESTORE


def _editable(
    actor: User, submission_id: int, version: int | None, *, while_checking: bool = False
) -> Submission:
    submission = lock_submission(submission_id)
    if submission.author_id != actor.pk:
        raise Forbidden("Only its author can change a submission.")
    if submission.state == State.CHECKING and not while_checking:
        # The worker would write what it found for the old content over the new one.
        raise Conflict(f"#{submission.pk} is still being checked. Wait until that is done.", code="checking")
    if submission.state not in {State.DRAFT, State.CHECKING, State.WAITING, State.FAILED}:
        raise Conflict(
            f"#{submission.pk} is {submission.get_state_display().lower()} and can no longer be changed.",
            code="not_editable",
        )
    check_version(submission, version)
    return submission


def check_version(submission: Submission, version: int | None) -> None:
    """Raise Conflict if somebody changed the submission since `version` was shown."""
    if version is not None and version != submission.version:
        raise Conflict(
            f"#{submission.pk} was changed since you looked at it. Look at it again.",
            code="version",
            errors=[Problem("version", "changed", f"It is now version {submission.version}.")],
        )


def _edited(
    actor: User, submission: Submission, summary: str, *, before: object = None, after: object = None
) -> None:
    """Raise the version, void the votes, and weigh the risk anew."""
    submission.version += 1
    submission.decided_by = submission.decided_at = None
    if submission.state == State.FAILED:
        submission.state = State.DRAFT
    Approval.objects.filter(submission=submission, voided_at=None).update(voided_at=clock.now())
    _store_risk(submission)
    if submission.state == State.WAITING and not submission.needs_approval:
        # Small enough now: the author can carry it out from the draft.
        submission.state = State.DRAFT
    submission.save()
    events.record(
        actor=actor,
        verb="submission.edited",
        subject_type="submission",
        subject_id=submission.pk,
        summary=summary,
        before=before,
        after=after,
    )
