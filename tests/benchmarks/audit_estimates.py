"""Whether the intervals of audits are honest, against sentences whose truth 20 people voted on.

    python -m tests.benchmarks.audit_estimates [--runs 500] [--seed 1] [--rates]

A classifier learns from the sentences of every other review in reviews.csv and predicts the others: the
frame. Each simulated run draws from it by keyed hash, spread over score bands as a policy would have it, and
estimates from the true labels of what was drawn, all with the functions of production. Printed per scheme:
how often the 95 % interval held the true error rate of the frame, on which side it missed, the mean error of
the estimate in Monte-Carlo standard errors, the mean width, and the width against that of a uniform sample
of the same size. Ends with 1 if an interval is not honest: below 93 %, or above 98 % with 300 labels or more.

Frames: as predicted (about a quarter wrong); mended (errors taken away at random until 2 % are left); and
both enlarged to 20,000 by drawing with replacement, so that the sample is a small part.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import django
import numpy as np
from numpy.typing import NDArray

from opsportal.audits.statistics.design import How, allocate, stated_spreads
from opsportal.audits.statistics.estimators import Estimated, rate, ratio
from opsportal.audits.statistics.powered import powered_rate
from opsportal.audits.strata import SCORE_BAND, Dimension, boost_of

SCHEMES = ("uniform", "proportional", "neyman", "boost")
BANDS = Dimension(SCORE_BAND, "Score", (0.2, 0.35, 0.5, 0.65, 0.8), is_banded=True)
THRESHOLD = 0.5
RATE = "error rate"
LEAST, MOST, MANY = 0.93, 0.98, 300


@dataclass(frozen=True, slots=True)
class Frame:
    """Predictions with their truth; all shape (N,)."""

    name: str
    scores: NDArray[np.float64]
    positive: NDArray[np.bool_]
    wrong: NDArray[np.bool_]

    @property
    def stated(self) -> NDArray[np.float64]:
        """The chance of an error that each score states."""
        return np.where(self.positive, 1 - self.scores, self.scores)

    def enlarged(self, size: int, rng: np.random.Generator) -> "Frame":
        """So many of it, drawn with replacement."""
        places = rng.integers(0, self.scores.size, size)
        return Frame(f"{self.name}, {size:,}", self.scores[places], self.positive[places], self.wrong[places])

    def mended(self, share: float, rng: np.random.Generator) -> "Frame":
        """With errors taken away at random until this share is left."""
        errors = rng.permutation(np.flatnonzero(self.wrong))
        wrong = np.zeros_like(self.wrong)
        wrong[errors[: round(share * self.wrong.size)]] = True
        return Frame(f"{share:.0%} wrong", self.scores, self.positive, wrong)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the runs of one scheme say about one figure.

    low_missed, high_missed: runs whose interval lay above the truth, and below it.
    """

    truth: float
    covered: float
    low_missed: float
    high_missed: float
    width: float
    bias: float
    monte_carlo: float


def predicted() -> Frame:
    """The sentences of the reviews that nothing was learnt from, as a classifier predicts them."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    from opsportal.demo.cases import reviews  # needs Django

    cases = reviews()
    learnt = [case for case in cases if case.trains]
    new = [case for case in cases if not case.trains]
    terms = TfidfVectorizer(min_df=2, ngram_range=(1, 2), sublinear_tf=True)
    model = Pipeline([("words", terms), ("line", LogisticRegression(C=4, class_weight="balanced"))])
    model.fit([case.values["sentence"] for case in learnt], [case.true for case in learnt])
    scores = model.predict_proba([case.values["sentence"] for case in new])[:, 1]
    positive = scores >= THRESHOLD
    return Frame("as predicted", scores, positive, positive != np.array([case.true for case in new]))


class Scheme:
    """One way to draw n of a frame, again and again."""

    def __init__(self, frame: Frame, how: str, n: int) -> None:
        self.frame = frame
        cells = [BANDS.band_of(score) for score in frame.scores.tolist()]
        names = BANDS.bands if how != "uniform" else ["any"]
        places = {name: place for place, name in enumerate(names)}
        self.stratum = np.array([places.get(cell, 0) for cell in cells], dtype=np.int64)
        self.frames = np.bincount(self.stratum, minlength=len(names))
        self.stated_sums = np.bincount(self.stratum, weights=frame.stated, minlength=len(names))
        spread: How = "neyman" if how == "neyman" else "boost" if how == "boost" else "proportional"
        self.planned = allocate(
            self.frames,
            n,
            how=spread,
            spreads=stated_spreads(self.stated_sums, self.frames),
            boosts=[boost_of((BANDS,), (name,), THRESHOLD) for name in names],
        )
        self._ids = [f"prediction-{number}" for number in range(frame.scores.size)]
        self._begins = np.concatenate([[0], np.cumsum(self.frames)[:-1]])

    def draw(self, seed: str) -> NDArray[np.int64]:
        """Places of the planned items of each stratum with the smallest keyed hashes."""
        from opsportal.audits.drawing.hashing import draw_hashes  # needs Django

        order = np.lexsort((draw_hashes(self._ids, seed), self.stratum))
        rank = np.arange(order.size) - np.repeat(self._begins, self.frames)
        return np.asarray(order[rank < np.repeat(self.planned, self.frames)], dtype=np.int64)

    def count(self, drawn: NDArray[np.int64], hits: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Hits among the drawn, by stratum."""
        return np.bincount(self.stratum[drawn[hits[drawn]]], minlength=self.frames.size)

    def estimates(self, drawn: NDArray[np.int64]) -> dict[str, Estimated | None]:
        """The figures of one run."""
        frame = self.frame
        wrong = self.count(drawn, frame.wrong)
        labelled = self.planned
        said, is_true = frame.positive, frame.positive ^ frame.wrong
        helped = powered_rate(
            self.frames, self.stated_sums, self.stratum[drawn], frame.wrong[drawn], frame.stated[drawn]
        )
        return {
            RATE: rate(self.frames, labelled, wrong),
            "precision": ratio(
                self.frames,
                labelled,
                self.count(drawn, said & is_true),
                self.count(drawn, said & ~is_true),
            ),
            "recall": ratio(
                self.frames,
                labelled,
                self.count(drawn, said & is_true),
                self.count(drawn, ~said & is_true),
            ),
            "with the score": helped.estimated if helped else None,
        }

    def truths(self) -> dict[str, float]:
        """What the figures would be with every label."""
        frame = self.frame
        right = frame.positive & ~frame.wrong
        is_true = frame.positive ^ frame.wrong
        return {
            RATE: float(frame.wrong.mean()),
            "precision": float(right.sum() / frame.positive.sum()),
            "recall": float(right.sum() / is_true.sum()),
            "with the score": float(frame.wrong.mean()),
        }


