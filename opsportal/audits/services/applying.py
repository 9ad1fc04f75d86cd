"""Let a rule relabel in bulk: asked for, approved, applied, accepted by a sample, or reverted."""

import hashlib
import heapq
import secrets
import time
from collections.abc import Iterable, Iterator
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F

from opsportal.accounts.models import User
from opsportal.audits.conditions import parse
from opsportal.audits.models import Application, Correction, Item, Provenance, Rule, Run, Stratum, Stream
from opsportal.audits.proof import acceptance_size, bound_text, proves
from opsportal.audits.selectors.rules import dictionary_of, labels_of, samples_of
from opsportal.audits.services.closing import close_run
from opsportal.audits.services.filling import NewItem
from opsportal.audits.services.matching import (
    BATCH,
    BUDGET_SECONDS,
    Log,
    Match,
    corrected_by_rules,
    opted_out,
    said_by_people,
)
from opsportal.audits.services.rules import lock_rule
from opsportal.audits.services.runs import start_chosen_run
from opsportal.core import clock
from opsportal.core.errors import Conflict, Forbidden, Invalid, NotFound
from opsportal.core.templatetags.ui import percent
from opsportal.events import outbox
from opsportal.events import services as events
from opsportal.predictions.models import Prediction
from opsportal.predictions.selectors import batches
from opsportal.predictions.services.suppressing import hold_off_erasing

APPLY_TASK, REVERT_TASK = "audits.apply", "audits.revert"
REASON_MAX = 500
State = Application.State


# -- Asking, deciding -----------------------------------------------------------------------------


def apply_rule(*, actor: User, rule: Rule, version: int, reason: str) -> Application:
    """Have the rule relabel whatever its preview found; the new application.

    Refused unless the preview is of this version and the lower bound of its precision reaches the rule's bar.
    From AUDIT_RULE_APPROVAL_MIN changes on somebody else must approve; otherwise "audits.apply" is sent.
    Locks the rule. Raises Forbidden, Invalid (no reason), NotFound, Conflict (with the numbers, and how many
    more labels would settle it).
    """
    _require_lead(actor)
    reason = _reason(reason)
    with transaction.atomic():
        locked = lock_rule(rule.pk)
        if locked.version != version:
            raise Conflict("Somebody else has changed this rule meanwhile. Look at it again.", code="version")
        if problem := why_not(locked):
            raise Conflict(problem, code="not_proven")
        preview = locked.preview
        needs_approval = preview["changes"] >= settings.AUDIT_RULE_APPROVAL_MIN
        try:
            with transaction.atomic():
                application = Application.objects.create(
                    rule=locked,
                    terms={
                        "condition": locked.condition,
                        "label": locked.label,
                        "bar": locked.bar,
                        "version": locked.version,
                        **{
                            name: preview[name]
                            for name in ("upto", "rows", "matches", "changes", "precision")
                        },
                    },
                    state=State.WAITING if needs_approval else State.APPLYING,
                    author=actor,
                    reason=reason,
                    needs_approval=needs_approval,
                    rows_total=preview["rows"],
                    created_at=clock.now(),
                )
        except IntegrityError:
            raise Conflict("This rule is applied already, or waits for it.", code="applied") from None
        if not needs_approval:
            outbox.send(task=APPLY_TASK, key=application.pk)
        what = f"“{locked.title}” to {preview['changes']:,} predictions"
        _record(
            actor,
            application,
            "rule.application_wanted" if needs_approval else "rule.applying",
            f"Asked to apply {what}" if needs_approval else f"Applied {what}",
            reason=reason,
            after={"label": locked.label, "version": locked.version, "changes": preview["changes"]},
        )
    return application


def why_not(rule: Rule) -> str:
    """Why the rule may not be applied now, in a sentence with the numbers; empty when it may."""
    preview: dict[str, Any] = rule.preview
    if rule.retired_at is not None:
        return "This rule has been retired."
    if rule.previewed_at is None or preview.get("version") != rule.version or "precision" not in preview:
        return preview.get("problem") or "What this version of the rule would do has not been previewed yet."
    if not preview["changes"]:
        return "This rule would change nothing."
    precision = preview["precision"]
    if not precision["n"]:
        return (
            "None of the audited predictions that people labelled matches this rule, so nothing is known of "
            f"its precision. About {precision['more']:,} labels among its matches, all for it, would do."
        )
    if precision["low"] >= rule.bar:
        return ""
    seen = (
        f"People agreed with the rule on {precision['right']:,} of {precision['n']:,} audited predictions; "
        f"that proves a precision of {bound_text(precision['low'])}, and the bar is {percent(rule.bar)}."
    )
    more = precision["more"]
    if more is None:
        return f"{seen} More labels would not settle it as long as people agree no more often."
    return f"{seen} About {more:,} more labels among its matches would settle it if people go on agreeing."


