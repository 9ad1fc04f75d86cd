"""Agreement against the libraries, and by hand."""

import krippendorff
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa

from opsportal.audits.statistics import agreement
from opsportal.audits.statistics.agreement import MISSING


def answers(people: int, items: int, *, labels: int = 3, gaps: float = 0.3) -> NDArray[np.int64]:
    """People who see the same truth, each wrong in a fifth of cases, with gaps."""
    rng = np.random.default_rng(7)
    truth = rng.integers(0, labels, items)
    codes = np.where(
        rng.random((people, items)) < 0.2, rng.integers(0, labels, (people, items)), truth[None, :]
    )
    return np.where(rng.random((people, items)) < gaps, MISSING, codes).astype(np.int64)


def test_krippendorff_alpha__gaps_and_three_labels__is_the_librarys() -> None:
    codes = answers(4, 200)

    found = agreement.krippendorff_alpha(codes)

    data = np.where(codes == MISSING, np.nan, codes)
    assert found.value == krippendorff.alpha(reliability_data=data, level_of_measurement="nominal")
    assert found.bounds is not None
    assert found.value is not None
    assert found.bounds[0] < found.value < found.bounds[1]
    assert found == agreement.krippendorff_alpha(codes)


def test_resampled_measures__every_item_once__are_the_librarys() -> None:
    codes = answers(3, 150, gaps=0.0)
    counts = agreement._counts(codes)
    once = np.ones((1, 150))

    alpha, kappa = agreement._alphas(counts, once)[0], agreement._fleisses(counts, once)[0]

    library = krippendorff.alpha(reliability_data=codes.astype(float), level_of_measurement="nominal")
    assert alpha == pytest.approx(library, abs=1e-12)
    assert kappa == pytest.approx(fleiss_kappa(counts), abs=1e-12)


def test_krippendorff_alpha__interval__shrinks_with_the_root_of_items() -> None:
    few, many = (agreement.krippendorff_alpha(answers(3, items)) for items in (100, 1600))

    assert few.bounds is not None
    assert many.bounds is not None
    ratio = (few.bounds[1] - few.bounds[0]) / (many.bounds[1] - many.bounds[0])
    assert 2.5 < ratio < 6


def test_fleiss__unequal_numbers__takes_the_usual_one() -> None:
    codes = np.array([[0, 1, 0, 1, 0], [0, 1, 1, 1, 1], [0, 1, 0, MISSING, MISSING]])

    found, raters = agreement.fleiss(codes)

    assert raters == 3
    assert found.items == 3
    assert found.value == pytest.approx(fleiss_kappa(np.array([[3, 0], [0, 3], [2, 1]])))


def test_cohen__two_people__is_the_librarys_over_shared_items() -> None:
    first, second = answers(2, 120)
    both = (first != MISSING) & (second != MISSING)

    found = agreement.cohen(first, second)

    assert found.value == pytest.approx(cohen_kappa_score(first[both], second[both]))
    assert found.items == both.sum()
    assert found.bounds is not None
    assert found.value is not None
    assert found.bounds[0] < found.value < found.bounds[1]


def test_percent_and_positive__by_hand__are_exact() -> None:
    # Item by item: same, differ, same, one answer only.
    codes = np.array([[0, 0, 1, 1], [0, 1, 1, MISSING]])

    assert agreement.percent(codes).value == pytest.approx(2 / 3)
    # Label 0: one pair with it twice, one with it once: 2 / (2 + 1).
    assert agreement.positive(codes, 0).value == pytest.approx(2 / 3)
    assert agreement.positive(codes, 1).value == pytest.approx(2 / 3)
    assert agreement.positive(codes, 5).value is None


def test_measures__rare_label_nearly_always_agreed__kappa_collapses_and_positive_does_not_hide_it() -> None:
    first = np.array([0] * 96 + [1, 1, 0, 0])
    second = np.array([0] * 96 + [0, 0, 1, 0])

    kappa, zeros = agreement.cohen(first, second), agreement.positive(np.stack([first, second]), 0)

    assert kappa.value is not None
    assert kappa.value < 0
    assert zeros.value is not None
    assert zeros.value > 0.98


def test_measures__one_label_or_nobody_twice__do_not_exist() -> None:
    same, alone = np.zeros((2, 20), dtype=np.int64), np.array([[0, MISSING], [MISSING, 1]])

    assert agreement.krippendorff_alpha(same).value is None
    assert agreement.fleiss(same)[0].value is None
    assert agreement.cohen(*same).value is None
    assert agreement.percent(alone).value is None
    assert agreement.krippendorff_alpha(alone).value is None
    assert agreement.fleiss(alone) == (agreement.Agreed(None, None, 0), 0)
    assert agreement.cohen(*alone).items == 0


def test_measures__few_items__have_no_interval() -> None:
    codes = np.array([[0, 1, 0], [0, 1, 1]])

    assert agreement.krippendorff_alpha(codes).bounds is None
    assert agreement.cohen(*codes).bounds is None
