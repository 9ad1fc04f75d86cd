"""What a rule would do: counted over the log, and judged by what people said about audited predictions."""

import hashlib
import heapq
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from django.db import transaction

from opsportal.accounts.models import User
from opsportal.audits.conditions import Condition, parse
from opsportal.audits.models import Rule
from opsportal.audits.proof import effective_size, lower_bound, more_labels, upper_bound
from opsportal.audits.selectors.rules import audited_items, dictionary_of, samples_of
from opsportal.audits.services.matching import (
    BUDGET_SECONDS,
    Log,
    Match,
    corrected_by_rules,
    newest_key,
    opted_out,
    said_by_people,
)
from opsportal.core import clock
from opsportal.core.errors import Conflict, Forbidden, Invalid
from opsportal.events import outbox
from opsportal.predictions.dictionary import FeatureDictionary

TASK = "audits.preview"
EXAMPLES, OTHER_RULES_MAX = 20, 20
METHOD = (
    "Design-weighted share of audited items that people gave this label, among those that the rule would"
    " change. Bounds: Clopper–Pearson, each 95 % sure, on the effective number of items."
)
SOURCE = "Clopper & Pearson, Biometrika 26, 1934; Korn & Graubard, Survey Methodology 24, 1998"


def want_preview(*, actor: User, rule: Rule) -> None:
    """Have the rule previewed anew by a worker. Raises Forbidden, Conflict (retired)."""
    if not actor.can("audits.lead"):
        raise Forbidden("Only an audit lead has rules previewed.")
    with transaction.atomic():
        locked = Rule.objects.select_for_update().get(pk=rule.pk)
        if locked.retired_at is not None:
            raise Conflict("This rule has been retired.", code="retired")
        ask_for_preview(locked)


def ask_for_preview(rule: Rule) -> None:
    """Begin the rule's preview from the start; part of the caller's transaction, which holds its lock."""
    rule.preview, rule.previewed_at = {}, None
    rule.preview_wanted_at = clock.now()
    rule.rows_total = rule.rows_done = 0
    rule.save(update_fields=["preview", "previewed_at", "preview_wanted_at", "rows_total", "rows_done"])
    outbox.send(task=TASK, key=rule.pk)


def preview(rule_pk: int) -> None:
    """Look through the model's whole log for what this rule is true of, and store the preview.

    In pages by primary key; after each the tally is stored, so that whoever comes after a killed worker goes
    on there, and a rule that was changed or retired meanwhile is dropped at once. Memory does not grow with
    the log. After BUDGET_SECONDS the rest is left to a new message.
    """
    rule = Rule.objects.select_related("model", "suggestion__run").filter(pk=rule_pk).first()
    if rule is None or rule.preview_wanted_at is None:
        return
    deadline = time.monotonic() + BUDGET_SECONDS
    dictionary = dictionary_of(rule.model)
    try:
        condition = parse(rule.condition, dictionary)
    except Invalid as error:
        # A newer version has another dictionary.
        _store(rule, preview_wanted_at=None, preview={"version": rule.version, "problem": error.message})
        return
    tally = _Tally.of(rule)
    log = Log(rule.model, upto=tally.upto)
    if not tally.rows:
        total = log.count()
        if not _store(rule, rows_total=total, rows_done=0, preview={"tally": asdict(tally)}):
            return
    others = _other_rules(rule, dictionary)
    while (stretch := log.stretch(tally.position, condition)) is not None:
        tally.position, tally.rows = stretch.last, tally.rows + stretch.rows
        _count(tally, rule, stretch.matches, others)
        if not _store(rule, rows_done=tally.rows, preview={"tally": asdict(tally)}):
            return
        outbox.renew(TASK, str(rule_pk))
        if time.monotonic() > deadline:
            with transaction.atomic():
                outbox.send(task=TASK, key=rule_pk)
            return
    precision, for_it, against = _judge(rule, condition)
    titles = {pk: title for pk, title, *_ in others}
    _store(
        rule,
        preview={
            "version": rule.version,
            "upto": tally.upto,
            "rows": tally.rows,
            "matches": tally.matches,
            "changes": tally.changes,
            "same": tally.same,
            "opted_out": tally.opted_out,
            "people": {"agree": tally.people_agree, "against": tally.people_against},
            "corrected": tally.corrected,
            "other_rules": [
                {"rule": int(pk), "title": titles.get(int(pk), ""), "count": number}
                for pk, number in sorted(tally.others.items(), key=lambda pair: -pair[1])
            ],
            "precision": precision,
            "examples": {
                "for": for_it,
                "against": against,
                "changes": [prediction_id for _, prediction_id in sorted(tally.examples, reverse=True)],
            },
        },
        previewed_at=clock.now(),
        preview_wanted_at=None,
        rows_total=tally.rows,
        rows_done=tally.rows,
    )


