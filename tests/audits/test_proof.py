"""Bounds and plans in pure Python, against scipy."""

import math

import pytest
from scipy import stats

from opsportal.audits import proof
from opsportal.audits.statistics import intervals


@pytest.mark.parametrize("n", [1, 3, 29, 100, 1_000])
def test_bounds__against_scipy__equal(n: int) -> None:
    for hits in range(0, n + 1, max(1, n // 12)):
        assert proof.lower_bound(hits, n) == pytest.approx(intervals.lower_bound(hits, n), abs=1e-12)
        assert proof.upper_bound(hits, n) == pytest.approx(intervals.upper_bound(hits, n), abs=1e-12)


@pytest.mark.parametrize(("bar", "size"), [(0.99, 299), (0.98, 149), (0.95, 59), (0.9, 29)])
def test_acceptance_size__very_many__the_zero_defect_plan(bar: float, size: int) -> None:
    assert proof.acceptance_size(bar=bar, frame=10**7) == size


@pytest.mark.parametrize(("frame", "size"), [(1, 1), (10, 8), (40, 18), (100, 23)])
def test_acceptance_size__few__fewer_do(frame: int, size: int) -> None:
    missed = math.ceil(0.9 * frame) - 1

    assert proof.acceptance_size(bar=0.9, frame=frame) == size
    assert stats.hypergeom.sf(size - 1, frame, missed, size) <= 0.05
    assert stats.hypergeom.sf(size - 2, frame, missed, size - 1) > 0.05


@pytest.mark.parametrize(
    ("hits", "n", "frame"), [(23, 23, 40), (17, 17, 40), (96, 100, 1000), (94, 100, 1000), (0, 5, 50)]
)
def test_proves__against_scipy__equal(hits: int, n: int, frame: int) -> None:
    missed = math.ceil(0.9 * frame) - 1

    assert proof.proves(hits, n, bar=0.9, frame=frame) is bool(
        stats.hypergeom.sf(hits - 1, frame, missed, n) <= 0.05
    )


def test_proves__all_looked_at__is_what_is_seen() -> None:
    assert proof.proves(9, 10, bar=0.9, frame=10)
    assert not proof.proves(8, 10, bar=0.9, frame=10)
    assert not proof.proves(0, 0, bar=0.9, frame=10)


@pytest.mark.parametrize(
    ("hits", "n", "more"), [(29, 29, 0), (0, 0, 29), (20, 20, 9), (9, 10, None), (0, 5, None)]
)
def test_more_labels__at_the_same_share__reaches_the_bar(hits: int, n: int, more: int | None) -> None:
    assert proof.more_labels(hits, n, bar=0.9) == more


def test_more_labels__share_just_above__as_many_as_it_takes() -> None:
    more = proof.more_labels(93, 100, bar=0.9)

    assert more is not None
    assert intervals.lower_bound(math.floor(0.93 * (100 + more)), 100 + more) >= 0.9
    assert intervals.lower_bound(math.floor(0.93 * (99 + more)), 99 + more) < 0.9
