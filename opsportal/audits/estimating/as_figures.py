"""Estimates and shares as figures: with their bounds, and by which formula from which source."""

from typing import Any

from opsportal.audits.estimating.sample import Sample, Within
from opsportal.audits.figures import Figure
from opsportal.audits.statistics.estimators import Estimated
from opsportal.audits.statistics.intervals import wilson

PLAIN = "Wilson score interval, finite population corrected"
WILSON_SOURCE = "Wilson 1927; Brown, Cai & DasGupta 2001"
_STRATIFIED = (
    "Stratified mean Σ N_h k_h/m_h ÷ Σ N_h; score interval from the most likely rates of the strata, "
    "finite population corrected"
)
_RATIO = "Ratio of two stratified means Â ÷ (Â + B̂); square-and-add interval from both score intervals"
_PLAIN_RATIO = "Share among the labelled items of this part; square-and-add interval from two score intervals"
_CLEAN = "exact bound where no item of any stratum is a hit, finite population corrected"
_SCORE_SOURCE = "Cochran 1977, §5.3; Miettinen & Nurminen 1985; Martín Andrés & Álvarez Hernández 2011"
_RATIO_SOURCE = "Cochran 1977, §6.11; Zou & Donner 2008; Donner & Zou 2012"
_CLEAN_SOURCE = "Hanley & Lippman-Hand 1983; Buonaccorsi 1987"


def named(name: str, found: Estimated | None, sample: Sample, why_none: str) -> Figure:
    """An estimate of the whole frame as a figure."""
    formula, source = (_STRATIFIED, _SCORE_SOURCE) if sample.is_stratified else (PLAIN, WILSON_SOURCE)
    return figure_of(name, found, formula, source, why_none)


def figure_within(name: str, found: Within, sample: Sample, why_none: str) -> Figure:
    """A rate in a part of the frame as a figure."""
    if found.is_known:
        return named(name, found.estimated, sample, why_none)
    if not sample.is_stratified:
        return figure_of(name, found.estimated, _PLAIN_RATIO, _RATIO_SOURCE, why_none)
    return figure_of(name, found.estimated, _RATIO, _RATIO_SOURCE, why_none)


def figure_of(name: str, found: Estimated | None, formula: str, source: str, why_none: str) -> Figure:
    """An estimate as a figure; without one, the sentence that says why."""
    if found is None:
        return Figure(name=name, sentence=why_none)
    sentence = ""
    if found.kind != "two_sided":
        formula, source = f"{formula.split(';')[0]}; {_CLEAN}", _CLEAN_SOURCE
        if (found.low, found.high) == (0.0, 1.0):
            sentence = "Too few labels to bound it."
    return Figure(
        name=name,
        value=found.value,
        low=None if found.kind == "upper" else found.low,
        high=None if found.kind == "lower" else found.high,
        kind=found.kind,
        n=found.n,
        n_effective=found.n_effective,
        formula=formula,
        source=source,
        sentence=sentence,
    )


def figure_of_share(
    name: str, hits: int, n: int, why_none: str, *, bounds: tuple[float, float] | None = None
) -> Figure:
    """A plain share of n answers of people."""
    if not n:
        return Figure(name=name, sentence=why_none)
    low, high = bounds or wilson(hits, n)
    return Figure(
        name=name,
        value=hits / n,
        low=low,
        high=high,
        n=n,
        formula="Wilson score interval",
        source=WILSON_SOURCE,
    )


def with_sentence(figure: Figure, sentence: str) -> Figure:
    """The figure, with another sentence."""
    values: dict[str, Any] = {name: getattr(figure, name) for name in figure.__struct_fields__}
    return Figure(**{**values, "sentence": sentence})


def per_cent(share: float) -> str:
    """`1.3 %`; two digits that matter below a tenth of a per cent, no false zero."""
    if 0 < share < 0.001:
        return "less than 0.1 %"
    return f"{share * 100:.1f} %"
