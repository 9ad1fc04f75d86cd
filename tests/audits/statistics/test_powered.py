"""What the score adds: unbiased whatever it is worth, tighter where it is worth something."""

import numpy as np
import pytest

from opsportal.audits.statistics.estimators import rate
from opsportal.audits.statistics.powered import is_tighter, powered_rate


def frame(informative: bool, size: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Errors, and what the score states of each: its true chance, or nothing to do with it."""
    rng = np.random.default_rng(2)
    chance = rng.beta(0.4, 1.6, size)
    return rng.random(size) < chance, chance if informative else rng.permutation(chance)


@pytest.mark.parametrize(("informative", "tighter"), [(True, True), (False, False)])
def test_powered_rate__many_samples__covers_and_is_tighter_only_where_the_score_knows(
    informative: bool, tighter: bool
) -> None:
    wrong, stated = frame(informative)
    rng = np.random.default_rng(4)
    runs = covered = narrower = 0
    values = []
    for _ in range(120):
        drawn = rng.choice(wrong.size, 300, replace=False)
        found = powered_rate(
            [wrong.size], [stated.sum()], np.zeros(300, dtype=int), wrong[drawn], stated[drawn]
        )
        assert found is not None
        plain = rate([wrong.size], [300], [int(wrong[drawn].sum())])
        assert plain is not None
        runs += 1
        values.append(found.estimated.value)
        covered += found.estimated.low <= wrong.mean() <= found.estimated.high
        narrower += is_tighter(found.estimated, plain)

    assert covered / runs >= 0.93 - 2 * (0.93 * 0.07 / runs) ** 0.5
    assert abs(np.mean(values) - wrong.mean()) < 3 * np.std(values) / runs**0.5
    assert (narrower / runs > 0.95) if tighter else (narrower == 0)


def test_powered_rate__score_of_no_use__is_the_plain_rate() -> None:
    wrong = np.array([1] * 60 + [0] * 240)

    found = powered_rate([10_000], [5_000], np.zeros(300, dtype=int), wrong, np.full(300, 0.5))

    assert found is not None
    assert found.tuning == 0
    assert found.estimated.value == pytest.approx(0.2)


def test_powered_rate__perfect_score__is_what_the_frame_states() -> None:
    wrong = np.array([1.0] * 60 + [0.0] * 240)
    stated = wrong * 0.8 + 0.1

    found = powered_rate([10_000], [10_000 * (0.25 * 0.8 + 0.1)], np.zeros(300, dtype=int), wrong, stated)

    # λ is kept at 1 although 1.25 would explain all: 0.2 − 0.26 + 0.3.
    assert found is not None
    assert found.tuning == 1
    assert found.estimated.value == pytest.approx(0.24)


@pytest.mark.parametrize(("errors", "n", "strata"), [(40, 199, 1), (29, 300, 1), (271, 300, 1), (60, 300, 2)])
def test_powered_rate__too_little_for_its_interval__is_none(errors: int, n: int, strata: int) -> None:
    wrong = np.array([1] * errors + [0] * (n - errors))
    where = np.zeros(n, dtype=int)
    where[: 9 * (strata - 1)] = strata - 1

    assert powered_rate([10_000] * strata, [2_000] * strata, where, wrong, np.linspace(0, 1, n)) is None
