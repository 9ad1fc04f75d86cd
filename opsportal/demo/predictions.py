"""The demo's models and what they predicted, by the same services as those of a real system. Once."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Exists, OuterRef

from opsportal.accounts.models import User
from opsportal.events import outbox
from opsportal.explanations.models import Method
from opsportal.explanations.services.asking import want_explanation
from opsportal.explanations.tasks import check_model
from opsportal.predictions.models import ModelVersion, Prediction
from opsportal.predictions.services.registering import register_model
from opsportal.predictions.services.storing import Result
from opsportal.predictions.services.taking_in import BATCH_MAX, take_in

if TYPE_CHECKING:
    from opsportal.demo.training import Trained

PROFILE_TASK = "explanations.profile"
# Of each version, so that lists and stacks have something to show before anybody has asked.
_EXPLAINED = 12


@dataclass(frozen=True, slots=True)
class DemoModel:
    """A model of the demo. versions: what its training gives, in that order."""

    name: str
    title: str
    purpose: str
    versions: tuple[str, ...]


MODELS = (
    DemoModel(
        "titanic",
        "Titanic survival",
        "How likely a passenger was to survive. History, to look at explanations with.",
        ("2026.1", "2026.2"),
    ),
    DemoModel(
        "credit",
        "Credit applications",
        "How likely a credit is to be paid back. Below the threshold an application is declined.",
        ("2026.1",),
    ),
    DemoModel(
        "clicks",
        "Home page clicks",
        "How likely a product of the home page is to be clicked. It ranks; it decides nothing.",
        ("2026.1",),
    ),
    DemoModel(
        "reviews",
        "Review sentiment",
        "Whether a sentence of a product review is negative, so that customer care looks at it.",
        ("2026.1", "2026.2"),
    ),
)


def missing_models() -> list[DemoModel]:
    """The models of which a version or its predictions are not there. One query."""
    has_predictions = Exists(Prediction.objects.filter(version=OuterRef("pk")))
    whole = set(
        ModelVersion.objects.filter(has_predictions, state=ModelVersion.State.READY).values_list(
            "model__name", "version"
        )
    )
    return [model for model in MODELS if not {(model.name, version) for version in model.versions} <= whole]


def load_models(models: Sequence[DemoModel]) -> None:
    """Train the models, register them, take in their predictions and ask for some explanations.

    A transaction for each model, so that a demo that is killed meanwhile begins that one again. Loads the
    numeric libraries: some seconds.
    """
    from opsportal.demo import training  # noqa: PLC0415  a demo that has everything loads none of it

    trainers = {
        "titanic": training.train_titanic,
        "credit": training.train_credit,
        "clicks": training.train_clicks,
        "reviews": training.train_reviews,
    }
    dana = User.objects.get(username="dana")
    loaded = []
    for model in models:
        trained = trainers[model.name]()
        with transaction.atomic():
            loaded += [_load(dana, model, version) for version in trained]
    # After every explanation, which somebody may be waiting for. The hourly tick makes up for a lost one.
    with transaction.atomic():
        for version in loaded:
            outbox.send(task=PROFILE_TASK, key=version.pk)


def _load(actor: User, model: DemoModel, trained: "Trained") -> ModelVersion:
    version = _registered(actor, model, trained)
    for first in range(0, len(trained.predictions), BATCH_MAX):
        batch = trained.predictions[first : first + BATCH_MAX]
        outcomes = take_in(actor=actor, model=model.name, version=version.version, predictions=batch)
        if bad := next((outcome for outcome in outcomes if outcome.result == Result.REFUSED), None):
            raise RuntimeError(f"The demo's prediction {bad.prediction_id} was refused: {bad.errors}")
    _want_explanations(version)
    return version


def _registered(actor: User, model: DemoModel, trained: "Trained") -> ModelVersion:
    """The version, ready: the one that is there, else registered and checked at once, in this process."""
    versions = ModelVersion.objects.filter(model__name=model.name, version=trained.version)
    version = versions.filter(state=ModelVersion.State.READY).first()
    if version is None:
        version = register_model(
            actor=actor,
            name=model.name,
            title=model.title,
            purpose=model.purpose,
            version=trained.version,
            file=io.BytesIO(trained.content),
            dictionary=trained.dictionary,
            training=trained.training,
            threshold=trained.threshold,
            background=json.dumps(trained.background).encode(),
        )
        check_model(str(version.pk))
        version.refresh_from_db()
    if version.state != ModelVersion.State.READY:
        raise RuntimeError(f"The demo's model {version} was refused: {version.problems}")
    return version


def _want_explanations(version: ModelVersion) -> None:
    """Ask for what visitors look at first; the workers compute it once they run."""
    for prediction in Prediction.objects.filter(version=version, words__word__in=("ayoub", "vestrom")):
        for method in Method:
            want_explanation(actor=None, prediction=prediction, method=method)
    for prediction in Prediction.objects.filter(version=version)[:_EXPLAINED]:
        want_explanation(actor=None, prediction=prediction)
