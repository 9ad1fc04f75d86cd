"""What the review screen and the page of decisions show."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Final

from django.db.models import Exists, OuterRef, prefetch_related_objects
from django.utils import timezone

from opsportal.accounts.models import User
from opsportal.audits.models import Item, Label, Period, Policy, Run
from opsportal.audits.selectors.waiting import open_runs
from opsportal.core import clock
from opsportal.predictions.dictionary import TEXT, FeatureDictionary, Value

# A longer silence ends a sitting.
PAUSE: Final = timedelta(minutes=10)
SITTING_MAX: Final = 2_000
RECENT_MAX: Final = 20
# So many gaps make the pace, and so few do not.
PACE_OF: Final = 20
PACE_FROM: Final = 3
EXCERPT_MAX: Final = 70
CANNOT_TELL: Final = "cannot tell"
# What nobody sees but what turns the rest of a text round, or means nothing on a screen.
_UNSEEN: Final = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


# -- The item ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Field:
    """One logged value in words."""

    label: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An item as the person at work sees it.

    text: what is to be judged, if it is a text. fields: the values that are to be judged with it. context:
    what lies one key away; never the score or the stratum. seconds: until the lease ends. model: the
    model's answer, empty where it is hidden. before: what this person said before it was taken back; None:
    nothing. note: what was noted then.
    """

    token: str
    review_id: int
    seconds: int
    text: str
    fields: tuple[Field, ...]
    context: tuple[Field, ...]
    model: str = ""
    why: str = ""
    before: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """A label that can be given, and the key that gives it."""

    value: str
    title: str
    key: str
    guideline: str


def choices(run: Run) -> list[Choice]:
    """The labels of the run in their order."""
    return [
        Choice(
            value=str(label["value"]),
            title=str(label.get("title") or label["value"]),
            key=str(label.get("key") or ""),
            guideline=str(label.get("guideline") or ""),
        )
        for label in run.labels
    ]


def in_words(run: Run, value: str) -> str:
    """A label's title; `cannot tell` for the empty one, the value itself where it is none of the run's."""
    if not value:
        return CANNOT_TELL
    return next((choice.title for choice in choices(run) if choice.value == value), value)


def show(
    *,
    token: str,
    review_id: int,
    leased_until: datetime,
    item: Item,
    run: Run,
    hides_model: bool,
    earlier: Label | None = None,
) -> Shown:
    """The item as it is shown, without anything that could give the model's answer away if that is hidden.

    Not even why it was drawn or its prediction's ID: its own page says what the model thinks.
    """
    dictionary = item.version.features if item.version else None
    text, fields, others = _split(item, dictionary)
    context = [
        *others,
        *(Field(label, value) for label, value in _circumstances(item) if value),
    ]
    return Shown(
        token=token,
        review_id=review_id,
        seconds=max(0, int((leased_until - clock.now()).total_seconds())),
        text=readable(text),
        fields=tuple(fields),
        context=tuple(context),
        model="" if hides_model else in_words(run, item.predicted),
        why="" if hides_model else item.why,
        before=earlier.value if earlier else None,
        note=earlier.note if earlier else "",
    )


def _circumstances(item: Item) -> Iterable[tuple[str, str]]:
    yield "Product", item.product_id
    yield "Surface", item.surface
    yield "Predicted", f"{timezone.localtime(item.predicted_at):%a %d %b %Y, %H:%M}"


def _split(item: Item, dictionary: FeatureDictionary | None) -> tuple[str, list[Field], list[Field]]:
    """(the text, the values beside it, the values one key away).

    A text is judged by itself, so all values are one key away then; else what the model saw is in view.
    """
    values = item.values
    text = item.text
    if not text and dictionary and dictionary.text_feature:
        text = str(values.get(dictionary.text_feature.name) or "")
    near: list[Field] = []
    far: list[Field] = []
    for name, value in _in_order(values, dictionary):
        feature = dictionary.by_name.get(name) if dictionary else None
        if isinstance(value, str) and value == text and (feature is None or feature.type == TEXT):
            continue
        words = feature.show(value) if feature else _plain(value)
        field = Field(feature.label if feature else readable(name), readable(words))
        seen = feature is None or feature.input
        (far if text or not seen else near).append(field)
    return text, near, far


def _in_order(values: dict[str, Value], dictionary: FeatureDictionary | None) -> Iterable[tuple[str, Value]]:
    known = [feature.name for feature in dictionary.features] if dictionary else []
    yield from ((name, values[name]) for name in known if name in values)
    strange = values.keys() - set(known)
    yield from ((name, value) for name, value in values.items() if name in strange)


def _plain(value: Value) -> str:
    if value is None:
        return "not provided"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def readable(text: str) -> str:
    """The text with signs that only hide or turn round what others wrote made visible: `[U+202E]`."""
    return _UNSEEN.sub(lambda sign: f"[U+{ord(sign[0]):04X}]", text)


def withdrawn_answer(person: User, review_id: int) -> Label | None:
    """What the person said under this review before it was taken back last."""
    return (
        Label.objects.filter(review=review_id, person=person, withdrawn_at__isnull=False)
        .order_by("-at")
        .first()
    )


# -- Answers side by side ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Side:
    """What one person said of a disputed item: A, B, …, by chance and without a name."""

    letter: str
    words: str
    note: str


def sides(item: Item, run: Run) -> list[Side]:
    """The answers of a disputed item. Their order says nothing of who or when, and is always the same."""
    answers = Label.objects.filter(item=item, withdrawn_at__isnull=True, adjudicates=False)
    # Tokens are drawn by chance.
    by_chance = sorted(answers, key=lambda answer: answer.token)
    return [
        Side(chr(ord("A") + place), in_words(run, answer.value), readable(answer.note))
        for place, answer in enumerate(by_chance)
    ]