def approve_application(*, actor: User, application: Application, comment: str = "") -> Application:
    """A second person lets the rule relabel; "audits.apply" is sent.

    Raises Forbidden (also for whoever asked), NotFound, Conflict (it does not wait).
    """
    return _decide(actor, application, State.APPLYING, comment)


def reject_application(*, actor: User, application: Application, comment: str) -> Application:
    """A second person refuses, with the reason. Raises Forbidden, Invalid, NotFound, Conflict."""
    return _decide(actor, application, State.REJECTED, _reason(comment, "comment"))


def _decide(actor: User, application: Application, state: Application.State, comment: str) -> Application:
    if not actor.can("audits.approve"):
        raise Forbidden("Only an approver decides this.")
    with transaction.atomic():
        locked = _lock(application.pk)
        if locked.author_id == actor.pk:
            raise Forbidden("Somebody else has to decide on what you asked for.")
        if locked.state != State.WAITING:
            raise Conflict("This no longer waits for a decision.", code="not_waiting")
        locked.state, locked.decided_by, locked.decided_at = state, actor, clock.now()
        if state == State.REJECTED:
            locked.outcome, locked.ended_at = comment[:REASON_MAX], clock.now()
        else:
            outbox.send(task=APPLY_TASK, key=locked.pk)
        locked.save(update_fields=["state", "decided_by", "decided_at", "outcome", "ended_at"])
        approved = state == State.APPLYING
        _record(
            actor,
            locked,
            "rule.approved" if approved else "rule.rejected",
            f"{'Approved' if approved else 'Rejected'} applying “{locked.rule.title}”",
            reason=comment,
        )
    return locked


# -- Applying -------------------------------------------------------------------------------------


def apply(application_pk: int) -> None:
    """Write the corrections of an application, batch by batch; then open its acceptance sample.

    Each batch of predictions is a transaction that also moves `position` on, so a restart goes on where the
    last one ended and repeats nothing. Never touched: predictions that people or another rule spoke about,
    those whose decision is the label already (`passed_over` counts both), customers who have opted out. After
    BUDGET_SECONDS the rest is left to a new message.
    """
    deadline = time.monotonic() + BUDGET_SECONDS
    while _apply_batch(application_pk):
        outbox.renew(APPLY_TASK, str(application_pk))
        if time.monotonic() > deadline:
            with transaction.atomic():
                outbox.send(task=APPLY_TASK, key=application_pk)
            return
    _verify(application_pk)


def _apply_batch(pk: int) -> bool:
    """One batch; whether there may be another."""
    with transaction.atomic():
        hold_off_erasing()
        application = (
            Application.objects.select_for_update(of=("self",)).select_related("rule__model").get(pk=pk)
        )
        if application.state != State.APPLYING:
            return False
        model, terms = application.rule.model, application.terms
        condition = parse(terms["condition"], dictionary_of(model))
        stretch = Log(model, upto=terms["upto"]).stretch(application.position, condition)
        if stretch is None:
            return False
        corrected, passed_over = _correct(application, stretch.matches)
        Application.objects.filter(pk=pk).update(
            position=stretch.last,
            rows_done=F("rows_done") + stretch.rows,
            corrected=F("corrected") + corrected,
            passed_over=F("passed_over") + passed_over,
        )
    return True


def _correct(application: Application, matches: list[Match]) -> tuple[int, int]:
    gone = opted_out(matches)
    left = {m.prediction.prediction_id: m for m in matches if m.prediction.prediction_id not in gone}
    label = application.terms["label"]
    taken = set(said_by_people(left)) | set(corrected_by_rules(left))
    # A lead's correction of an item that was erased since still stands.
    for batch in batches(left):
        taken.update(
            Correction.objects.filter(prediction_id__in=batch, reverted_at=None).values_list(
                "prediction_id", flat=True
            )
        )
    wanted = [match for key, match in left.items() if key not in taken and match.decided != label]
    moment = clock.now()
    Correction.objects.bulk_create(
        (
            Correction(
                model_id=application.rule.model_id,
                prediction_id=match.prediction.prediction_id,
                customer_key=match.prediction.customer_key,
                predicted=match.decided,
                label=label,
                provenance=Provenance.RULE,
                application=application,
                made_at=moment,
            )
            for match in wanted
        ),
        # Whoever labelled one of them a moment ago is believed.
        ignore_conflicts=True,
        batch_size=500,
    )
    written = sum(
        Correction.objects.filter(application=application, made_at=moment, prediction_id__in=batch).count()
        for batch in batches(match.prediction.prediction_id for match in wanted)
    )
    return written, len(left) - written


