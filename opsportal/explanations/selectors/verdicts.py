"""What the model decided about a case, and whether that turned out true: in words."""

from collections.abc import Mapping
from dataclasses import dataclass

from opsportal.predictions.dictionary import LOGIT, FeatureDictionary, Value
from opsportal.predictions.models import ModelVersion, Prediction

# From this probability on the model was sure.
CONFIDENT = 0.8
CONFIDENT_AND_WRONG, WRONG, RIGHT = "confident and wrong", "wrong", "right"
_TRUE, _FALSE = frozenset({"1", "true", "1.0"}), frozenset({"0", "false", "0.0"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A prediction in words.

    sentence: what the model gave whom. score: the same number by itself. decision: what was decided, empty
    where the model only ranks and the system named nothing. truth: what turned out, empty while unknown.
    positive, came_true: the sides of decision and truth; None where there is none. mark: right, wrong,
    confident and wrong, or empty while nobody knows.
    """

    subject: str
    sentence: str
    score: str
    decision: str
    positive: bool | None
    truth: str
    came_true: bool | None
    mark: str

    @property
    def is_confident_and_wrong(self) -> bool:
        """Whether the truth contradicts a score that was sure of itself."""
        return self.mark == CONFIDENT_AND_WRONG

    @property
    def is_wrong(self) -> bool:
        """Whether the decision contradicts the truth, sure of itself or not."""
        return self.mark in {WRONG, CONFIDENT_AND_WRONG}


def verdict_of(prediction: Prediction, dictionary: FeatureDictionary, values: Mapping[str, Value]) -> Verdict:
    """The prediction in words; asks the database nothing beyond its version."""
    score = score_words(prediction.score, dictionary)
    subject = dictionary.subject_of(values).strip()
    outcome = dictionary.outcome
    if dictionary.link == LOGIT:
        given = f"{article(score)} {score} {outcome}"
    else:
        given = f"{article(outcome)} {outcome} of {score}"
    positive, decision = _decided(prediction, prediction.version, dictionary)
    came_true = side_of(prediction.outcome, dictionary)
    return Verdict(
        subject=subject,
        sentence=f"The model gave {subject or 'this case'} {given}",
        score=score,
        decision=decision,
        positive=positive,
        truth=prediction.outcome if came_true is None else dictionary.outcome_word(came_true),
        came_true=came_true,
        mark=_mark(prediction.score, dictionary, positive, came_true),
    )


def side_of(word: str, dictionary: FeatureDictionary) -> bool | None:
    """Whether a logged word names the positive outcome or the negative one; None where it names neither."""
    plain = word.strip().casefold()
    if plain == dictionary.positive.casefold() or plain in _TRUE:
        return True
    if plain == dictionary.negative.casefold() or plain in _FALSE:
        return False
    return None


def score_words(score: float, dictionary: FeatureDictionary) -> str:
    """A score as people read it: a probability in per cent, any other number with four digits."""
    return chance(score) if dictionary.link == LOGIT else f"{score:.4g}"


def chance(probability: float) -> str:
    """A probability in per cent, never called certain that is not: 88 %, 0.3 %, >99.9 %."""
    value = 100 * probability
    if 0 < value < 0.1:
        return "<0.1\N{NO-BREAK SPACE}%"
    if 99.9 < value < 100:
        return ">99.9\N{NO-BREAK SPACE}%"
    digits = 1 if 0 < value < 9.95 or 99.05 < value < 100 else 0
    return f"{value:.{digits}f}".removesuffix(".0") + "\N{NO-BREAK SPACE}%"


def article(words: str) -> str:
    """`an` before 8, 11, 18, 80–89 and a vowel, else `a`."""
    words = words.lstrip("<>")
    number = words.split("\N{NO-BREAK SPACE}")[0].split(".")[0]
    if number.isdigit():
        return "an" if number.startswith("8") or number in {"11", "18"} else "a"
    return "an" if words[:1].lower() in {"a", "e", "i", "o", "u"} else "a"


def start_sentence(dictionary: FeatureDictionary, base: str) -> str:
    """Where cases start before their reasons count: `Typical passengers start at 37 %`."""
    who = dictionary.population
    is_one = who.casefold().startswith(("a ", "an ", "the ", "every ", "each "))
    return f"{who[:1].upper()}{who[1:]} {'starts' if is_one else 'start'} at {base}"


def _decided(
    prediction: Prediction, version: ModelVersion, dictionary: FeatureDictionary
) -> tuple[bool | None, str]:
    if prediction.label:
        side = side_of(prediction.label, dictionary)
        return side, prediction.label if side is None else dictionary.outcome_word(side)
    if version.threshold is None:
        return None, ""
    side = prediction.score >= version.threshold
    return side, dictionary.outcome_word(side)


def _mark(score: float, dictionary: FeatureDictionary, positive: bool | None, came_true: bool | None) -> str:
    if came_true is None:
        return ""
    if dictionary.link == LOGIT and (1 - score if came_true else score) >= CONFIDENT:
        return CONFIDENT_AND_WRONG
    if positive is None:
        return ""
    return RIGHT if positive == came_true else WRONG
