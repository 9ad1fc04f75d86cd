"""Nearest counterfactuals: the smallest allowed changes with which the model decides otherwise.

A search over values that the reference rows have, in a bounded number of scored rows. It says what the
model would say, not what would happen.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from opsportal.explanations.engine.contributions import Array, Engine, Row
from opsportal.explanations.engine.reference import (
    Column,
    column_of,
    is_number,
    level_of,
    thinned,
)
from opsportal.explanations.selectors.what_if import Changeable, changeables
from opsportal.predictions.dictionary import (
    CATEGORY,
    FLAG,
    LOGIT,
    NUMBER,
    Feature,
    FeatureDictionary,
    Value,
    as_number,
)

CHANGES_MAX = 3
ANSWERS_MAX = 5
# How many values of a feature are tried, and how many single changes at all.
_VALUES_MAX, _SINGLES_MAX = 24, 1_400
# How many single changes go into pairs, of each feature at least so many, and how many pairs and changes
# go into triples. Together: 1,400 + 60·59/2 + 50·30, and some for bringing the answers closer.
_PAIRED_MAX, _PER_FEATURE, _BEAM, _THIRDS_MAX = 60, 4, 50, 30
# How many values between the old and a new number are tried to bring them closer.
_BETWEEN = 10


@dataclass(frozen=True, slots=True)
class _Move:
    """One change: of one feature, or of the columns that are one category together.

    about: what it changes, alike for moves that exclude each other. changes: feature → new value.
    """

    about: str
    changes: tuple[tuple[str, Value], ...]
    distance: float


@dataclass(frozen=True, slots=True)
class _Answer:
    """Moves with which the decision is the other one."""

    moves: tuple[_Move, ...]
    score: float

    @property
    def distance(self) -> float:
        return sum(move.distance for move in self.moves)

    @property
    def about(self) -> frozenset[str]:
        return frozenset(move.about for move in self.moves)

    @property
    def changes(self) -> dict[str, Value]:
        return {name: value for move in self.moves for name, value in move.changes}


def find(
    engine: Engine,
    dictionary: FeatureDictionary,
    background_rows: Sequence[Row],
    row: Row,
    threshold: float | None,
) -> dict[str, Any]:
    """The nearest sets of at most three changes that turn the decision about a row; always the same ones.

    Only features that the dictionary calls changeable are changed, to values of the reference rows or of
    the dictionary within the range seen in training. Columns of one category are one change. Scores at
    most 5,000 rows. Returns {"found": [{"changes", "score", "distance"}, …] with the fewest changes and
    then the nearest first, none of whose features include those of a shorter one, "tried": rows scored,
    "target": `positive` or `negative`, "reason": a sentence where nothing was found}. distance: changes of
    numbers in interquartile ranges, and 1 for any other. Raises EngineError as the engine does.
    """
    if threshold is None:
        return _none("", 0, "This model has no threshold: it ranks, and there is no decision to turn.")
    search = _Search(engine, row, threshold)
    rows = thinned(background_rows)
    columns = {feature.name: column_of(rows, feature) for feature in dictionary.inputs}
    moves = _moves(dictionary, columns, row)
    if not moves:
        return _none(search.target, search.tried, _why_no_move(dictionary))
    answers = search.run(moves)
    answers = _diverse(search.tighten(answers, columns, row))
    if not answers:
        return _none(search.target, search.tried, search.why_none(dictionary))
    found = [
        {"changes": answer.changes, "score": answer.score, "distance": round(answer.distance, 6)}
        for answer in answers
    ]
    return {"found": found, "tried": search.tried, "target": search.target, "reason": ""}


def _none(target: str, tried: int, reason: str) -> dict[str, Any]:
    return {"found": [], "tried": tried, "target": target, "reason": reason}


def _why_no_move(dictionary: FeatureDictionary) -> str:
    if not changeables(dictionary):
        return "The model's dictionary names nothing that may be changed."
    return "The reference rows hold no other value of anything that may be changed."


# -- What can be changed ----------------------------------------------------------------------


def _moves(dictionary: FeatureDictionary, columns: dict[str, Column], row: Row) -> list[_Move]:
    """Every single change that is tried: of just what a person may vary in a what-if."""
    things = changeables(dictionary)
    most = min(_VALUES_MAX, max(1, _SINGLES_MAX // (len(things) or 1)))
    moves: list[_Move] = []
    for thing in things:
        if thing.group is not None:
            moves += _moves_of_levels(thing, row)[:most]
        else:
            (feature,) = thing.features
            moves += _moves_of(columns[feature.name], row.get(feature.name), most)
    return moves[:_SINGLES_MAX]


def _moves_of(column: Column, value: Value, most: int) -> list[_Move]:
    feature = column.feature
    if feature.type == NUMBER:
        values: Iterable[Value] = (column.plain(number) for number in _spread(_in_range(column), most + 1))
    elif feature.type in {CATEGORY, FLAG}:
        values = _categories(column)
    else:
        return []
    now = level_of(feature, value) if feature.type != NUMBER else as_number(value)
    others = [
        other
        for other in values
        if (as_number(other) if feature.type == NUMBER else level_of(feature, other)) != now
    ]
    return [
        _Move(f"feature {feature.name}", ((feature.name, other),), _distance(column, value, other))
        for other in others[:most]
    ]


def _in_range(column: Column) -> Array:
    """The reference's distinct numbers within the range seen in training, ascending."""
    numbers = column.sorted_numbers
    low, high = column.feature.low, column.feature.high
    if low is not None:
        numbers = numbers[numbers >= low]
    if high is not None:
        numbers = numbers[numbers <= high]
    return numbers


