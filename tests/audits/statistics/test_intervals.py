"""Intervals against scipy, statsmodels and published numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from opsportal.audits.statistics.intervals import (
    clopper_pearson,
    equivalent_size,
    lower_bound,
    newcombe,
    normal_quantile,
    upper_bound,
    wilson,
)


@pytest.mark.parametrize(("hits", "n"), [(1, 29), (15, 148), (81, 263), (56, 70), (299, 300)])
def test_wilson__any_counts__equals_the_library(hits: int, n: int) -> None:
    assert wilson(hits, n) == pytest.approx(proportion_confint(hits, n, method="wilson"), abs=1e-9)
    assert wilson(hits, n, 0.9) == pytest.approx(proportion_confint(hits, n, 0.1, method="wilson"), abs=1e-9)


def test_wilson__published_example__is_reproduced() -> None:
    # Newcombe 1998, table I, method 3: 81 of 263.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_wilson__at_the_ends__touches_them() -> None:
    (low, some), (most, high) = wilson(0, 20), wilson(20, 20)

    assert (low, high) == (0.0, 1.0)
    assert (some, most) == pytest.approx((0.1611, 0.8389), abs=5e-5)


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (1, 29), (81, 263), (20, 20)])
def test_clopper_pearson__any_counts__equals_the_library(hits: int, n: int) -> None:
    low, high = clopper_pearson(hits, n)

    exact = stats.binomtest(hits, n).proportion_ci(method="exact")
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_upper_bound__no_hits__is_about_three_over_n() -> None:
    assert upper_bound(0, 300) == pytest.approx(1 - 0.05 ** (1 / 300))
    assert upper_bound(0, 300) == pytest.approx(3 / 300, rel=0.01)


def test_bounds__one_sided__leave_five_per_cent() -> None:
    assert stats.binom.cdf(4, 100, upper_bound(4, 100)) == pytest.approx(0.05)
    assert stats.binom.sf(3, 100, lower_bound(4, 100)) == pytest.approx(0.05)
    assert lower_bound(0, 9) == 0
    assert upper_bound(9, 9) == 1


@pytest.mark.parametrize("counts", [(56, 70, 48, 80), (9, 10, 3, 10), (10, 10, 0, 20), (0, 10, 0, 10)])
def test_newcombe__published_examples__are_reproduced(counts: tuple[int, int, int, int]) -> None:
    hits, n, other_hits, other_n = counts

    # Newcombe 1998, table II, method 10, rows (a), (b), (h) and (g).
    published = {56: (0.0524, 0.3339), 9: (0.1705, 0.8090), 10: (0.6791, 1.0), 0: (-0.2775, 0.2775)}[hits]
    assert newcombe(hits, n, other_hits, other_n) == pytest.approx(published, abs=5e-5)
    assert newcombe(hits, n, other_hits, other_n) == pytest.approx(
        confint_proportions_2indep(hits, n, other_hits, other_n, method="newcomb"), abs=1e-9
    )


def test_equivalent_size__uniform_sample_of_a_small_frame__is_its_size() -> None:
    # 100 of 500 are worth 125 of an endless frame.
    assert equivalent_size(0.1, wilson(12.5, 125), 500) == pytest.approx(100, rel=1e-6)
    assert equivalent_size(0.1, (0.1, 0.1), 500) == 500
    assert equivalent_size(0.1, (0, 1.5), 500) is None


@pytest.mark.parametrize("wrong", [(-1, 10), (11, 10), (0, 0)])
def test_intervals__impossible_counts__are_refused(wrong: tuple[int, int]) -> None:
    for interval in (wilson, clopper_pearson, upper_bound, lower_bound):
        with pytest.raises(ValueError, match="from 0 to n hits"):
            interval(*wrong)
    with pytest.raises(ValueError, match="between 0 and 1"):
        normal_quantile(1)


@given(st.integers(1, 5000), st.data())
def test_intervals__any_counts__contain_the_share(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))

    for low, high in (
        wilson(hits, n),
        clopper_pearson(hits, n),
        (lower_bound(hits, n), upper_bound(hits, n)),
    ):
        assert 0 <= low <= hits / n <= high <= 1
    if hits < n:
        assert wilson(hits, n)[0] <= wilson(hits + 1, n)[0]
        assert wilson(hits, n)[1] <= wilson(hits + 1, n)[1]
