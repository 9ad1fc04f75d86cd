"""Write, change, pause and resume policies. What is impossible is refused at its field, with the reason."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.text import slugify

from opsportal.accounts.models import User
from opsportal.audits import planning
from opsportal.audits.frame_files import check_pattern, find_files
from opsportal.audits.models import Allocation, Period, Policy, Sizing, Source
from opsportal.audits.selectors.policies import (
    current_version,
    decisions_of,
    frame_estimate,
    logged_decisions,
    missing_gold,
    observed_strata,
    possible_reviewers,
)
from opsportal.audits.strata import SCORE_BAND, STRATA_MAX, Dimension, dimensions_of
from opsportal.core import clock
from opsportal.core.errors import Conflict, Forbidden, Invalid, NotFound, Problem
from opsportal.events import services as events
from opsportal.predictions.dictionary import LOGIT
from opsportal.predictions.models import Model, ModelVersion

RATE_MIN, RATE_MAX = 0.01, 0.05
TITLE_MAX, GUIDELINES_MAX = 100, 20_000
LABELS_MAX, EDGES_MAX, GOLD_MAX = 9, 20, 5_000
_VALUE_MAX = 100
_KEY = re.compile(r"[1-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a policy says; fields as in Policy, shares as shares of one.

    labels: dicts of value, title, key and guideline. gold: dicts of prediction_id and label.
    """

    title: str
    period: str = Period.WEEKLY
    version: ModelVersion | None = None
    source: str = Source.LOG
    files: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    sizing: str = Sizing.RATE
    rate: float | None = None
    size: int | None = None
    half_width: float | None = None
    expected_error: float | None = None
    strata: list[str] = field(default_factory=list)
    score_edges: list[float] = field(default_factory=list)
    allocation: str = Allocation.PROPORTIONAL
    core_share: float = 0.3
    minimum_per_stratum: int = 2
    labels: list[dict[str, str]] = field(default_factory=list)
    guidelines: str = ""
    double_share: float = 0.1
    second_look_at_errors: bool = False
    gold_share: float = 0.0
    gold: list[dict[str, str]] = field(default_factory=list)
    blind: bool = True
    sensitive: bool = False
    reviewers: Sequence[User] = ()


def create_policy(*, actor: User, model: Model, order: Order) -> Policy:
    """Write a policy down; from then on its runs are drawn by the schedule. One transaction with its event.

    Raises Forbidden, and Invalid with a problem at each field that asks for the impossible.
    """
    _require_lead(actor)
    policy = drafted(model, order)
    _check(policy, order)
    try:
        with transaction.atomic():
            policy.name = _free_name(order.title)
            policy.created_by, policy.created_at = actor, clock.now()
            policy.save(force_insert=True)
            policy.reviewers.set(order.reviewers)
            _record(
                actor, policy, "policy.created", f"Wrote the policy “{policy.title}”", after=_facts(policy)
            )
    except IntegrityError:
        raise Conflict("Somebody wrote a policy of this name at the same moment. Send it again.") from None
    return policy


def change_policy(*, actor: User, policy: Policy, order: Order) -> Policy:
    """Change what a policy says; runs that have begun keep what it said then. The policy as it is then.

    Locks the policy. Raises Forbidden, Invalid, NotFound.
    """
    _require_lead(actor)
    _check(drafted(policy.model, order, policy), order)
    with transaction.atomic():
        locked = _locked(policy)
        before = _facts(locked)
        for one in fields(order):
            if one.name != "reviewers":
                setattr(locked, one.name, getattr(order, one.name))
        _tidy(locked)
        locked.reviewers.set(order.reviewers)
        after = _facts(locked)
        if after != before:
            locked.save()
            _record(
                actor,
                locked,
                "policy.changed",
                f"Changed the policy “{locked.title}”",
                before=before,
                after=after,
            )
    return locked


