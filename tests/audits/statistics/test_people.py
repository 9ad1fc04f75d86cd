"""Who is strict, who is lenient, and what chance explains."""

import numpy as np
import pytest
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint

from opsportal.audits.statistics.agreement import MISSING
from opsportal.audits.statistics.intervals import newcombe
from opsportal.audits.statistics.people import LENIENT, STRICT, USUAL, spread, strictness


def apart(rates: list[float], each: int, seed: int = 3) -> NDArray[np.int64]:
    """People with these rates of label 1, on items that nobody shares."""
    rng = np.random.default_rng(seed)
    codes = np.full((len(rates), len(rates) * each), MISSING, dtype=np.int64)
    for row, rate in enumerate(rates):
        codes[row, row * each : (row + 1) * each] = rng.random(each) < rate
    return codes


def test_strictness__own_items__is_newcombes_for_all_people_at_once() -> None:
    codes = np.full((2, 100), MISSING, dtype=np.int64)
    codes[0, :50] = [1] * 30 + [0] * 20
    codes[1, 50:] = [1] * 10 + [0] * 40

    first, second = strictness(codes, 1)

    assert first.difference == pytest.approx(0.4)
    assert first.difference_bounds == pytest.approx(newcombe(30, 50, 10, 50, 0.975))
    assert first.bounds == pytest.approx(proportion_confint(30, 50, 0.025, method="wilson"))
    assert (first.standing, second.standing) == (STRICT, LENIENT)
    assert not first.matched
    assert second.difference == pytest.approx(-0.4)


def test_strictness__shared_items__is_matched_and_narrower() -> None:
    rng = np.random.default_rng(5)
    truth = rng.random(400) < 0.4
    usual = np.where(rng.random(400) < 0.05, ~truth, truth)
    strict = truth | (rng.random(400) < 0.12)

    first, _, third = strictness(np.stack([truth, usual, strict]).astype(np.int64), 1)

    assert third.matched
    assert third.standing == STRICT
    assert third.difference_bounds is not None
    assert third.difference is not None
    others = (truth.astype(float) + usual) / 2
    assert third.difference == pytest.approx(float((strict - others).mean()))
    unmatched = newcombe(third.hits, third.n, float(truth.sum() + usual.sum()), 800, 1 - 0.05 / 3)
    width = third.difference_bounds[1] - third.difference_bounds[0]
    assert width < unmatched[1] - unmatched[0]
    assert third.by_chance == pytest.approx(width / 2)
    assert first.shared == 400


def test_strictness__people_alike__calls_hardly_anybody_strict() -> None:
    called = 0
    for seed in range(100):
        called += any(one.standing != USUAL for one in strictness(apart([0.2] * 6, 150, seed), 1))

    # At most 5 % of groups; 10 of 100 would happen by chance in less than 3 %.
    assert called <= 10


def test_strictness__few_labels_or_nobody_else__is_usual() -> None:
    few = np.full((2, 40), MISSING, dtype=np.int64)
    few[0, :10] = 1
    few[1, 10:] = 0
    alone = np.ones((1, 40), dtype=np.int64)

    assert [one.standing for one in strictness(few, 1)] == [USUAL, LENIENT]
    (only,) = strictness(alone, 1)
    assert (only.difference, only.standing) == (None, USUAL)


def test_spread__people_alike__is_chance() -> None:
    found = spread(apart([0.3] * 8, 200), 1)

    assert found is not None
    assert found.p is not None
    assert found.p > 0.05
    assert found.chance_share is not None
    assert found.chance_share > 0.4


def test_spread__people_apart__is_hardly_chance() -> None:
    found = spread(apart([0.1, 0.1, 0.4, 0.1], 200), 1)

    assert found is not None
    assert found.p is not None
    assert found.p < 1e-6
    assert found.chance_share is not None
    assert found.chance_share < 0.1


def test_spread__four_by_four_table__is_the_chi_square_by_hand() -> None:
    codes = np.full((2, 100), MISSING, dtype=np.int64)
    codes[0, :50] = [1] * 30 + [0] * 20
    codes[1, 50:] = [1] * 10 + [0] * 40

    found = spread(codes, 1)

    # 2 × 100 ÷ (50 × 0.4 × 0.6) = 16.67 on one degree of freedom.
    assert found is not None
    assert found.pooled == 0.4
    assert found.chance_share == pytest.approx(12 / 200)


def test_spread__labels_of_one_item__count_as_a_cluster() -> None:
    once = np.array([[1, 0] * 50])
    three_times = np.repeat(once, 3, axis=0)

    single, tripled = spread(once, 1), spread(three_times, 1)

    assert single is not None
    assert tripled is not None
    assert tripled.bounds == pytest.approx(single.bounds)
    assert tripled.n_effective == pytest.approx(100)


def test_spread__nothing_or_one_label__has_no_share() -> None:
    assert spread(np.full((2, 5), MISSING, dtype=np.int64), 1) is None
    found = spread(np.ones((2, 30), dtype=np.int64), 1)
    assert found is not None
    assert (found.chance_share, found.p) == (None, None)
