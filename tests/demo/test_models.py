"""What the demo registers and takes in: once, by the real services, ready to be looked at."""

from datetime import timedelta

import pytest

from opsportal.core import clock
from opsportal.demo import predictions
from opsportal.demo.impressions import load_impressions
from opsportal.demo.people import load_people
from opsportal.demo.training import Trained
from opsportal.events.models import Event, OutboxMessage
from opsportal.explanations import explaining
from opsportal.explanations.models import Explanation, Method, State
from opsportal.predictions.models import Model, ModelVersion, Prediction, PredictionImport, Product

pytestmark = pytest.mark.django_db

TITANIC, CREDIT, CLICKS, REVIEWS = predictions.MODELS


@pytest.fixture(autouse=True)
def _trained_already(trained: dict[str, Trained], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is trained twice."""
    from opsportal.demo import training

    def versions(name: str) -> list[Trained]:
        return [version for key, version in trained.items() if key.split()[0] == name]

    for name in ("titanic", "credit", "clicks", "reviews"):
        monkeypatch.setattr(training, f"train_{name}", lambda name=name: versions(name))


@pytest.fixture
def loaded() -> None:
    load_people("demo-0000-1111-2222-3333")
    load_impressions()
    predictions.load_models(predictions.missing_models())


@pytest.mark.usefixtures("loaded")
def test_load_models__first_run__registers_and_takes_in_everything() -> None:
    versions = {str(version): version for version in ModelVersion.objects.select_related("model")}
    assert {name: version.state for name, version in versions.items()} == {
        "titanic 2026.1": "ready",
        "titanic 2026.2": "ready",
        "credit 2026.1": "ready",
        "clicks 2026.1": "ready",
        "reviews 2026.1": "ready",
        "reviews 2026.2": "ready",
    }
    counts = {name: Prediction.objects.filter(version=version).count() for name, version in versions.items()}
    assert counts == {
        "titanic 2026.1": 62,
        "titanic 2026.2": 891,
        "credit 2026.1": 1_000,
        "clicks 2026.1": 2_715,
        "reviews 2026.1": 561,
        "reviews 2026.2": 1_310,
    }
    assert versions["clicks 2026.1"].threshold is None
    assert all(version.background_sha256 for version in versions.values())
    assert not ModelVersion.objects.exclude(registered_by__username="dana").exists()
    assert predictions.missing_models() == []


@pytest.mark.usefixtures("loaded")
def test_load_models__first_run__passengers_are_found_by_name_and_customer() -> None:
    [older, newer] = Prediction.objects.filter(words__word="ayoub").order_by("predicted_at")

    assert (older.prediction_id, newer.prediction_id) == ("titanic-2026.1-867", "titanic-867")
    assert older.customer_key == newer.customer_key != ""
    assert newer.outcome == "survived"


@pytest.mark.usefixtures("loaded")
def test_load_models__first_run__clicks_lead_to_products_that_are_known() -> None:
    named = Prediction.objects.exclude(product_id="").order_by().values_list("product_id", flat=True)

    assert set(named) == set(Product.objects.values_list("product_id", flat=True))
    assert not Product.objects.filter(title="").exists()


@pytest.mark.usefixtures("loaded")
def test_load_models__first_run__predictions_lie_within_what_is_kept() -> None:
    now = clock.now()

    assert not Prediction.objects.filter(predicted_at__gt=now).exists()
    assert not Prediction.objects.filter(predicted_at__lt=now - timedelta(days=61)).exists()
    assert Prediction.objects.dates("predicted_at", "day").count() >= 60


@pytest.mark.usefixtures("loaded")
def test_load_models__first_run__asks_for_explanations_and_importance() -> None:
    wanted = Explanation.objects.filter(state=State.WANTED)

    assert wanted.filter(method=Method.SHAP).count() >= 6 * 12
    assert wanted.filter(prediction__prediction_id="titanic-867").count() == len(Method)
    profiles = OutboxMessage.objects.filter(task="explanations.profile").values_list("key", flat=True)
    assert set(profiles) == {str(pk) for pk in ModelVersion.objects.values_list("pk", flat=True)}


@pytest.mark.usefixtures("loaded")
def test_load_models__every_prediction__passes_the_gate() -> None:
    for version in ModelVersion.objects.select_related("model"):
        # Every seventh, since a forest takes 10 ms a row.
        some = list(Prediction.objects.filter(version=version).order_by("pk"))[::7]

        assert [outcome.incident for outcome in explaining.outcomes(version, some) if outcome.incident] == []


@pytest.mark.usefixtures("loaded")
def test_load_models__again__changes_nothing() -> None:
    counted = (Model, ModelVersion, Prediction, PredictionImport, Explanation, Event)
    before = [model.objects.count() for model in counted]

    predictions.load_models(predictions.MODELS)

    assert [model.objects.count() for model in counted] == before


@pytest.mark.usefixtures("loaded")
def test_missing_models__predictions_have_expired__are_loaded_anew() -> None:
    Prediction.objects.filter(version__model__name="clicks").delete()
    assert predictions.missing_models() == [CLICKS]

    predictions.load_models([CLICKS])

    assert Prediction.objects.filter(version__model__name="clicks").count() == 2_715
    assert ModelVersion.objects.filter(model__name="clicks").count() == 1


def test_load_models__killed_on_the_way__leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    load_people("demo-0000-1111-2222-3333")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(predictions, "_want_explanations", die)

    with pytest.raises(KeyboardInterrupt):
        predictions.load_models([TITANIC])

    assert not ModelVersion.objects.exists()
    assert predictions.missing_models() == list(predictions.MODELS)