def set_active(*, actor: User, policy: Policy, active: bool) -> Policy:
    """Pause a policy, or let its schedule go on; runs that have begun are not touched.

    Repeats change nothing. Locks the policy. Raises Forbidden, NotFound.
    """
    _require_lead(actor)
    with transaction.atomic():
        locked = _locked(policy)
        if locked.active != active:
            locked.active = active
            locked.save(update_fields=["active"])
            verb, word = ("policy.resumed", "Resumed") if active else ("policy.paused", "Paused")
            _record(actor, locked, verb, f"{word} the policy “{locked.title}”")
    return locked


def drafted(model: Model, order: Order, policy: Policy | None = None) -> Policy:
    """The policy that the order describes, not saved: for checks and forecasts."""
    values = {one.name: getattr(order, one.name) for one in fields(order) if one.name != "reviewers"}
    draft = Policy(pk=policy.pk if policy else None, model=model, **values)
    _tidy(draft)
    return draft


def _tidy(policy: Policy) -> None:
    """Only the fields of the chosen sizing and source say anything."""
    policy.title = policy.title.strip()
    if policy.sizing != Sizing.RATE:
        policy.rate = None
    if policy.sizing != Sizing.SIZE:
        policy.size = None
    if policy.sizing != Sizing.WIDTH:
        policy.half_width = None
    if policy.sizing not in {Sizing.WIDTH, Sizing.ACCEPTANCE}:
        policy.expected_error = None
    if policy.source == Source.LOG:
        policy.files, policy.columns = "", {}
    if SCORE_BAND not in policy.strata:
        policy.score_edges = []


# -- What is possible -----------------------------------------------------------------------


def _check(policy: Policy, order: Order) -> None:
    problems = problems_of(policy, order.reviewers)
    if problems:
        raise Invalid(problems[0].message, code=problems[0].code, errors=problems)


def problems_of(policy: Policy, reviewers: Sequence[User] = ()) -> list[Problem]:
    """Everything about a draft that cannot be, each at its field. Reads the model's newest predictions."""
    version = current_version(policy.model, policy.version)
    if version is None:
        return [Problem("version", "no_version", "This model has no version that can be used.")]
    problems = [*_of_words(policy), *_of_size(policy), *_of_source(policy)]
    if policy.version_id and policy.version and policy.version.model_id != policy.model_id:
        problems.append(Problem("version", "invalid", "This version is of another model."))
    problems += _of_labels(policy, version)
    dimensions, of_strata = _of_strata(policy, version)
    problems += of_strata
    problems += _of_looks(policy)
    may = set(possible_reviewers().values_list("pk", flat=True))
    problems += [
        Problem("reviewers", "may_not", f"{person.username} may not label.")
        for person in reviewers
        if person.pk not in may
    ]
    if not problems and dimensions:
        problems += _of_minimum(policy, version, dimensions)
    return problems


def _of_words(policy: Policy) -> list[Problem]:
    problems = []
    if not policy.title:
        problems.append(Problem("title", "required", "Name the policy."))
    elif len(policy.title) > TITLE_MAX:
        problems.append(Problem("title", "too_long", f"At most {TITLE_MAX} characters."))
    if len(policy.guidelines) > GUIDELINES_MAX:
        problems.append(Problem("guidelines", "too_long", f"At most {GUIDELINES_MAX:,} characters."))
    if policy.period not in Period.values:
        problems.append(Problem("period", "invalid", "Choose one of the list."))
    return problems


