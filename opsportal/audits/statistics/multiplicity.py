"""Many looks at the same labels: p-values that allow for each other."""

from collections.abc import Sequence

from scipy import stats
from statsmodels.stats.multitest import multipletests


def adjusted(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values after Benjamini and Hochberg over all that there are; same order, None stays None.

    Benjamini & Hochberg, JRSS B 57, 1995: calling those below 5 % differences makes, on average, at most 5 %
    of such calls wrong.
    """
    known = [p for p in p_values if p is not None]
    if not known:
        return list(p_values)
    corrected = iter(multipletests(known, method="fdr_bh")[1].tolist())
    return [None if p is None else float(next(corrected)) for p in p_values]


def differs(hits: float, n: float, other_hits: float, other_n: float) -> float | None:
    """p-value of hits/n against other_hits/other_n, two-sided, Fisher's exact; None where one is empty.

    Counts may be effective ones (of weighted samples); they are rounded. Fisher 1935; exact, so careful.
    """
    table = [[round(hits), round(n - hits)], [round(other_hits), round(other_n - other_hits)]]
    if not sum(table[0]) or not sum(table[1]):
        return None
    return min(float(stats.fisher_exact(table)[1]), 1.0)
