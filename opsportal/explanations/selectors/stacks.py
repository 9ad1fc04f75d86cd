"""Many predictions side by side: how far their explanations are, and what is drawn of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opsportal.explanations.models import Explanation, Method, Stack, State
from opsportal.explanations.selectors.comparing import decision_word, written_score
from opsportal.explanations.selectors.reasons import Reason, Reasons, reasons_of
from opsportal.predictions.dictionary import FeatureDictionary
from opsportal.predictions.models import ModelVersion, Prediction
from opsportal.predictions.selectors import LookUp, find_predictions

# Among so many of the newest matches the versions are looked for.
_VERSIONS_AMONG = 10_000
# Thinner layers cannot be told apart; the other reasons are drawn as one.
_LAYERS = 20
_VALUE_MAX = 60
# Rounds of the search for an order, and what counts as a shorter way.
_ROUNDS, _GAIN = 20, 1e-9
REST = "All other reasons"
# Keeps shap's plot from rewriting a text that reads as a number: 00701 would become 701.
VERBATIM = "\N{WORD JOINER}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One prediction of a stack. refused: why it has no numbers; reasons: None then."""

    prediction: Prediction
    subject: str
    score_text: str
    decision: str
    reasons: Reasons | None
    refused: str
    attributions: tuple[float, ...] = ()

    @property
    def words(self) -> str:
        """The strongest reasons in three words."""
        return self.reasons.three_words if self.reasons else ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How many of the predictions that are still there have been explained, or refused."""

    done: int
    total: int

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to compute."""
        return self.done >= self.total


def versions_among(wanted: LookUp) -> list[tuple[ModelVersion, int]]:
    """The versions of the newest 10,000 matches with how many are of each, the most frequent first.

    Two queries.
    """
    counts: dict[int, int] = {}
    for pk in find_predictions(wanted).values_list("version_id", flat=True)[:_VERSIONS_AMONG]:
        counts[pk] = counts.get(pk, 0) + 1
    versions = ModelVersion.objects.select_related("model").in_bulk(list(counts))
    return sorted(((versions[pk], n) for pk, n in counts.items()), key=lambda pair: -pair[1])


def stack_by_pk(pk: int) -> Stack | None:
    """The stack with its author, version and model; None where there is none."""
    return Stack.objects.select_related("author", "version__model").filter(pk=pk).first()


def predictions_of(stack: Stack) -> list[Prediction]:
    """The predictions that are still there, in the stack's order."""
    found = Prediction.objects.in_bulk(stack.prediction_pks)
    rows = [found[pk] for pk in stack.prediction_pks if pk in found]
    for row in rows:
        row.version = stack.version
    return rows


def progress_of(stack: Stack, predictions: Sequence[Prediction]) -> Progress:
    """How far a worker has come; one query."""
    done = (
        Explanation.objects.filter(
            prediction__in=[found.pk for found in predictions], method=Method.SHAP, changes_digest=""
        )
        .exclude(state=State.WANTED)
        .count()
    )
    return Progress(done, len(predictions))


def rows_of(stack: Stack, predictions: Sequence[Prediction]) -> list[Row]:
    """Every prediction with its reasons, or why there are none; those still to be computed are left out.

    One query; some milliseconds for 200 predictions of 20 features.
    """
    dictionary = stack.version.features
    explanations = {
        found.prediction_id: found
        for found in Explanation.objects.filter(
            prediction__in=[found.pk for found in predictions], method=Method.SHAP, changes_digest=""
        ).exclude(state=State.WANTED)
    }
    return [
        _row(stack.version, dictionary, prediction, explanations[prediction.pk])
        for prediction in predictions
        if prediction.pk in explanations
    ]


def _row(
    version: ModelVersion, dictionary: FeatureDictionary, prediction: Prediction, explanation: Explanation
) -> Row:
    values = prediction.values
    is_ready = explanation.state == State.READY
    reasons = reasons_of(explanation, dictionary, values) if is_ready else None
    return Row(
        prediction=prediction,
        subject=dictionary.subject_of(values),
        score_text=written_score(prediction.score, in_points=dictionary.link == "logit"),
        decision=decision_word(version, dictionary, prediction.score),
        reasons=reasons,
        refused="" if is_ready else explanation.get_incident_display(),
        attributions=tuple(float(x) for _, x in explanation.attributions) if is_ready else (),
    )


# -- The picture ------------------------------------------------------------------------------


