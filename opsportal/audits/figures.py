"""The figures of an audit as they are stored and shown: every number with its interval, formula and source.

Pure Python (msgspec), read by web processes; `estimating` makes them, from `statistics`.
"""

import msgspec

# Raised whenever a formula changes, and kept with every estimate.
METHOD = "audits/1"


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One number that can be defended, or a sentence why there is none.

    value: null when there is none; then `sentence` says why. low, high: 95 % bounds; for kind `upper` only
    `high` (nothing was found), for `lower` only `low`. n: labelled items it rests on. n_effective: as many
    of a uniform sample would say as much. formula: the estimator and the interval; source: where they stand.
    """

    name: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    kind: str = "two_sided"
    n: int = 0
    n_effective: float | None = None
    formula: str = ""
    source: str = ""
    sentence: str = ""


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """What the figures are about. `frame` = predictions that could be drawn."""

    frame: int
    excluded: int
    unusable: int
    drawn: int
    labelled: int
    cannot_tell: int
    unlabelled: int
    erased: int
    gold: int


class ClassFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One class. predicted, true: share of the frame that the model, and people, give this label."""

    label: str
    precision: Figure
    recall: Figure
    predicted: Figure
    true: Figure


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A cell of the confusion matrix: items labelled, and how many of the frame they stand for."""

    predicted: str
    true: str
    count: int
    weighted: float


class StratumFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A stratum of the design."""

    number: int
    title: str
    frame: int
    drawn: int
    labelled: int
    errors: int
    error_rate: Figure


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the frame looked at afterwards (surface, score band, predicted class, a feature's value).

    p: two-sided test against the rest; p_adjusted: after Benjamini and Hochberg over all segments.
    """

    dimension: str
    value: str
    labelled: int
    errors: int
    error_rate: Figure
    p: float | None = None
    p_adjusted: float | None = None


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two people who labelled the same items."""

    first: str
    second: str
    items: int
    agreed: int
    kappa: Figure


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How far people agree on items that several labelled. positive: per label, 2a / (2a + b + c)."""

    items: int
    people: int
    percent: Figure
    fleiss: Figure
    krippendorff: Figure
    pairs: list[Pair]
    positive: list[Figure]


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """One person's labels in a run.

    person: user name. rate: share of labels that are `focus` (the label named in Results.focus), against
    `pooled`; difference: that to the others on the same kind of item, with its interval. sentence: what it
    means, in words, with how much of it chance explains. gold: accuracy on known answers.
    adjudicated: how often an audit lead sided with them.
    """

    person: str
    labelled: int
    cannot_tell: int
    rate: Figure
    difference: Figure
    gold: Figure
    adjudicated: Figure
    seconds: float | None
    standing: str = "usual"  # strict, lenient or usual
    sentence: str = ""


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a closed run says. notes: sentences the reader must know."""

    frame: Frame
    error_rate: Figure
    # Where the score lets fewer labels say more.
    error_rate_powered: Figure | None
    # After people's own errors have been taken out.
    error_rate_corrected: Figure | None
    classes: list[ClassFigures]
    confusion: list[Cell]
    strata: list[StratumFigures]
    segments: list[Segment]
    agreement: Agreement | None
    people: list[Person]
    # The label that `Person.rate` counts: the class the model is there to find.
    focus: str
    pooled: Figure | None
    # For targeted runs: an upper bound on the errors still unfound.
    remaining: Figure | None = None
    notes: list[str] = []


def encode(results: Results) -> object:
    """Plain JSON values for a JSONField. NaN and infinities become null."""
    return msgspec.json.decode(msgspec.json.encode(results))


def decode(stored: object) -> Results:
    """The results from a JSONField. Raises msgspec.ValidationError for another shape."""
    return msgspec.convert(stored, Results)
