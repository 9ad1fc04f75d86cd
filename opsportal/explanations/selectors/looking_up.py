"""The list of predictions that a look-up found."""

from collections.abc import Iterable
from dataclasses import dataclass

from opsportal.explanations.models import Explanation, Method, State
from opsportal.explanations.selectors.reasons import reasons_of
from opsportal.explanations.selectors.verdicts import Verdict, verdict_of
from opsportal.overrides.models import Surface
from opsportal.predictions.dictionary import FeatureDictionary
from opsportal.predictions.models import Prediction

PAGE_SIZE = 50
# One look puts so many side by side.
TOGETHER_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One line of the list. reasons: the strongest in three words; empty until somebody asked why."""

    row: Prediction
    verdict: Verdict
    surface: str
    reasons: str
    refused: str

    @property
    def name(self) -> str:
        """What the line is called: the case, or else the prediction's ID."""
        return self.verdict.subject or self.row.prediction_id


def listed(rows: Iterable[Prediction]) -> list[Found]:
    """The lines of these predictions; two queries however many there are."""
    rows = list(rows)
    explained = {
        explanation.prediction_id: explanation
        for explanation in Explanation.objects.filter(
            prediction__in=[row.pk for row in rows], method=Method.SHAP, changes_digest=""
        ).exclude(state=State.WANTED)
    }
    surfaces = dict(Surface.objects.values_list("slug", "name")) if any(row.surface for row in rows) else {}
    dictionaries: dict[int, FeatureDictionary] = {}
    found = []
    for row in rows:
        dictionary = dictionaries.get(row.version_id)
        if dictionary is None:
            dictionary = dictionaries[row.version_id] = row.version.features
        values = row.values
        explanation = explained.get(row.pk)
        is_ready = explanation is not None and explanation.state == State.READY
        found.append(
            Found(
                row=row,
                verdict=verdict_of(row, dictionary, values),
                surface=surfaces.get(row.surface, row.surface),
                reasons=reasons_of(explanation, dictionary, values).three_words
                if explanation and is_ready
                else "",
                refused=explanation.get_incident_display() if explanation and not is_ready else "",
            )
        )
    return found