# -- Which run --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Queue:
    """Open runs that ask this person. ready: there is something for them. elsewhere: others hold the rest."""

    ready: list[Run]
    elsewhere: list[Run]


def queue_of(person: User) -> Queue:
    """Which runs wait for this person, oldest first. One query."""
    runs = list(open_runs(person, labels=True, leads=False))
    ready = [run for run in runs if run.has_work]  # type: ignore[attr-defined]  # annotated
    started = [run for run in runs if run not in ready and asks(run, person) and run.settled < run.items]
    return Queue(ready, started)


def asks(run: Run, person: User) -> bool:
    """Whether the run asks this person: it names nobody, or them too."""
    named = set(run.reviewers.values_list("pk", flat=True))
    return not named or person.pk in named


def run_to_review(person: User, run_id: int) -> Run | None:
    """The run, in whatever state, if it asks this person."""
    run = Run.objects.filter(pk=run_id).first()
    return run if run and asks(run, person) else None


@dataclass(frozen=True, slots=True)
class Coming:
    """A policy that will bring work: its title and how often it draws."""

    title: str
    period: str


def coming(person: User) -> list[Coming]:
    """Which active policies draw by themselves and ask this person."""
    asked = Policy.reviewers.through.objects.filter(policy=OuterRef("pk"))
    policies = Policy.objects.filter(~Exists(asked) | Exists(asked.filter(user=person)), active=True).exclude(
        period=Period.BY_HAND
    )
    return [Coming(policy.title, policy.get_period_display().lower()) for policy in policies[:5]]


def disputes_waiting() -> int:
    """How many disputed items wait for an audit lead, in all open runs."""
    return sum(Run.objects.filter(state=Run.State.OPEN).values_list("to_adjudicate", flat=True))


# -- My pace and my last answers --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sitting:
    """Answers without a pause of more than PAUSE between them.

    seconds: from the first item to the last answer. pace: the median from answer to answer in seconds;
    None for too few.
    """

    labelled: int
    seconds: float
    pace: float | None

    @property
    def length(self) -> str:
        """How long it took, in words."""
        minutes = round(self.seconds / 60)
        if minutes < 1:
            return "less than a minute"
        hours, rest = divmod(minutes, 60)
        parts = [_plural(hours, "hour")] if hours else []
        parts += [_plural(rest, "minute")] if rest else []
        return " ".join(parts)


def _plural(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")


def sitting_of(person: User, run: Run | None, *, adjudicates: bool = False) -> Sitting:
    """The sitting that the person is in, with this run (None: with any); empty if it has ended."""
    rows = Label.objects.filter(person=person, withdrawn_at__isnull=True, adjudicates=adjudicates)
    if run is not None:
        rows = rows.filter(run=run)
    moments: list[datetime] = []
    first_took = 0.0
    for moment, took in rows.order_by("-at").values_list("at", "seconds")[:SITTING_MAX]:
        if moments and moments[-1] - moment > PAUSE:
            break
        moments.append(moment)
        first_took = took
    if not moments or clock.now() - moments[0] > PAUSE:
        return Sitting(0, 0.0, None)
    gaps = [(later - earlier).total_seconds() for later, earlier in pairwise(moments[: PACE_OF + 1])]
    length = (moments[0] - moments[-1]).total_seconds() + min(first_took, PAUSE.total_seconds())
    return Sitting(len(moments), length, median(gaps) if len(gaps) >= PACE_FROM else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One of the person's own last answers. model: the model's answer, once it was asked for."""

    label_id: int
    excerpt: str
    words: str
    note: str
    model: str
    may_undo: bool
    may_reveal: bool


def said(labels: Sequence[Label], revealed: Collection[int], *, hides_model: bool = False) -> list[Said]:
    """The labels (with item and run at hand) as they are listed. At most one query.

    hides_model: also in runs that are not blind. Whoever has seen the model's answer does not take their
    own back: a second answer would not be blind.
    """
    bare = [label.item for label in labels if not label.item.text]
    prefetch_related_objects(bare, "version")
    dictionaries: dict[int | None, FeatureDictionary] = {
        version.pk: version.features for version in {item.version for item in bare} if version
    }
    found = []
    for label in labels:
        run, item = label.run, label.item
        is_open = run.state == Run.State.OPEN
        seen = label.pk in revealed
        is_blind = hides_model or run.blind
        found.append(
            Said(
                label_id=label.pk,
                excerpt=_excerpt(item, dictionaries.get(item.version_id)),
                words=in_words(run, label.value),
                note=label.note,
                model=in_words(run, item.predicted) if seen or not is_blind else "",
                may_undo=is_open and not (is_blind and seen),
                may_reveal=is_blind and not seen,
            )
        )
    return found


def _excerpt(item: Item, dictionary: FeatureDictionary | None) -> str:
    """The beginning of the item, in one line."""
    words = item.text
    if not words:
        text, fields, others = _split(item, dictionary)
        words = text or ", ".join(f"{field.label} {field.value}" for field in [*fields, *others])
    line = " ".join(readable(words[: 4 * EXCERPT_MAX]).split())
    return line if len(line) <= EXCERPT_MAX else line[: EXCERPT_MAX - 1].rstrip() + "…"


def own_label(person: User, label_id: int, *, adjudicates: bool = False) -> Label | None:
    """The person's own answer, unless it was taken back."""
    return (
        Label.objects.filter(pk=label_id, person=person, adjudicates=adjudicates, withdrawn_at__isnull=True)
        .select_related("run", "item")
        .first()
    )


def fresh(run: Run) -> Run:
    """The run with its counters as they are now."""
    run.refresh_from_db(
        fields=["state", "items", "settled", "reviews_done", "reviews_needed", "to_adjudicate"]
    )
    return run
