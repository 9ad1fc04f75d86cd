"""Whether a registered model can be explained, found out before anybody relies on it."""

from typing import Any

from django.db import DatabaseError, transaction

from opsportal.core import clock
from opsportal.events import services as events
from opsportal.explanations.engine.contributions import SCORE as SCORE_SPACE
from opsportal.explanations.engine.contributions import Engine, EngineError, Row
from opsportal.explanations.explaining import additivity_problem
from opsportal.explanations.loaded import TRANSIENT, Loaded, Refusal, brief, loaded, reference_rows
from opsportal.predictions.dictionary import (
    CATEGORY,
    FLAG,
    IDENTITY,
    LOGIT,
    NUMBER,
    Feature,
    FeatureDictionary,
    Value,
)
from opsportal.predictions.models import ModelVersion

# A version whose check ended the process as often is not tried again.
ATTEMPTS_MAX = 2
# So many reference rows are explained on trial.
TRIED_MAX = 20


def check_model(pk: int) -> None:
    """Load a version that waits for its check, explain some rows on trial, and call it ready or refused.

    Records an event. Raises only what may be better at the next attempt.
    """
    version = (
        ModelVersion.objects.select_related("model").filter(pk=pk, state=ModelVersion.State.CHECKING).first()
    )
    if version is None:
        return
    attempts = int(version.facts.get("attempts", 0))
    if attempts >= ATTEMPTS_MAX:
        _conclude(version, [f"Loading it ended the worker's process {attempts} times."], {})
        return
    _note_attempts(version, attempts + 1)
    try:
        problems, facts = _examine(version)
    except (*TRANSIENT, DatabaseError):
        _note_attempts(version, attempts)
        raise
    _conclude(version, problems, facts)


def _note_attempts(version: ModelVersion, attempts: int) -> None:
    """Say it before it is tried: a library may end the process at a file that it does not expect."""
    version.facts = {"attempts": attempts}
    ModelVersion.objects.filter(pk=version.pk, state=ModelVersion.State.CHECKING).update(facts=version.facts)


def _examine(version: ModelVersion) -> tuple[list[str], dict[str, Any]]:
    try:
        rows = reference_rows(version) if version.background_sha256 else []
        model = loaded(version)
    except Refusal as refusal:
        return _sentences(refusal), {}
    facts = facts_of(model.engine)
    facts |= {"background_sha256": version.background_sha256, "tried": min(len(rows), TRIED_MAX)}
    return _problems(model, rows[:TRIED_MAX]), facts


def _conclude(version: ModelVersion, problems: list[str], facts: dict[str, Any]) -> None:
    with transaction.atomic():
        state = ModelVersion.State.REFUSED if problems else ModelVersion.State.READY
        changed = ModelVersion.objects.filter(pk=version.pk, state=ModelVersion.State.CHECKING).update(
            state=state, problems=problems, facts=facts, checked_at=clock.now()
        )
        if not changed:
            return
        words = f"{version} refused: {problems[0]}" if problems else f"{version} is ready to explain."
        events.record(
            actor=None,
            verb="model.refused" if problems else "model.ready",
            subject_type="model",
            subject_id=version.model.name,
            summary=words,
            after={"version": version.version, "sha256": version.sha256, "problems": problems},
        )


def facts_of(engine: Engine) -> dict[str, Any]:
    """What is shown and kept of a loaded model."""
    return {
        "engine": engine.name,
        "space": engine.space,
        "inputs": list(engine.inputs),
        "single_precision": engine.single_precision,
        "trees": getattr(engine, "trees", 0),
        "library": " ".join(engine.name.split()[:2]),
    }


def _sentences(refusal: Refusal) -> list[str]:
    cause = refusal.__cause__
    return cause.sentences if isinstance(cause, EngineError) else [refusal.sentence]


def _problems(model: Loaded, rows: list[Row]) -> list[str]:
    link, space = model.dictionary.link, model.engine.space
    if link == LOGIT and space == SCORE_SPACE:
        return ["The score is a plain number, no probability. Write “link”: “identity” in the dictionary."]
    if link == IDENTITY and space != SCORE_SPACE:
        return ["The score is a probability, no plain number. Write “link”: “logit” in the dictionary."]
    return _trial(model.engine, rows or [_typical(model.dictionary)])


def _trial(engine: Engine, rows: list[Row]) -> list[str]:
    try:
        found = engine.explain(rows)
    except TRANSIENT:
        raise
    except EngineError as error:
        return error.sentences
    except Exception as error:  # noqa: BLE001  the libraries fail in any way they like
        return [f"Explaining on trial failed: {brief(error)}"]
    for place, values in enumerate(found.values):
        problem = additivity_problem(
            float(found.base[place]),
            float(values.sum()),
            float(found.margin[place]),
            single=engine.single_precision,
        )
        if problem:
            return [f"The attributions of a row on trial do not add up. {problem}"]
    return []


def _typical(dictionary: FeatureDictionary) -> Row:
    """A row that any model should be able to read, for want of one from training."""
    return dictionary.as_seen({feature.name: _typical_value(feature) for feature in dictionary.inputs})


def _typical_value(feature: Feature) -> Value:
    if feature.type == NUMBER:
        if feature.low is not None and feature.high is not None:
            return (feature.low + feature.high) / 2
        return feature.low if feature.low is not None else feature.high if feature.high is not None else 0.0
    if feature.type == CATEGORY:
        return feature.categories[0] if feature.categories else None
    return False if feature.type == FLAG else "An ordinary sentence."
