"""Allocation over strata: exact numbers, and what must hold for any frame."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsportal.audits.statistics.design import How, ImpossibleAllocation, allocate, stated_spreads


def test_allocate__proportional__follows_the_frames() -> None:
    assert allocate([600, 300, 100], 50, how="proportional").tolist() == [30, 15, 5]


def test_allocate__remainders__go_to_the_largest_then_the_first() -> None:
    # Shares are 3.33 each: one left over, and all remainders are equal.
    assert allocate([10, 10, 10], 10, how="proportional").tolist() == [4, 3, 3]
    # 5.25, 3.5, 1.25 of ten: the half wins.
    assert allocate([42, 28, 10], 10, how="proportional", minimum=1).tolist() == [5, 4, 1]


def test_allocate__neyman_without_a_core__follows_frame_times_spread() -> None:
    # 900 × 0.1 = 90 against 100 × 0.4 = 40: 9 to 4.
    assert allocate([900, 100], 130, how="neyman", spreads=[0.1, 0.4], core_share=0).tolist() == [90, 40]


def test_allocate__neyman_with_half_a_core__is_half_proportional() -> None:
    # Core 65: 58.5 and 6.5. Rest 65 as 9 to 4: 45 and 20. Together 103.5 and 26.5.
    assert allocate([900, 100], 130, how="neyman", spreads=[0.1, 0.4], core_share=0.5).tolist() == [104, 26]


def test_allocate__boost__draws_boosted_items_that_many_times_as_often() -> None:
    assert allocate([500, 500], 100, how="boost", boosts=[1, 3], core_share=0).tolist() == [25, 75]


def test_allocate__full_stratum__gives_the_rest_to_the_others() -> None:
    assert allocate([1000, 10, 1000], 110, how="boost", boosts=[1, 100, 1], core_share=0).tolist() == [
        50,
        10,
        50,
    ]


def test_allocate__spread_of_nothing__leaves_the_minimum_and_never_none() -> None:
    assert allocate([1000, 1000], 100, how="neyman", spreads=[0, 0.5], core_share=0).tolist() == [2, 98]
    assert allocate([1000, 1000], 100, how="neyman", spreads=[0, 0.5], core_share=0, minimum=0).tolist() == [
        1,
        99,
    ]


def test_allocate__no_spread_anywhere__is_proportional() -> None:
    assert allocate([600, 400], 10, how="neyman", spreads=[0, 0], core_share=0).tolist() == [6, 4]


def test_allocate__weightless_stratum_beside_a_full_one__takes_what_is_left() -> None:
    assert allocate([1000, 5], 100, how="neyman", spreads=[0, 1], core_share=0).tolist() == [95, 5]


def test_allocate__minimum_eats_into_the_core__still_sums() -> None:
    assert allocate([10_000, 10, 10], 30, how="proportional", core_share=1, minimum=10).tolist() == [
        10,
        10,
        10,
    ]


def test_allocate__everything__takes_every_frame() -> None:
    assert allocate([7, 0, 3], 10, how="proportional").tolist() == [7, 0, 3]


def test_allocate__more_than_there_is__says_how_much_there_is() -> None:
    with pytest.raises(ImpossibleAllocation, match="only 1,000 predictions to draw 2,000 from"):
        allocate([900, 100], 2000, how="proportional")


def test_allocate__nothing_to_draw_from__says_so() -> None:
    with pytest.raises(ImpossibleAllocation, match="nothing to draw from"):
        allocate([0, 0], 5, how="proportional")


def test_allocate__minima_above_the_sample__says_what_they_need() -> None:
    with pytest.raises(
        ImpossibleAllocation, match=r"3 strata with at least 10 items each need 30 items.*has 20"
    ):
        allocate([100, 100, 100], 20, how="proportional", minimum=10)


def test_allocate__weights_missing__is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="needs its weights"):
        allocate([10, 10], 5, how="neyman")
    with pytest.raises(ValueError, match="one finite weight"):
        allocate([10, 10], 5, how="boost", boosts=[1, -1])


@st.composite
def designs(draw: st.DrawFn) -> tuple[list[int], list[float], int, float, int, How]:
    frames = draw(st.lists(st.integers(0, 10**7), min_size=1, max_size=30).filter(any))
    weights = draw(
        st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=len(frames), max_size=len(frames))
    )
    minimum = draw(st.integers(0, 50))
    least = sum(min(frame, max(minimum, 1)) for frame in frames)
    n = draw(st.integers(least, sum(frames)))
    how: How = draw(st.sampled_from(["proportional", "neyman", "boost"]))
    return frames, weights, n, draw(st.floats(0, 1)), minimum, how


@given(designs())
def test_allocate__any_design__sums_within_its_bounds(
    design: tuple[list[int], list[float], int, float, int, How],
) -> None:
    frames, weights, n, core_share, minimum, how = design

    drawn = allocate(
        frames, n, how=how, spreads=weights, boosts=weights, core_share=core_share, minimum=minimum
    )

    assert drawn.sum() == n
    assert (drawn <= np.array(frames)).all()
    assert (drawn >= np.minimum(frames, max(minimum, 1))).all()


def test_stated_spreads__sums__are_those_of_a_coin_within_limits() -> None:
    # e = 0.2, 0.001 (believed as 0.01), 0.9 (no more than a half), none at all (a half).
    spreads = stated_spreads([20, 0.1, 90, 0], [100, 100, 100, 0])

    assert spreads.tolist() == pytest.approx([0.4, (0.01 * 0.99) ** 0.5, 0.5, 0.5])
