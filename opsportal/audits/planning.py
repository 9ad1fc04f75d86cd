"""How many items a sample needs, and how long people need for them. Pure Python: pages compute it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from opsportal.audits.models.policies import Sizing

CONFIDENCE = 0.95
# More than that nobody labels; a share of ten million would ask for it.
ITEMS_MAX = 100_000
# Until a model's items have been timed.
SECONDS_PER_ITEM = 12.0


@dataclass(frozen=True, slots=True)
class Planned:
    """The size of a sample: items, whether they are all there are, and how the number follows, in words."""

    n: int
    everything: bool
    why: str


def wilson_half_width(p: float, n: int, *, frame: int | None = None, confidence: float = CONFIDENCE) -> float:
    """Half the width of Wilson's interval where a share of `p` of `n` items is found. In shares, 0–0.5.

    frame: of how many the items were drawn; the interval narrows as if there were n(N − 1)/(N − n) items,
    and is nothing once all were looked at. Wilson, JASA 22 (1927) 209; Cochran, Sampling Techniques, 1977,
    §3.2.
    """
    if frame is not None:
        if n >= frame:
            return 0.0
        effective = n * (frame - 1) / (frame - n)
    else:
        effective = float(n)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    return (
        z / (1 + z * z / effective) * math.sqrt(p * (1 - p) / effective + z * z / (4 * effective * effective))
    )


def size_for_width(
    p: float, half_width: float, *, frame: int | None = None, confidence: float = CONFIDENCE
) -> int:
    """The fewest items of a uniform sample whose Wilson interval at a rate of `p` is within ± `half_width`.

    frame: as in wilson_half_width; never more than all of it. Both rates in shares.
    """
    high = 1
    while wilson_half_width(p, high, frame=frame, confidence=confidence) > half_width:
        high *= 2
    low = high // 2
    while low + 1 < high:
        middle = (low + high) // 2
        if wilson_half_width(p, middle, frame=frame, confidence=confidence) > half_width:
            low = middle
        else:
            high = middle
    return high if frame is None else min(high, frame)


def size_for_acceptance(p: float, *, frame: int | None = None, confidence: float = CONFIDENCE) -> int:
    """The fewest items that show a rate below `p` when none of them is wrong, at this confidence.

    From (1 − p)^n ≤ 1 − confidence; never more than the frame. Dodge and Romig, Bell System Technical
    Journal 8 (1929) 613.
    """
    n = math.ceil(round(math.log(1 - confidence) / math.log(1 - p), 9))
    return n if frame is None else min(n, frame)


def hours_for(n: int, seconds: float, looks: float) -> float:
    """How long one person needs: items × median seconds of a look × looks an item."""
    return n * seconds * looks / 3600


def looks_of(*, double_share: float, gold_share: float = 0.0) -> float:
    """Looks for each drawn item: one, a second for some, and those at items with known answers."""
    return 1 + double_share + gold_share / (1 - gold_share)


def gold_count(n: int, gold_share: float, available: int) -> int:
    """How many known answers beside `n` drawn items make up `gold_share` of all, as far as there are any."""
    return min(available, round(n * gold_share / (1 - gold_share)))


def planned_size(plan: Mapping[str, Any], frame: int) -> Planned:
    """The size that a policy's (or a run's) plan asks for of a frame: fields as in Policy; frame > 0."""
    sizing = plan["sizing"]
    match sizing:
        case Sizing.RATE:
            n = max(1, round(plan["rate"] * frame))
            why = f"{percent(plan['rate'])} of {frame:,} predictions"
        case Sizing.SIZE:
            n = plan["size"]
            why = f"{count(n, 'item')}, as the policy says"
        case Sizing.WIDTH:
            n = size_for_width(plan["expected_error"], plan["half_width"], frame=frame)
            why = (
                f"for {plus_minus(plan['half_width'])} at an error rate of {percent(plan['expected_error'])}"
            )
        case Sizing.ACCEPTANCE:
            n = size_for_acceptance(plan["expected_error"], frame=frame)
            why = (
                f"none wrong among so many shows an error rate below {percent(plan['expected_error'])}, "
                "95 % sure"
            )
        case _:
            raise ValueError(f"unknown sizing {sizing}")
    if n >= frame:
        return Planned(frame, everything=True, why=f"{why}: all of the {frame:,} there are")
    return Planned(n, everything=False, why=why)


def more_for_width(p: float, labelled: int, half_width: float, *, frame: int | None = None) -> int:
    """How many more labels it takes until the interval is no wider than ± `half_width`; 0 when it is not."""
    return max(0, size_for_width(p, half_width, frame=frame) - labelled)


def more_in_words(p: float, labelled: int, half_width: float, *, frame: int | None = None) -> str:
    """`412 more for ±0.5 pp`, or that it is reached."""
    more = more_for_width(p, labelled, half_width, frame=frame)
    width = plus_minus(half_width)
    return f"{more:,} more for {width}" if more else f"{width} is reached"


def percent(share: float) -> str:
    """`2 %`, `0.5 %`."""
    return f"{share * 100:.3g} %"


def plus_minus(share: float) -> str:
    """`±0.5 pp`: percentage points."""
    return f"±{share * 100:.2g} pp"


def points(share: float) -> str:
    """`±1.1 points`, for sentences that people read first."""
    return f"±{share * 100:.2g} points"


def count(number: int, noun: str) -> str:
    """`1 item`, `2,000 items`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(hours: float) -> str:
    """`about 2 h 20 min`, in steps that suit its length."""
    minutes = hours * 60
    if minutes < 1:
        return "less than a minute"
    if minutes < 10:
        return f"about {round(minutes)} min"
    whole = round(minutes / 10) * 10 if minutes >= 60 else round(minutes / 5) * 5
    if whole < 60:
        return f"about {whole} min"
    if whole >= 20 * 60:
        return f"about {round(whole / 60):,} h"
    rest = f" {whole % 60} min" if whole % 60 else ""
    return f"about {whole // 60} h{rest}"


def least_size(strata: int, minimum: int) -> int:
    """The fewest items that give every stratum its minimum, which is one at least."""
    return strata * max(1, minimum)


def median(values: Sequence[float]) -> float:
    """The median of seconds; SECONDS_PER_ITEM where nothing was timed."""
    ordered = sorted(values)
    if not ordered:
        return SECONDS_PER_ITEM
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
