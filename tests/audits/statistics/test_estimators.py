"""Rates from stratified samples: against hand and library, and where they have to hold."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from opsportal.audits.statistics.estimators import none_found, rate, ratio

HUGE = 10**9


def test_rate__one_stratum_of_a_huge_frame__is_wilson() -> None:
    found = rate([HUGE], [100], [7])

    low, high = proportion_confint(7, 100, method="wilson")
    assert found is not None
    assert (found.value, found.kind, found.n) == (0.07, "two_sided", 100)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)
    assert found.n_effective == pytest.approx(100, rel=1e-4)


def test_rate__half_of_the_frame_labelled__is_wilson_on_twice_as_many() -> None:
    found = rate([200], [100], [10])

    assert found is not None
    assert (found.low, found.high) == pytest.approx(proportion_confint(20, 200, method="wilson"), abs=1e-9)
    assert found.n_effective == pytest.approx(100, rel=1e-6)


def test_rate__two_strata__weighs_by_frame() -> None:
    # 900 × 2/20 + 100 × 5/10 = 140 of 1,000.
    found = rate([900, 100], [20, 10], [2, 5])

    assert found is not None
    assert found.value == pytest.approx(0.14)
    assert found.low < 0.14 < found.high


def test_rate__score_statistic_at_its_bounds__is_t_squared() -> None:
    frames, labelled, hits = np.array([HUGE * 3, HUGE]), np.array([40, 60]), np.array([3, 20])
    found = rate(frames, labelled, hits)
    assert found is not None
    weights = frames / frames.sum()
    # Maximise the likelihood by brute force along the line of all rates with that mean.
    for bound in (found.low, found.high):
        first = np.linspace(1e-9, min(bound / weights[0], 1 - 1e-9), 200_001)
        second = (bound - weights[0] * first) / weights[1]
        ok = (second > 0) & (second < 1)
        rates = np.stack([first[ok], second[ok]])
        effective = labelled - 1 + weights
        likely = (
            (effective * hits / labelled)[:, None] * np.log(rates)
            + (effective * (1 - hits / labelled))[:, None] * np.log1p(-rates)
        ).sum(axis=0)
        best = rates[:, np.argmax(likely)]
        variance = (weights**2 * best * (1 - best) / effective).sum()
        assert (found.value - bound) ** 2 / variance == pytest.approx(stats.t.ppf(0.975, 98) ** 2, rel=1e-3)


def test_rate__no_hit__is_bounded_from_above_exactly() -> None:
    found = rate([HUGE], [100], [0])

    assert found is not None
    assert (found.value, found.low, found.kind) == (0.0, 0.0, "upper")
    assert found.high == pytest.approx(1 - 0.05 ** (1 / 100), rel=1e-5)
    assert found.n_effective == pytest.approx(100, rel=1e-4)


def test_rate__only_hits__is_bounded_from_below() -> None:
    found = rate([HUGE], [100], [100])

    assert found is not None
    assert (found.value, found.high, found.kind) == (1.0, 1.0, "lower")
    assert found.low == pytest.approx(0.05 ** (1 / 100), rel=1e-5)


def test_rate__everything_labelled__has_no_uncertainty() -> None:
    found = rate([10, 20], [10, 20], [1, 0])

    assert found is not None
    assert (found.value, found.low, found.high, found.kind) == (1 / 30, 1 / 30, 1 / 30, "two_sided")


def test_rate__stratum_without_labels__is_left_out() -> None:
    assert rate([100, 900], [50, 0], [5, 0]) == rate([100], [50], [5])
    assert rate([100, 900], [0, 0], [0, 0]) is None
    assert rate([], [], []) is None


def test_rate__clean_thin_stratum_with_most_of_the_frame__still_counts_what_it_may_hide() -> None:
    found = rate([9000, 1000], [50, 50], [0, 5])

    # 3.84 / 50 of nine tenths of the frame may be wrong unseen.
    assert found is not None
    assert found.value == pytest.approx(0.01)
    assert found.high > 0.9 * 3.84 / (50 + 3.84)


def test_rate__strata_with_only_hits_or_none__vary_on_both_sides() -> None:
    found = rate([35, 16, 24], [3, 2, 1], [0, 0, 1])

    assert found is not None
    assert found.value == pytest.approx(0.32)
    assert found.low < 0.1
    assert found.high > 0.7


def test_none_found__small_frame__is_the_hypergeometric_bound() -> None:
    # With K hits among 40 the chance to see none in 10; the largest K with at least 5 %.
    most = max(k for k in range(31) if stats.hypergeom.pmf(0, 40, k, 10) >= 0.05)

    assert none_found([40], [10]) == most / 40


def test_none_found__two_strata__is_the_worst_spread() -> None:
    frames, labelled = [30, 20], [6, 8]
    worst = max(
        first + second
        for first in range(25)
        for second in range(13)
        if stats.hypergeom.pmf(0, 30, first, 6) * stats.hypergeom.pmf(0, 20, second, 8) >= 0.05
    )

    bound = none_found(frames, labelled) * 50

    # The continued optimum can only be above the whole-numbered one, by less than one hit.
    assert worst <= bound <= worst + 1


def test_none_found__too_few_labels__says_nothing_about_the_rest() -> None:
    assert none_found([10], [1]) == 9 / 10
    assert none_found([5, 5], [5, 5]) == 0
    # All three others wrong would stay unseen in one of C(6, 3) = 20 samples: just often enough.
    assert none_found([6], [3]) == 3 / 6


def test_ratio__one_stratum__is_the_share_of_the_part() -> None:
    found = ratio([HUGE], [400], [30], [10])

    assert found is not None
    assert found.value == pytest.approx(0.75)
    assert found.n == 40
    assert (found.low, found.high) == pytest.approx(proportion_confint(30, 40, method="wilson"), abs=0.02)


def test_ratio__the_part_is_everything__is_the_rate() -> None:
    found, plain = ratio([HUGE, HUGE], [40, 60], [10, 6], [30, 54]), rate([HUGE, HUGE], [40, 60], [10, 6])

    assert found is not None
    assert plain is not None
    assert found.value == pytest.approx(plain.value)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=0.01)


def test_ratio__nothing_missed_in_a_thin_stratum__is_bounded_by_what_may_hide_there() -> None:
    # Recall: 40 found among 50 predicted positive, none missed among 50 of 9,000 predicted negative.
    found = ratio([1000, 9000], [50, 50], [40, 0], [0, 0])

    assert found is not None
    assert (found.value, found.high, found.kind) == (1.0, 1.0, "lower")
    hidden = 9000 * (1 - 0.05 ** (1 / 50))
    assert found.low < 800 / (800 + hidden) + 0.02


def test_ratio__nothing_in_the_part__is_none() -> None:
    assert ratio([1000], [50], [0], [0]) is None


def test_rate__impossible_counts__are_refused() -> None:
    with pytest.raises(ValueError, match="than there are"):
        rate([10], [11], [0])
    with pytest.raises(ValueError, match="than were labelled"):
        rate([10], [5], [6])
    with pytest.raises(ValueError, match="one number for each stratum"):
        rate([10, 10], [5], [1])


@st.composite
def samples(draw: st.DrawFn) -> tuple[list[int], list[int], list[int], list[int]]:
    labelled = draw(st.lists(st.integers(0, 60), min_size=1, max_size=8).filter(any))
    frames = [count + draw(st.integers(0, 5000)) for count in labelled]
    hits = [draw(st.integers(0, count)) for count in labelled]
    others = [draw(st.integers(0, count - hit)) for count, hit in zip(labelled, hits, strict=True)]
    return frames, labelled, hits, others


@settings(max_examples=25, deadline=None)
@given(samples())
def test_rate__any_sample__lies_within_its_bounds(
    sample: tuple[list[int], list[int], list[int], list[int]],
) -> None:
    frames, labelled, hits, others = sample

    found, turned = rate(frames, labelled, hits), rate(frames, labelled, np.subtract(labelled, hits))
    part = ratio(frames, labelled, hits, others)

    assert found is not None
    assert turned is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
    # What is said of hits is said of misses.
    assert (1 - turned.high, 1 - turned.low) == pytest.approx((found.low, found.high), abs=1e-6)
    if part is not None:
        assert 0 <= part.low <= part.value <= part.high <= 1


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 80), st.integers(81, 4000), st.data())
def test_rate__one_hit_more__moves_the_bounds_up(labelled: int, frame: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, labelled - 1))

    fewer, more = rate([frame, 50], [labelled, 5], [hits, 1]), rate([frame, 50], [labelled, 5], [hits + 1, 1])

    assert fewer is not None
    assert more is not None
    assert fewer.low <= more.low + 1e-9
    assert fewer.high <= more.high + 1e-9


@pytest.mark.parametrize(
    ("frames", "errors", "drawn"),
    [
        ([9000, 1000], [90, 100], [50, 50]),
        ([9000, 1000], [90, 100], [60, 240]),
        ([100, 100, 1000], [30, 5, 20], [100, 90, 100]),
    ],
)
def test_rate__hard_designs__still_covers_the_truth(
    frames: list[int], errors: list[int], drawn: list[int]
) -> None:
    rng = np.random.default_rng(20261130)
    truth = sum(errors) / sum(frames)
    runs = 250
    samples = rng.hypergeometric(errors, np.subtract(frames, errors), drawn, size=(runs, len(frames)))
    covered = 0
    for hits, times in zip(*np.unique(samples, axis=0, return_counts=True), strict=True):
        found = rate(frames, drawn, hits)
        assert found is not None
        covered += times * (found.low <= truth + 1e-12 and truth - 1e-12 <= found.high)

    # 93 % less two standard errors of 250 runs.
    assert covered / runs >= 0.93 - 2 * math.sqrt(0.93 * 0.07 / runs)
