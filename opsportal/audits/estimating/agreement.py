"""How far people agree who answered for the same items."""

import numpy as np

from opsportal.audits import figures
from opsportal.audits.estimating.as_figures import WILSON_SOURCE
from opsportal.audits.estimating.rows import Data
from opsportal.audits.figures import Figure
from opsportal.audits.models import Run
from opsportal.audits.statistics import agreement


class Codes:
    """Answers as a matrix of label numbers, people × items. Second looks are left out: such items were not
    chosen by chance, and whoever came first would look strict.
    """

    def __init__(self, run: Run, data: Data) -> None:
        plain = [
            answer
            for answer in data.answers
            if answer.value and not answer.adjudicates and not answer.second_look
        ]
        values = [str(label["value"]) for label in run.labels]
        self.labels = [*values, *sorted({answer.value for answer in plain} - set(values))]
        self.people = sorted({answer.person for answer in data.answers if not answer.adjudicates})
        rows = {name: number for number, name in enumerate(self.people)}
        columns = {pk: place for place, pk in enumerate(dict.fromkeys(answer.item_id for answer in plain))}
        codes = {label: code for code, label in enumerate(self.labels)}
        self.matrix = np.full((len(rows), len(columns)), agreement.MISSING, dtype=np.int64)
        for answer in plain:
            self.matrix[rows[answer.person], columns[answer.item_id]] = codes[answer.value]


def agreement_of(codes: Codes) -> figures.Agreement | None:
    """All measures of agreement; None where no item has several answers."""
    matrix = codes.matrix
    several = (matrix != agreement.MISSING).sum(axis=0) >= 2
    if not several.any():
        return None
    shared = matrix[:, several]
    plain = agreement.percent(shared)
    fleiss, raters = agreement.fleiss(shared)
    one_label = "All answers are the same label, so chance alone explains their agreement."
    pairs = []
    for first in range(len(shared)):
        for second in range(first + 1, len(shared)):
            both = (shared[first] != agreement.MISSING) & (shared[second] != agreement.MISSING)
            if both.any():
                pairs.append(
                    figures.Pair(
                        first=codes.people[first],
                        second=codes.people[second],
                        items=int(both.sum()),
                        agreed=int((shared[first][both] == shared[second][both]).sum()),
                        kappa=_agreed(
                            "Cohen's kappa",
                            agreement.cohen(shared[first], shared[second]),
                            "Cohen's kappa; interval from 1,000 resamples of the items",
                            "Cohen 1960; Efron 1979",
                            one_label,
                        ),
                    )
                )
    return figures.Agreement(
        items=plain.items,
        people=int((shared != agreement.MISSING).any(axis=1).sum()),
        percent=_agreed("Same answer", plain, "Wilson score interval over items", WILSON_SOURCE, ""),
        fleiss=_agreed(
            "Fleiss' kappa",
            fleiss,
            f"Fleiss' kappa over the items with {raters} answers; interval from 1,000 resamples of the items",
            "Fleiss 1971; Efron 1979",
            one_label,
        ),
        krippendorff=_agreed(
            "Krippendorff's alpha",
            agreement.krippendorff_alpha(shared),
            "Krippendorff's alpha for nominal labels with gaps; interval from 1,000 resamples of the items",
            "Krippendorff 2019, §12.3; Hayes & Krippendorff 2007",
            one_label,
        ),
        pairs=pairs,
        positive=[
            _agreed(
                label,
                agreement.positive(shared, code),
                "2a ÷ (2a + b + c) over all pairs of answers to an item; interval from 1,000 resamples",
                "Cicchetti & Feinstein 1990",
                "Nobody gave this label to an item with several answers.",
            )
            for code, label in enumerate(codes.labels)
        ],
    )


def _agreed(name: str, found: agreement.Agreed, formula: str, source: str, why_none: str) -> Figure:
    if found.value is None:
        return Figure(name=name, n=found.items, sentence=why_none)
    sentence = ""
    if found.bounds is None:
        sentence = f"Fewer than {agreement.LEAST_ITEMS} items: too few for an interval."
    low, high = found.bounds or (None, None)
    return Figure(
        name=name,
        value=found.value,
        low=low,
        high=high,
        n=found.items,
        formula=formula,
        source=source,
        sentence=sentence,
    )
