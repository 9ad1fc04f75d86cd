"""One feature's effect by its value, over some hundred predictions: ready to draw, and as a table.

Pure Python over a stored profile; only numbers and words come out, templates draw with them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from opsportal.explanations.models import ImportanceProfile
from opsportal.explanations.selectors.importance import unit_of
from opsportal.explanations.selectors.reasons import signed
from opsportal.predictions.dictionary import NUMBER, Feature, FeatureDictionary, Value, as_number

# The box that it is drawn in: the template's viewBox.
WIDTH, HEIGHT, COLUMNS_MAX = 1000.0, 320.0, 12
_ROOM = 16.0
_LABEL_MAX = 40
_BANDS = 5


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: where, and what stands beside it."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Point:
    """One prediction: x and y in the box."""

    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Predictions with like values: how many, and what the value did to their scores on average."""

    label: str
    count: int
    mean: float

    @property
    def mean_text(self) -> str:
        """The mean attribution with its sign."""
        return signed(self.mean)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependence:
    """One feature's effect by its value, ready to draw in a box WIDTH × HEIGHT, and the same as a table.

    is_numeric: x is a number axis; else columns, one for each category. zero: the height of no effect.
    bands: the table. left_out: predictions in no band or column (too rare a category).
    """

    name: str
    label: str
    unit: str
    is_numeric: bool
    points: tuple[Point, ...] = ()
    x_ticks: tuple[Tick, ...] = ()
    y_ticks: tuple[Tick, ...] = ()
    zero: float = HEIGHT / 2
    bands: tuple[Band, ...] = ()
    left_out: int = 0

    @property
    def summary(self) -> str:
        """The drawing in a sentence."""
        if not self.bands:
            return f"No value of {self.label} is known."
        highest, lowest = max(self.bands, key=_mean), min(self.bands, key=_mean)
        if highest is lowest:
            return f"{self.label} {highest.label}: {highest.mean_text} on average."
        return (
            f"{self.label} pushes the score most at {highest.label} ({highest.mean_text} on average)"
            f" and least at {lowest.label} ({lowest.mean_text})."
        )


@dataclass(slots=True)
class _Pile:
    """Attributions of one category."""

    label: str
    attributions: list[float] = field(default_factory=list)


def dependence_choices(
    profile: ImportanceProfile, dictionary: FeatureDictionary
) -> tuple[tuple[str, str], ...]:
    """(name, label) of the features whose dependence is known, the strongest first."""
    # The order of a JSON object's members is not every database's business.
    sizes = {name: size for name, size, _, *mark in profile.importance if not mark}
    return tuple(
        (name, feature.label)
        for name in sorted(profile.dependence, key=lambda name: -sizes.get(name, 0.0))
        if (feature := dictionary.by_name.get(name)) is not None
    )


def dependence_of(profile: ImportanceProfile, dictionary: FeatureDictionary, name: str) -> Dependence | None:
    """One feature's effect by its value; None for a feature of which nothing is kept."""
    feature, pairs = dictionary.by_name.get(name), profile.dependence.get(name)
    if feature is None or not pairs:
        return None
    unit = unit_of(profile.space)
    known = [(number, x) for value, x in pairs if math.isfinite(number := as_number(value))]
    if feature.type == NUMBER and known:
        rest = [(value, x) for value, x in pairs if not math.isfinite(as_number(value))]
        return _numeric(feature, unit, known, rest)
    return _by_category(feature, unit, pairs)


def _mean(band: Band) -> float:
    return band.mean


def _average(numbers: Sequence[float]) -> float:
    return math.fsum(numbers) / len(numbers)


def _numeric(
    feature: Feature,
    unit: str,
    known: Sequence[tuple[float, float]],
    rest: Sequence[tuple[Value, float]],
) -> Dependence:
    known = sorted(known)
    across = _Scale([value for value, _ in known], _ROOM, WIDTH - _ROOM)
    # Upwards on the page is downwards in its coordinates.
    upwards = _Scale([0.0, *(x for _, x in known)], HEIGHT - _ROOM, _ROOM)
    bands = _bands(feature, known)
    missing = [x for value, x in rest if value is None]
    if missing:
        bands.append(Band(label="not provided", count=len(missing), mean=_average(missing)))
    return Dependence(
        name=feature.name,
        label=feature.label,
        unit=unit,
        is_numeric=True,
        points=tuple(Point(across(value), upwards(x)) for value, x in known),
        x_ticks=tuple(Tick(across(at), feature.show(_plain(at))) for at in across.ticks()),
        y_ticks=tuple(Tick(upwards(at), signed(at)) for at in upwards.ticks()),
        zero=upwards(0.0),
        bands=tuple(bands),
        left_out=len(rest) - len(missing),
    )