@dataclass(slots=True)
class _Tally:
    """How far a preview has come. examples: [−hash, ID], a heap of those with the lowest hashes."""

    upto: int
    position: int = 0
    rows: int = 0
    matches: int = 0
    changes: int = 0
    same: int = 0
    opted_out: int = 0
    people_agree: int = 0
    people_against: int = 0
    corrected: int = 0
    others: dict[str, int] = field(default_factory=dict)
    examples: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, rule: Rule) -> "_Tally":
        """Where an earlier worker stopped, or the start."""
        kept = rule.preview.get("tally")
        return cls(**kept) if kept else cls(upto=newest_key())


_Others = list[tuple[int, str, str, Condition]]


def _other_rules(rule: Rule, dictionary: FeatureDictionary) -> _Others:
    """The newest other rules of the model that say something else."""
    rows = Rule.objects.filter(model=rule.model, retired_at=None).exclude(pk=rule.pk)
    found: _Others = []
    for other in rows.exclude(label=rule.label).order_by("-pk")[:OTHER_RULES_MAX]:
        try:
            found.append((other.pk, other.title, other.label, parse(other.condition, dictionary)))
        except Invalid:
            continue
    return found


def _count(tally: _Tally, rule: Rule, matches: Sequence[Match], others: _Others) -> None:
    tally.matches += len(matches)
    gone = opted_out(matches)
    tally.opted_out += len(gone)
    left = [match for match in matches if match.prediction.prediction_id not in gone]
    tally.same += sum(match.decided == rule.label for match in left)
    ids = [match.prediction.prediction_id for match in left]
    said, ruled = said_by_people(ids, closed=True), corrected_by_rules(ids)
    for match in left:
        prediction_id = match.prediction.prediction_id
        if prediction_id in said:
            tally.people_agree += said[prediction_id] == rule.label
            tally.people_against += said[prediction_id] != rule.label
        for pk, _, _, condition in others:
            if condition.holds(match.case):
                tally.others[str(pk)] = tally.others.get(str(pk), 0) + 1
        if match.decided == rule.label or prediction_id in said:
            continue
        if prediction_id in ruled:
            tally.corrected += 1
            continue
        tally.changes += 1
        entry = [-_chance(rule, prediction_id), prediction_id]
        if len(tally.examples) < EXAMPLES:
            heapq.heappush(tally.examples, entry)
        elif entry > tally.examples[0]:
            heapq.heapreplace(tally.examples, entry)


def _judge(rule: Rule, condition: Condition) -> tuple[dict[str, Any], list[str], list[str]]:
    """Precision on audited items, and IDs of random ones for and against.

    Only closed random samples count. A prediction in several of them counts once, as the newest has it. Of
    the run that suggested the rule only the held-out half does.
    """
    seen: set[str] = set()
    hits = weights = squares = right = 0.0
    n = runs = 0
    for_it: list[tuple[int, str]] = []
    against: list[tuple[int, str]] = []
    suggested_by = rule.suggestion.run_id if rule.suggestion else None
    for run in samples_of(rule.model):
        runs += 1
        for audited in audited_items(run, only_held_out=run.pk == suggested_by):
            item = audited.item
            if item.prediction_id in seen or item.predicted == rule.label:
                continue
            if not condition.matches(item, item.predicted):
                continue
            seen.add(item.prediction_id)
            is_right = item.label == rule.label
            n += 1
            right += is_right
            hits += audited.weight * is_right
            weights += audited.weight
            squares += audited.weight**2
            found = for_it if is_right else against
            found.append((_chance(rule, item.prediction_id), item.prediction_id))
        outbox.renew(TASK, str(rule.pk))
    size = effective_size(weights, squares)
    share = hits / weights if weights else None
    # Whole numbers, rounded so that the bound is never too high.
    whole = math.floor(size + 1e-9)
    whole_hits = math.floor((share or 0) * whole + 1e-9)
    return (
        {
            "n": n,
            "right": int(right),
            "share": share,
            "low": lower_bound(whole_hits, whole),
            "high": upper_bound(math.ceil((share or 0) * whole - 1e-9), whole),
            "effective": size,
            "weighted": n > 0 and size < n - 0.5,
            "held_out": suggested_by,
            "runs": runs,
            "more": more_labels(whole_hits, whole, bar=rule.bar),
        },
        [prediction_id for _, prediction_id in sorted(for_it)[:EXAMPLES]],
        [prediction_id for _, prediction_id in sorted(against)[:EXAMPLES]],
    )


def _chance(rule: Rule, prediction_id: str) -> int:
    """A number by chance that stays the same for this version of the rule."""
    key = f"{rule.pk}@{rule.version}".encode()
    return int.from_bytes(hashlib.blake2b(prediction_id.encode(), key=key, digest_size=6).digest(), "big")


def _store(rule: Rule, **values: Any) -> bool:
    """Write to the rule unless it was changed, retired or asked for anew meanwhile; whether it was not."""
    return bool(
        Rule.objects.filter(
            pk=rule.pk, version=rule.version, preview_wanted_at=rule.preview_wanted_at, retired_at=None
        ).update(**values)
    )
