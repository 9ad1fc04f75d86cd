"""Sort rows into strata by whole columns, and count them. As strata.cells_of does it for one prediction."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from opsportal.audits.strata import (
    PREDICTED,
    SCORE_BAND,
    SURFACE,
    Dimension,
    check_count,
    order_of,
)
from opsportal.predictions.dictionary import LOGIT
from opsportal.predictions.models import ModelVersion

# Chances are summed in whole billionths: the sum is the same in every order, on every machine.
BILLION = 1_000_000_000
NO_TIME, NO_ID = "a time that is missing or cannot be read", "an ID that is missing or too long"
NO_SCORE, BAD_SCORE = "a score that is missing or no number", "a score that is no probability"
NO_DECISION, OTHER_DECISION = "no decision", "a decision that is not among the labels"
# A cell takes a byte of a row's combined code.
_RADIX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Rows of one version. ids, labels, surfaces, customers: text arrays; scores: NaN where unreadable.

    customers: pseudonyms or None. features: text arrays (null where missing), or numbers for banded ones.
    usable: rows that can be sorted at all; the others are counted by the reader.
    """

    ids: pa.Array
    scores: NDArray[np.float64]
    labels: pa.Array | None
    surfaces: pa.Array | None
    features: dict[str, Any]
    usable: NDArray[np.bool_]