def _bands(feature: Feature, known: Sequence[tuple[float, float]]) -> list[Band]:
    """About five bands of as many predictions each; one value is never in two of them. known: sorted."""
    size = math.ceil(len(known) / _BANDS)
    found: list[Band] = []
    start = 0
    while start < len(known):
        end = min(start + size, len(known))
        while end < len(known) and known[end][0] == known[end - 1][0]:
            end += 1
        low, high = known[start][0], known[end - 1][0]
        shown = feature.show(_plain(low))
        if high > low:
            shown = f"{shown} to {feature.show(_plain(high))}"
        found.append(Band(label=shown, count=end - start, mean=_average([x for _, x in known[start:end]])))
        start = end
    return found


def _by_category(feature: Feature, unit: str, pairs: Sequence[tuple[Value, float]]) -> Dependence:
    piles: dict[str, _Pile] = {}
    for value, x in pairs:
        shown = feature.show(value)
        piles.setdefault(shown, _Pile(_short(shown))).attributions.append(x)
    # The commonest; then as the dictionary orders them, so that first, second and third stay in line.
    common = sorted(piles.items(), key=lambda item: -len(item[1].attributions))[:COLUMNS_MAX]
    places = {feature.show(category): place for place, category in enumerate(feature.categories)}
    common.sort(key=lambda item: places.get(item[0], len(places)))
    upwards = _Scale([0.0, *(x for _, pile in common for x in pile.attributions)], HEIGHT - _ROOM, _ROOM)
    step = WIDTH / len(common)
    points, ticks, bands = [], [], []
    for column, (_, pile) in enumerate(common):
        middle = step * (column + 0.5)
        ticks.append(Tick(middle, pile.label))
        bands.append(Band(label=pile.label, count=len(pile.attributions), mean=_average(pile.attributions)))
        points += [
            # Beside each other rather than on each other; always the same way.
            Point(middle + step * 0.3 * _spread(place), upwards(x))
            for place, x in enumerate(pile.attributions)
        ]
    return Dependence(
        name=feature.name,
        label=feature.label,
        unit=unit,
        is_numeric=False,
        points=tuple(points),
        x_ticks=tuple(ticks),
        y_ticks=tuple(Tick(upwards(at), signed(at)) for at in upwards.ticks()),
        zero=upwards(0.0),
        bands=tuple(bands),
        left_out=len(pairs) - sum(band.count for band in bands),
    )


class _Scale:
    """Numbers to places between `start` and `end`; all numbers alike lie in the middle."""

    def __init__(self, numbers: Sequence[float], start: float, end: float) -> None:
        self._low, self._high = min(numbers), max(numbers)
        self._start, self._end = start, end

    def __call__(self, number: float) -> float:
        if self._high == self._low:
            return (self._start + self._end) / 2
        # Halves, as the difference of two large numbers may be more than a float holds.
        share = (number / 2 - self._low / 2) / (self._high / 2 - self._low / 2)
        return round(self._start + (self._end - self._start) * share, 2)

    def ticks(self) -> list[float]:
        """Round numbers within the range, about five; the number itself where there is only one."""
        spread = self._high - self._low
        if not spread or not math.isfinite(spread):
            return [self._low]
        rough = spread / 4
        power = 10.0 ** math.floor(math.log10(rough))
        step = next((power * by for by in (1, 2, 5) if power * by >= rough), power * 10)
        first, last = math.ceil(self._low / step), math.floor(self._high / step)
        return [float(f"{place * step:.12g}") for place in range(first, last + 1)] or [self._low]


def _spread(place: int) -> float:
    """The golden ratio's multiples, which fill −1 to 1 evenly at any length."""
    return 2 * ((place * 0.6180339887498949) % 1) - 1


def _plain(number: float) -> float:
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def _short(text: str) -> str:
    return text if len(text) <= _LABEL_MAX else f"{text[: _LABEL_MAX - 1]}…"
