"""People's own errors taken out: by hand, by simulation, and where it cannot be done."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsportal.audits.statistics.errors import Mistakes, NotCorrectable, corrected


def test_corrected__known_accuracy__is_rogan_gladen() -> None:
    # 1 % wrong labels on both sides turn 1.26 % into 2.24 %.
    found = corrected(
        0.0126 * 0.99 + 0.9874 * 0.01, 2000, Mistakes(missed=10, wrong=1000, alarms=10, right=1000)
    )

    assert found.value == pytest.approx(0.0126)
    assert (found.sensitivity, found.specificity, found.pooled) == (0.99, 0.99, False)
    assert found.bounds[0] < 0.0126 < found.bounds[1]


def test_corrected__everything_labelled_twice__squares_the_errors() -> None:
    found = corrected(0.1, 500, Mistakes(missed=20, wrong=100, alarms=10, right=100), double_share=1.0)

    assert found.sensitivity == pytest.approx(1 - 0.2**2)
    assert found.specificity == pytest.approx(1 - 0.1**2)


def test_corrected__alarms_checked__leaves_only_misses() -> None:
    found = corrected(0.1, 500, Mistakes(missed=20, wrong=100, alarms=10, right=100), alarms_checked=True)

    assert found.sensitivity == pytest.approx(0.8)
    assert found.specificity == pytest.approx(0.99)


def test_corrected__few_on_one_side__takes_both_together() -> None:
    found = corrected(0.1, 500, Mistakes(missed=1, wrong=4, alarms=1, right=46))

    assert found.pooled
    assert found.sensitivity == found.specificity == pytest.approx(0.96)


def test_corrected__alarms_explain_everything__is_clipped_at_zero() -> None:
    found = corrected(0.02, 500, Mistakes(missed=5, wrong=50, alarms=10, right=100))

    assert found.value == 0
    assert found.bounds[0] == 0
    assert found.bounds[1] > 0


@pytest.mark.parametrize(
    ("mistakes", "why"),
    [
        (Mistakes(missed=0, wrong=0, alarms=0, right=0), "no item has a known answer or a second label"),
        (Mistakes(missed=0, wrong=3, alarms=0, right=4), "only 7 of their answers can be judged"),
        (Mistakes(missed=60, wrong=100, alarms=50, right=100), "no better than chance"),
        (Mistakes(missed=0, wrong=10, alarms=95, right=100), "too little is known about them"),
    ],
)
def test_corrected__people_unknown_or_guessing__says_why_not(mistakes: Mistakes, why: str) -> None:
    with pytest.raises(NotCorrectable, match=why):
        corrected(0.1, 500, mistakes)


def test_corrected__many_samples__covers_the_truth() -> None:
    rng = np.random.default_rng(11)
    truth, sensitivity, specificity = 0.08, 0.95, 0.97
    seen = truth * sensitivity + (1 - truth) * (1 - specificity)
    runs = 800
    covered = 0
    for _ in range(runs):
        mistakes = Mistakes(
            missed=int(rng.binomial(40, 1 - sensitivity)),
            wrong=40,
            alarms=int(rng.binomial(150, 1 - specificity)),
            right=150,
        )
        found = corrected(rng.binomial(400, seen) / 400, 400, mistakes)
        covered += found.bounds[0] <= truth <= found.bounds[1]

    assert 0.92 <= covered / runs <= 0.995


@given(
    st.floats(0, 1),
    st.integers(0, 60),
    st.integers(20, 60),
    st.integers(0, 60),
    st.integers(20, 60),
    st.floats(0, 1),
)
def test_corrected__anything__lies_within_its_bounds(
    value: float, missed: int, wrong: int, alarms: int, right: int, double_share: float
) -> None:
    mistakes = Mistakes(missed=min(missed, wrong), wrong=wrong, alarms=min(alarms, right), right=right)
    judged = mistakes.missed / wrong + mistakes.alarms / right < 0.95
    found = corrected(value, 100, mistakes, double_share=double_share) if judged else None

    if found is not None:
        assert 0 <= found.bounds[0] <= found.value <= found.bounds[1] <= 1
