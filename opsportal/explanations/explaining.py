"""Between the database and the engine: what workers do to explain predictions. No web process imports it.

Whatever is wrong with a model, its file or a logged value ends in a refused explanation that says so.
Only what may be better at the next attempt (database, storage, memory) is raised, so that the outbox
tries again.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.db import DatabaseError, DataError, transaction

from opsportal.core import clock
from opsportal.events import outbox
from opsportal.events import services as events
from opsportal.explanations.engine.contributions import Contributions, Engine, EngineError, Row
from opsportal.explanations.loaded import TRANSIENT, Refusal, brief, loaded, reference_rows, row_of
from opsportal.explanations.models import Explanation, Incident, Method, Stack, State
from opsportal.predictions.dictionary import FeatureDictionary, Value
from opsportal.predictions.models import ModelVersion, Prediction

log = structlog.get_logger(__name__)

STACK_TASK = "explanations.explain_stack"
# So many are saved, and shown, at a time.
CHUNK = 50
# How far the sum may be from the model's output, and the score from the logged one.
TOLERANCE = 1e-6
SINGLE_PRECISION_TOLERANCE = 1e-4  # of the number itself
__all__ = [
    "Outcome",
    "additivity_problem",
    "check_model",
    "engine_of",
    "explain",
    "explain_many",
    "explain_stack",
    "outcomes",
    "profile",
    "reference_rows",
    "row_of",
    "score_problem",
    "want_profiles",
]

# Incidents whose sentence holds nothing of a person's values, so that the audit trail may have it.
_IMPERSONAL = {Incident.ADDITIVITY, Incident.SCORE, Incident.FILE, Incident.LOADING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One explanation before it is stored: numbers, or with an incident the sentence why there are none.

    margin = base_value + Σ attributions + residual, in `space`. attributions: [[feature, x], …].
    """

    incident: str = ""
    incident_detail: str = ""
    engine: str = ""
    space: str = ""
    base_value: float | None = None
    margin: float | None = None
    residual: float | None = None
    score: float | None = None
    attributions: list[list[Any]] = field(default_factory=list)
    detail: dict[str, Any] = field(default_factory=dict)


def explain(pk: int) -> None:
    """Compute one explanation that was asked for; none if it is there already or its prediction is erased."""
    asked = (
        Explanation.objects.select_related("prediction__version__model")
        .filter(pk=pk, state=State.WANTED)
        .first()
    )
    if asked is None:
        return
    prediction = asked.prediction
    outcome = _outcome(prediction.version, prediction, asked.method, asked.changes)
    try:
        _settle(asked, outcome)
    except DataError:
        # PostgreSQL takes no lone surrogate or NUL into JSON.
        words = "The result holds characters that the database cannot keep."
        _settle(asked, _refused(Incident.ENGINE, words, outcome.engine))


def explain_stack(pk: int) -> None:
    """Compute what a stack's predictions lack, 50 at a time, each chunk there to be shown at once."""
    stack = Stack.objects.filter(pk=pk).first()
    if stack is None:
        return
    for pks in _chunks(stack.prediction_pks):
        explain_many(Prediction.objects.filter(pk__in=pks).select_related("version__model"))
        outbox.renew(STACK_TASK, str(pk))


def explain_many(predictions: Iterable[Prediction]) -> int:
    """Compute the attributions of those that have none yet, and keep them; how many were computed.

    One transaction for each 50 of a version. Needs `version__model` of each.
    """
    computed = 0
    versions: dict[int, list[Prediction]] = {}
    for prediction in predictions:
        versions.setdefault(prediction.version_id, []).append(prediction)
    for of_version in versions.values():
        for chunk in _chunks(of_version):
            there = Explanation.objects.filter(
                prediction__in=chunk, method=Method.SHAP, changes_digest=""
            ).in_bulk(field_name="pk")
            by_prediction = {row.prediction_id: row for row in there.values()}
            lacking = [
                prediction
                for prediction in chunk
                if (row := by_prediction.get(prediction.pk)) is None or not row.settled
            ]
            if lacking:
                _settle_many(lacking, outcomes(lacking[0].version, lacking), by_prediction)
                computed += len(lacking)
    return computed


def outcomes(version: ModelVersion, predictions: Sequence[Prediction]) -> list[Outcome]:
    """The attributions of predictions of one version, checked, in their order; nothing is stored."""
    try:
        model = loaded(version)
    except Refusal as refusal:
        return [_refused(refusal.incident, refusal.sentence)] * len(predictions)
    rows = [row_of(prediction, model.dictionary) for prediction in predictions]
    return _attributions(version, model.engine, rows, [prediction.score for prediction in predictions])


