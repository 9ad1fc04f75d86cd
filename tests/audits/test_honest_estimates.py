"""A small part of tests.benchmarks.audit_estimates, so that no change makes intervals dishonest unseen."""

import numpy as np
import pytest

from tests.benchmarks.audit_estimates import RATE, SCHEMES, Frame, predicted, simulate

RUNS = 60
# 93 % less two standard errors of so many runs.
LEAST = 0.93 - 2 * (0.93 * 0.07 / RUNS) ** 0.5


@pytest.fixture(scope="module")
def sentences() -> Frame:
    """Sentences as a classifier predicts them, with the truth of 20 votes."""
    return predicted()


def test_rate__a_quarter_wrong_and_300_labels__covers_and_strata_make_it_narrower(sentences: Frame) -> None:
    rng = np.random.default_rng(1)

    found = {how: simulate(sentences, how, 300, RUNS, rng, only=RATE)[RATE] for how in SCHEMES}

    for outcome in found.values():
        assert outcome.covered >= LEAST
        assert abs(outcome.bias) < 4 * outcome.monte_carlo
    assert found["proportional"].width < found["uniform"].width
    assert found["neyman"].width < found["uniform"].width


def test_rate__two_per_cent_wrong_and_100_labels__covers_in_every_scheme(sentences: Frame) -> None:
    rng = np.random.default_rng(2)
    rare = sentences.mended(0.02, rng)

    for how in SCHEMES:
        assert simulate(rare, how, 100, RUNS, rng, only=RATE)[RATE].covered >= LEAST
