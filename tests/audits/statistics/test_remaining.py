"""What may be left where nobody looked, and many tests at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from opsportal.audits.statistics.multiplicity import adjusted, differs
from opsportal.audits.statistics.remaining import most_left


@pytest.mark.parametrize(("pool", "looked", "hits"), [(400, 40, 1), (60, 59, 0), (1000, 100, 7), (50, 1, 1)])
def test_most_left__any_look__is_the_largest_that_could_hide(pool: int, looked: int, hits: int) -> None:
    most = most_left(pool, looked, hits) + hits

    assert stats.hypergeom.cdf(hits, pool, most, looked) >= 0.05
    if most < pool - looked + hits:
        assert stats.hypergeom.cdf(hits, pool, most + 1, looked) < 0.05


def test_most_left__clean_look_at_a_large_pool__is_the_rule_of_three() -> None:
    assert most_left(1_000_000, 300, 0) / 1_000_000 == pytest.approx(1 - 0.05 ** (1 / 300), rel=1e-3)


def test_most_left__everything_looked_at__leaves_nothing() -> None:
    assert most_left(50, 50, 3) == 0


def test_most_left__impossible_look__is_refused() -> None:
    for wrong in ((10, 11, 0), (10, 0, 0), (10, 5, 6)):
        with pytest.raises(ValueError, match="no more hits than looks"):
            most_left(*wrong)


@given(st.integers(2, 2000), st.data())
def test_most_left__more_hits__leave_room_for_no_fewer_errors_in_all(pool: int, data: st.DataObject) -> None:
    looked = data.draw(st.integers(1, pool))
    hits = data.draw(st.integers(0, looked - 1))

    fewer, more = most_left(pool, looked, hits) + hits, most_left(pool, looked, hits + 1) + hits + 1

    assert hits <= fewer <= more <= pool


def test_adjusted__some_without_a_test__is_the_librarys_over_the_others() -> None:
    found = adjusted([0.01, None, 0.04, 0.03])

    expected = multipletests([0.01, 0.04, 0.03], method="fdr_bh")[1]
    assert found == [pytest.approx(expected[0]), None, pytest.approx(expected[1]), pytest.approx(expected[2])]
    assert adjusted([None]) == [None]


def test_differs__two_shares__is_fishers() -> None:
    assert differs(8, 10, 1, 6) == pytest.approx(stats.fisher_exact([[8, 2], [1, 5]])[1])
    assert differs(0.2, 0.4, 1, 6) is None