def _verify(pk: int) -> None:
    """Once all is written: draw the acceptance sample and open it for review, in one transaction."""
    with transaction.atomic():
        application = _lock(pk)
        if application.state != State.APPLYING:
            return
        standing = Correction.objects.filter(application=application, reverted_at=None)
        frame = standing.count()
        application.applied_at = clock.now()
        title = application.rule.title
        if not frame:
            application.state, application.ended_at = State.REVERTED, clock.now()
            application.outcome = "Nothing was left to correct: people or other rules had spoken already."
            application.save(update_fields=["state", "ended_at", "applied_at", "outcome"])
            _record(None, application, "rule.reverted", f"“{title}” had nothing left to correct")
            return
        size = acceptance_size(bar=application.terms["bar"], frame=frame)
        application.acceptance = _open_sample(application, size, frame)
        application.state = State.VERIFYING
        application.save(update_fields=["state", "acceptance", "applied_at"])
        _record(
            None,
            application,
            "rule.applied",
            f"“{title}” corrected {frame:,} predictions; {size:,} of them are looked at again",
            after={"corrected": frame, "passed_over": application.passed_over, "sample": size},
        )


def _open_sample(application: Application, size: int, frame: int) -> Run:
    """A run of `size` corrected predictions by chance, each with the same one, shown blind."""
    rule, label = application.rule, application.terms["label"]
    newest = samples_of(rule.model).first()
    run = start_chosen_run(
        actor=None,
        kind=Run.Kind.ACCEPTANCE,
        model=rule.model,
        title=f"Acceptance of “{rule.title}”",
        labels=labels_of(rule.model),
        guidelines=newest.guidelines if newest else "",
        items=_items(_drawn(application, size), label=label, probability=size / frame),
        parent=newest,
        blind=True,
        sensitive=newest.sensitive if newest else False,
        reviewers=list(newest.reviewers.all()) if newest else (),
    )
    stratum = Stratum.objects.create(
        run=run, number=1, title="Corrected by the rule", frame=frame, planned=run.items, drawn=run.items
    )
    Item.objects.filter(run=run).update(stratum=stratum)
    Run.objects.filter(pk=run.pk).update(frame=frame)
    run.refresh_from_db()
    return run


def _drawn(application: Application, size: int) -> list[str]:
    """Which corrected predictions are looked at again: those with the lowest of hashes under a new key."""
    key = secrets.token_bytes(16)
    lowest: list[tuple[int, str]] = []
    last = 0
    rows = Correction.objects.filter(application=application, reverted_at=None)
    while page := list(rows.filter(pk__gt=last).order_by("pk").values_list("pk", "prediction_id")[:BATCH]):
        for _, prediction_id in page:
            digest = hashlib.blake2b(prediction_id.encode(), key=key, digest_size=8).digest()
            entry = (-int.from_bytes(digest, "big"), prediction_id)
            if len(lowest) < size:
                heapq.heappush(lowest, entry)
            elif entry > lowest[0]:
                heapq.heapreplace(lowest, entry)
        last = page[-1][0]
    return [prediction_id for _, prediction_id in lowest]


def _items(prediction_ids: Iterable[str], *, label: str, probability: float) -> Iterator[NewItem]:
    for batch in batches(prediction_ids):
        for row in Prediction.objects.filter(prediction_id__in=batch).order_by("pk"):
            yield NewItem(
                prediction_id=row.prediction_id,
                version_id=row.version_id,
                predicted_at=row.predicted_at,
                score=row.score,
                # What is on trial: an error is where people say something else.
                predicted=label,
                product_id=row.product_id,
                customer_key=row.customer_key,
                surface=row.surface,
                text=row.text,
                features=row.features,
                stream=Stream.SAMPLE,
                inclusion_probability=probability,
            )


# -- Accepting, reverting -------------------------------------------------------------------------


