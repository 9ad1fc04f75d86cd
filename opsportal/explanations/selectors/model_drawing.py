"""One feature’s effect by its value, placed for SVG of any width: per cent across, pixels down."""

from dataclasses import dataclass

from opsportal.explanations.selectors.dependence import HEIGHT, WIDTH, Dependence

STRIP_HEIGHT, STRIP_SPREAD = 28.0, 9.0


@dataclass(frozen=True, slots=True)
class Mark:
    """A point: `cx` such as 12.34%, `cy` in pixels."""

    cx: str
    cy: str


@dataclass(frozen=True, slots=True)
class AxisTick:
    """A mark on an axis: its place (per cent across or pixels down) and its words."""

    at: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """One category: its predictions along the axis of the effect."""

    label: str
    count: int
    mean_text: str
    marks: list[Mark]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """Either a scatter (marks, with ticks below and at the side) or strips, one for each category.

    zero: where the effect is none, pixels down in a scatter, per cent across in strips.
    """

    dependence: Dependence
    marks: list[Mark]
    below: list[AxisTick]
    side: list[AxisTick]
    strips: list[Strip]
    zero: str
    height: int = int(HEIGHT)
    strip_height: int = int(STRIP_HEIGHT)


def drawing_of(dependence: Dependence) -> Drawing:
    """The dependence as a scatter for numbers, as strips for everything else."""
    if dependence.is_numeric:
        return Drawing(
            dependence=dependence,
            marks=[Mark(_across(point.x), f"{point.y:.1f}") for point in dependence.points],
            below=[AxisTick(_across(tick.at), tick.text) for tick in dependence.x_ticks],
            side=[AxisTick(f"{tick.at:.1f}", tick.text) for tick in dependence.y_ticks],
            strips=[],
            zero=f"{dependence.zero:.1f}",
        )
    return Drawing(
        dependence=dependence,
        marks=[],
        below=[AxisTick(_effect(tick.at), tick.text) for tick in dependence.y_ticks],
        side=[],
        strips=_strips(dependence),
        zero=_effect(dependence.zero),
    )


def _strips(dependence: Dependence) -> list[Strip]:
    step = WIDTH / max(1, len(dependence.bands))
    found = [
        Strip(label=band.label, count=band.count, mean_text=band.mean_text, marks=[])
        for band in dependence.bands
    ]
    for point in dependence.points:
        column = min(int(point.x // step), len(found) - 1)
        aside = (point.x - step * (column + 0.5)) / (step / 2)
        found[column].marks.append(
            Mark(_effect(point.y), f"{STRIP_HEIGHT / 2 + STRIP_SPREAD * aside / 0.6:.1f}")
        )
    return found


def _across(x: float) -> str:
    return f"{100 * x / WIDTH:.2f}%"


def _effect(y: float) -> str:
    """A height in the box of the scatter as a place across: more to the right is more."""
    return f"{100 * (HEIGHT - y) / HEIGHT:.2f}%"
