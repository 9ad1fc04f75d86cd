"""What rules are made of: a model's words, its labelled items, and which half of them is held out."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from opsportal.audits.models import Item, Policy, Rule, Run, Stratum, Stream
from opsportal.core.errors import Conflict, NotFound
from opsportal.predictions.dictionary import FeatureDictionary
from opsportal.predictions.models import Model, ModelVersion

_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Audited:
    """A labelled item of a random sample, and how many predictions of its frame it stands for."""

    item: Item
    weight: float
    held_out: bool


def rule_of(rule_id: int) -> Rule:
    """The rule with its model, author and suggestion. Raises NotFound."""
    found = Rule.objects.select_related("model", "author", "suggestion__run").filter(pk=rule_id).first()
    if found is None:
        raise NotFound("There is no such rule.")
    return found


def dictionary_of(model: Model) -> FeatureDictionary:
    """The dictionary of the model's newest version that is ready. Raises Conflict where there is none."""
    version = ModelVersion.objects.filter(model=model, state=ModelVersion.State.READY).order_by("-pk").first()
    if version is None:
        raise Conflict(f"{model.title} has no version that is ready.", code="no_version")
    return version.features


def labels_of(model: Model) -> list[dict[str, Any]]:
    """The model's labels, as its newest run has them; without any run, as its dictionary names them."""
    kept: list[dict[str, Any]] | None = (
        Run.objects.filter(model=model, kind=Run.Kind.AUDIT)
        .order_by("-pk")
        .values_list("labels", flat=True)
        .first()
        or Policy.objects.filter(model=model).order_by("-pk").values_list("labels", flat=True).first()
    )
    if kept:
        return kept
    dictionary = dictionary_of(model)
    values = dict.fromkeys([dictionary.positive, dictionary.negative])
    return [
        {"value": value, "title": value.capitalize(), "key": str(number), "guideline": ""}
        for number, value in enumerate(filter(None, values), start=1)
    ]


def label_choices(model: Model) -> list[tuple[str, str]]:
    """The labels as a form offers them: value and words."""
    return [(str(label["value"]), str(label.get("title") or label["value"])) for label in labels_of(model)]


def is_held_out(seed: str, prediction_id: str) -> bool:
    """Whether an item belongs to the half that suggestions are tested on; the other half finds them.

    A keyed hash, as if by a coin, apart from the one that drew the sample.
    """
    key = bytes.fromhex(seed)[:64]
    digest = hashlib.blake2b(prediction_id.encode(), key=key, person=b"halves", digest_size=8).digest()
    return bool(digest[-1] & 1)


def samples_of(model: Model) -> QuerySet[Run]:
    """The model's closed random samples, newest first: the only ones whose labels say anything unbiased."""
    return Run.objects.filter(model=model, kind=Run.Kind.AUDIT, state=Run.State.CLOSED).order_by("-pk")


def audited_items(run: Run, *, only_held_out: bool = False) -> Iterator[Audited]:
    """The items of a closed sample that people could settle, with their weights; in pages, by key.

    Of each stratum the labelled ones are a random part of the drawn ones, and stand for frame ÷ labelled
    predictions each. only_held_out: of those, the half that no suggestion was found on, with weights that
    count for the whole frame again. Items whose content has been erased are left out.
    """
    frames = dict(Stratum.objects.filter(run=run).values_list("pk", "frame"))
    labelled: dict[int | None, int] = {}
    for stratum, prediction_id in _judged(run).values_list("stratum_id", "prediction_id").iterator():
        if not only_held_out or is_held_out(run.seed, prediction_id):
            labelled[stratum] = labelled.get(stratum, 0) + 1
    last = 0
    while page := list(_judged(run).filter(pk__gt=last).order_by("pk")[:_PAGE]):
        for item in page:
            held_out = is_held_out(run.seed, item.prediction_id)
            if only_held_out and not held_out:
                continue
            frame = frames.get(item.stratum_id) if item.stratum_id else run.frame
            yield Audited(item, max(frame or 0, 1) / labelled[item.stratum_id], held_out)
        last = page[-1].pk


def _judged(run: Run) -> QuerySet[Item]:
    settled = Item.objects.filter(run=run, stream=Stream.SAMPLE, state=Item.State.SETTLED).exclude(label="")
    return settled.exclude(text="", features__in=["{}", ""])
