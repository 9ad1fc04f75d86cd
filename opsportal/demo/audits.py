"""The demo's audits: three weeks of review sentiment, labelled by its people as real people voted. Once.

Everything goes through the services of the pages and the tasks of the workers, run in this process. Every
label is a vote of one of the 20 people of the data. Who of the demo gives it is made up, as is when.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import cycle
from typing import Any

from django.db import transaction

from opsportal.accounts.models import User
from opsportal.audits.models import (
    Allocation,
    Item,
    Label,
    Period,
    Policy,
    Review,
    Run,
    Sizing,
    Stream,
    Threshold,
)
from opsportal.audits.periods import Span, span_at
from opsportal.audits.services import adjudicating, closing, policies, reviewing, rules, runs, thresholds
from opsportal.audits.tasks import LANE
from opsportal.core import clock
from opsportal.demo.cases import NEGATIVE_FROM, Sentence, reviews
from opsportal.events import outbox
from opsportal.predictions.models import Model, ModelVersion

TITLE = "Review sentiment, weekly"
NEGATIVE, OTHER = "negative", "not negative"
# Of the newest run, most reviews are left to whoever tries the portal, and some decisions.
LABELLED_BEFORE, DISPUTES = 40, 3
_GOLD = 12
_WEEK = timedelta(days=7)
# Of the three runs. Of many tried, one whose labels happen to prove what is to be shown.
_SEEDS = (1, 45, 12)
# What people at least need for a sentence, and at most.
_SECONDS = (3.0, 14.0)
_LABELS = [
    {
        "value": NEGATIVE,
        "title": "Negative",
        "key": "1",
        "guideline": "The writer is unhappy with the product, its maker or its seller: a complaint, a "
        "defect, a warning, regret.",
    },
    {
        "value": OTHER,
        "title": "Not negative",
        "key": "2",
        "guideline": "Praise, a plain fact, a question, or praise and blame that balance.",
    },
]
_GUIDELINES = (
    "Would somebody from customer care want to read this sentence? Judge the sentence alone, not the review "
    "that it may come from. A bad word about another product is not negative. Irony counts as it is meant. "
    "Where the sentence is cut off, say that it cannot be told."
)
# Words that the half that the model learnt from hardly has.
_DEFECTS = r"\b(issues?|useless|repair\w*|defect\w*|returned|died|blurry|awkward|fix\w*|ridiculous|worst)\b"


def load_audits() -> None:
    """Audit the demo's predictions of the last three weeks, unless somebody audits the model already.

    One transaction, about four seconds: a demo that is killed meanwhile begins again.
    """
    model = Model.objects.get(name="reviews")
    if not Policy.objects.filter(model=model).exists():
        with transaction.atomic():
            _Audits(model).load()


class _Audits:
    """The steps, and what they share: the model, the people, and how every sentence was voted on."""

    def __init__(self, model: Model) -> None:
        self._model = model
        people = User.objects.in_bulk(["otto", "nora", "sam", "lena"], field_name="username")
        self._lena = people["lena"]
        self._reviewers = [people["otto"], people["nora"], people["sam"]]
        self._sentences = {case.sentence_id: case for case in reviews()}

    def load(self) -> None:
        """Two closed runs, rules and a threshold from their labels, and a run to work on."""
        first = self._order(half_width=0.07, strata=["predicted"], allocation=Allocation.NEYMAN)
        policy = policies.create_policy(actor=self._lena, model=self._model, order=first)
        this_week = span_at(Period.WEEKLY, clock.now()).starts_at
        self._closed(policy, span_at(Period.WEEKLY, this_week - 3 * _WEEK))
        # A threshold is best learnt from a sample in which everything counts the same.
        policies.change_policy(actor=self._lena, policy=policy, order=self._order(half_width=0.05))
        policy.refresh_from_db()
        last = self._closed(policy, span_at(Period.WEEKLY, this_week - 2 * _WEEK))
        self._rules()
        self._threshold(last)
        self._begun(policy, span_at(Period.WEEKLY, this_week - _WEEK))

    def _order(self, **design: Any) -> policies.Order:
        clear = [case for case in self._sentences.values() if not case.trains and _is_clear(case)]
        gold = sorted(clear, key=lambda case: _chance("gold", case.sentence_id))[:_GOLD]
        return policies.Order(
            title=TITLE,
            sizing=Sizing.WIDTH,
            expected_error=0.25,
            labels=_LABELS,
            guidelines=_GUIDELINES,
            double_share=0.1,
            gold_share=0.03,
            gold=[{"prediction_id": case.sentence_id, "label": _truth(case)} for case in gold],
            reviewers=self._reviewers,
            **design,
        )

    def _closed(self, policy: Policy, week: Span) -> Run:
        """A run that everybody has labelled, with its figures."""
        run = self._drawn(policy, week)
        self._label(run, self._reviewers)
        self._decide(run)
        _pace(run)
        run = closing.close_run(actor=self._lena, run=run)
        _work()
        _date(run)
        return run

    def _begun(self, policy: Policy, week: Span) -> None:
        """A run that two of the three have begun, and about some of which they differ."""
        run = self._drawn(policy, week)
        twice = Item.objects.filter(run=run, stream=Stream.SAMPLE, reviews__number=2)
        differing = [item for item in twice if self._vote(item, 0) != self._vote(item, 1)]
        chosen = sorted(differing, key=lambda item: item.prediction_id)[:DISPUTES]
        Review.objects.filter(item__in=chosen).update(priority=-1)
        self._label(run, self._reviewers[1:], most=LABELLED_BEFORE)
        _pace(run)
        _date(run)

    def _drawn(self, policy: Policy, week: Span) -> Run:
        """A run of that week; every demo draws the same sentences."""
        run = runs.start_run(
            actor=None, policy=policy, starts_at=week.starts_at, ends_at=week.ends_at, period=week.name
        )
        number = _SEEDS[Run.objects.filter(policy=policy).count() - 1]
        Run.objects.filter(pk=run.pk).update(seed=f"{_chance('seed', str(number)):032x}")
        _work()
        run.refresh_from_db()
        if run.state != Run.State.OPEN:
            raise RuntimeError(f"The demo's run was not drawn: {run.problem}")
        return run

    def _label(self, run: Run, people: Sequence[User], *, most: int = 1_000) -> None:
        """Let people label by turns, two sentences each, until nobody finds any more or so many are done.

        The first answer to a sentence is one vote, the second one another, whoever gives them.
        """
        answers: Counter[int] = Counter()
        idle = 0
        for person in cycle(people):
            claims = reviewing.claim(actor=person, run=run, count=2)
            idle = 0 if claims else idle + 1
            for claim in claims:
                value = self._vote(claim.item, answers[claim.item.pk])
                reviewing.answer(actor=person, token=claim.token, value=value)
                answers[claim.item.pk] += 1
            if idle == len(people) or answers.total() >= most:
                return

    def _vote(self, item: Item, number: int) -> str:
        """What the sentence's voter of that number said; of 20, so that two answers are of two people."""
        votes = self._sentences[item.prediction_id].votes
        vote = votes[(_chance("vote", item.prediction_id) + number) % len(votes)]
        return NEGATIVE if vote < 0 else OTHER

    def _decide(self, run: Run) -> None:
        while claim := adjudicating.claim_dispute(actor=self._lena, run=run):
            value = _truth(self._sentences[claim.item.prediction_id])
            adjudicating.decide(actor=self._lena, token=claim.token, value=value)

    def _rules(self) -> None:
        """One rule that keeps its promise, and one that does not: not every problem is one."""
        for title, pattern, bar in (
            ("Defects and repairs", _DEFECTS, 0.7),
            ("Somebody has a problem", r"\bproblems?\b", 0.8),
        ):
            condition = {
                "all": [
                    {"field": "predicted", "is": "equals", "value": OTHER},
                    {"field": "text", "is": "matches", "value": pattern},
                ]
            }
            terms = rules.Terms(title=title, condition=condition, label=NEGATIVE, bar=bar)
            rules.create_rule(actor=self._lena, model=self._model, terms=terms)
        _work()

    def _threshold(self, run: Run) -> None:
        thresholds.propose_threshold(
            actor=self._lena,
            run=run,
            version=ModelVersion.objects.get(model=self._model, version="2026.2"),
            label=NEGATIVE,
            goal=Threshold.Goal.PRECISION,
            target=0.7,
        )
        _work()


