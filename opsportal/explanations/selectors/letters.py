"""The letter that tells a customer what was decided and why, in words that may be told. Nothing is stored."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta

from django.utils import timezone

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.events.models import Event
from opsportal.explanations.selectors.comparing import decision_word, written_score
from opsportal.explanations.selectors.reasons import Reason, Reasons
from opsportal.predictions.dictionary import LOGIT, FeatureDictionary
from opsportal.predictions.models import Prediction

LANGUAGE = "en-GB"
_SENTENCE_MAX = 600
# While a letter is being written, its page is looked at again and again.
_ONE_LOOK = timedelta(minutes=10)
# What a paragraph is, for the page and the PDF alike.
TEXT, HEADING, BULLET = "text", "heading", "bullet"


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One paragraph of the letter."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressee:
    """What the agent typed; it lives as long as the request."""

    name: str = ""
    address: str = ""
    sender: str = ""
    contact: str = ""
    note: str = ""
    signature: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """The letter from its first line to its last. Texts may hold anything that was logged or typed."""

    title: str
    sender: tuple[str, ...]
    addressee: tuple[str, ...]
    date: str
    greeting: str
    paragraphs: tuple[Paragraph, ...]
    closing: str
    signature: str
    foot: str

    @property
    def text(self) -> str:
        """Everything that is printed."""
        lines = [*self.sender, *self.addressee, self.date, self.title, self.greeting]
        lines += [paragraph.text for paragraph in self.paragraphs]
        return "\n".join([*lines, self.closing, self.signature, self.foot])


def looked_lately(person: User, prediction: Prediction) -> bool:
    """Whether the trail holds a look of this person at this prediction within the last ten minutes."""
    return Event.objects.filter(
        subject_type="prediction",
        subject_id=str(prediction.pk),
        verb="prediction.looked_up",
        actor=person,
        at__gt=clock.now() - _ONE_LOOK,
    ).exists()


def tellable(reasons: Reasons) -> tuple[Reason, ...]:
    """The reasons that a letter may name, the strongest first."""
    return reasons.for_customer.told


def write_letter(
    prediction: Prediction,
    dictionary: FeatureDictionary,
    reasons: Reasons,
    *,
    chosen: Collection[str],
    with_score: bool,
    to: Addressee,
    today: date,
) -> Letter:
    """The letter with the chosen reasons (names); those that may not be told are left out, chosen or not."""
    told = [reason for reason in tellable(reasons) if reason.name in chosen]
    everything = len(told) == sum(reason.attribution != 0 for reason in reasons.all)
    assessed = long_date(timezone.localtime(prediction.predicted_at).date())
    model = prediction.version.model.title
    return Letter(
        title=f"How your case was assessed on {assessed}",
        sender=_lines(to.sender),
        addressee=(*_lines(to.name), *_lines(to.address)),
        date=long_date(today),
        greeting=f"Dear {' '.join(_lines(to.name))}," if to.name.strip() else "Dear Sir or Madam,",
        paragraphs=(
            Paragraph(TEXT, _result(prediction, dictionary, assessed, model, with_score=with_score)),
            *_reasons(told, everything),
            *[Paragraph(TEXT, line) for line in _lines(to.note)],
            *_rights(to.contact),
        ),
        closing="Yours sincerely,",
        signature=" ".join(_lines(to.signature)),
        foot=f"{model}, version {prediction.version.version} · Reference {prediction.prediction_id}",
    )


def long_date(day: date) -> str:
    """2 November 2026."""
    return f"{day.day} {day:%B} {day.year}"


def _result(
    prediction: Prediction, dictionary: FeatureDictionary, assessed: str, model: str, *, with_score: bool
) -> str:
    decision = prediction.label or decision_word(prediction.version, dictionary, prediction.score)
    words = f"On {assessed} our computer system “{model}” assessed your case."
    if decision:
        words += f" Its result was: {decision}."
    if with_score:
        score = written_score(prediction.score, in_points=dictionary.link == LOGIT)
        words += f" The {dictionary.outcome} that it calculated was {score}."
    return words


def _reasons(told: list[Reason], everything: bool) -> list[Paragraph]:
    if not told:
        return []
    if len(told) == 1:
        head = "This counted:" if everything else "Among other things, this counted:"
    elif everything:
        head = "This is what counted, the strongest first:"
    else:
        head = "Among other things, this is what counted, the strongest first:"
    found = [Paragraph(HEADING, "The reasons"), Paragraph(TEXT, head)]
    found += [Paragraph(BULLET, _shortened(reason.sentence)) for reason in told]
    words = "They describe how the system came to its result. They are no judgement of you as a person."
    return [*found, Paragraph(TEXT, words)]


def _rights(contact: str) -> list[Paragraph]:
    how = " ".join(_lines(contact))
    reach = f"Contact us: {how}." if how else "Simply reply to this letter."
    return [
        Paragraph(HEADING, "Your rights"),
        Paragraph(
            TEXT,
            "You can ask that a person looks at your case again, tell us how you see it, and contest the "
            "result. You can also object to your data being used for assessments like this one. "
            f"It costs nothing. {reach}",
        ),
        Paragraph(
            TEXT,
            "If you are not satisfied with our answer, you can complain to the data protection authority.",
        ),
    ]


def _shortened(sentence: str) -> str:
    """A sentence that a person reads to its end: a logged value may have 10,000 characters."""
    return sentence if len(sentence) <= _SENTENCE_MAX else f"{sentence[: _SENTENCE_MAX - 1]}…"


def _lines(text: str) -> tuple[str, ...]:
    """The lines that hold something."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())