def engine_of(version: ModelVersion) -> Engine:
    """The version's loaded model. Raises Refusal."""
    return loaded(version).engine


def check_model(pk: int) -> None:
    """Load a registered model and find out whether it fits its dictionary: see `checking`."""
    from opsportal.explanations import checking  # noqa: PLC0415  it needs this module

    checking.check_model(pk)


def profile(pk: int) -> None:
    """Compute the importance of a version's features: see `profiling`."""
    from opsportal.explanations import profiling  # noqa: PLC0415  it needs this module

    profiling.profile(pk)


def want_profiles() -> None:
    """Ask for the importance of every version that has new predictions: see `profiling`."""
    from opsportal.explanations import profiling  # noqa: PLC0415  it needs this module

    profiling.want_profiles()


# -- Computing ------------------------------------------------------------------------------


def _outcome(
    version: ModelVersion, prediction: Prediction, method: str, changes: dict[str, Value]
) -> Outcome:
    try:
        model = loaded(version)
        row = row_of(prediction, model.dictionary, changes)
        # What a what-if would score was never logged.
        logged = None if changes else prediction.score
        if method == Method.SHAP:
            return _attributions(version, model.engine, [row], [logged])[0]
        return _by_samples(version, model.engine, model.dictionary, row, logged, method, prediction)
    except Refusal as refusal:
        return _refused(refusal.incident, refusal.sentence)


def _attributions(
    version: ModelVersion, engine: Engine, rows: Sequence[Row], logged: Sequence[float | None]
) -> list[Outcome]:
    """Contributions of all rows in one call; when that fails, of each apart, so that one bad row is one."""
    try:
        found = engine.explain(rows)
    except (*TRANSIENT, DatabaseError):
        raise
    except Exception as error:  # noqa: BLE001  the libraries fail in any way they like
        if len(rows) > 1:
            return [
                outcome
                for row, score in zip(rows, logged, strict=True)
                for outcome in _attributions(version, engine, [row], [score])
            ]
        return [_failed(error, engine.name, Incident.INPUT)]
    return [_checked(version, engine, found, place, score) for place, score in enumerate(logged)]


def _checked(
    version: ModelVersion, engine: Engine, found: Contributions, place: int, logged: float | None
) -> Outcome:
    """The gate: no numbers go out that do not add up or that explain another score than was logged."""
    base, margin, score = (float(numbers[place]) for numbers in (found.base, found.margin, found.scores))
    values = found.values[place].tolist()
    residual = margin - base - math.fsum(values)
    incident, sentence = "", ""
    if why := additivity_problem(base, math.fsum(values), margin, single=engine.single_precision):
        incident, sentence = Incident.ADDITIVITY, why
    elif logged is not None and (why := score_problem(version, engine, score, logged)):
        incident, sentence = Incident.SCORE, why
    return Outcome(
        incident=incident,
        incident_detail=sentence,
        engine=engine.name,
        space=engine.space,
        base_value=_finite(base),
        margin=_finite(margin),
        residual=_finite(residual),
        score=_finite(score),
        attributions=[] if incident else [list(pair) for pair in zip(engine.inputs, values, strict=True)],
        detail=found.details[place] if found.details and not incident else {},
    )


def additivity_problem(base: float, total: float, margin: float, *, single: bool) -> str:
    """A sentence if base and attributions do not make the model's output; empty when they do.

    total: the sum of the attributions. single: the model computes in float32.
    """
    tolerance = max(TOLERANCE, SINGLE_PRECISION_TOLERANCE * max(1.0, abs(margin))) if single else TOLERANCE
    if math.isfinite(margin) and abs(margin - base - total) <= tolerance:
        return ""
    return (
        f"The base {base:.9g} and the attributions {total:.9g} make {base + total:.9g}; the model's output "
        f"is {margin:.9g}."
    )


def score_problem(version: ModelVersion, engine: Engine, score: float, logged: float) -> str:
    """A sentence if the score computed now is not the logged one; empty when it is.

    A training note `score_decimals` says to how many decimals the system rounds what it logs.
    """
    tolerance = TOLERANCE
    if engine.single_precision:
        tolerance = max(tolerance, SINGLE_PRECISION_TOLERANCE * abs(logged))
    decimals = version.training.get("score_decimals")
    if isinstance(decimals, int) and 0 <= decimals <= 15:
        tolerance += 0.5 * 10.0**-decimals
    if math.isfinite(logged) and abs(score - logged) <= tolerance:
        return ""
    return f"The model gives {score:.9g} now; {logged:.9g} was logged."


