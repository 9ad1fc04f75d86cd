"""Parts of the frame that are looked at afterwards: which there are, and whether they differ."""

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np

from opsportal.audits import figures
from opsportal.audits.estimating.as_figures import figure_within
from opsportal.audits.estimating.sample import Sample
from opsportal.audits.statistics.estimators import Estimated
from opsportal.audits.statistics.multiplicity import adjusted, differs
from opsportal.predictions.dictionary import CATEGORY, FLAG, FeatureDictionary, as_text, read_values

# A feature with more values is no segment.
VALUES_MAX = 12
BANDS = 5
LENGTH_BANDS = 4


def segments_of(sample: Sample, dictionary: FeatureDictionary | None) -> list[figures.Segment]:
    """Parts of the frame that are looked at afterwards, each tested against the rest of it."""
    found: list[figures.Segment] = []
    for dimension, cells in _dimensions(sample, dictionary):
        values = _in_order(cells)
        if not 1 < len(values) <= VALUES_MAX:
            continue
        found += [_segment(sample, dimension, value, cells) for value in values]
    corrected = adjusted([one.p for one in found])
    return [
        figures.Segment(
            dimension=one.dimension,
            value=one.value,
            labelled=one.labelled,
            errors=one.errors,
            error_rate=one.error_rate,
            p=one.p,
            p_adjusted=p,
        )
        for one, p in zip(found, corrected, strict=True)
    ]


def _segment(sample: Sample, dimension: str, value: str, cells: Sequence[str]) -> figures.Segment:
    part = np.array([cell == value for cell in cells], dtype=np.bool_)
    inside = sample.rate_within(part, sample.wrong, dimension=dimension, cell=value)
    rest = sample.rate_within(~part, sample.wrong)
    return figures.Segment(
        dimension=dimension,
        value=value,
        labelled=int(part.sum()),
        errors=int((part & sample.wrong).sum()),
        error_rate=figure_within("Error rate", inside, sample, "Nothing here was labelled."),
        p=_test(inside.estimated, rest.estimated),
    )


def _test(inside: Estimated | None, rest: Estimated | None) -> float | None:
    """p-value of the two rates being one, from their effective sizes."""
    if inside is None or rest is None:
        return None
    sizes = [one.n_effective if one.n_effective is not None else float(one.n) for one in (inside, rest)]
    return differs(inside.value * sizes[0], sizes[0], rest.value * sizes[1], sizes[1])


def _dimensions(sample: Sample, dictionary: FeatureDictionary | None) -> Iterable[tuple[str, list[str]]]:
    """What the frame can be looked at by, and the cell of each labelled item."""
    rows = sample.rows
    if not rows:
        return
    keys = [sample.parts[place].key for place in sample.where]
    designed = {name for part in sample.parts for name in part.key}
    yield "predicted", [row.predicted for row in rows]
    if "score_band" in designed:
        yield "score_band", [key.get("score_band", "") for key in keys]
    else:
        yield "score_band", _banded([row.score for row in rows], BANDS, "{:.2f}")
    yield "surface", [row.surface for row in rows]
    if dictionary is not None:
        names = [one.name for one in dictionary.features if one.type in {CATEGORY, FLAG}]
        if names:
            logged = [read_values(row.features) for row in rows]
            for name in names:
                values = [one.get(name) for one in logged]
                yield f"feature:{name}", ["" if value is None else as_text(value)[:60] for value in values]
        for name in sorted(
            designed - {"predicted", "score_band", "surface"} - {f"feature:{n}" for n in names}
        ):
            yield name, [key.get(name, "") for key in keys]
        if dictionary.text_feature is not None:
            yield "text_length", _banded([row.length for row in rows], LENGTH_BANDS, "{:.0f}")


def _banded(numbers: Sequence[float], bands: int, form: str) -> list[str]:
    """The band of each number: equal shares of the labelled items, fewer where many are equal."""
    values = np.asarray(numbers, dtype=np.float64)
    cuts = np.unique(np.quantile(values, np.linspace(0, 1, bands + 1)[1:-1]))
    inner = [cut for cut in cuts if values.min() < cut]
    texts = [form.format(edge) for edge in inner]
    if not texts:
        return [form.format(values.min())] * len(values)
    words = [
        f"below {texts[0]}",
        *(f"{low}–{high}" for low, high in itertools.pairwise(texts)),
        f"{texts[-1]} and above",
    ]
    return [words[place] for place in np.searchsorted(inner, values, side="right")]


def _in_order(cells: Sequence[str]) -> list[str]:
    """Distinct cells; bands by their lower edge, others by name."""

    def key(cell: str) -> tuple[float, str]:
        if cell.startswith("below "):
            return -math.inf, cell
        try:
            return float(cell.split("–")[0].removesuffix(" and above")), cell
        except ValueError:
            return math.inf, cell

    return sorted(set(cells), key=key)
