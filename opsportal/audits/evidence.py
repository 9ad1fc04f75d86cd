"""What stands behind a proposed threshold, as it is stored and shown. Pure Python (msgspec)."""

import msgspec


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """One threshold of the grid. accepted: share of the frame that gets the label. n: labelled cases.

    estimate, low, high: of the goal there, 95 %, for this threshold alone; null without cases.
    """

    threshold: float
    accepted: float
    n: int
    failed: int
    estimate: float | None
    low: float | None
    high: float | None


class SequenceTest(msgspec.Struct, frozen=True, kw_only=True):
    """One test, in their order. p: chance of so few failures were the promise just broken."""

    threshold: float
    n: int
    failed: int
    p: float
    passed: bool


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What the threshold would change of decisions: of `of` logged ones (or of the run's frame, estimated).

    to_positive, to_negative: how many would flip that way.
    """

    of: int
    source: str  # log or run
    to_positive: int
    to_negative: int


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """How a threshold was found, or why none was.

    current: what decided until now. exact: binomial tests of a uniform sample, else bets on weighted
    failures. advice: the furthest threshold that would pass were it the only one tested. more_labels: about
    how many would settle the first test that failed, at `more_at`; null where no number would.
    without_labels: predictions in strata that nobody labelled, of which nothing is promised.
    """

    method: str
    exact: bool
    frame: int
    drawn: int
    labelled: int
    without_labels: int
    current: float | None
    curve: list[CurvePoint]
    tests: list[SequenceTest]
    advice: float | None
    more_labels: int | None
    more_at: float | None
    changes: Changes | None


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What a later run says about a threshold that it was not learnt from.

    outcome: kept (the whole interval keeps the promise), fits (it contains the promise), broken (none of it
    does) or unknown (no labelled cases).
    """

    run: int
    outcome: str
    estimate: float | None
    low: float | None
    high: float | None
    n: int
    failed: int
    at: str

    @property
    def kept(self) -> bool:
        """Whether the run does not speak against the promise."""
        return self.outcome in (KEPT, FITS)


KEPT, FITS, BROKEN, UNKNOWN = "kept", "fits", "broken", "unknown"


def to_json(found: Evidence | Verification) -> dict[str, object]:
    """Plain JSON values for a JSONField."""
    plain: dict[str, object] = msgspec.to_builtins(found)
    return plain


def read_evidence(stored: object) -> Evidence | None:
    """The evidence from its JSONField; None while there is none."""
    return msgspec.convert(stored, Evidence) if stored else None


def read_verification(stored: object) -> Verification | None:
    """The newest verification from its JSONField; None while there is none."""
    return msgspec.convert(stored, Verification) if stored else None