def _spread(numbers: Array, most: int) -> list[float]:
    """At most so many of the numbers, at even steps, the first and the last among them."""
    if len(numbers) > most:
        numbers = numbers[np.unique(np.linspace(0, len(numbers) - 1, most).round().astype(int))]
    return [float(number) for number in numbers]


def _categories(column: Column) -> list[Value]:
    """The categories that the dictionary names or else the reference has, the commonest first.

    As the reference writes them: the number 3 where it has the number 3.
    """
    feature = column.feature
    seen = column.value_of_level
    counts = Counter(column.levels)
    if feature.type == FLAG:
        return [seen.get("true", True), seen.get("false", False)]
    names: Iterable[str | None] = feature.categories or seen
    known = [name for name in names if name is not None]
    return [seen.get(name, name) for name in sorted(known, key=lambda name: -counts[name])]


def _distance(column: Column, before: Value, after: Value) -> float:
    """How far the change goes; from a missing number it is 1, and what the new one is off the middle."""
    if column.feature.type != NUMBER:
        return 1.0
    old = as_number(before)
    if np.isfinite(old):
        return abs(as_number(after) - old) / column.unit
    return 1.0 + abs(as_number(after) - float(np.median(column.numbers))) / column.unit


def _moves_of_levels(thing: Changeable, row: Row) -> list[_Move]:
    """From the level that is on to each of the others; the columns of one category change together."""
    on = [feature for feature in thing.features if as_number(row.get(feature.name)) == 1]
    if len(on) > 1:
        return []
    off = tuple((feature.name, _switched(feature, to=False)) for feature in on)
    return [
        _Move(f"group {thing.label}", (*off, (feature.name, _switched(feature, to=True))), 1.0)
        for feature in thing.features
        if feature not in on
    ]


def _switched(feature: Feature, *, to: bool) -> Value:
    return to if feature.type == FLAG else int(to)


# -- The search -------------------------------------------------------------------------------


