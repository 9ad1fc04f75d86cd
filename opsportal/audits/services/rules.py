"""Write, change and retire rules. What a rule would do is previewed, what it does is applied, elsewhere."""

from dataclasses import dataclass
from typing import Any

from django.db import transaction

from opsportal.accounts.models import User
from opsportal.audits.conditions import parse
from opsportal.audits.models import Application, Rule, Suggestion
from opsportal.audits.selectors.rules import dictionary_of, label_choices
from opsportal.audits.services.previewing import ask_for_preview
from opsportal.core import clock
from opsportal.core.errors import Conflict, Forbidden, Invalid, NotFound, Problem
from opsportal.events import services as events
from opsportal.predictions.models import Model

TITLE_MAX = 100
BAR_MIN, BAR_MAX = 0.5, 0.999
# While one of these is under way or stands, the rule is what it was when it was applied.
UNDER_WAY = (
    Application.State.WAITING,
    Application.State.APPLYING,
    Application.State.VERIFYING,
    Application.State.ACCEPTED,
    Application.State.REVERTING,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a rule says. condition: JSON as audits.conditions reads it. bar: a share of one."""

    title: str
    condition: Any
    label: str
    bar: float = 0.9


def create_rule(*, actor: User, model: Model, terms: Terms, suggestion: Suggestion | None = None) -> Rule:
    """Write a rule down and have it previewed.

    suggestion: what it comes from; then its precision is only ever estimated on labels that did not suggest
    it. One transaction with its event. Raises Forbidden, Invalid with a problem at each field (those of the
    condition by their path).
    """
    _require_lead(actor)
    condition = _checked(model, terms)
    with transaction.atomic():
        rule = Rule.objects.create(
            model=model,
            title=terms.title.strip(),
            condition=condition,
            label=terms.label,
            bar=terms.bar,
            suggestion=suggestion,
            author=actor,
            created_at=clock.now(),
        )
        ask_for_preview(rule)
        _record(actor, rule, "rule.created", f"Wrote the rule “{rule.title}”", after=_facts(rule))
    return rule


def change_rule(*, actor: User, rule: Rule, version: int, terms: Terms) -> Rule:
    """Change a rule that is not applied; its preview begins anew. The rule as it is then.

    version: the one that the person looked at. Locks the rule. Raises Forbidden, Invalid, NotFound, Conflict
    (somebody else changed it, it is applied or waits for that, it is retired).
    """
    _require_lead(actor)
    condition = _checked(rule.model, terms)
    with transaction.atomic():
        locked = lock_rule(rule.pk)
        _require_version(locked, version)
        _require_idle(locked)
        before = _facts(locked)
        locked.title, locked.condition = terms.title.strip(), condition
        locked.label, locked.bar = terms.label, terms.bar
        if _facts(locked) == before:
            return locked
        locked.version += 1
        locked.save(update_fields=["title", "condition", "label", "bar", "version"])
        ask_for_preview(locked)
        _record(
            actor,
            locked,
            "rule.changed",
            f"Changed the rule “{locked.title}”",
            before=before,
            after=_facts(locked),
        )
    return locked


def retire_rule(*, actor: User, rule: Rule) -> Rule:
    """Put a rule away that is not applied; nothing is deleted. Raises Forbidden, NotFound, Conflict."""
    _require_lead(actor)
    with transaction.atomic():
        locked = lock_rule(rule.pk)
        _require_idle(locked)
        locked.retired_at = clock.now()
        locked.preview_wanted_at = None
        locked.save(update_fields=["retired_at", "preview_wanted_at"])
        _record(actor, locked, "rule.retired", f"Retired the rule “{locked.title}”")
    return locked


def lock_rule(pk: int) -> Rule:
    """The rule, locked until the transaction ends. Raises NotFound."""
    locked = Rule.objects.select_for_update(of=("self",)).select_related("model").filter(pk=pk).first()
    if locked is None:
        raise NotFound("There is no such rule.")
    return locked


def _checked(model: Model, terms: Terms) -> Any:
    """The condition as it is stored. Raises Invalid for whatever is wrong with the terms."""
    problems: list[Problem] = []
    title = terms.title.strip()
    if not title or len(title) > TITLE_MAX or "\0" in title:
        problems.append(Problem("title", "title", f"Give it a title of at most {TITLE_MAX} characters."))
    if terms.label not in dict(label_choices(model)):
        problems.append(Problem("label", "unknown", "Choose one of the model’s labels."))
    if not BAR_MIN <= terms.bar <= BAR_MAX:
        problems.append(Problem("bar", "range", f"The bar is from {BAR_MIN:.0%} to {BAR_MAX:.1%}."))
    condition: Any = None
    try:
        condition = parse(terms.condition, dictionary_of(model)).json
    except Invalid as error:
        problems += error.errors
    if problems:
        raise Invalid(problems[0].message, code="rule", errors=problems)
    return condition


def _require_lead(actor: User) -> None:
    if not actor.can("audits.lead"):
        raise Forbidden("Only an audit lead writes rules.")


def _require_version(rule: Rule, version: int) -> None:
    if rule.version != version:
        raise Conflict("Somebody else has changed this rule meanwhile. Look at it again.", code="version")


def _require_idle(rule: Rule) -> None:
    if rule.retired_at is not None:
        raise Conflict("This rule has been retired.", code="retired")
    if rule.applications.filter(state__in=UNDER_WAY).exists():
        raise Conflict("This rule is applied, or waits for it. Revert that first.", code="applied")


def _facts(rule: Rule) -> dict[str, Any]:
    return {"title": rule.title, "condition": rule.condition, "label": rule.label, "bar": rule.bar}


def _record(actor: User, rule: Rule, verb: str, summary: str, **more: Any) -> None:
    events.record(
        actor=actor, verb=verb, subject_type="rule", subject_id=rule.pk, summary=summary[:300], **more
    )
