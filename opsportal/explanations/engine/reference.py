"""Reference rows (a sample of the training data) read column by column."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

import numpy as np

from opsportal.explanations.engine.contributions import Array, Row
from opsportal.predictions.dictionary import FLAG, NUMBER, Feature, Value, as_number, as_text

# More rows make quartiles no better and LIME slower.
ROWS_MAX = 5_000
# A number with more decimals than this is measured, not counted: it has no grid to keep to.
DECIMALS_MAX = 6


@dataclass(frozen=True)
class Column:
    """What the reference rows hold of one feature."""

    feature: Feature
    values: tuple[Value, ...]

    @cached_property
    def levels(self) -> tuple[str | None, ...]:
        """Each row's category as `level_of` writes it."""
        return tuple(level_of(self.feature, value) for value in self.values)

    @cached_property
    def value_of_level(self) -> dict[str | None, Value]:
        """Category → the value that stands for it in the rows, in the order of first appearance."""
        found: dict[str | None, Value] = {}
        for level, value in zip(self.levels, self.values, strict=True):
            found.setdefault(level, value)
        return found

    @cached_property
    def numbers(self) -> Array:
        """The finite numbers in the order of the rows; missing and unreadable ones are left out."""
        numbers = np.array([as_number(value) for value in self.values], dtype=np.float64)
        finite: Array = numbers[np.isfinite(numbers)]
        return finite

    @cached_property
    def sorted_numbers(self) -> Array:
        """The distinct finite numbers, ascending."""
        return np.unique(self.numbers)

    @cached_property
    def decimals(self) -> int | None:
        """The most decimals that a number has here, 0 for integers; None where they follow no grid."""
        most = max((decimals_of(number) for number in self.sorted_numbers.tolist()), default=0)
        return most if most <= DECIMALS_MAX else None

    @cached_property
    def unit(self) -> float:
        """The interquartile range; where that is nothing the standard deviation, and else 1."""
        if not len(self.numbers):
            return 1.0
        low, high = np.percentile(self.numbers, [25, 75])
        return float(high - low) or float(self.numbers.std()) or 1.0

    def plain(self, number: float) -> Value:
        """A number as the rows write it: an integer stays an integer."""
        return int(number) if self.decimals == 0 and number.is_integer() else number


def thinned(rows: Sequence[Row]) -> Sequence[Row]:
    """At most ROWS_MAX of the rows, evenly spread, always the same ones."""
    step = math.ceil(len(rows) / ROWS_MAX) or 1
    return rows[::step]


def column_of(rows: Sequence[Row], feature: Feature) -> Column:
    """What the rows hold of a feature."""
    return Column(feature, tuple(row.get(feature.name) for row in rows))


def level_of(feature: Feature, value: Value) -> str | None:
    """The value as the name of a category; None where it is missing. A flag is `true` or `false`."""
    if value is None:
        return None
    if feature.type == FLAG and not isinstance(value, str):
        return "true" if value else "false"
    return as_text(value)


def is_number(feature: Feature, value: Value) -> bool:
    """Whether the value is one that can be put on a scale, an infinite one included."""
    return feature.type == NUMBER and not math.isnan(as_number(value))


def decimals_of(number: float) -> int:
    """How many decimals a number has as it is written: 7.25 has two, 3.0 none."""
    exponent = Decimal(repr(number)).normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