def simulate(
    frame: Frame, how: str, n: int, runs: int, rng: np.random.Generator, *, only: str = ""
) -> dict[str, Outcome]:
    """So many runs of one scheme; figures that some run does not have are judged by the others."""
    scheme = Scheme(frame, how, n)
    found: dict[str, list[Estimated]] = {}
    for _ in range(runs):
        drawn = scheme.draw(rng.bytes(16).hex())
        if only == RATE:
            estimates = {only: rate(scheme.frames, scheme.planned, scheme.count(drawn, frame.wrong))}
        else:
            estimates = scheme.estimates(drawn)
        for name, estimated in estimates.items():
            if estimated is not None:
                found.setdefault(name, []).append(estimated)
    truths = scheme.truths()
    return {name: _outcome(truths[name], estimates) for name, estimates in found.items()}


def _outcome(truth: float, estimates: Sequence[Estimated]) -> Outcome:
    values = np.array([one.value for one in estimates])
    lows, highs = np.array([one.low for one in estimates]), np.array([one.high for one in estimates])
    # A bound of whole items meets the truth to the last digit.
    low_missed, high_missed = lows > truth + 1e-12, highs < truth - 1e-12
    return Outcome(
        truth=truth,
        covered=1 - float(low_missed.mean() + high_missed.mean()),
        low_missed=float(low_missed.mean()),
        high_missed=float(high_missed.mean()),
        width=float((highs - lows).mean()),
        bias=float(values.mean() - truth),
        monte_carlo=float(values.std(ddof=1) / len(values) ** 0.5),
    )


def main(runs: int, seed: int, only: str) -> int:
    """Print a table for each frame and size; 1 if an interval is not honest."""
    rng = np.random.default_rng(seed)
    plain = predicted()
    rare = plain.mended(0.02, rng)
    large, large_rare = plain.enlarged(20_000, rng), rare.enlarged(20_000, rng)
    dishonest = []
    for frame, n in (
        (plain, 100),
        (plain, 300),
        (rare, 100),
        (rare, 300),
        (large, 400),
        (large_rare, 100),
        (large_rare, 400),
    ):
        print(
            f"\n{frame.name}: {n} of {frame.wrong.size:,} labelled, {frame.wrong.mean():.2%} wrong, "
            f"{runs} runs"
        )
        print(f"  {'scheme':13}{'figure':16}covers   above  below   width  ratio   bias (standard errors)")
        widths: dict[str, float] = {}
        for how in SCHEMES:
            for name, outcome in simulate(frame, how, n, runs, rng, only=only).items():
                widths.setdefault(name, outcome.width)
                in_errors = outcome.bias / outcome.monte_carlo if outcome.monte_carlo else 0.0
                print(
                    f"  {how:13}{name:16}{outcome.covered:6.1%}  {outcome.low_missed:6.1%} "
                    f"{outcome.high_missed:6.1%}  {outcome.width:.4f}  {outcome.width / widths[name]:5.3f}  "
                    f"{outcome.bias:+.5f} ({in_errors:+.1f})",
                    flush=True,
                )
                if name == RATE and (outcome.covered < LEAST or (n >= MANY and outcome.covered > MOST)):
                    dishonest.append(f"{frame.name}, {n}, {how}: {outcome.covered:.1%}")
    print("\nNot honest: " + "; ".join(dishonest) if dishonest else "\nEvery interval is honest.")
    return 1 if dishonest else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rates", action="store_true", help="the error rate alone, in a quarter of the time")
    given = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    sys.exit(main(given.runs, given.seed, RATE if given.rates else ""))