def _of_size(policy: Policy) -> list[Problem]:
    def is_share(share: float | None, most: float = 1.0) -> bool:
        return share is not None and math.isfinite(share) and 0 < share < most

    match policy.sizing:
        case Sizing.RATE:
            if policy.rate is None or not RATE_MIN <= policy.rate <= RATE_MAX:
                message = "Give a share from 1 to 5 %. For more or fewer, ask for a number of items."
                return [Problem("rate", "range", message)]
        case Sizing.SIZE:
            if policy.size is None or not 1 <= policy.size <= planning.ITEMS_MAX:
                return [Problem("size", "range", f"Give a number of items from 1 to {planning.ITEMS_MAX:,}.")]
        case Sizing.WIDTH:
            problems = []
            if not is_share(policy.half_width, 0.5):
                problems.append(Problem("half_width", "range", "Give points between 0 and 50, such as 1."))
            if not is_share(policy.expected_error):
                message = "Say how many are expected to be wrong, between 0 and 100 %."
                problems.append(Problem("expected_error", "range", message))
            return problems or _of_width(policy)
        case Sizing.ACCEPTANCE:
            if not is_share(policy.expected_error):
                message = "Say which error rate must not be exceeded, between 0 and 100 %."
                return [Problem("expected_error", "range", message)]
            n = planning.size_for_acceptance(policy.expected_error or 0, frame=None)
            if n > planning.ITEMS_MAX:
                message = (
                    f"That takes {n:,} items without an error; at most {planning.ITEMS_MAX:,} are drawn."
                )
                return [Problem("expected_error", "too_many", message)]
        case _:
            return [Problem("sizing", "invalid", "Choose one of the list.")]
    return []


def _of_width(policy: Policy) -> list[Problem]:
    """A width that takes more than can be drawn, unless there are fewer: then everything is labelled."""
    frame = frame_estimate(policy)
    n = planning.size_for_width(policy.expected_error or 0, policy.half_width or 1, frame=frame)
    if n <= planning.ITEMS_MAX:
        return []
    message = f"That takes {n:,} items; at most {planning.ITEMS_MAX:,} are drawn. Ask for a wider interval."
    return [Problem("half_width", "too_many", message)]


def _of_source(policy: Policy) -> list[Problem]:
    if policy.source == Source.LOG:
        return []
    if policy.source != Source.FILES:
        return [Problem("source", "invalid", "Choose one of the list.")]
    problems = []
    if policy.version is None:
        message = "Files do not say which version predicted: choose one."
        problems.append(Problem("version", "required", message))
    try:
        policy.files = check_pattern(policy.files)
        find_files(policy.files)
    except Invalid as error:
        # They may come later.
        if error.code != "no_files":
            problems.append(Problem("files", error.code, error.message))
    for column, target in policy.columns.items():
        if not column or not target:
            problems.append(Problem("columns", "invalid", "Write COLUMN=FIELD on each line."))
            break
    return problems


def _of_labels(policy: Policy, version: ModelVersion) -> list[Problem]:
    labels = policy.labels
    logged = logged_decisions(policy.model)
    said = decisions_of(version, logged)
    if not said and policy.source == Source.LOG:
        message = (
            "This model only ranks: it has no threshold and logs no decisions, "
            "so nothing can be right or wrong."
        )
        return [Problem("labels", "no_decisions", message)]
    if len(labels) < 2:
        return [Problem("labels", "too_few", "People need two labels at least to choose from.")]
    if len(labels) > LABELS_MAX:
        return [Problem("labels", "too_many", f"At most {LABELS_MAX} labels: each has a digit of its own.")]
    problems = []
    values, keys = Counter(label["value"] for label in labels), Counter(label["key"] for label in labels)
    for place, label in enumerate(labels):
        where = f"labels[{place}]"
        if not label["value"] or len(label["value"]) > _VALUE_MAX:
            problems.append(Problem(f"{where}.value", "required", "Say it as the model does."))
        elif values[label["value"]] > 1:
            problems.append(Problem(f"{where}.value", "twice", "This label stands here twice."))
        elif said and policy.source == Source.LOG and label["value"] not in said:
            words = " or ".join(f"“{one}”" for one in said[:5])
            message = f"This is not what the model says: it says {words}."
            problems.append(Problem(f"{where}.value", "unknown", message))
        if not _KEY.fullmatch(label["key"]):
            message = "A digit from 1 to 9: 0 means “cannot tell”, and letters have other meanings."
            problems.append(Problem(f"{where}.key", "invalid", message))
        elif keys[label["key"]] > 1:
            problems.append(Problem(f"{where}.key", "twice", "Two labels have this digit."))
    lacking = [one for one in said if one not in values]
    if lacking and not problems and policy.source == Source.LOG:
        message = f"The model also says “{lacking[0]}”: give it a label, or nobody could agree with it."
        problems.append(Problem("labels", "lacking", message))
    return problems


