"""From what the frame holds to how many are drawn from each stratum."""

import math
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from opsportal.audits import figures
from opsportal.audits.drawing.columns import BILLION, Tally
from opsportal.audits.models import Allocation, Estimate, Run, Stratum
from opsportal.audits.planning import ITEMS_MAX, planned_size
from opsportal.audits.statistics.design import ImpossibleAllocation, allocate, stated_spreads
from opsportal.audits.strata import Dimension, boost_of, key_of
from opsportal.predictions.models import ModelVersion


class Part(TypedDict):
    """A stratum of a design, as plain JSON. sums: Σ and Σ² of the stated error, in billionths."""

    cells: list[str]
    frame: int
    planned: int
    sums: list[int]


class Undrawable(Exception):
    """The run cannot be drawn; the message is a sentence for the people who asked for it."""


def design(
    run: Run, dimensions: Sequence[Dimension], version: ModelVersion | None, tally: Tally
) -> list[Part]:
    """How many are drawn from each stratum of this frame, in an order that no reading order changes.

    version: whose threshold a boost is about. Raises Undrawable for an empty frame, a sample that nobody
    could label, or one too small for its strata.
    """
    if not tally.frame:
        raise Undrawable(_nothing(tally))
    strata = tally.ordered(dimensions)
    frames = np.array([tally.strata[cells][0] for cells in strata], dtype=np.int64)
    sums = np.array([tally.strata[cells][1] for cells in strata], dtype=np.float64) / BILLION
    size = planned_size(run.plan, tally.frame)
    if size.n > ITEMS_MAX:
        raise Undrawable(
            f"The plan asks for {size.n:,} items ({size.why}); more than {ITEMS_MAX:,} are not drawn. "
            "Take a number of items, or a width."
        )
    how = run.plan["allocation"]
    try:
        planned = allocate(
            frames,
            size.n,
            how=how,
            spreads=_spreads(run, dimensions, strata, sums, frames) if how == Allocation.NEYMAN else None,
            boosts=_boosts(dimensions, strata, version) if how == Allocation.BOOST else None,
            core_share=run.plan["core_share"],
            minimum=run.plan["minimum_per_stratum"],
        )
    except ImpossibleAllocation as error:
        raise Undrawable(str(error)) from None
    return [
        Part(cells=list(cells), frame=int(frame), planned=int(n), sums=tally.strata[cells][1:])
        for cells, frame, n in zip(strata, frames, planned, strict=True)
    ]


def _spreads(
    run: Run,
    dimensions: Sequence[Dimension],
    strata: Sequence[tuple[str, ...]],
    sums: NDArray[np.float64],
    frames: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Standard deviations of being wrong: what the last closed run found, else what scores state."""
    spreads = stated_spreads(sums, frames)
    known = _found_before(run)
    for place, cells in enumerate(strata):
        counts = known.get(tuple(sorted(key_of(dimensions, cells).items())))
        if counts:
            labelled, errors = counts
            # Two more labels, one of them an error: none found is not none there.
            p = (errors + 1) / (labelled + 2)
            spreads[place] = math.sqrt(p * (1 - p))
    return spreads


def _found_before(run: Run) -> dict[tuple[tuple[str, str], ...], tuple[int, int]]:
    """Stratum → (labelled, errors) in the policy's last closed run that has figures."""
    last = (
        Estimate.objects.filter(run__policy=run.policy_id, run__state=Run.State.CLOSED)
        .order_by("-run_id")
        .first()
    )
    if last is None:
        return {}
    by_number = {one.number: one for one in figures.decode(last.figures).strata}
    return {
        tuple(sorted(stratum.key.items())): (found.labelled, found.errors)
        for stratum in Stratum.objects.filter(run=last.run_id)
        if (found := by_number.get(stratum.number)) and found.labelled
    }


def _boosts(
    dimensions: Sequence[Dimension], strata: Sequence[tuple[str, ...]], version: ModelVersion | None
) -> NDArray[np.float64]:
    threshold = version.threshold if version else None
    if threshold is None:
        raise Undrawable("The model has no threshold any more, so nothing is near it.")
    return np.array([boost_of(dimensions, cells, threshold) for cells in strata])


def _nothing(tally: Tally) -> str:
    """Why a frame is empty, in a sentence."""
    reasons = []
    if tally.excluded:
        reasons.append(f"{tally.excluded:,} of customers who opted out")
    reasons += [f"{count:,} with {reason}" for reason, count in tally.unusable.most_common()]
    if reasons:
        return f"There is nothing to draw from: all predictions were left out, {', '.join(reasons)}."
    return "There is nothing to draw from: no prediction was made in this period."


def as_plan(parts: Sequence[Part], tally: Tally) -> dict[str, Any]:
    """What a run's plan says about the drawing: `n`, `parts` and why rows were `unusable`."""
    return {
        "n": sum(part["planned"] for part in parts),
        "parts": list(parts),
        "unusable": dict(tally.unusable),
    }
