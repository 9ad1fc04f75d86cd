"""Models, predictions and explanations to test with: a small real model on the Titanic's passengers."""

import hashlib
import json
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from django.core.files.base import ContentFile

from opsportal.explanations.models import Explanation, Method
from opsportal.predictions.dictionary import Value
from opsportal.predictions.models import Format, Model, ModelVersion, Prediction
from opsportal.predictions.pseudonyms import customer_key

GOLDEN = Path(__file__).parent / "golden"
# A LightGBM model that never changes, with its dictionary and 77 of the passengers it was trained on.
TITANIC: bytes = (GOLDEN / "titanic.txt").read_bytes()
TITANIC_DICTIONARY: dict[str, Any] = json.loads((GOLDEN / "titanic.json").read_text(encoding="utf-8"))
TITANIC_BACKGROUND: bytes = (GOLDEN / "background.jsonl").read_bytes()
# What it must say: [{"values", "base", "attributions", "margin", "score"}, …].
EXPECTED: list[dict[str, Any]] = json.loads((GOLDEN / "contributions.json").read_text(encoding="utf-8"))

AYOUB: dict[str, Any] = EXPECTED[0]["values"]
VESTROM: dict[str, Any] = EXPECTED[1]["values"]
MORAN: dict[str, Any] = EXPECTED[3]["values"]  # age and deck are missing
NEVER_SEEN: dict[str, Any] = EXPECTED[5]["values"]  # port and deck are none of training

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
_number = count(1)


def make_version(
    *,
    model: str = "survival",
    version: str = "1",
    content: bytes = TITANIC,
    format: str = Format.LIGHTGBM,
    dictionary: dict[str, Any] | None = None,
    background: bytes = TITANIC_BACKGROUND,
    threshold: float | None = 0.5,
    state: str = ModelVersion.State.READY,
    **more: Any,
) -> ModelVersion:
    """A registered version with its file in storage; the Titanic's unless another is given.

    background: JSON lines, empty for none. more: further fields of the row.
    """
    owner, _ = Model.objects.get_or_create(
        name=model, defaults={"title": f"{model.capitalize()} model", "created_at": NOON}
    )
    row = ModelVersion(
        model=owner,
        version=version,
        format=format,
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        dictionary=TITANIC_DICTIONARY if dictionary is None else dictionary,
        threshold=threshold,
        state=state,
        registered_at=NOON,
        checked_at=NOON if state == ModelVersion.State.READY else None,
        **more,
    )
    row.file.save(f"{row.sha256}.model", ContentFile(content), save=False)
    if background:
        row.background_sha256 = hashlib.sha256(background).hexdigest()
        row.background.save(f"{row.background_sha256}.jsonl", ContentFile(background), save=False)
    row.save()
    return row


def make_prediction(
    version: ModelVersion,
    *,
    prediction_id: str = "",
    customer_id: str = "",
    product_id: str = "",
    score: float | None = None,
    predicted_at: datetime = NOON,
    label: str = "",
    outcome: str = "",
    surface: str = "",
    text: str = "",
    **values: Value,
) -> Prediction:
    """A logged prediction: Miss Ayoub's values, with `values` in place of some. The real model scores it.

    For another dictionary than the Titanic's, `values` are all there are.
    """
    logged = {**AYOUB, **values} if version.dictionary == TITANIC_DICTIONARY else dict(values)
    if score is None:
        score = score_of(version, logged)
    return Prediction.objects.create(
        prediction_id=prediction_id or f"prediction-{next(_number)}",
        version=version,
        predicted_at=predicted_at,
        received_at=predicted_at,
        score=score,
        label=label,
        outcome=outcome,
        product_id=product_id,
        customer_key=customer_key(customer_id) if customer_id else "",
        surface=surface,
        features=json.dumps(logged, ensure_ascii=False),
        text=text,
    )


def score_of(version: ModelVersion, values: dict[str, Value]) -> float:
    """What the version's model says about these values, as a ranker would have logged it."""
    from opsportal.explanations import explaining

    return float(explaining.engine_of(version).score([version.features.as_seen(values)])[0])


def explained(prediction: Prediction, *, method: str = Method.SHAP, **changes: Value) -> Explanation:
    """The prediction's explanation as a worker leaves it; `changes` make it a what-if."""
    from opsportal.explanations import explaining
    from opsportal.explanations.services import asking

    wanted = asking.want_explanation(actor=None, prediction=prediction, method=method, changes=changes)
    explaining.explain(wanted.pk)
    wanted.refresh_from_db()
    return wanted