def _by_samples(
    version: ModelVersion,
    engine: Engine,
    dictionary: FeatureDictionary,
    row: Row,
    logged: float | None,
    method: str,
    prediction: Prediction,
) -> Outcome:
    """LIME or counterfactuals, of a model that gives the logged score."""
    background = reference_rows(version)
    incident = Incident.INPUT
    try:
        score = float(engine.score([row])[0])
        if logged is not None and (why := score_problem(version, engine, score, logged)):
            return _refused(Incident.SCORE, why, engine.name)
        # The model has read the values: what fails from here on is no fault of theirs.
        incident = Incident.ENGINE
        if method == Method.LIME:
            from opsportal.explanations.engine.lime import explain_lime  # noqa: PLC0415  scikit-learn, seconds

            found = explain_lime(engine, dictionary, background, row, seed_text=prediction.prediction_id)
            attributions, detail, name = found["attributions"], found["detail"], found["engine"]
        else:
            from opsportal.explanations.engine.counterfactuals import find  # noqa: PLC0415  as above

            detail = find(engine, dictionary, background, row, version.threshold)
            attributions, name = [], f"nearest changes, {engine.name}"[:100]
        json.dumps([attributions, detail], allow_nan=False)
    except (*TRANSIENT, DatabaseError):
        raise
    except Exception as error:  # noqa: BLE001  the libraries fail in any way they like
        return _failed(error, engine.name, incident)
    return Outcome(
        engine=name, space=engine.space, score=_finite(score), attributions=attributions, detail=detail
    )


def _failed(error: Exception, engine: str, incident: Incident) -> Outcome:
    """An EngineError's own words; of any other error what the library says, and a line in the log without it,
    for it may repeat a person's values."""
    if isinstance(error, EngineError):
        return _refused(incident, str(error), engine)
    log.error("explanation.failed", engine=engine, error=type(error).__name__)
    return _refused(Incident.ENGINE, f"The computation failed: {brief(error)}", engine)


def _refused(incident: Incident, sentence: str, engine: str = "") -> Outcome:
    return Outcome(incident=incident, incident_detail=sentence, engine=engine)


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


# -- Storing --------------------------------------------------------------------------------


def _settle(asked: Explanation, outcome: Outcome) -> None:
    version = asked.prediction.version
    with transaction.atomic():
        changed = Explanation.objects.filter(pk=asked.pk, state=State.WANTED).update(
            **_columns(version, outcome)
        )
        if changed and outcome.incident:
            _record_incidents(version, [(asked.prediction, outcome)], asked.method)


def _settle_many(
    predictions: Sequence[Prediction], found: Sequence[Outcome], there: Mapping[int, Explanation]
) -> None:
    """Keep the attributions: in the rows that wait for them, else in new ones. Somebody else's stay."""
    version = predictions[0].version
    pairs = list(zip(predictions, found, strict=True))
    with transaction.atomic():
        Explanation.objects.bulk_create(
            [
                Explanation(prediction=prediction, wanted_at=clock.now(), **_columns(version, outcome))
                for prediction, outcome in pairs
                if prediction.pk not in there
            ],
            ignore_conflicts=True,
        )
        for prediction, outcome in pairs:
            if prediction.pk in there:
                Explanation.objects.filter(pk=there[prediction.pk].pk, state=State.WANTED).update(
                    **_columns(version, outcome)
                )
        if bad := [(prediction, outcome) for prediction, outcome in pairs if outcome.incident]:
            _record_incidents(version, bad, Method.SHAP)


def _columns(version: ModelVersion, outcome: Outcome) -> dict[str, Any]:
    return {
        "state": State.REFUSED if outcome.incident else State.READY,
        "incident": outcome.incident,
        "incident_detail": outcome.incident_detail[:500],
        "engine": outcome.engine[:100],
        "model_sha256": version.sha256,
        "space": outcome.space,
        "base_value": outcome.base_value,
        "margin": outcome.margin,
        "residual": outcome.residual,
        "score": outcome.score,
        "attributions": outcome.attributions,
        "detail": outcome.detail,
        "computed_at": clock.now(),
    }


def _record_incidents(version: ModelVersion, bad: Sequence[tuple[Prediction, Outcome]], method: str) -> None:
    """One event for what failed together. Values of people stay out of it."""
    outcome = bad[0][1]
    label = Incident(outcome.incident).label
    one = len(bad) == 1
    after: dict[str, Any] = {
        "model": str(version),
        "method": method,
        "incident": outcome.incident,
        "predictions": [prediction.pk for prediction, _ in bad],
    }
    if outcome.incident in _IMPERSONAL:
        after["detail"] = outcome.incident_detail
    events.record(
        actor=None,
        verb="explanation.incident",
        subject_type="prediction",
        subject_id=bad[0][0].pk if one else "several",
        summary=f"{'An explanation' if one else f'{len(bad)} explanations'} refused, {version}: {label}.",
        after=after,
    )


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))