class _Search:
    """Scores changed rows and counts them."""

    def __init__(self, engine: Engine, row: Row, threshold: float) -> None:
        self._engine = engine
        self._row = dict(row)
        self._threshold = threshold
        self.tried = 0
        self._now = float(self._score([()])[0])
        self._up = self._now < threshold
        self.target = "positive" if self._up else "negative"
        self._nearest = self._now

    def run(self, moves: Sequence[_Move]) -> list[_Answer]:
        """Every answer of one change; of two and of three, those that a beam search finds."""
        singles = [(move,) for move in moves]
        scores = self._score(singles)
        answers, open_singles = self._split(singles, scores)
        best = self._best_moves(open_singles)
        pairs = [
            (one, other)
            for (one,), (other,) in combinations([tried for tried, _ in best], 2)
            if one.about != other.about
        ]
        solved = {answer.about for answer in answers}
        pairs = [pair for pair in pairs if not _covers(pair, solved)]
        found, open_pairs = self._split(pairs, self._score(pairs))
        answers += found
        solved |= {answer.about for answer in found}
        beam = sorted(open_pairs, key=lambda tried: -tried[1])[:_BEAM]
        thirds = [tried[0] for tried, _ in best[:_THIRDS_MAX]]
        triples = {
            frozenset((*pair, third)): (*pair, third)
            for pair, _ in beam
            for third in thirds
            if third.about not in {move.about for move in pair}
        }
        left = [triple for triple in triples.values() if not _covers(triple, solved)]
        found, _ = self._split(left, self._score(left))
        return answers + found

    def tighten(self, answers: Sequence[_Answer], columns: dict[str, Column], row: Row) -> list[_Answer]:
        """The most promising answers with each number as close to the old one as the decision allows."""
        kept = _diverse(answers)
        for place in range(CHANGES_MAX):
            tries = [
                (number, (*answer.moves[:place], closer, *answer.moves[place + 1 :]))
                for number, answer in enumerate(kept)
                if place < len(answer.moves)
                for closer in _closer(answer.moves[place], columns, row)
            ]
            scores = self._score([moves for _, moves in tries])
            for (number, moves), score in zip(tries, scores.tolist(), strict=True):
                answer = _Answer(moves, score)
                if self._turns(score) and answer.distance < kept[number].distance:
                    kept[number] = answer
        return kept

    def why_none(self, dictionary: FeatureDictionary) -> str:
        """That nothing turned the decision, and how near the nearest try came."""

        def say(score: float) -> str:
            return f"{100 * score:.1f} %" if dictionary.link == LOGIT else f"{score:.4g}"

        return (
            f"None of the {self.tried:,} variants tried, with up to {CHANGES_MAX} changes each, turns the"
            f" decision at {say(self._threshold)}; the nearest gives {say(self._nearest)}."
        )

    def _turns(self, score: float) -> bool:
        return (score >= self._threshold) == self._up

    def _score(self, tries: Sequence[tuple[_Move, ...]]) -> Array:
        if not tries:
            return np.empty(0)
        self.tried += len(tries)
        rows = [
            {**self._row, **{name: value for move in moves for name, value in move.changes}}
            for moves in tries
        ]
        return np.asarray(self._engine.score(rows), dtype=np.float64)

    def _split(
        self, tries: Sequence[tuple[_Move, ...]], scores: Array
    ) -> tuple[list[_Answer], list[tuple[tuple[_Move, ...], float]]]:
        """The tries that turn the decision, and the others, each with how far it came towards it."""
        answers, others = [], []
        for moves, score in zip(tries, scores.tolist(), strict=True):
            if self._turns(score):
                answers.append(_Answer(moves, score))
            else:
                gain = score - self._now if self._up else self._now - score
                others.append((moves, gain))
                if abs(score - self._threshold) < abs(self._nearest - self._threshold):
                    self._nearest = score
        return answers, others

    def _best_moves(
        self, tries: Sequence[tuple[tuple[_Move, ...], float]]
    ) -> list[tuple[tuple[_Move, ...], float]]:
        """The single changes that bring most, by turns those that come far and those that come far for what
        they change; of each feature not too many, so that pairs differ. The best comes first."""
        features = len({moves[0].about for moves, _ in tries})
        most = max(_PER_FEATURE, _PAIRED_MAX // (features or 1))
        by_gain = sorted(tries, key=lambda tried: -tried[1])
        by_rate = sorted(tries, key=lambda tried: -tried[1] / (tried[0][0].distance + 0.1))
        chosen: dict[_Move, tuple[tuple[_Move, ...], float]] = {}
        counts: Counter[str] = Counter()
        for both in zip(by_gain, by_rate, strict=True):
            for tried in both:
                (move,) = tried[0]
                if move not in chosen and counts[move.about] < most:
                    counts[move.about] += 1
                    chosen[move] = tried
        # Where there is room left, all the others too: what brings nothing alone may do so together.
        for tried in by_gain:
            chosen.setdefault(tried[0][0], tried)
        return sorted(list(chosen.values())[:_PAIRED_MAX], key=lambda tried: -tried[1])


def _closer(move: _Move, columns: dict[str, Column], row: Row) -> list[_Move]:
    """The same change of a number, less far."""
    (name, value), *more = move.changes
    column = columns[name]
    before = row.get(name)
    if more or not is_number(column.feature, before) or column.feature.type != NUMBER:
        return []
    low, high = sorted((as_number(before), as_number(value)))
    numbers = _in_range(column)
    between = numbers[(numbers > low) & (numbers < high)]
    return [
        _Move(move.about, ((name, plain),), _distance(column, before, plain))
        for plain in map(column.plain, _spread(between, _BETWEEN))
    ]


def _covers(moves: Sequence[_Move], solved: set[frozenset[str]]) -> bool:
    """Whether fewer of these features do it already."""
    about = {move.about for move in moves}
    return any(part <= about for part in solved)


def _diverse(answers: Sequence[_Answer]) -> list[_Answer]:
    """The nearest answers, fewest changes first, each of features that no other makes do without."""

    def rank(answer: _Answer) -> tuple[int, float, str]:
        # What is equally near is ordered by name, for want of a reason, so that it is always the same.
        return len(answer.moves), round(answer.distance, 9), repr(sorted(answer.changes.items()))

    kept: list[_Answer] = []
    for answer in sorted(answers, key=rank):
        if len(kept) < ANSWERS_MAX and not any(other.about <= answer.about for other in kept):
            kept.append(answer)
    return kept