def _of_strata(policy: Policy, version: ModelVersion) -> tuple[tuple[Dimension, ...], list[Problem]]:
    edges = policy.score_edges
    shown = [f"{edge:g}" for edge in edges]
    if len(edges) > EDGES_MAX:
        return (), [Problem("score_edges", "too_many", f"At most {EDGES_MAX} edges.")]
    if edges != sorted(edges) or len(set(shown)) < len(shown) or not all(map(math.isfinite, edges)):
        return (), [Problem("score_edges", "order", "Each edge must be higher than the one before.")]
    if version.features.link == LOGIT and any(not 0 < edge < 1 for edge in edges):
        return (), [Problem("score_edges", "range", "The scores of this model lie between 0 and 1.")]
    try:
        dimensions = dimensions_of(policy.strata, edges, version.features)
    except Invalid as error:
        return (), list(error.errors)
    problems = []
    if policy.allocation not in Allocation.values:
        problems.append(Problem("allocation", "invalid", "Choose one of the list."))
    if policy.allocation == Allocation.NEYMAN and not dimensions:
        message = "Errors can vary only between strata: divide by something."
        problems.append(Problem("allocation", "no_strata", message))
    if policy.allocation == Allocation.BOOST:
        if version.threshold is None:
            message = "This model has no threshold, so nothing is near it."
            problems.append(Problem("allocation", "no_threshold", message))
        elif SCORE_BAND not in policy.strata:
            message = "More near the threshold needs score bands: divide by the score."
            problems.append(Problem("allocation", "no_bands", message))
    if not (math.isfinite(policy.core_share) and 0 < policy.core_share <= 1):
        problems.append(Problem("core_share", "range", "Give a share above 0 and up to 100 %."))
    if not 1 <= policy.minimum_per_stratum <= planning.ITEMS_MAX:
        problems.append(Problem("minimum_per_stratum", "range", "Give a number of at least 1."))
    return dimensions, problems


def _of_minimum(policy: Policy, version: ModelVersion, dimensions: Sequence[Dimension]) -> list[Problem]:
    """Whether every stratum's minimum fits into the sample, by the strata of the newest predictions."""
    strata = observed_strata(policy, version, dimensions)
    if strata > STRATA_MAX:
        message = f"The newest predictions fall into more than {STRATA_MAX} strata. Divide by fewer things."
        return [Problem("strata", "too_many", message)]
    if not strata:
        strata = _least_strata(policy, dimensions)
    frame = frame_estimate(policy)
    if frame is None and policy.sizing == Sizing.RATE:
        return []
    sizes = {
        name: getattr(policy, name) for name in ("sizing", "rate", "size", "half_width", "expected_error")
    }
    n = planning.planned_size(sizes, frame or 10**12).n
    least = planning.least_size(strata, policy.minimum_per_stratum)
    if frame is not None:
        least = min(least, frame)
    if least <= n:
        return []
    message = (
        f"{strata:,} strata with at least {policy.minimum_per_stratum:,} items each need {least:,} items, "
        f"and the sample has {n:,}. Take fewer strata, a smaller minimum or a larger sample."
    )
    return [Problem("minimum_per_stratum", "too_large", message)]


