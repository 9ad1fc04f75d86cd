"""Policies: what they say in sentences, and what a policy would ask of people before it is saved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery

from opsportal.accounts.models import RoleGrant, User
from opsportal.accounts.permissions import CAPABILITIES
from opsportal.audits import figures, planning
from opsportal.audits.decisions import Decisions
from opsportal.audits.models import Allocation, Estimate, Label, Period, Policy, Run, Sizing, Source
from opsportal.audits.periods import last_ended, span_at
from opsportal.audits.strata import STRATA_MAX, Dimension, cells_of, dimensions_of
from opsportal.core import clock
from opsportal.core.errors import Invalid, NotFound
from opsportal.predictions.dictionary import NUMBER, TEXT, FeatureDictionary, read_values
from opsportal.predictions.models import Model, ModelVersion, Prediction

# So many of the newest predictions say which decisions and strata there are.
NEWEST = 2_000
TIMED = 200
# Where no run has said how often the model errs.
USUAL_ERROR = 0.05
EVERY = {
    Period.DAILY: "a day",
    Period.WEEKLY: "a week",
    Period.MONTHLY: "a month",
    Period.BY_HAND: "for a week",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRow:
    """A policy in the list, with its newest run."""

    policy: Policy
    size: str
    last: Run | None
    next_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a policy would ask for, in words. sentence: the whole; notes: what else to know, one each.

    frame: about how many predictions; None where nobody knows yet. n: about how many items.
    """

    sentence: str
    notes: list[str]
    frame: int | None
    n: int | None


def policy_of(pk: int) -> Policy:
    """The policy with its model and version. Raises NotFound."""
    found = Policy.objects.select_related("model", "version", "created_by").filter(pk=pk).first()
    if found is None:
        raise NotFound("There is no such policy.")
    return found


def policy_rows() -> list[PolicyRow]:
    """Every policy, active ones first, with its newest run. Two queries."""
    newest = Run.objects.filter(policy=OuterRef("pk")).order_by("-pk").values("pk")[:1]
    policies = list(
        Policy.objects.select_related("model")
        .annotate(newest_run=Subquery(newest))
        .order_by("-active", "title", "pk")
    )
    runs = Run.objects.in_bulk([policy.newest_run for policy in policies if policy.newest_run])
    moment = clock.now()
    return [
        PolicyRow(
            policy=policy,
            size=size_in_words(policy),
            last=runs.get(policy.newest_run),
            next_at=next_at(policy, moment),
        )
        for policy in policies
    ]


def runs_of(policy: Policy, limit: int = 20) -> list[Run]:
    """The policy's newest runs."""
    return list(Run.objects.filter(policy=policy).order_by("-pk")[:limit])


def next_at(policy: Policy, moment: datetime) -> datetime | None:
    """When the schedule will start the policy's next run; None by hand and while it is paused."""
    if not policy.active or policy.period == Period.BY_HAND:
        return None
    return span_at(Period(policy.period), moment).ends_at


def possible_reviewers() -> QuerySet[User]:
    """Everybody who may label, by name."""
    granted = RoleGrant.objects.filter(role__in=CAPABILITIES["audits.label"]).values("user")
    return User.objects.filter(pk__in=granted, is_active=True).order_by("username")


# -- What a model says ----------------------------------------------------------------------


def current_version(model: Model, version: ModelVersion | None = None) -> ModelVersion | None:
    """The version given, else the newest that was not refused."""
    return version or model.versions.exclude(state=ModelVersion.State.REFUSED).order_by("-pk").first()


def logged_decisions(model: Model) -> list[str]:
    """The decisions that the newest predictions of a model were logged with, sorted."""
    return sorted({label for label in _newest(model).values_list("label", flat=True) if label})


def decisions_of(version: ModelVersion, logged: Sequence[str]) -> list[str]:
    """What the model can be said to decide: by its threshold, and as it was logged."""
    dictionary = version.features
    named = []
    if version.threshold is not None:
        named = [word for word in (dictionary.positive, dictionary.negative) if word]
    return [*named, *(label for label in logged if label not in named)]


def dimension_choices(dictionary: FeatureDictionary) -> list[tuple[str, str]]:
    """What predictions can be divided by: name and words."""
    features = [
        (f"feature:{feature.name}", feature.label)
        for feature in dictionary.features
        if feature.type != TEXT
        and (feature.type != NUMBER or (feature.low is not None and feature.high is not None))
    ]
    return [
        ("predicted", "What the model decided"),
        ("score_band", "Score"),
        ("surface", "Surface"),
        *features,
    ]


# -- What it would ask for ------------------------------------------------------------------


