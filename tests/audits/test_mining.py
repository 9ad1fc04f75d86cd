"""Patterns in errors: found on one half, tested on the other, and not found where there are none."""

import random

import pytest
from django.db import transaction

from opsportal.audits.models import Item, Run, Search, Suggestion
from opsportal.audits.selectors.rules import is_held_out
from opsportal.events import outbox
from opsportal.predictions.models import ModelVersion
from tests.audits.making import make_items, make_policy, make_run, make_stratum
from tests.audits.ruling import LABELS, NOT_GOOD, make_reviews
from tests.explanations.making import NOON

pytestmark = pytest.mark.django_db
WORDS = [
    "plot",
    "actor",
    "scene",
    "music",
    "story",
    "light",
    "sound",
    "hero",
    "villain",
    "ending",
    "joke",
    "camera",
]
DECIDED = {"field": "predicted", "is": "equals", "value": "positive"}


@pytest.fixture
def version() -> ModelVersion:
    return make_reviews()


def closed_run(version: ModelVersion, *, n: int, error: float, planted: float = 0.0, seed: int = 1) -> Run:
    """A sample of `n` positive decisions, wrong by chance; a fifth says “not good”, wrong at `planted`."""
    chance = random.Random(seed)  # noqa: S311  the same every time
    run = make_run(make_policy(version.model, labels=LABELS), state=Run.State.CLOSED)
    items = make_items(run, n, version=version, predicted="positive", text="x")
    for place, item in enumerate(items):
        # The halves follow from it.
        item.prediction_id = f"mined-{n}-{seed}-{place}"
        words = chance.sample(WORDS, 6)
        says_so = chance.random() < 0.2
        if says_so:
            words[3:3] = ["not", "good"]
        item.text = " ".join(words)
        item.score = round(chance.random(), 3)
        wrong = chance.random() < (planted if says_so and planted else error)
        item.state, item.label, item.settled_at = "settled", "negative" if wrong else "positive", NOON
    Item.objects.bulk_update(items, ["prediction_id", "text", "score", "state", "label", "settled_at"])
    return run


def mine(run: Run) -> Search:
    """Through its message, as a worker does."""
    with transaction.atomic():
        outbox.send(task="audits.mine", key=run.pk)
    outbox.drain(lane="audits.mine")
    return Search.objects.get(run=run)


def test_mine__a_planted_phrase__is_found_and_holds(version: ModelVersion) -> None:
    run = closed_run(version, n=400, error=0.05, planted=0.8)

    search = mine(run)

    assert (search.labelled, search.kept) == (400, Suggestion.objects.count())
    assert search.seen >= search.tested >= search.kept > 0
    best = Suggestion.objects.earliest("pk")
    assert best.label == "negative"
    assert best.condition["all"][0] == DECIDED
    phrases = [suggestion.condition for suggestion in Suggestion.objects.all()]
    assert {"all": [DECIDED, {**NOT_GOOD, "value": "good"}]} in phrases
    held_out = best.evidence["held_out"]
    halves = Item.objects.filter(run=run)
    assert held_out["items"] == sum(is_held_out(run.seed, item.prediction_id) for item in halves)
    assert held_out["items"] + best.evidence["discovery"]["items"] == 400
    assert held_out["low"] > held_out["rate_outside"]
    assert held_out["p"] <= best.evidence["p_adjusted"] <= 0.1
    assert best.evidence["tested"] == search.tested
    assert "plain counts" in search.sentence


def test_mine__again__adds_nothing_and_the_same_labels_give_the_same(version: ModelVersion) -> None:
    run = closed_run(version, n=300, error=0.05, planted=0.8)
    mine(run)
    first = list(Suggestion.objects.values_list("words", "evidence"))

    mine(run)
    assert list(Suggestion.objects.values_list("words", "evidence")) == first

    Search.objects.all().delete()
    Suggestion.objects.all().delete()
    mine(run)
    assert list(Suggestion.objects.values_list("words", "evidence")) == first


def test_mine__errors_by_chance_alone__says_there_is_nothing(version: ModelVersion) -> None:
    search = mine(closed_run(version, n=400, error=0.2))

    assert Suggestion.objects.count() == search.kept == 0
    assert search.errors > 50
    assert "none held on the other" in search.sentence or "No pattern stood out" in search.sentence


def test_mine__few_errors__says_that_they_are_too_few(version: ModelVersion) -> None:
    search = mine(closed_run(version, n=100, error=0.0))

    assert search.sentence == (
        "There are 0 errors among 100 labels; below 10 no pattern can be told from chance."
    )


def test_mine__features__splits_and_categories(version: ModelVersion) -> None:
    """Errors come with few stars; shops differ in nothing."""
    run = closed_run(version, n=300, error=0.0)
    chance = random.Random(3)  # noqa: S311  the same every time
    items = list(Item.objects.filter(run=run))
    for item in items:
        stars = chance.randint(1, 10)
        item.features = f'{{"stars": {stars}, "shop": "{chance.choice("abc")}"}}'
        item.label = "negative" if stars <= 2 and chance.random() < 0.8 else "positive"
    Item.objects.bulk_update(items, ["features", "label"])

    mine(run)

    best = Suggestion.objects.earliest("pk")
    fields = {part["field"] for part in best.condition["all"]}
    assert "feature:stars" in fields
    assert "“Stars” is below" in best.words
    assert not Suggestion.objects.filter(words__contains="Shop").exclude(words__contains="Stars").exists()


def test_mine__weights_differ__says_so(version: ModelVersion) -> None:
    run = closed_run(version, n=300, error=0.05, planted=0.8)
    other = make_stratum(run, frame=9_000, drawn=100)
    pks = list(Item.objects.filter(run=run).values_list("pk", flat=True)[:100])
    Item.objects.filter(pk__in=pks).update(stratum=other, inclusion_probability=100 / 9_000)

    assert "weighted counts scaled to the effective size" in mine(run).sentence


@pytest.mark.parametrize("change", [{"state": "open", "closed_at": None}, {"kind": "targeted"}])
def test_mine__no_closed_sample__nothing(version: ModelVersion, change: dict[str, str | None]) -> None:
    run = closed_run(version, n=30, error=0.5)
    Run.objects.filter(pk=run.pk).update(**change)

    with pytest.raises(Search.DoesNotExist):
        mine(run)
