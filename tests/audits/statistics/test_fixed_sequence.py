"""The threshold found keeps its promise as often as it says; the obvious rule does not."""

import numpy as np
import pytest
from scipy import stats

from opsportal.audits.statistics.fixed_sequence import (
    Found,
    Labelled,
    Promise,
    betting_p,
    binomial_p,
    find,
    grid_of,
    labels_needed,
)

REPEATS = 200
# So that precision is 0.899 from the threshold 0.35 on and wherever it is lower.
MIDDLE = (0.899 * 0.65 - 0.97 * 0.4) / 0.25
PRECISION = Promise("precision", 0.9, above=True)


def chance(scores: np.ndarray) -> np.ndarray:
    """P(positive | score): high at the top; from 0.35 down just short of the promise."""
    return np.select([scores >= 0.6, scores >= 0.35], [0.97, MIDDLE], 0.899)


def true_precision(threshold: float) -> float:
    """Of uniform scores from `threshold` on."""
    top = 1 - max(threshold, 0.6)
    middle = 0.6 - min(max(threshold, 0.35), 0.6)
    low = 0.35 - min(threshold, 0.35)
    return (0.97 * top + MIDDLE * middle + 0.899 * low) / (1 - threshold)


def uniform_sample(generator: np.random.Generator, n: int) -> Labelled:
    scores = generator.random(n)
    return Labelled(scores, generator.random(n) < chance(scores), np.full(n, 50.0))