@dataclass(slots=True)
class Tally:
    """What a frame holds. strata: cells → [rows, Σ stated error, Σ its square], the sums in billionths."""

    strata: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    excluded: int = 0
    unusable: Counter[str] = field(default_factory=Counter)
    # Outside the period.
    outside: int = 0

    def add(self, other: "Tally") -> None:
        """Take in what another part of the frame holds."""
        for cells, numbers in other.strata.items():
            mine = self.strata.setdefault(cells, [0, 0, 0])
            for place, number in enumerate(numbers):
                mine[place] += number
        self.excluded += other.excluded
        self.unusable += other.unusable
        self.outside += other.outside

    @property
    def frame(self) -> int:
        """Rows that can be drawn."""
        return sum(numbers[0] for numbers in self.strata.values())

    def ordered(self, dimensions: Sequence[Dimension]) -> list[tuple[str, ...]]:
        """The strata in an order that no reading order changes."""
        return sorted(self.strata, key=lambda cells: order_of(dimensions, cells))

    def as_json(self) -> dict[str, Any]:
        """For FrameFile.counts."""
        return {
            "strata": [[list(cells), *numbers] for cells, numbers in self.strata.items()],
            "excluded": self.excluded,
            "unusable": dict(self.unusable),
            "outside": self.outside,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Tally":
        """Its counterpart."""
        return cls(
            {tuple(cells): list(numbers) for cells, *numbers in stored["strata"]},
            stored["excluded"],
            Counter(stored["unusable"]),
            stored["outside"],
        )


class Sorter:
    """Gives rows their stratum. strata: those that are known already, in the order of their numbers.

    With strata given, a row of any other raises UnknownStratum; without, numbers are given as they are met.
    Raises strata.TooManyStrata.
    """

    def __init__(
        self,
        dimensions: Sequence[Dimension],
        label_values: Sequence[str],
        strata: Sequence[tuple[str, ...]] = (),
    ) -> None:
        self._dimensions = dimensions
        self._names = list(label_values)
        self._cells = [_Cells(one, self._names) for one in dimensions]
        self._fixed = bool(strata)
        self.strata: list[tuple[str, ...]] = list(strata)
        self._by_cells = {cells: number for number, cells in enumerate(strata)}
        self._by_code: dict[int, int] = {}

    def sort(
        self, rows: Columns, version: "Deciding", excluded: NDArray[np.bool_] | None, tally: Tally | None
    ) -> NDArray[np.int32]:
        """Each row's stratum number, −1 for rows that cannot be drawn. Counts them in the tally.

        excluded: rows of customers who opted out, whether they could be sorted or not.
        """
        usable = rows.usable if excluded is None else rows.usable & ~excluded
        decided, problems = version.decide(rows)
        for reason, bad in problems:
            bad = bad & usable
            if tally is not None and bad.any():
                tally.unusable[reason] += int(bad.sum())
            usable = usable & ~bad
        codes = np.zeros(len(usable), dtype=np.int64)
        for cells in self._cells:
            codes = codes * _RADIX + cells.codes(rows, decided, usable)
        found, inverse = np.unique(codes[usable], return_inverse=True)
        numbers = np.array([self._number(int(code)) for code in found], dtype=np.int32)
        result = np.full(len(usable), -1, dtype=np.int32)
        result[usable] = numbers[inverse] if len(found) else 0
        if tally is not None and len(found):
            errors = np.rint(version.stated_errors(decided, rows.scores)[usable] * BILLION)
            squares = np.rint((errors / BILLION) ** 2 * BILLION)
            counts = np.bincount(inverse, minlength=len(found))
            # Whole numbers below 2⁵³ add up exactly.
            sums = np.bincount(inverse, weights=errors, minlength=len(found))
            square_sums = np.bincount(inverse, weights=squares, minlength=len(found))
            for place, number in enumerate(numbers):
                mine = tally.strata.setdefault(self.strata[number], [0, 0, 0])
                mine[0] += int(counts[place])
                mine[1] += int(sums[place])
                mine[2] += int(square_sums[place])
        return result

    def predicted(self, rows: Columns, version: "Deciding") -> list[str]:
        """What the model decided in each of these rows; they are usable."""
        decided, _ = version.decide(rows)
        return [self._names[code] for code in decided]

    def _number(self, code: int) -> int:
        number = self._by_code.get(code)
        if number is None:
            cells: list[str] = []
            rest = code
            for one in reversed(self._cells):
                rest, place = divmod(rest, _RADIX)
                cells.insert(0, one.texts[place])
            key = tuple(cells)
            number = self._by_cells.get(key)
            if number is None:
                if self._fixed:
                    raise UnknownStratum(key)
                number = self._by_cells[key] = len(self.strata)
                self.strata.append(key)
                check_count(len(self.strata), self._dimensions)
            self._by_code[code] = number
        return number


class UnknownStratum(Exception):
    """A row belongs to a stratum that was not there when the frame was counted."""


class _Cells:
    """The cells of one dimension, each with a number below 256."""

    def __init__(self, one: Dimension, label_values: Sequence[str]) -> None:
        self._one = one
        self._edges = np.asarray(one.edges, dtype=np.float64)
        self.texts: list[str] = ["", *one.bands] if one.is_banded else []
        if one.name == PREDICTED:
            self.texts = list(label_values)
        self._by_text = {text: number for number, text in enumerate(self.texts)}

    def codes(
        self, rows: Columns, decided: NDArray[np.int32], usable: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Each row's cell; anything for rows that are not usable."""
        if self._one.name == PREDICTED:
            return np.where(usable, decided, 0).astype(np.int64)
        if self._one.is_banded:
            numbers = rows.scores if self._one.name == SCORE_BAND else rows.features[self._one.feature]
            return np.where(
                np.isnan(numbers), 0, 1 + np.searchsorted(self._edges, numbers, side="right")
            ).astype(np.int64)
        texts = rows.surfaces if self._one.name == SURFACE else rows.features[self._one.feature]
        if texts is None:
            return np.full(len(usable), self._code(""), dtype=np.int64)
        encoded = pc.fill_null(texts, "").dictionary_encode()
        places = encoded.indices.to_numpy(zero_copy_only=False)
        # Only what usable rows hold makes a cell.
        held = np.zeros(len(encoded.dictionary), dtype=np.bool_)
        held[places[usable]] = True
        lookup = np.array(
            [
                self._code(text) if there else 0
                for text, there in zip(encoded.dictionary.to_pylist(), held, strict=True)
            ],
            dtype=np.int64,
        )
        return lookup[places] if len(lookup) else np.zeros(len(usable), dtype=np.int64)

    def _code(self, text: str) -> int:
        cell = text[:60]
        code = self._by_text.get(cell)
        if code is None:
            code = self._by_text[cell] = len(self.texts)
            self.texts.append(cell)
            # Each cell makes a stratum at least, so there are never more than 256 of them.
            check_count(len(self.texts), [self._one])
        return code


class Deciding:
    """decisions.Decisions for whole columns: the decision of each row as a place in the label values."""

    def __init__(self, version: ModelVersion, label_values: Sequence[str]) -> None:
        dictionary = version.features
        self._places = {value: place for place, value in enumerate(label_values)}
        self._threshold = version.threshold
        self._positive, self._negative = dictionary.positive, dictionary.negative
        self._is_probability = dictionary.link == LOGIT

    def decide(self, rows: Columns) -> tuple[NDArray[np.int32], list[tuple[str, NDArray[np.bool_]]]]:
        """Places (−1 where none fits), and why rows have none: a reason and its rows, first reasons first."""
        scores = rows.scores
        bad_score = ~np.isfinite(scores)
        problems = [(NO_SCORE, bad_score)]
        if self._is_probability:
            problems.append((BAD_SCORE, ~bad_score & ((scores < 0) | (scores > 1))))
        from_score = np.full(len(scores), -2, dtype=np.int32)
        if self._threshold is not None and self._positive and self._negative:
            from_score = np.where(
                scores >= self._threshold,
                self._places.get(self._positive, -1),
                self._places.get(self._negative, -1),
            ).astype(np.int32)
        decided = from_score
        if rows.labels is not None:
            encoded = pc.fill_null(rows.labels, "").dictionary_encode()
            lookup = np.array(
                [self._places.get(text, -1) if text else -3 for text in encoded.dictionary.to_pylist()],
                dtype=np.int32,
            )
            if len(lookup):
                named = lookup[encoded.indices.to_numpy(zero_copy_only=False)]
                decided = np.where(named == -3, from_score, named).astype(np.int32)
        problems += [(NO_DECISION, decided == -2), (OTHER_DECISION, decided == -1)]
        return decided, problems

    def stated_errors(self, decided: NDArray[np.int32], scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The chance of an error that each score states; 0.5 where it is silent."""
        if not self._is_probability:
            return np.full(len(scores), 0.5)
        positive = decided == self._places.get(self._positive, -9)
        stated = np.where(positive, 1 - scores, scores)
        return np.where((scores >= 0) & (scores <= 1), stated, 0.5)
