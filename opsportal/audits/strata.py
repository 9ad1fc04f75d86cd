"""What a sample is divided by: the dimensions of a policy, and the stratum that one prediction belongs to.

Pure Python, for previews and forms; `drawing.columns` does the same for millions of rows, and is tested
against this.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opsportal.core.errors import Invalid
from opsportal.predictions.dictionary import (
    NUMBER,
    TEXT,
    FeatureDictionary,
    Value,
    as_number,
    as_text,
)

PREDICTED, SCORE_BAND, SURFACE, FEATURE = "predicted", "score_band", "surface", "feature:"
DIMENSIONS_MAX = 4
# So many parts at most; each needs labels of its own.
STRATA_MAX = 200
# In a band at the threshold a prediction is so many times as likely to be drawn.
BOOST = 4.0
_NUMBER_BANDS = 4
_CELL_MAX = 60


class TooManyStrata(ValueError):
    """The dimensions divide the predictions into too many parts; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One way to divide predictions. name: as in Policy.strata. title: for people. edges: of bands, rising.

    Bands include their lower edge. A cell of a missing value is empty.
    """

    name: str
    title: str
    edges: tuple[float, ...] = ()
    is_banded: bool = False

    @property
    def feature(self) -> str:
        """The feature it reads; empty for the others."""
        return self.name.removeprefix(FEATURE) if self.name.startswith(FEATURE) else ""

    @property
    def bands(self) -> list[str]:
        """The cells of a banded dimension from the lowest, in words."""
        if not self.edges:
            return ["any"]
        inner = [f"{low:g}–{high:g}" for low, high in zip(self.edges, self.edges[1:], strict=False)]
        return [f"below {self.edges[0]:g}", *inner, f"{self.edges[-1]:g} and above"]

    def band_of(self, number: float) -> str:
        """The band a number lies in; empty for not-a-number."""
        return "" if number != number else self.bands[bisect_right(self.edges, number)]

    def title_of(self, cell: str) -> str:
        """The cell with what it is a value of."""
        if self.name == PREDICTED:
            return f"predicted {cell}"
        if not cell:
            return f"no {self.title.lower()}"
        return f"{self.title.lower()} {cell}"


def dimensions_of(
    names: Sequence[str], score_edges: Sequence[float], dictionary: FeatureDictionary
) -> tuple[Dimension, ...]:
    """The dimensions of a policy. Numbers are cut into four bands of the range they had in training.

    Raises Invalid at `strata` for what is unknown, given twice, running text, or a number without a range.
    """
    if len(names) > DIMENSIONS_MAX:
        raise _refusal(f"Divide by at most {DIMENSIONS_MAX} things at once.")
    if len(set(names)) < len(names):
        raise _refusal("Each thing divides only once.")
    return tuple(_dimension(name, score_edges, dictionary) for name in names)


def _dimension(name: str, score_edges: Sequence[float], dictionary: FeatureDictionary) -> Dimension:
    if name == PREDICTED:
        return Dimension(name, "Predicted")
    if name == SURFACE:
        return Dimension(name, "Surface")
    if name == SCORE_BAND:
        if not score_edges:
            raise Invalid.at("score_edges", "required", "Say where the score bands meet, such as 0.4, 0.6.")
        return Dimension(name, "Score", tuple(score_edges), is_banded=True)
    feature = dictionary.by_name.get(name.removeprefix(FEATURE)) if name.startswith(FEATURE) else None
    if feature is None:
        raise _refusal(f"“{name.removeprefix(FEATURE)}” is not a feature of this model.")
    if feature.type == TEXT:
        raise _refusal(f"“{feature.label}” is running text, which does not divide into parts.")
    if feature.type != NUMBER:
        return Dimension(name, feature.label)
    if feature.low is None or feature.high is None or feature.low >= feature.high:
        raise _refusal(f"“{feature.label}” is a number whose range is not known, so it has no bands.")
    step = (feature.high - feature.low) / _NUMBER_BANDS
    edges = tuple(feature.low + step * number for number in range(1, _NUMBER_BANDS))
    return Dimension(name, feature.label, edges, is_banded=True)


def cells_of(
    dimensions: Sequence[Dimension],
    *,
    predicted: str,
    score: float,
    surface: str,
    values: Mapping[str, Value],
) -> tuple[str, ...]:
    """The stratum that a prediction belongs to: its cell in each dimension."""
    return tuple(_cell(one, predicted, score, surface, values) for one in dimensions)


def _cell(one: Dimension, predicted: str, score: float, surface: str, values: Mapping[str, Value]) -> str:
    if one.name == PREDICTED:
        return predicted
    if one.name == SURFACE:
        return surface
    if one.name == SCORE_BAND:
        return one.band_of(score)
    value = values.get(one.feature)
    if one.is_banded:
        return one.band_of(as_number(value))
    return "" if value is None else as_text(value)[:_CELL_MAX]


def key_of(dimensions: Sequence[Dimension], cells: Sequence[str]) -> dict[str, str]:
    """Dimension → cell, as Stratum.key holds it."""
    return {one.name: cell for one, cell in zip(dimensions, cells, strict=True)}


def title_of(dimensions: Sequence[Dimension], cells: Sequence[str]) -> str:
    """What a stratum is called: `Predicted survived · score 0.4–0.6`."""
    if not dimensions:
        return "All predictions"
    title = " · ".join(one.title_of(cell) for one, cell in zip(dimensions, cells, strict=True))
    return (title[:1].upper() + title[1:])[:200]


def order_of(dimensions: Sequence[Dimension], cells: Sequence[str]) -> tuple[tuple[int, str], ...]:
    """Sorts strata the same way whatever order they were met in: bands by height, the rest by text."""
    return tuple(
        (one.bands.index(cell) if one.is_banded and cell else -1, cell)
        for one, cell in zip(dimensions, cells, strict=True)
    )


def check_count(count: int, dimensions: Sequence[Dimension]) -> None:
    """Raises TooManyStrata above the cap."""
    if count > STRATA_MAX:
        names = " × ".join(one.title.lower() for one in dimensions)
        raise TooManyStrata(
            f"Dividing by {names} makes more than {STRATA_MAX} parts. "
            "Divide by fewer things, or by coarser ones."
        )


def boost_of(dimensions: Sequence[Dimension], cells: Sequence[str], threshold: float) -> float:
    """How many times as likely an item of this stratum is to be drawn: BOOST in a band at the threshold."""
    for one, cell in zip(dimensions, cells, strict=True):
        if one.name == SCORE_BAND and cell in bands_at(one, threshold):
            return BOOST
    return 1.0


def bands_at(one: Dimension, threshold: float) -> set[str]:
    """The bands that hold the threshold or end at it."""
    place = bisect_right(one.edges, threshold)
    found = {one.bands[place]}
    if place and one.edges[place - 1] == threshold:
        found.add(one.bands[place - 1])
    return found


def _refusal(message: str) -> Invalid:
    return Invalid.at("strata", "invalid", message)