def boosted_sample(generator: np.random.Generator, n: int) -> Labelled:
    """Three strata by score; the middle one is drawn from five times as densely."""
    parts = []
    for low, high, frame, drawn in (
        (0, 0.4, 40_000, n // 4),
        (0.4, 0.6, 20_000, n // 2),
        (0.6, 1, 40_000, n // 4),
    ):
        scores = generator.uniform(low, high, drawn)
        parts.append((scores, generator.random(drawn) < chance(scores), np.full(drawn, frame / drawn)))
    return Labelled(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def point_rule(found: Found) -> float | None:
    """The most accepting threshold whose point estimate keeps the promise: the obvious rule."""
    kept = [point for point in found.curve if point.estimate is not None and point.estimate >= 0.9]
    return max(kept, key=lambda point: point.accepted).threshold if kept else None


@pytest.mark.parametrize(
    ("draw", "uniform", "n"), [(uniform_sample, True, 1_000), (boosted_sample, False, 1_600)]
)
def test_find__many_samples__keeps_its_promise_where_the_point_estimate_breaks_it(
    draw: object, uniform: bool, n: int
) -> None:
    generator = np.random.default_rng(20_261_125)
    broken = by_points = found_any = 0
    for _ in range(REPEATS):
        sample = draw(generator, n)  # type: ignore[operator]
        found = find(sample, grid_of(sample.scores, sample.weights), PRECISION, uniform=uniform)
        by_point = point_rule(found)
        by_points += by_point is not None and true_precision(by_point) < 0.9
        if found.chosen is not None:
            found_any += 1
            broken += true_precision(found.curve[found.chosen].threshold) < 0.9

    # 5 % and three standard errors of a share over so many repeats.
    assert broken / REPEATS <= 0.05 + 3 * (0.05 * 0.95 / REPEATS) ** 0.5
    assert by_points / REPEATS > 0.5
    assert found_any / REPEATS > 0.3


def test_find__recall_of_the_class_below__goes_from_all_accepted_to_few() -> None:
    # 200 negatives with low scores, 200 positives with high ones, and no overlap.
    scores = np.concatenate([np.linspace(0, 0.4, 200), np.linspace(0.6, 1, 200)])
    sample = Labelled(scores, scores < 0.5, np.ones(400))
    promise = Promise("recall", 0.85, above=False)

    found = find(sample, grid_of(scores, sample.weights), promise, uniform=True)

    thresholds = [found.curve[place].threshold for place in found.tests]
    assert thresholds == sorted(thresholds, reverse=True)
    assert found.chosen is not None
    point = found.curve[found.chosen]
    # It leaves out 20 of 200, whose tail is 2.7 %; the next one leaves out 40.
    assert (point.threshold, point.n, point.failed) == (0.359799, 200, 20)
    assert [found.curve[place].p <= 0.05 for place in found.tests] == [True] * found.passed + [False]


def test_find__first_test_fails__nothing_found_though_one_alone_would_pass() -> None:
    # The highest scores are wrong, all others right: the sequence stops where it begins.
    scores = np.linspace(0, 1, 1_000)
    sample = Labelled(scores, scores < 0.85, np.ones(1_000))
    promise = Promise("precision", 0.8, above=True)

    found = find(sample, grid_of(scores, sample.weights), promise, uniform=True)

    assert (found.passed, found.chosen, len(found.tests)) == (0, None, 1)
    assert found.advice is not None
    assert found.curve[found.advice].p <= 0.05


def test_find__no_labels_of_that_class__nothing_found_and_no_estimate() -> None:
    sample = Labelled(np.array([0.1, 0.9]), np.array([False, False]), np.ones(2))

    found = find(sample, [0.5], Promise("recall", 0.9, above=True), uniform=True)

    assert (found.chosen, found.curve[0].estimate, found.curve[0].p) == (None, None, 1.0)


def test_grid_of__few_distinct_scores__distinct_levels_and_the_current_one() -> None:
    assert list(grid_of([0.25] * 50 + [0.75] * 50, np.ones(100), also=[0.5])) == [0.25, 0.5, 0.75]


def test_grid_of__weights__levels_cut_the_frame_not_the_sample() -> None:
    # The lower half of the sample stands for nine tenths of the frame.
    scores = np.linspace(0, 1, 101)
    grid = grid_of(scores, np.where(scores < 0.5, 9.0, 1.0))

    assert (grid < 0.5).sum() == 17


@pytest.mark.parametrize(("failed", "n"), [(0, 59), (1, 93), (3, 153)])
def test_binomial_p__acceptance_plans__as_tabled(failed: int, n: int) -> None:
    assert binomial_p(failed, n, 0.05) <= 0.05 < binomial_p(failed, n - 1, 0.05)


def test_betting_p__promise_just_broken__seldom_below_five_percent() -> None:
    # Heavy items fail more often than light ones; weighted, exactly a tenth fails.
    generator = np.random.default_rng(7)
    weights = np.concatenate([np.full(100, 90.0), np.full(300, 10.0)])
    rates = np.where(weights == 90, 0.12, (0.1 * 12_000 - 0.12 * 9_000) / 3_000)
    draws = generator.random((2_000, 400)) < rates

    below = np.mean([betting_p(draw, weights, 0.1, heaviest=90) <= 0.05 for draw in draws])

    assert below <= 0.05


def test_betting_p__equal_weights__close_to_the_exact_tail() -> None:
    fails = np.zeros(400)
    fails[:20] = 1
    exact = float(stats.binom.cdf(20, 400, 0.1))

    bet = betting_p(fails, np.full(400, 3.0), 0.1, heaviest=3)

    assert exact < bet < 30 * exact


def test_labels_needed__estimate_above_the_promise__so_many_would_pass() -> None:
    sample = uniform_sample(np.random.default_rng(3), 120)
    found = find(sample, [0.9], Promise("precision", 0.9, above=True), uniform=True)
    point = found.curve[0]
    assert point.p > 0.05

    more = labels_needed(point, 120, Promise("precision", 0.9, above=True), uniform=True)

    assert more is not None
    cases = point.n + round(more * point.n / 120)
    failed = int(np.ceil(point.failed / point.n * cases))
    assert binomial_p(failed, cases, 0.1) <= 0.05


def test_labels_needed__estimate_below_the_promise__none_would_do() -> None:
    sample = Labelled(np.array([0.9] * 10), np.array([True] * 8 + [False] * 2), np.ones(10))
    found = find(sample, [0.5], PRECISION, uniform=True)

    assert labels_needed(found.curve[0], 10, PRECISION, uniform=True) is None