def settle_acceptance(run: Run) -> None:
    """Accept or revert the application whose acceptance sample this closed run is; otherwise nothing.

    It passes where the labels prove that at least the bar of what was corrected is right (exact for the
    finite number of corrections). "Cannot tell" and unlabelled items prove nothing. Harmless to run twice.
    """
    if run.kind != Run.Kind.ACCEPTANCE or run.state != Run.State.CLOSED:
        return
    with transaction.atomic():
        application = (
            Application.objects.select_for_update(of=("self",))
            .select_related("rule")
            .filter(acceptance=run, state=State.VERIFYING)
            .first()
        )
        if application is None:
            return
        label, bar = application.terms["label"], application.terms["bar"]
        told = Item.objects.filter(run=run, state=Item.State.SETTLED).exclude(label="")
        n, right = told.count(), told.filter(label=label).count()
        seen = f"People agreed with {right:,} of {n:,} corrections they could judge; {run.items:,} were drawn"
        if proves(right, n, bar=bar, frame=max(run.frame, n)):
            application.state, application.ended_at = State.ACCEPTED, clock.now()
            application.outcome = f"{seen}: at least {percent(bar)} of all are right, 95 % sure."
            application.save(update_fields=["state", "ended_at", "outcome"])
            _record(
                None, application, "rule.accepted", f"“{application.rule.title}” passed its acceptance sample"
            )
            return
        why = f"{seen}: that does not prove that {percent(bar)} of all are right."
        _begin_reverting(None, application, why)


def revert_application(*, actor: User, application: Application, reason: str) -> Application:
    """Take back whatever the application corrected ("audits.revert"), or the wish to apply it.

    Its corrections stop counting at once. An acceptance sample that is still open is closed. Raises
    Forbidden, Invalid (no reason), NotFound, Conflict (it has ended).
    """
    _require_lead(actor)
    reason = _reason(reason)
    with transaction.atomic():
        locked = _lock(application.pk)
        if locked.state == State.WAITING:
            locked.state, locked.ended_at, locked.outcome = State.REJECTED, clock.now(), reason
            locked.save(update_fields=["state", "ended_at", "outcome"])
            _record(
                actor,
                locked,
                "rule.application_withdrawn",
                f"Withdrew applying “{locked.rule.title}”",
                reason=reason,
            )
            return locked
        if locked.state not in {State.APPLYING, State.VERIFYING, State.ACCEPTED}:
            raise Conflict("This has ended already.", code="ended")
        _begin_reverting(actor, locked, reason)
        if locked.acceptance and locked.acceptance.state == Run.State.OPEN:
            close_run(actor=actor, run=locked.acceptance)
    return locked


def _begin_reverting(actor: User | None, application: Application, reason: str) -> None:
    application.state, application.outcome = State.REVERTING, reason[:REASON_MAX]
    application.ended_at = None
    application.save(update_fields=["state", "outcome", "ended_at"])
    outbox.send(task=REVERT_TASK, key=application.pk)
    _record(
        actor,
        application,
        "rule.reverting",
        f"Began to take back what “{application.rule.title}” corrected",
        reason=reason,
    )


def revert(application_pk: int) -> None:
    """Revert the corrections of an application, a transaction per batch; harmless to run again."""
    deadline = time.monotonic() + BUDGET_SECONDS
    while True:
        with transaction.atomic():
            application = _lock(application_pk)
            if application.state != State.REVERTING:
                return
            standing = Correction.objects.filter(application=application, reverted_at=None).order_by("pk")
            pks = list(standing.values_list("pk", flat=True)[:BATCH])
            if not pks:
                _end_reverting(application)
                return
            for batch in batches(pks):
                Correction.objects.filter(pk__in=batch).update(reverted_at=clock.now())
        outbox.renew(REVERT_TASK, str(application_pk))
        if time.monotonic() > deadline:
            with transaction.atomic():
                outbox.send(task=REVERT_TASK, key=application_pk)
            return


def _end_reverting(application: Application) -> None:
    application.state, application.ended_at = State.REVERTED, clock.now()
    application.save(update_fields=["state", "ended_at"])
    _record(
        None,
        application,
        "rule.reverted",
        f"Took back what “{application.rule.title}” corrected",
        reason=application.outcome,
        after={"corrected": application.corrected},
    )


def _lock(pk: int) -> Application:
    locked = (
        Application.objects.select_for_update(of=("self",))
        .select_related("rule__model", "acceptance")
        .filter(pk=pk)
        .first()
    )
    if locked is None:
        raise NotFound("There is no such application.")
    return locked


def _require_lead(actor: User) -> None:
    if not actor.can("audits.lead"):
        raise Forbidden("Only an audit lead does this.")


def _reason(text: str, path: str = "reason") -> str:
    text = text.strip()
    if not text:
        raise Invalid.at(path, "required", "Say why, in a few words.")
    if len(text) > REASON_MAX or "\0" in text:
        raise Invalid.at(path, "too_long", f"Use at most {REASON_MAX} characters.")
    return text


def _record(actor: User | None, application: Application, verb: str, summary: str, **more: Any) -> None:
    events.record(
        actor=actor,
        verb=verb,
        subject_type="rule",
        subject_id=application.rule_id,
        summary=summary[:300],
        **more,
    )
