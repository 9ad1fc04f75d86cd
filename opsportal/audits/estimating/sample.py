"""What was drawn by chance and labelled, and the strata that it stands for.

Only such items say anything about rates. Labelled items of a stratum count as a random part of it, each for
frame / labelled predictions, so what is left unlabelled or cannot be told is taken to be like the rest of
its stratum; the notes say how much that is.
"""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from opsportal.audits import figures
from opsportal.audits.estimating.rows import Data, Row
from opsportal.audits.models import Item, Run, Stream
from opsportal.audits.statistics.estimators import Estimated, rate, ratio

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Part:
    """A stratum of the design; number 0 for a sample that was drawn without strata."""

    number: int
    title: str
    key: dict[str, str]
    frame: int
    drawn: int
    stated_sum: float | None


@dataclass(frozen=True, slots=True)
class Within:
    """A rate in a part of the frame; is_known: how large that part is."""

    estimated: Estimated | None
    is_known: bool


@dataclass(slots=True)
class Sample:
    """The labelled items that were drawn, with the strata that they stand for.

    rows: with a label; where: the place of each one's part. Counts by part have shape (parts,).
    """

    parts: list[Part]
    rows: list[Row]
    where: NDArray[np.int64]
    drawn: int
    cannot_tell: int
    frames: NDArray[np.int64] = field(init=False)
    labelled: NDArray[np.int64] = field(init=False)
    wrong: Flags = field(init=False)

    def __post_init__(self) -> None:
        self.frames = np.array([part.frame for part in self.parts], dtype=np.int64)
        self.labelled = self.count(np.ones(len(self.rows), dtype=np.bool_))
        self.wrong = np.array([row.label != row.predicted for row in self.rows], dtype=np.bool_)

    def count(self, among: Flags) -> NDArray[np.int64]:
        return np.bincount(self.where[among], minlength=len(self.parts))

    def rate(self, hits: Flags) -> Estimated | None:
        """Share of the whole frame."""
        return rate(self.frames, self.labelled, self.count(hits))

    def rate_within(self, part: Flags, hits: Flags, *, dimension: str = "", cell: str = "") -> Within:
        """Share of a part of the frame. Where strata are divided by the dimension its size is known."""
        if dimension and all(dimension in one.key for one in self.parts):
            chosen = np.array([one.key[dimension] == cell for one in self.parts], dtype=np.bool_)
            counts = self.count(hits & part)
            return Within(rate(self.frames[chosen], self.labelled[chosen], counts[chosen]), is_known=True)
        if len(self.parts) == 1 and bool(part.all()):
            return Within(self.rate(hits), is_known=True)
        return Within(
            ratio(self.frames, self.labelled, self.count(part & hits), self.count(part & ~hits)),
            is_known=False,
        )

    @property
    def is_stratified(self) -> bool:
        return len(self.parts) > 1


def sample_of(data: Data) -> Sample:
    """The labelled part of what was drawn; items without a stratum share one by their probability."""
    drawn = data.drawn()
    parts = [
        Part(
            stratum.number,
            stratum.title,
            {str(name): str(cell) for name, cell in stratum.key.items()},
            stratum.frame,
            stratum.drawn,
            stratum.stated_error_sum,
        )
        for stratum in data.strata
    ]
    places: dict[Hashable, int] = {stratum.pk: place for place, stratum in enumerate(data.strata)}
    loose = Counter(row.probability for row in drawn if row.stratum_id is None)
    for probability, count in loose.items():
        places[None, probability] = len(parts)
        frame = max(round(count / probability), count) if probability else count
        parts.append(Part(0, "All that could be drawn", {}, frame, count, None))
    labelled = [row for row in drawn if row.label]
    where = [
        places[row.stratum_id if row.stratum_id is not None else (None, row.probability)] for row in labelled
    ]
    return Sample(
        parts=parts,
        rows=labelled,
        where=np.array(where, dtype=np.int64),
        drawn=len(drawn),
        cannot_tell=sum(row.state == Item.State.SETTLED and not row.label for row in drawn),
    )


def frame_of(run: Run, data: Data, sample: Sample) -> figures.Frame:
    """How many predictions there were, and what became of those drawn."""
    total = int(sample.frames.sum()) if sample.parts else int(run.frame)
    labelled = len(sample.rows)
    return figures.Frame(
        frame=total,
        excluded=run.excluded,
        unusable=run.unusable,
        drawn=sample.drawn,
        labelled=labelled,
        cannot_tell=sample.cannot_tell,
        unlabelled=sample.drawn - labelled - sample.cannot_tell,
        erased=run.erased,
        gold=sum(row.stream == Stream.GOLD for row in data.rows),
    )