def frame_estimate(policy: Policy) -> int | None:
    """About how many predictions a period holds: the last whole one, else the present one so far.

    For files what the last run found. None where there are none yet. Counts in an index.
    """
    if policy.source == Source.FILES:
        if not policy.pk:
            return None
        frames = Run.objects.filter(policy=policy.pk, frame__gt=0).order_by("-pk")
        return frames.values_list("frame", flat=True).first()
    period = Period.WEEKLY if policy.period == Period.BY_HAND else Period(policy.period)
    moment = clock.now()
    for span in (last_ended(period, moment), span_at(period, moment)):
        found = Prediction.objects.filter(predicted_at__gte=span.starts_at, predicted_at__lt=span.ends_at)
        count = (
            found.filter(version=policy.version_id)
            if policy.version_id
            else found.filter(version__in=policy.model.versions.values("pk"))
        ).count()
        if count:
            return count
    return None


def observed_strata(policy: Policy, version: ModelVersion, dimensions: Sequence[Dimension]) -> int:
    """How many strata the newest predictions fall into: there may be more. 0 without any."""
    decisions = Decisions(version)
    reads_features = any(one.feature for one in dimensions)
    names = ["score", "label", "surface", *(["features"] if reads_features else [])]
    found = set()
    for score, label, surface, *features in _newest(policy.model).values_list(*names):
        values = read_values(features[0]) if features else {}
        predicted = decisions.predicted(label, score)
        found.add(cells_of(dimensions, predicted=predicted, score=score, surface=surface, values=values))
    return len(found)


def expected_error_of(policy: Policy) -> float:
    """How often the model is expected to err: as the policy says, as its last run found, else 5 %."""
    if policy.expected_error and policy.sizing == Sizing.WIDTH:
        return policy.expected_error
    last = Estimate.objects.filter(run__model=policy.model, run__kind=Run.Kind.AUDIT).order_by("-run").first()
    if last is not None:
        rate = figures.decode(last.figures).error_rate.value
        if rate:
            return min(rate, 0.5)
    return USUAL_ERROR


def seconds_per_look(model: Model) -> float:
    """The median time that the newest labels of this model took."""
    newest = Label.objects.filter(run__model=model, withdrawn_at=None, adjudicates=False)
    return planning.median(list(newest.order_by("-pk").values_list("seconds", flat=True)[:TIMED]))


def forecast(policy: Policy) -> Forecast:
    """What this policy (saved or not) would ask for each time: items, width, hours. A handful of queries."""
    frame = frame_estimate(policy)
    notes = []
    if frame is None and policy.sizing == Sizing.RATE:
        words = "the files have been counted" if policy.source == Source.FILES else "predictions are logged"
        share = planning.percent(policy.rate or 0)
        return Forecast(
            sentence=f"{share} of what there is; how many that are is known once {words}.",
            notes=[],
            frame=None,
            n=None,
        )
    planned = planning.planned_size(_sizes(policy), frame or 10**12)
    every = EVERY[Period(policy.period)]
    n = planned.n
    of = f"from about {frame:,} predictions" if frame else "whatever the number of predictions"
    p = expected_error_of(policy)
    if policy.sizing == Sizing.ACCEPTANCE:
        says = f"if none is wrong, fewer than {planning.percent(policy.expected_error or 0)} are, 95 % sure"
    elif planned.everything:
        says = "everything, so nothing is left to chance"
    else:
        width = planning.wilson_half_width(p, n, frame=frame)
        says = f"{planning.points(width)} if {planning.percent(p)} are wrong"
    looks = planning.looks_of(double_share=policy.double_share, gold_share=_gold_share(policy))
    hours = planning.hours_for(n, seconds_per_look(policy.model), looks)
    sentence = (
        f"About {planning.count(n, 'item')} {every} {of}: {says}; {planning.duration(hours)} for one person."
    )
    if planned.everything:
        notes.append(
            "The plan asks for as many as there are, or more: every prediction would be labelled. "
            "A longer period or a wider interval asks for less."
        )
    if n > planning.ITEMS_MAX:
        notes.append(f"More than {planning.ITEMS_MAX:,} items are never drawn at once.")
    notes += _strata_notes(policy, n)
    return Forecast(sentence=sentence, notes=notes, frame=frame, n=n)