def stacked_plot(rows: Sequence[Row], dictionary: FeatureDictionary) -> dict[str, Any]:
    """What shap's stacked force plot is drawn from, as JSON; rows without numbers are left out.

    Effects are points where the score is a probability. Points are rescaled for each prediction by
    itself, and their sum leads exactly from the one base to each score. Every layer is in every
    prediction: what shap does not find it takes for 0. Its keys:

    base, outcome, unit; layers: their names, each once; rows: {subject, score, url, near (its place when
    alike ones lie together), effects and values (text as the table shows it), one for each layer}.
    """
    drawn = [(row, row.reasons) for row in rows if row.reasons is not None]
    if not drawn:
        return {}
    in_points = all(reasons.in_points for _, reasons in drawn)
    sizes: dict[str, float] = {}
    labels: dict[str, str] = {}
    for _, reasons in drawn:
        for reason in reasons.all:
            key = _key(reason)
            sizes[key] = sizes.get(key, 0.0) + abs(_amount(reason, in_points))
            labels[key] = reason.label
    strongest = sorted(sizes, key=lambda key: -sizes[key])
    layers = strongest if len(strongest) <= _LAYERS + 1 else strongest[:_LAYERS]
    has_rest = len(layers) < len(strongest)
    near = _places([row.attributions for row, _ in drawn])
    first = drawn[0][1]
    return {
        "base": first.base_percent if in_points else first.base,
        "outcome": dictionary.outcome,
        "unit": "%" if in_points else "",
        "layers": [*_distinct([labels[key] for key in layers]), *([REST] if has_rest else [])],
        "rows": [
            _plotted(row, reasons, layers, place, in_points=in_points, has_rest=has_rest)
            for (row, reasons), place in zip(drawn, near, strict=True)
        ],
    }


def _plotted(
    row: Row, reasons: Reasons, layers: Sequence[str], near: int, *, in_points: bool, has_rest: bool
) -> dict[str, Any]:
    by_key = {_key(reason): reason for reason in reasons.all}
    found = [by_key.get(key) for key in layers]
    effects = [_amount(reason, in_points) for reason in found]
    values = [_short(reason.value) if reason else "" for reason in found]
    if has_rest:
        total = math.fsum(_amount(reason, in_points) for reason in reasons.all)
        effects.append(total - math.fsum(effects))
        values.append("")
    return {
        "subject": _short(row.subject or row.prediction.prediction_id),
        "score": row.score_text,
        "url": row.prediction.get_absolute_url(),
        "near": near,
        "effects": effects,
        "values": [f"{VERBATIM}{value}" for value in values],
    }


def _places(vectors: Sequence[Sequence[float]]) -> list[int]:
    """For each vector its place, from 1, in a row in which alike ones stand side by side.

    From the largest sum to the smallest at first; then stretches are turned round as long as that makes
    the way along the row shorter (2-opt, Croes 1958). O(n²) a round: 0.1 s for 200 vectors of 20.
    """
    row = sorted(range(len(vectors)), key=lambda i: -math.fsum(vectors[i]))
    apart = [[math.dist(one, other) for other in vectors] for one in vectors]
    for _ in range(_ROUNDS):
        if not _turned_round(row, apart):
            break
    places = [0] * len(vectors)
    for place, i in enumerate(row, 1):
        places[i] = place
    return places


def _turned_round(row: list[int], apart: Sequence[Sequence[float]]) -> bool:
    """Turn stretches of the row round where that shortens the way; whether any was."""
    found = False
    for start in range(1, len(row) - 1):
        for end in range(start + 1, len(row)):
            before, first, last = row[start - 1], row[start], row[end]
            gain = apart[before][first] - apart[before][last]
            if end + 1 < len(row):
                gain += apart[last][row[end + 1]] - apart[first][row[end + 1]]
            if gain > _GAIN:
                row[start : end + 1] = row[start : end + 1][::-1]
                found = True
    return found


def _distinct(labels: Sequence[str]) -> list[str]:
    """The labels, those that stand there twice with a number: the plot finds layers by their names."""
    seen: dict[str, int] = {}
    found = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        found.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return found


def _key(reason: Reason) -> str:
    # Features and groups may have the same name.
    return f"{'group' if reason.members else 'feature'} {reason.name}"


def _amount(reason: Reason | None, in_points: bool) -> float:
    if reason is None:
        return 0.0
    return (reason.points or 0.0) if in_points else reason.attribution


def _short(text: str) -> str:
    return text if len(text) <= _VALUE_MAX else f"{text[: _VALUE_MAX - 1]}…"