def _least_strata(policy: Policy, dimensions: Sequence[Dimension]) -> int:
    """Without predictions: what the dimensions whose cells are known make."""
    return math.prod(
        len(one.bands) if one.is_banded else len(policy.labels) if one.name == "predicted" else 1
        for one in dimensions
    )


def _of_looks(policy: Policy) -> list[Problem]:
    problems = []
    if not (math.isfinite(policy.double_share) and 0 <= policy.double_share <= 1):
        problems.append(Problem("double_share", "range", "Give a share from 0 to 100 %."))
    if not (math.isfinite(policy.gold_share) and 0 <= policy.gold_share < 0.5):
        problems.append(Problem("gold_share", "range", "Give a share from 0 to less than 50 %."))
    elif policy.gold_share and not policy.gold:
        message = "Give the known answers below, or a share of 0."
        problems.append(Problem("gold_share", "no_gold", message))
    if policy.gold:
        problems += _of_gold(policy)
    return problems


def _of_gold(policy: Policy) -> list[Problem]:
    if len(policy.gold) > GOLD_MAX:
        return [Problem("gold", "too_many", f"At most {GOLD_MAX:,} known answers.")]
    values = {label["value"] for label in policy.labels}
    for number, one in enumerate(policy.gold, 1):
        if not one["prediction_id"] or not one["label"]:
            message = f"Line {number}: each prediction needs its answer, as in “prediction-17, survived”."
            return [Problem("gold", "no_answer", message)]
        if one["label"] not in values:
            return [Problem("gold", "unknown", f"Line {number}: “{one['label']}” is not one of the labels.")]
    ids = [one["prediction_id"] for one in policy.gold]
    twice = next((one for one, times in Counter(ids).items() if times > 1), "")
    if twice:
        return [Problem("gold", "twice", f"“{twice}” has two answers.")]
    missing = missing_gold(policy.model, ids)
    if missing:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        message = f"“{missing[0]}”{more}: not in the log of this model, so nobody could be shown it."
        return [Problem("gold", "missing", message)]
    return []


# -- Small things ---------------------------------------------------------------------------


def _free_name(title: str) -> str:
    """A slug of the title that no policy has yet; for the command."""
    stem = slugify(title)[:56] or "policy"
    taken = set(Policy.objects.filter(name__startswith=stem).values_list("name", flat=True))
    number = 2
    name = stem
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    return name


def _locked(policy: Policy) -> Policy:
    found = (
        Policy.objects.select_for_update(of=("self",)).select_related("model", "version").filter(pk=policy.pk)
    )
    locked = found.first()
    if locked is None:
        raise NotFound("There is no such policy.")
    return locked


def _facts(policy: Policy) -> dict[str, Any]:
    """What an event keeps: everything but long words, and no prediction of a known answer."""
    names = (
        "title",
        "period",
        "source",
        "files",
        "sizing",
        "rate",
        "size",
        "half_width",
        "expected_error",
        "strata",
        "score_edges",
        "allocation",
        "core_share",
        "minimum_per_stratum",
        "double_share",
        "second_look_at_errors",
        "gold_share",
        "blind",
        "sensitive",
    )
    return {
        **{name: getattr(policy, name) for name in names},
        "version": policy.version.version if policy.version else "",
        "labels": [label["value"] for label in policy.labels],
        "keys": [label["key"] for label in policy.labels],
        "columns": policy.columns,
        "guidelines": len(policy.guidelines),
        "gold": len(policy.gold),
        "reviewers": sorted(policy.reviewers.values_list("username", flat=True)) if policy.pk else [],
    }


def _require_lead(actor: User) -> None:
    if not actor.can("audits.lead"):
        raise Forbidden("Only an audit lead writes policies.")


def _record(
    actor: User, policy: Policy, verb: str, summary: str, *, before: Any = None, after: Any = None
) -> None:
    events.record(
        actor=actor,
        verb=verb,
        subject_type="policy",
        subject_id=policy.pk,
        summary=summary,
        before=before,
        after=after,
    )
