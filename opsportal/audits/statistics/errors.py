"""Take people's own errors out of an error rate: 1 % wrong labels turn a true 1.26 % into 2.24 %."""

import math
from dataclasses import dataclass

from opsportal.audits.statistics.intervals import Bounds, normal_quantile

# Fewer answers that can be judged say too little about people.
LEAST_JUDGED = 20
# A side with fewer is judged by both together.
LEAST_OF_A_SIDE = 10


class NotCorrectable(ValueError):
    """People's errors cannot be taken out; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistakes:
    """What is known of single answers. Of `wrong` about decisions that are wrong, `missed` call them right;
    of `right` about decisions that are right, `alarms` call them wrong.
    """

    missed: int
    wrong: int
    alarms: int
    right: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """The rate with people's errors taken out. sensitivity, specificity: of settled labels; pooled: whether
    both come from one rate, for lack of answers on one side.
    """

    value: float
    bounds: Bounds
    sensitivity: float
    specificity: float
    pooled: bool


def corrected(
    value: float,
    n_effective: float,
    mistakes: Mistakes,
    *,
    double_share: float = 0.0,
    alarms_checked: bool = False,
    confidence: float = 0.95,
) -> Corrected:
    """An error rate freed of people's errors (Rogan–Gladen), within [0, 1], with both variances.

    value: 0–1, the rate by settled labels; n_effective > 0: the labels it is worth. double_share: 0–1, of
    its items those that two people labelled independently and a third decided on where they differed; such a
    label is wrong only if both were. alarms_checked: whoever differed from the model was always given a
    second look, so a false alarm needs two errors everywhere.

    (value + specificity − 1) / (sensitivity + specificity − 1). The interval is Lang & Reiczigel's, which
    holds in small samples: Preventive Veterinary Medicine 113, 2014; with the variance of the settled
    labels' sensitivity by the delta method. Rogan & Gladen, American Journal of Epidemiology 107, 1978.
    Raises NotCorrectable.
    """
    judged = mistakes.wrong + mistakes.right
    if not judged:
        raise NotCorrectable(
            "People's own errors cannot be taken out: no item has a known answer or a second label."
        )
    if judged < LEAST_JUDGED:
        raise NotCorrectable(
            f"People's own errors cannot be taken out: only {judged} of their answers can be judged, "
            f"and it takes {LEAST_JUDGED}."
        )
    pooled = min(mistakes.wrong, mistakes.right) < LEAST_OF_A_SIDE
    both = (mistakes.missed + mistakes.alarms, judged)
    missed = both if pooled else (mistakes.missed, mistakes.wrong)
    alarms = both if pooled else (mistakes.alarms, mistakes.right)
    alarms_double = 1.0 if alarms_checked else double_share

    sensitivity = 1 - _settled(missed[0] / missed[1], double_share)
    specificity = 1 - _settled(alarms[0] / alarms[1], alarms_double)
    information = sensitivity + specificity - 1
    if information <= 0:
        raise NotCorrectable(
            "People's own errors cannot be taken out: their answers tell right from wrong "
            "no better than chance."
        )
    plain = min(max((value + specificity - 1) / information, 0.0), 1.0)

    z = normal_quantile(confidence)
    size = n_effective + z * z
    centre = (n_effective * value + z * z / 2) / size
    sensitivity_, sensitivity_variance = _smoothed(*missed, double_share)
    specificity_, specificity_variance = _smoothed(*alarms, alarms_double)
    information = sensitivity_ + specificity_ - 1
    if information <= 0:
        raise NotCorrectable(
            "People's own errors cannot be taken out: too little is known about them, and they err often."
        )
    rate = min(max((centre + specificity_ - 1) / information, 0.0), 1.0)
    shift = 2 * z * z * (rate * sensitivity_variance - (1 - rate) * specificity_variance)
    variance = (
        centre * (1 - centre) / size
        + rate * rate * sensitivity_variance
        + (1 - rate) ** 2 * specificity_variance
    )
    spread = z * math.sqrt(variance) / information
    low, high = (min(max(rate + shift + side * spread, 0.0), 1.0) for side in (-1, 1))
    return Corrected(
        value=plain,
        bounds=(min(low, plain), max(high, plain)),
        sensitivity=sensitivity,
        specificity=specificity,
        pooled=pooled,
    )


def _settled(error: float, double_share: float) -> float:
    """How often a settled label errs where single answers err with that probability."""
    return (1 - double_share) * error + double_share * error * error


def _smoothed(errors: int, n: int, double_share: float) -> tuple[float, float]:
    """One less the settled labels' error after adding one error and one right answer, and its variance."""
    error = (errors + 1) / (n + 2)
    slope = (1 - double_share) + 2 * double_share * error
    return 1 - _settled(error, double_share), slope * slope * error * (1 - error) / (n + 2)
