"""The audit trail as people read it: filtered, in words, with what changed."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db.models import BigIntegerField, Case, Exists, OuterRef, Q, QuerySet, When
from django.db.models.functions import Cast
from django.urls import reverse
from django.utils import timezone

from opsportal.accounts.models import User
from opsportal.core.templatetags.ui import percent
from opsportal.events.models import Event
from opsportal.overrides.models import Kind, Submission, SubmissionItem
from opsportal.overrides.selectors.wording import shown_target

# Words are looked for in this many of the newest events: no index helps there.
SEARCHED_EVENTS = 50_000
SUBMISSIONS_OF_A_PRODUCT = 200
SYSTEM = "system"
LAST_SEQUENCE = 2**63 - 1
# Not for the home page: they say who was here or began something, not what was changed.
QUIET_VERBS = (
    "signed_in",
    "customer.looked_up",
    "prediction.looked_up",
    "prediction.told",
    "prediction.what_if",
    "submission.drafted",
    "submission.edited",
)

# Group of the filter → the types of subject in it.
GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "overrides": ("Overrides", ("submission", "override", "block", "boost", "opt_out")),
    "lookups": ("Look-ups of customers", ("customer",)),
    "predictions": ("Look-ups of predictions", ("prediction",)),
    "models": ("Models and what they predicted", ("model", "model_version")),
    "audits": ("Audits", ("run", "policy", "rule", "threshold")),
    "serving": ("Serving store", ("store", "outbox")),
    "people": ("People and roles", ("person",)),
    "keys": ("API keys", ("key",)),
}
ICONS = {
    "submission": "submissions",
    "customer": "privacy",
    "prediction": "explain",
    "model": "model",
    "model_version": "model",
    "run": "audit",
    "policy": "calendar",
    "rule": "filter",
    "threshold": "what-if",
    "store": "serving",
    "outbox": "refresh",
    "person": "user",
    "key": "key",
}
VERB_ICONS = {
    "submission.applied": "check",
    "submission.approved": "approve",
    "submission.rejected": "reject",
    "submission.cancelled": "cross",
    "submission.failed": "failed",
    "submission.waiting": "waiting",
    "submission.drafted": "edit",
    "submission.edited": "edit",
    "submission.received": "import",
    "submission.retried": "refresh",
    "customer.looked_up": "search",
    "prediction.looked_up": "search",
    "model.ready": "check",
    "model.refused": "failed",
    "model.importance_wanted": "refresh",
    "serving.rebuild_wanted": "refresh",
    "serving.drift_repaired": "tools",
    "overrides.tidied": "ended",
}
# How an entry's mark is coloured; the icon says it too.
TONES = {
    "submission.applied": "live",
    "submission.approved": "live",
    "submission.rejected": "failed",
    "submission.failed": "failed",
    "submission.waiting": "waiting",
    "customer.looked_up": "privacy",
    "prediction.looked_up": "privacy",
    "prediction.told": "privacy",
    "model.registered": "model",
    "model.ready": "live",
    "model.refused": "failed",
    "serving.drift_repaired": "waiting",
    "serving.rebuild_wanted": "model",
}
LABELS = {
    "digest": "Digest of all IDs",
    "ends_at": "Ends",
    "impression_share": "Share of last week’s impressions",
    "items": "Items",
    "starts_at": "Starts",
}


_AUDIT_PAGES = {
    "run": "audits-run",
    "policy": "audits-policy",
    "rule": "audits-rule",
    "threshold": "audits-threshold",
}


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that an event changed; empty text where there was or is none."""

    label: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as a row of the trail."""

    event: Event
    icon: str
    tone: str
    url: str
    subject: str
    changes: list[Change]


def visible_events(user: User) -> QuerySet[Event]:
    """The events a person may see: those about customers and their opt-outs only with `optouts.view`, those
    about predictions only with `predictions.view`."""
    seen = Event.objects.all()
    if not user.can("predictions.view"):
        seen = seen.exclude(subject_type="prediction")
    if user.can("optouts.view"):
        return seen
    # Only a submission's subject is a number; CASE keeps PostgreSQL from reading the others as one.
    number = Case(When(subject_type="submission", then=Cast("subject_id", BigIntegerField())))
    opt_outs = Submission.objects.filter(kind=Kind.OPT_OUT, pk=OuterRef("submission_number"))
    events = seen.exclude(subject_type="customer").alias(submission_number=number)
    return events.exclude(Exists(opt_outs))


def trail(
    *,
    user: User,
    person: str = "",
    group: str = "",
    submission: int | None = None,
    text: str = "",
    since: date | None = None,
    until: date | None = None,
) -> QuerySet[Event]:
    """The events that this user may see and that match; days are in their zone, both included.

    person: a user name, or `system`. group: a key of GROUPS. text: words of a summary or reason, among
    the newest 50,000 events, or a product ID, whatever its age. Order by `-sequence`.
    """
    events = visible_events(user)
    if person == SYSTEM:
        events = events.filter(actor=None)
    elif person:
        # Asked for first: only with the person's number does the index give the order too.
        found = User.objects.filter(username=person).values_list("pk", flat=True).first()
        events = events.filter(actor=found) if found else events.none()
    if group:
        events = events.filter(subject_type__in=GROUPS[group][1])
    if submission is not None:
        events = events.filter(subject_type="submission", subject_id=str(submission))
    if text:
        events = events.filter(_mentions(text))
    if since:
        events = events.filter(sequence__gte=_first_from(since))
    if until:
        events = events.filter(sequence__lt=_first_from(until + timedelta(days=1)))
    return events


def recent_events(user: User, limit: int = 10) -> list[Event]:
    """The newest events that the person may see and that changed something."""
    return list(visible_events(user).exclude(verb__in=QUIET_VERBS).order_by("-sequence")[:limit])


def people() -> list[str]:
    """The names of everybody who may have done something, for the filter."""
    return list(User.objects.order_by("username").values_list("username", flat=True)[:500])


def searches_only_the_newest() -> bool:
    """Whether there are more events than a search for words looks at."""
    newest = Event.objects.order_by("-sequence").values_list("sequence", flat=True).first() or 0
    return newest > SEARCHED_EVENTS


def entries(events: Iterable[Event]) -> list[Entry]:
    """Rows of the trail for these events; asks nothing of the database."""
    return [
        Entry(
            event=event,
            icon=VERB_ICONS.get(event.verb) or ICONS.get(event.subject_type, "neutral"),
            tone=TONES.get(event.verb, "neutral"),
            url=_url(event),
            subject=subject_of(event),
            changes=changes(event.before, event.after),
        )
        for event in events
    ]


def changes(before: Any, after: Any) -> list[Change]:
    """What differs between two JSON values, key by key; keys that did not change are left out."""
    if not isinstance(before, dict) and not isinstance(after, dict):
        pair = (_text(before), _text(after))
        return [Change("Value", *pair)] if pair[0] != pair[1] else []
    old = before if isinstance(before, dict) else {}
    new = after if isinstance(after, dict) else {}
    return [
        Change(_label(key), _text(old.get(key), key), _text(new.get(key), key))
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]


def _mentions(text: str) -> Q:
    newest = Event.objects.order_by("-sequence").values_list("sequence", flat=True).first() or 0
    words = Q(summary__icontains=text) | Q(reason__icontains=text)
    submissions = (
        SubmissionItem.objects.filter(target=text)
        .exclude(submission__kind=Kind.OPT_OUT)
        .order_by("-submission")
        .values_list("submission", flat=True)[:SUBMISSIONS_OF_A_PRODUCT]
    )
    about = Q(subject_type="submission", subject_id__in=[str(pk) for pk in submissions])
    return about | (Q(sequence__gt=newest - SEARCHED_EVENTS) & words)


def _first_from(day: date) -> int:
    """The number of the first event of that day or later; one look at an index."""
    start = timezone.make_aware(datetime.combine(day, time.min))
    later = Event.objects.filter(at__gte=start).order_by("at", "sequence")
    # Beyond every event when there is none.
    return later.values_list("sequence", flat=True).first() or LAST_SEQUENCE


def _url(event: Event) -> str:
    if event.subject_type in _AUDIT_PAGES:
        # Some events are about several.
        page = _AUDIT_PAGES[event.subject_type]
        return reverse(page, args=[event.subject_id]) if event.subject_id.isdigit() else ""
    match event.subject_type:
        case "submission":
            return reverse("overrides-submission", args=[event.subject_id])
        case "model":
            return f"{reverse('models')}?model={event.subject_id}"
        case "store" | "outbox":
            return reverse("serving")
    return ""


def subject_of(event: Event) -> str:
    """What the event is about, in a word or two; customers by the first digits of their pseudonym."""
    match event.subject_type:
        case "submission":
            return f"#{event.subject_id}"
        case "customer":
            return f"customer {shown_target(Kind.OPT_OUT, event.subject_id)}"
        case "model":
            return event.subject_id
        case "key":
            return f"key {event.subject_id}"
        case "store":
            return "serving store"
    return ""


def _label(key: str) -> str:
    return LABELS.get(key) or key.replace("_", " ").capitalize()


def _text(value: Any, key: str = "") -> str:
    if key.endswith("_share") and isinstance(value, float | int):
        return percent(value)
    match value:
        case None | "" | [] | {}:
            return ""
        case bool():
            return "yes" if value else "no"
        case str():
            return _moment(value)
        case float() | int():
            return f"{value:,}"
        case list():
            return ", ".join(_text(item) for item in value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _moment(text: str) -> str:
    """An ISO time in the person's zone; any other text as it is."""
    if len(text) < 19 or text[10:11] != "T":
        return text
    try:
        local = timezone.localtime(datetime.fromisoformat(text))
    except ValueError:
        return text
    return f"{local:%a} {local.day} {local:%b %Y, %H:%M:%S}"