def _is_clear(case: Sentence) -> bool:
    """Whether everybody sees it the same way."""
    return len({vote < 0 for vote in case.votes}) == 1 and abs(case.mean) > 1


def _truth(case: Sentence) -> str:
    return NEGATIVE if case.mean <= NEGATIVE_FROM else OTHER


def _work() -> None:
    """Do what the workers would."""
    while outbox.drain(lane=LANE):
        pass


def _pace(run: Run) -> None:
    """Let the labels have taken as long as people take for a sentence."""
    low, high = _SECONDS
    labels = list(Label.objects.filter(run=run))
    for label in labels:
        label.seconds = low + _chance("seconds", str(label.item_id)) % 1000 / 1000 * (high - low)
    Label.objects.bulk_update(labels, ["seconds"], batch_size=200)


def _date(run: Run) -> None:
    """Put a run into the week after the one that it is about."""
    drawn = run.ends_at or clock.now()
    labels = list(Label.objects.filter(run=run).order_by("pk"))
    at = drawn + timedelta(hours=9)
    for label in labels:
        at += timedelta(seconds=label.seconds)
        label.at = min(at, clock.now())
    Label.objects.bulk_update(labels, ["at"], batch_size=200)
    Item.objects.filter(run=run, settled_at__isnull=False).update(settled_at=at)
    times: dict[str, datetime] = {"created_at": drawn, "drawn_at": drawn}
    if run.state == Run.State.CLOSED:
        times["closed_at"] = at
    Run.objects.filter(pk=run.pk).update(**times)


def _chance(what: str, name: str) -> int:
    """A number that looks like chance and is the same every time."""
    return int.from_bytes(hashlib.blake2b(f"{what} {name}".encode(), digest_size=8).digest(), "big")