def _strata_notes(policy: Policy, n: int) -> list[str]:
    version = current_version(policy.model, policy.version)
    if version is None or not policy.strata:
        return []
    try:
        dimensions = dimensions_of(policy.strata, policy.score_edges, version.features)
    except Invalid:
        return []
    strata = observed_strata(policy, version, dimensions)
    if strata > STRATA_MAX:
        return [f"The newest predictions fall into more than {STRATA_MAX} strata; that many cannot be drawn."]
    if strata < 2:
        return []
    each = planning.count(max(1, n // strata), "item")
    return [
        f"The newest predictions fall into {strata:,} strata: about {each} each, if they were spread evenly."
    ]


def _sizes(policy: Policy) -> dict[str, Any]:
    return {
        name: getattr(policy, name) for name in ("sizing", "rate", "size", "half_width", "expected_error")
    }


def _gold_share(policy: Policy) -> float:
    return policy.gold_share if policy.gold else 0.0


def _newest(model: Model) -> "QuerySet[Prediction]":
    """The newest predictions of a model, those of its newest versions first."""
    versions = list(model.versions.order_by("-pk").values_list("pk", flat=True)[:20])
    for version in versions:
        found = Prediction.objects.filter(version=version)
        if found.exists():
            return found.order_by("-predicted_at", "-pk")[:NEWEST]
    return Prediction.objects.none()


# -- In sentences ---------------------------------------------------------------------------


def size_in_words(policy: Policy) -> str:
    """`2 % of the predictions, weekly`."""
    size = {
        Sizing.RATE: lambda: f"{planning.percent(policy.rate or 0)} of the predictions",
        Sizing.SIZE: lambda: planning.count(policy.size or 0, "item"),
        Sizing.WIDTH: lambda: f"as many as it takes for {planning.plus_minus(policy.half_width or 0)}",
        Sizing.ACCEPTANCE: lambda: f"acceptance below {planning.percent(policy.expected_error or 0)}",
    }[Sizing(policy.sizing)]()
    return f"{size}, {Period(policy.period).label.split(',')[0].lower()}"


def sentences(policy: Policy, reviewers: Sequence[User]) -> list[str]:
    """What the policy says, a sentence each."""
    version = f"version {policy.version.version}" if policy.version else "any version"
    where = (
        "the prediction log"
        if policy.source == Source.LOG
        else f"the files “{policy.files}” in the folder for audits"
    )
    size = _size_sentence(policy)
    found = [f"{size} They come from {where}, made by {version}."]
    if policy.strata:
        names = _dimension_names(policy)
        how = {
            Allocation.PROPORTIONAL: "each gets its share of the sample",
            Allocation.NEYMAN: "more are drawn where errors vary most",
            Allocation.BOOST: "in a score band at the threshold each is four times as likely to be drawn",
        }[Allocation(policy.allocation)]
        core = (
            ""
            if policy.allocation == Allocation.PROPORTIONAL
            else f" {planning.percent(policy.core_share)} of the sample are spread evenly whatever happens,"
            " so that every prediction has a known chance."
        )
        found.append(
            f"Predictions are divided by {names}; {how}. "
            f"Each stratum gets {policy.minimum_per_stratum} at least.{core}"
        )
    else:
        found.append("Every prediction has the same chance.")
    titles = ", ".join(f"“{label['title']}” ({label['key']})" for label in policy.labels)
    found.append(f"People choose between {titles}.")
    looks = [
        f"{planning.percent(policy.double_share)} of the items are looked at by two people"
        if policy.double_share
        else "Each item is looked at once"
    ]
    if policy.second_look_at_errors:
        looks.append("whoever differs from the model is checked by somebody else")
    found.append(f"{'; '.join(looks)}.")
    if policy.gold and policy.gold_share:
        found.append(
            f"{planning.percent(policy.gold_share)} of the items have a known answer "
            f"({planning.count(len(policy.gold), 'answer')} to choose from) and show how accurate people are."
        )
    found.append(
        "The model’s answer is hidden until a person has given theirs."
        if policy.blind
        else "People see the model’s answer while they decide, which pulls theirs towards it."
    )
    if policy.sensitive:
        found.append("Texts are blurred until asked for.")
    who = ", ".join(person.get_full_name() or person.username for person in reviewers)
    found.append(f"Reviewed by {who}." if who else "Everybody who may label can review.")
    return found


def _size_sentence(policy: Policy) -> str:
    when = {
        Period.DAILY: "Every day",
        Period.WEEKLY: "Every Monday, for the week before,",
        Period.MONTHLY: "On the first of every month, for the month before,",
        Period.BY_HAND: "Whenever an audit lead asks,",
    }[Period(policy.period)]
    match policy.sizing:
        case Sizing.RATE:
            what = f"{planning.percent(policy.rate or 0)} of the predictions are drawn"
        case Sizing.SIZE:
            what = f"{planning.count(policy.size or 0, 'item')} are drawn"
        case Sizing.WIDTH:
            what = (
                "so many are drawn that the error rate is known to "
                f"{planning.plus_minus(policy.half_width or 0)} "
                f"if it is about {planning.percent(policy.expected_error or 0)}"
            )
        case _:
            what = (
                "so many are drawn that none wrong among them shows an error rate below "
                f"{planning.percent(policy.expected_error or 0)}, 95 % sure"
            )
    return f"{when} {what}."


def _dimension_names(policy: Policy) -> str:
    version = current_version(policy.model, policy.version)
    titles: Mapping[str, str] = dict(dimension_choices(version.features)) if version else {}
    return " and ".join(titles.get(name, name).lower() for name in policy.strata)


def missing_gold(model: Model, ids: Sequence[str]) -> list[str]:
    """Which of these predictions are not in the log of this model."""
    there: set[str] = set()
    for first in range(0, len(ids), 900):
        some = ids[first : first + 900]
        there.update(
            Prediction.objects.filter(version__model=model, prediction_id__in=some).values_list(
                "prediction_id", flat=True
            )
        )
    return [one for one in ids if one not in there]
