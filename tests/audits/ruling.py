"""A log of reviews, a labelled sample of it, and rules: what tests of rules have in common."""

from collections.abc import Sequence
from typing import Any

from opsportal.accounts.models import User
from opsportal.audits.models import Application, Item, Rule, Run
from opsportal.audits.services import rules
from opsportal.audits.services.previewing import preview
from opsportal.audits.services.rules import Terms
from opsportal.core import clock
from opsportal.predictions.models import Model, ModelVersion, Prediction
from opsportal.predictions.pseudonyms import customer_key
from tests.audits.making import make_items, make_policy, make_run
from tests.explanations.making import NOON, make_version

DICTIONARY: dict[str, Any] = {
    "features": [
        {"name": "review", "label": "Review", "type": "text"},
        {"name": "stars", "label": "Stars"},
        {"name": "shop", "label": "Shop", "type": "category"},
    ],
    "positive": "positive",
    "negative": "negative",
}
LABELS: list[dict[str, Any]] = [
    {"value": "positive", "title": "Positive", "key": "1", "guideline": ""},
    {"value": "negative", "title": "Negative", "key": "2", "guideline": ""},
]
NOT_GOOD: dict[str, Any] = {"field": "text", "is": "contains", "value": "not good"}


def make_reviews() -> ModelVersion:
    """A ready version that calls reviews positive or negative; nothing ever loads its file."""
    return make_version(model="reviews", content=b"no model", dictionary=DICTIONARY, background=b"")


def log_reviews(
    version: ModelVersion, n: int, *, text: str = "not good", label: str = "positive", customer_id: str = ""
) -> list[Prediction]:
    """`n` more predictions in the log."""
    first = Prediction.objects.count()
    return Prediction.objects.bulk_create(
        Prediction(
            prediction_id=f"review-{first + number}",
            version=version,
            predicted_at=NOON,
            received_at=NOON,
            score=0.9,
            label=label,
            text=text,
            features="{}",
            customer_key=customer_key(customer_id) if customer_id else "",
        )
        for number in range(n)
    )


def sample_of(
    version: ModelVersion,
    *said: tuple[int, str, str, str],
    frame: int = 0,
    run: Run | None = None,
) -> Run:
    """A closed sample whose items people labelled: (how many, text, what the model and what people said)."""
    if run is None:
        policy = make_policy(version.model, labels=LABELS)
        run = make_run(policy, state=Run.State.CLOSED)
    total = sum(number for number, *_ in said)
    items: list[Item] = []
    for number, text, predicted, label in said:
        made = make_items(
            run,
            number,
            frame=frame or 10 * total,
            stratum=items[0].stratum if items else None,
            version=version,
            predicted=predicted,
            text=text,
        )
        Item.objects.filter(pk__in=[item.pk for item in made]).update(
            state=Item.State.SETTLED, label=label, provenance="human", settled_at=NOON
        )
        items += made
    return run


def make_rule(actor: User, model: Model, **more: Any) -> Rule:
    """A rule that turns “not good” negative, not previewed yet; `more` are its terms."""
    terms = {"title": "Not good", "condition": NOT_GOOD, "label": "negative", "bar": 0.9, **more}
    return rules.create_rule(actor=actor, model=model, terms=Terms(**terms))


def previewed(rule: Rule) -> Rule:
    """The rule once its preview is there."""
    preview(rule.pk)
    rule.refresh_from_db()
    return rule


def label_sample(application: Application, *, right: int, wrong: int = 0, cannot_tell: int = 0) -> Run:
    """Close an acceptance sample with these answers; what is left stays unlabelled."""
    run = application.acceptance
    assert run is not None
    items = list(Item.objects.filter(run=run).order_by("pk"))
    label = application.terms["label"]
    answers: Sequence[str] = [label] * right + ["something else"] * wrong + [""] * cannot_tell
    for item, answer in zip(items, answers, strict=False):
        item.state, item.label, item.settled_at = Item.State.SETTLED, answer, clock.now()
        item.provenance = "human"
        item.save()
    Item.objects.filter(run=run, state=Item.State.OPEN).update(state=Item.State.VOID)
    run.state, run.closed_at = Run.State.CLOSED, clock.now()
    run.save()
    return run
