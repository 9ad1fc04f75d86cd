"""What the demo audits: once, by the real services, with something left to do for everybody."""

import pytest

from opsportal.accounts.models import User
from opsportal.audits.figures import decode
from opsportal.audits.models import Correction, Item, Label, Policy, Review, Rule, Run, Threshold
from opsportal.audits.selectors.waiting import waiting_on
from opsportal.audits.services import adjudicating, closing, reviewing
from opsportal.audits.services.applying import why_not
from opsportal.demo import audits, predictions
from opsportal.demo.cases import reviews
from opsportal.demo.people import load_people
from opsportal.demo.training import Trained
from opsportal.events.models import Event, OutboxMessage
from opsportal.predictions.models import Prediction

pytestmark = pytest.mark.django_db

REVIEWS = predictions.MODELS[-1]


@pytest.fixture
def predicted(trained: dict[str, Trained], monkeypatch: pytest.MonkeyPatch) -> None:
    """People, and the model whose sentences are audited; nothing is trained twice."""
    from opsportal.demo import training

    versions = [version for key, version in trained.items() if key.startswith("reviews ")]
    monkeypatch.setattr(training, "train_reviews", lambda: versions)
    monkeypatch.setattr(predictions, "_want_explanations", lambda version: None)
    load_people("demo-0000-1111-2222-3333")
    predictions.load_models([REVIEWS])


def test_load_audits__first_run__leaves_results_and_something_to_do(predicted: None) -> None:
    audits.load_audits()

    older, newer, running = Run.objects.order_by("pk")
    assert [run.state for run in (older, newer, running)] == ["closed", "closed", "open"]
    assert [run.frame for run in (older, newer, running)] == [561, 706, 422]
    assert (older.settled, older.items, newer.settled, newer.items) == (120, 120, 210, 210)
    assert not OutboxMessage.objects.filter(task__startswith="audits.", delivered_at=None).exists()
    # The rates are those of the sentences themselves, as far as a sample tells.
    truth = {case.sentence_id: case.true for case in reviews()}
    for run in (older, newer):
        rate = decode(run.estimate.figures).error_rate
        made = Prediction.objects.filter(
            version__model=run.model, predicted_at__gte=run.starts_at, predicted_at__lt=run.ends_at
        ).values_list("prediction_id", "label")
        wrong = sum(truth[name] != (label == "negative") for name, label in made)
        assert rate.low is not None
        assert rate.high is not None
        assert rate.low <= wrong / run.frame <= rate.high
    wrong_items = Item.objects.filter(run__in=[older, newer], stream="sample").exclude(label="")
    assert Correction.objects.count() == sum(bool(item.is_error) for item in wrong_items)

    otto, lena = User.objects.get(username="otto"), User.objects.get(username="lena")
    assert [run.pk for run in waiting_on(otto).to_label] == [running.pk]
    assert running.reviews_needed - running.reviews_done >= 60
    assert running.to_adjudicate == 3
    assert reviewing.claim(actor=otto, run=running)
    assert adjudicating.claim_dispute(actor=lena) is not None
    assert not Label.objects.filter(person=otto, run=running).exists()

    proven, refuted = Rule.objects.order_by("pk")
    assert why_not(proven) == ""
    assert "the bar is 80\N{NO-BREAK SPACE}%" in why_not(refuted)
    threshold = Threshold.objects.get()
    assert (threshold.state, threshold.label, threshold.value) == ("proposed", "negative", 0.719911)


def test_load_audits__again__changes_nothing(predicted: None) -> None:
    audits.load_audits()
    counted = (Policy, Run, Item, Review, Label, Rule, Threshold, Event)
    before = [model._default_manager.count() for model in counted]

    audits.load_audits()

    assert [model._default_manager.count() for model in counted] == before


def test_load_audits__killed_on_the_way__leaves_nothing_behind(
    predicted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(closing, "close_run", die)

    with pytest.raises(KeyboardInterrupt):
        audits.load_audits()

    assert not Policy.objects.exists()
    assert not Label.objects.exists()
