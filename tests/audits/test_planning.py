"""Sample sizes, widths and hours."""

import pytest

from opsportal.audits import planning
from opsportal.audits.models import Sizing
from opsportal.audits.planning import (
    duration,
    gold_count,
    hours_for,
    looks_of,
    more_for_width,
    more_in_words,
    planned_size,
    size_for_acceptance,
    size_for_width,
    wilson_half_width,
)


@pytest.mark.parametrize(
    ("p", "sizes", "acceptance"),
    [
        (0.005, (4_957, 918, 305, 119), 598),
        (0.01, (9_597, 1_606, 454, 150), 299),
        (0.02, (18_865, 3_053, 792, 223), 149),
        (0.05, (45_630, 7_312, 1_838, 469), 59),
        (0.1, (86_436, 13_833, 3_461, 868), 29),
    ],
)
def test_plan__expected_error__needs_as_many_as_the_table_says(
    p: float, sizes: tuple[int, ...], acceptance: int
) -> None:
    assert tuple(size_for_width(p, width) for width in (0.002, 0.005, 0.01, 0.02)) == sizes
    assert size_for_acceptance(p) == acceptance


def test_width__size_for_it__is_the_fewest_that_do() -> None:
    n = size_for_width(0.03, 0.01, frame=5_000)

    assert wilson_half_width(0.03, n, frame=5_000) <= 0.01 < wilson_half_width(0.03, n - 1, frame=5_000)
    # 1,143 of an endless population: n = 1,143 × 5,000 / (4,999 + 1,143).
    assert size_for_width(0.03, 0.01) == 1_143
    assert n == 931


def test_width__agrees_with_statsmodels() -> None:
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(30, 1_000, method="wilson")

    assert wilson_half_width(0.03, 1_000) == pytest.approx((high - low) / 2, rel=1e-12)


def test_width__everything_was_looked_at__is_nothing() -> None:
    assert wilson_half_width(0.05, 300, frame=300) == 0.0


@pytest.mark.parametrize("frame", [1, 2, 50, 5_000])
def test_size__narrower_than_the_frame_allows__is_everything(frame: int) -> None:
    found = planned_size({"sizing": Sizing.WIDTH, "half_width": 0.00001, "expected_error": 0.05}, frame)

    assert (found.n, found.everything) == (frame, True)


@pytest.mark.parametrize(
    ("plan", "n"),
    [
        ({"sizing": "rate", "rate": 0.02}, 165),
        ({"sizing": "size", "size": 500}, 500),
        ({"sizing": "size", "size": 9_000}, 8_240),
        ({"sizing": "acceptance", "expected_error": 0.01}, 299),
    ],
)
def test_size__of_8240_predictions__follows_from_the_plan(plan: dict[str, object], n: int) -> None:
    assert planned_size(plan, 8_240).n == n


def test_size__share_of_very_few__is_one_at_least() -> None:
    assert planned_size({"sizing": "rate", "rate": 0.01}, 3).n == 1


def test_more__so_far_80_labels__says_how_many_are_missing() -> None:
    assert more_for_width(0.005, 506, 0.005) == 412
    assert more_in_words(0.005, 506, 0.005) == "412 more for ±0.5 pp"
    assert more_in_words(0.005, 918, 0.005) == "±0.5 pp is reached"


def test_hours__second_looks_and_known_answers__are_counted() -> None:
    looks = looks_of(double_share=0.1, gold_share=0.1)

    assert looks == pytest.approx(1.1 + 1 / 9)
    assert hours_for(600, 12, 1.1) == pytest.approx(2.2)


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (0.01, "less than a minute"),
        (0.1, "about 6 min"),
        (0.55, "about 35 min"),
        (0.99, "about 1 h"),
        (2.3, "about 2 h 20 min"),
        (3.0, "about 3 h"),
        (41.2, "about 41 h"),
        (1_234, "about 1,234 h"),
    ],
)
def test_duration__hours__reads_as_people_say_it(hours: float, words: str) -> None:
    assert duration(hours) == words


def test_gold__share_of_all_items__is_met_as_far_as_there_are_any() -> None:
    assert gold_count(90, 0.1, 1_000) == 10
    assert gold_count(90, 0.1, 4) == 4
    assert gold_count(90, 0.0, 4) == 0


def test_median__no_labels_yet__is_the_usual_pace() -> None:
    assert planning.median([]) == planning.SECONDS_PER_ITEM
    assert planning.median([3, 1, 8]) == 3
    assert planning.median([4, 1, 8, 2]) == 3
