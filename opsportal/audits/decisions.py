"""What a model decided, in the words of its labels, and what its score itself says of being wrong."""

from opsportal.predictions.dictionary import LOGIT, FeatureDictionary
from opsportal.predictions.models import ModelVersion


class Decisions:
    """The decisions of one version: reads its dictionary once, for many predictions."""

    def __init__(self, version: ModelVersion) -> None:
        dictionary: FeatureDictionary = version.features
        self._threshold = version.threshold
        self._positive, self._negative = dictionary.positive, dictionary.negative
        self._is_probability = dictionary.link == LOGIT

    def predicted(self, label: str, score: float) -> str:
        """The logged decision, else the one that the threshold makes of the score; empty if there is none."""
        if label:
            return label
        if self._threshold is None or not self._positive or not self._negative:
            return ""
        return self._positive if score >= self._threshold else self._negative

    def stated_error(self, predicted: str, score: float) -> float:
        """The chance (0–1) that this decision is wrong as the score itself states it; 0.5 where it is silent.

        A score that is a probability of the positive class says 1 − score of a positive decision and
        score of a negative one.
        """
        if not self._is_probability or not 0 <= score <= 1:
            return 0.5
        return 1 - score if predicted == self._positive else score
