"""Predictions as a system logs them, and a version of a model to log them for."""

from pathlib import Path
from typing import Any

from opsportal.predictions.models import ModelVersion, Prediction
from tests.explanations.making import make_version

DICTIONARY: dict[str, Any] = {
    "subject": "{name}",
    "link": "logit",
    "features": [
        {"name": "age", "type": "number", "low": 0, "high": 90},
        {"name": "postcode", "type": "category"},
        {"name": "is_new", "type": "flag"},
        {"name": "comment", "type": "text"},
        {"name": "name", "type": "category", "input": False, "findable": True},
    ],
}
VALUES: dict[str, Any] = {
    "age": 41.5,
    "postcode": "00701",
    "is_new": True,
    "comment": "Loved it.",
    "name": "O’Hara, Miss. Renée",
}


def scoring_version(**more: Any) -> ModelVersion:
    """A version of the model `churn` with a feature of every type; nothing here loads its file."""
    return make_version(
        **{"model": "churn", "dictionary": DICTIONARY, "content": b"tree\n", "background": b"", **more}
    )


def logged(prediction_id: str = "p-1", **more: Any) -> dict[str, Any]:
    """A sound prediction as the API takes it; `values` are those of features that differ."""
    values = more.pop("values", {})
    return {
        "prediction_id": prediction_id,
        "predicted_at": "2026-11-02T12:00:00Z",
        "score": 0.25,
        "features": {**VALUES, **values},
        **more,
    }


def body(*predictions: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A request that logs these predictions."""
    return {"model": "churn", "version": "1", "predictions": list(predictions), **more}


def write_csv(path: Path, *lines: str) -> Path:
    """A CSV file of these lines."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def ids() -> set[str]:
    """The IDs of all predictions there are."""
    return set(Prediction.objects.values_list("prediction_id", flat=True))
