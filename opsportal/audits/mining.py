"""Find what the errors of a closed run have in common: seen on one half of its labels, tested on the other.

Within each decision of the model, since a rule says what another decision should have been: words and their
neighbours, lengths, values of categories, splits of numbers, and pairs of these. For workers only.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import structlog
from django.db import transaction
from numpy.typing import NDArray
from scipy import stats
from sklearn.feature_extraction.text import CountVectorizer

from opsportal.audits.conditions import (
    FEATURE,
    LENGTH_FIELD,
    SCORE_FIELD,
    SURFACE_FIELD,
    TEXT_FIELD,
    VALUE_MAX,
    Case,
    Condition,
    parse,
)
from opsportal.audits.models import Item, Run, Search, Suggestion
from opsportal.audits.proof import effective_size
from opsportal.audits.selectors.rules import audited_items
from opsportal.audits.statistics.intervals import wilson
from opsportal.core import clock
from opsportal.core.errors import Invalid
from opsportal.events import outbox
from opsportal.predictions.dictionary import (
    CATEGORY,
    FLAG,
    NUMBER,
    FeatureDictionary,
    as_number,
    as_text,
)
from opsportal.predictions.models import ModelVersion

log = structlog.get_logger(__name__)

TASK = "audits.mine"
# Of what is seen on the first half: so many matches and errors at least, and no likelier by chance than this.
SUPPORT_MIN, ERRORS_MIN, SEEN_P_MAX = 8, 4, 0.05
# So many go on to the second half; of those that hold there so many are kept.
TESTED_MAX, PAIRED_MAX, KEPT_MAX = 40, 12, 12
FALSE_DISCOVERIES = 0.10
WORDS_MAX, VALUES_PER_FIELD, FEATURES_MAX = 2_000, 20, 200
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
# Fewer errors than this in a run say nothing about patterns.
RUN_ERRORS_MIN = 10
# Texts and items beyond these are left out, so that memory stays small.
ITEMS_MAX, TEXT_CUT = 50_000, 5_000


@dataclass(slots=True)
class _Half:
    """Labelled items of one decision in one half. weights: what each stands for."""

    cases: list[Case] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def add(self, case: Case, label: str, weight: float) -> None:
        self.cases.append(case)
        self.labels.append(label)
        self.weights.append(weight)


@dataclass(slots=True)
class _Candidate:
    """A pattern seen on the first half. mask: which of its items match; p: of its Fisher test there."""

    part: Any
    condition: Condition
    mask: NDArray[np.bool_]
    p: float
    label: str = ""


@dataclass(slots=True)
class _Tested:
    """A candidate with what both halves showed."""

    condition: Condition
    label: str
    discovery: dict[str, Any]
    held_out: dict[str, Any]
    p_adjusted: float = 1.0


def mine(run_pk: int) -> None:
    """Look for patterns in the errors of this closed random sample and store what holds: Suggestion, Search.

    Items are halved by a keyed hash. Patterns are sought on one half alone; the best go to the other half,
    where each gets a one-sided exact test (Fisher) of whether errors are more frequent inside than outside
    among predictions with the same decision; p-values are adjusted by Benjamini and Hochberg over all that
    were tested, and 10 % false discoveries are allowed. Where weights differ, the tables are of weighted
    counts scaled to the effective size (Kish). The same labels give the same answer; a second call adds
    nothing.
    """
    run = Run.objects.select_related("model").filter(pk=run_pk).first()
    if run is None or run.kind != Run.Kind.AUDIT or run.state != Run.State.CLOSED:
        return
    if Search.objects.filter(run=run).exists():
        return
    search = Search(run=run, labelled=0, errors=0, sentence="", made_at=clock.now())
    dictionary = _dictionary(run)
    found: list[_Tested] = []
    if dictionary is None:
        search.sentence = "The model has no version that is ready, so its features are not known."
    else:
        found = _search(run, dictionary, search)
    with transaction.atomic():
        search.save()
        Suggestion.objects.bulk_create(
            Suggestion(
                run=run,
                condition=one.condition.json,
                words=one.condition.words[:500],
                label=one.label,
                evidence={
                    "discovery": one.discovery,
                    "held_out": one.held_out,
                    "p_adjusted": one.p_adjusted,
                    "tested": search.tested,
                },
                made_at=search.made_at,
            )
            for one in found
        )
    log.info("mining.done", run=run_pk, seen=search.seen, tested=search.tested, kept=search.kept)


def _search(run: Run, dictionary: FeatureDictionary, search: Search) -> list[_Tested]:
    halves, weighted = _halves(run, dictionary, search)
    if search.errors < RUN_ERRORS_MIN:
        search.sentence = (
            f"There are {search.errors:,} errors among {search.labelled:,} labels; below {RUN_ERRORS_MIN} no "
            "pattern can be told from chance."
        )
        return []
    tested: list[_Tested] = []
    for predicted in sorted(halves):
        discovery, held_out = halves[predicted]
        if not discovery.cases or not held_out.cases:
            continue
        seen = _seen(discovery, predicted, dictionary)
        search.seen += len(seen)
        tested += [_test(one, discovery, held_out, predicted) for one in seen[:TESTED_MAX]]
        outbox.renew(TASK, str(run.pk))
    search.tested = len(tested)
    kept = _without_false_discoveries(tested)
    search.kept = len(kept)
    how = "weighted counts scaled to the effective size" if weighted else "plain counts"
    if not tested:
        search.sentence = "No pattern stood out on the half of the labels that patterns are sought on."
    elif not kept:
        search.sentence = (
            f"{_several(search.tested, 'pattern')} stood out on one half of the labels, and none held on the "
            "other: there is nothing to find at 10 % false discoveries."
        )
    else:
        search.sentence = (
            f"Sought on one half of the labels, tested on the other (Fisher, {how}), of "
            f"{_several(search.tested, 'pattern')} tested these hold at 10 % false discoveries "
            "(Benjamini and Hochberg, 1995)."
        )
    return kept


def _several(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _dictionary(run: Run) -> FeatureDictionary | None:
    version = (
        ModelVersion.objects.filter(model_id=run.model_id, state=ModelVersion.State.READY)
        .order_by("-pk")
        .first()
    )
    return version.features if version else None


def _halves(
    run: Run, dictionary: FeatureDictionary, search: Search
) -> tuple[dict[str, tuple[_Half, _Half]], bool]:
    """Decision → its items found on, and tested on; and whether their weights differ."""
    found: dict[str, tuple[_Half, _Half]] = {}
    text = dictionary.text_feature.name if dictionary.text_feature else ""
    weights: set[float] = set()
    for audited in audited_items(run):
        if search.labelled >= ITEMS_MAX:
            break
        item = audited.item
        search.labelled += 1
        search.errors += item.label != item.predicted
        weights.add(round(audited.weight, 6))
        halves = found.setdefault(item.predicted, (_Half(), _Half()))
        halves[audited.held_out].add(Case(_slim(item), item.predicted, text), item.label, audited.weight)
    return found, len(weights) > 1


def _slim(item: Item) -> Item:
    """The item with no more of its text than is searched."""
    item.text = item.text[:TEXT_CUT]
    return item


# -- The half that patterns are sought on ---------------------------------------------------------


def _seen(half: _Half, predicted: str, dictionary: FeatureDictionary) -> list[_Candidate]:
    """Patterns that stand out, the least likely by chance first; of those that match the same items one."""
    errors = np.array([label != predicted for label in half.labels])
    weights = np.array(half.weights)
    singles = _best(_parts(half, errors, dictionary), half, errors, weights, predicted, dictionary)
    pairs = (
        [first.part, second.part]
        for first, second in combinations(singles[:PAIRED_MAX], 2)
        if first.part.get("field") != second.part.get("field") or first.part["field"] == TEXT_FIELD
    )
    better = _best(pairs, half, errors, weights, predicted, dictionary)
    # A pair says more than its halves only where it is clearly less likely by chance.
    best = singles[0].p if singles else 1.0
    return sorted(singles + [pair for pair in better if pair.p < best / 2], key=lambda one: one.p)


def _best(
    parts: Iterator[Any],
    half: _Half,
    errors: NDArray[np.bool_],
    weights: NDArray[np.float64],
    predicted: str,
    dictionary: FeatureDictionary,
) -> list[_Candidate]:
    found: dict[bytes, _Candidate] = {}
    for part in parts:
        together = part if isinstance(part, list) else [part]
        decision = {"field": "predicted", "is": "equals", "value": predicted}
        try:
            condition = parse({"all": [decision, *together]}, dictionary)
        except Invalid:
            continue
        mask = np.array([condition.holds(case) for case in half.cases])
        inside = int((mask & errors).sum())
        if mask.sum() < SUPPORT_MIN or inside < ERRORS_MIN or mask.all():
            continue
        p = _fisher(mask, errors, weights)
        if p > SEEN_P_MAX:
            continue
        key = mask.tobytes()
        # Of equals the first stands: shorter phrases come first.
        if key not in found:
            label = _most_common(
                [label for label, m, e in zip(half.labels, mask, errors, strict=True) if m and e]
            )
            found[key] = _Candidate(part, condition, mask, p, label)
    return sorted(found.values(), key=lambda one: one.p)


def _parts(half: _Half, errors: NDArray[np.bool_], dictionary: FeatureDictionary) -> Iterator[Any]:
    """Single comparisons worth a look: phrases, lengths, scores, surfaces, features."""
    texts = [case.text for case in half.cases]
    if any(texts):
        yield from _phrases(texts, errors)
        yield from _splits(LENGTH_FIELD, [float(len(text)) for text in texts])
    yield from _splits(SCORE_FIELD, [case.row.score for case in half.cases])
    yield from _values(SURFACE_FIELD, half, as_texts=True)
    for feature in dictionary.features[:FEATURES_MAX]:
        # What a person could be found by is no pattern.
        if feature.findable:
            continue
        name = FEATURE + feature.name
        if feature.type == NUMBER:
            numbers = [as_number(case.get(name)) for case in half.cases]
            yield from _splits(name, [number for number in numbers if np.isfinite(number)])
        elif feature.type in {CATEGORY, FLAG}:
            yield from _values(name, half, as_texts=feature.type == CATEGORY)
        if feature.type != "text":
            yield {"field": name, "is": "missing"}


def _phrases(texts: Sequence[str], errors: NDArray[np.bool_]) -> Iterator[Any]:
    """One to three words that stand side by side in enough texts and oftener in errors, short ones first."""
    counter = CountVectorizer(
        ngram_range=(1, 3),
        token_pattern=r"(?u)\b\w+\b",
        min_df=SUPPORT_MIN,
        max_features=WORDS_MAX,
        binary=True,
        dtype=np.int32,
    )
    try:
        there = counter.fit_transform(texts)
    except ValueError:
        # No word stands in enough texts.
        return
    # One product of matrices leaves out most; the rest is matched as a rule would match it.
    among_errors = np.asarray(there[errors].sum(axis=0)).ravel()
    matches = np.asarray(there.sum(axis=0)).ravel()
    common = (among_errors >= ERRORS_MIN) & (among_errors / matches > errors.mean())
    phrases = counter.get_feature_names_out()[common]
    for phrase in sorted(phrases, key=lambda words: (words.count(" "), words)):
        if len(phrase) <= VALUE_MAX:
            yield {"field": TEXT_FIELD, "is": "contains", "value": str(phrase)}


def _splits(name: str, numbers: Sequence[float]) -> Iterator[Any]:
    if len(numbers) < 2 * SUPPORT_MIN:
        return
    edges = np.quantile(np.array(numbers), QUANTILES)
    rounded = dict.fromkeys(float(f"{edge:.3g}") for edge in edges)
    for edge in rounded:
        yield {"field": name, "is": "below", "value": edge}
        yield {"field": name, "is": "above", "value": edge}


def _values(name: str, half: _Half, *, as_texts: bool) -> Iterator[Any]:
    counts = Counter(value for case in half.cases if (value := case.get(name)) is not None)
    for value, count in sorted(counts.most_common(VALUES_PER_FIELD), key=lambda pair: str(pair[0])):
        if count >= SUPPORT_MIN:
            yield {"field": name, "is": "equals", "value": as_text(value) if as_texts else value}


def _most_common(labels: Sequence[str]) -> str:
    counts = Counter(labels)
    return min(counts, key=lambda label: (-counts[label], label))


# -- The half that they are tested on -------------------------------------------------------------


def _test(one: _Candidate, discovery: _Half, held_out: _Half, predicted: str) -> _Tested:
    mask = np.array([one.condition.holds(case) for case in held_out.cases])
    return _Tested(
        one.condition,
        one.label,
        _shown(one.mask, discovery, predicted, one.label),
        _shown(mask, held_out, predicted, one.label),
    )


def _shown(mask: NDArray[np.bool_], half: _Half, predicted: str, label: str) -> dict[str, Any]:
    """What a half says: matches, errors, the rate inside with its interval and outside, how often `label`."""
    labels = np.array(half.labels)
    errors, weights = labels != predicted, np.array(half.weights)
    inside, outside = weights[mask], weights[~mask]
    rate = float((inside * errors[mask]).sum() / inside.sum()) if inside.size else None
    size = effective_size(float(inside.sum()), float((inside**2).sum()))
    low, high = wilson(rate * size, size) if rate is not None else (None, None)
    return {
        "items": int(mask.size),
        "matches": int(mask.sum()),
        "errors": int(errors[mask].sum()),
        "right": int((labels[mask] == label).sum()),
        "rate": rate,
        "low": low,
        "high": high,
        "rate_outside": float((outside * errors[~mask]).sum() / outside.sum()) if outside.size else None,
        "p": _fisher(mask, errors, weights),
    }


def _fisher(mask: NDArray[np.bool_], errors: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """One-sided exact p that errors are no more frequent inside. Fisher, 1935.

    Weights, shape (n,), are scaled to sum to the effective size; the table is rounded to whole numbers.
    """
    if not mask.any() or mask.all():
        return 1.0
    scaled = weights * effective_size(float(weights.sum()), float((weights**2).sum())) / weights.sum()
    table = [
        [round(float(scaled[side & outcome].sum())) for outcome in (errors, ~errors)]
        for side in (mask, ~mask)
    ]
    return float(stats.fisher_exact(table, alternative="greater").pvalue)


def _without_false_discoveries(tested: list[_Tested]) -> list[_Tested]:
    """Those that hold at FALSE_DISCOVERIES, the surest first, KEPT_MAX at most; adjusts every p."""
    if not tested:
        return []
    adjusted = stats.false_discovery_control([one.held_out["p"] for one in tested], method="bh")
    for one, p in zip(tested, adjusted, strict=True):
        one.p_adjusted = float(p)
    held = [one for one in tested if one.p_adjusted <= FALSE_DISCOVERIES and one.held_out["matches"]]
    held.sort(key=lambda one: (one.p_adjusted, one.held_out["p"], one.condition.words))
    return held[:KEPT_MAX]
