"""What is learnt from labels finds errors that the score does not know of."""

import numpy as np
import pytest

from opsportal.audits.statistics import suspects
from opsportal.audits.statistics.suspects import Case, Suspector, spread

GOOD, BAD = "good", "bad"


def texts(n: int, *, seed: int) -> tuple[list[Case], list[str]]:
    """Reviews whose truth one word tells; the model is wrong about every tenth, with a sure score."""
    generator = np.random.default_rng(seed)
    cases, labels = [], []
    for number in range(n):
        label = GOOD if generator.random() < 0.7 else BAD
        word = {GOOD: "lovely", BAD: "broken"}[label]
        filler = " ".join(generator.choice(["the", "set", "arrived", "on", "monday", "blue"], 4))
        wrong = number % 10 == 0
        predicted = {GOOD: BAD, BAD: GOOD}[label] if wrong else label
        cases.append(Case(predicted, 0.1, f"{word} {filler}"))
        labels.append(label)
    return cases, labels


def test_rank__texts__errors_come_first() -> None:
    suspector = Suspector(*texts(200, seed=1))
    cases, labels = texts(300, seed=2)

    found = suspector.rank(cases)

    first = np.argsort(-found.suspicion)[:30]
    assert all(cases[place].predicted != labels[place] for place in first)
    assert [found.suggested[place] for place in first] == [labels[place] for place in first]
    assert suspector.labels_used == 200
    assert suspector.is_text


def test_rank__values__lines_for_few_labels_and_trees_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "TREES_FROM", 150)
    generator = np.random.default_rng(5)

    def people(n: int) -> tuple[list[Case], list[str]]:
        rows = [
            {"age": float(generator.integers(1, 90)), "sex": str(generator.choice(["f", "m"])), "deck": None}
            for _ in range(n)
        ]
        # Decided by age, while people say that it is by sex.
        cases = [Case(GOOD if row["age"] > 40 else BAD, 0.2, values=row) for row in rows]  # type: ignore[operator]
        return cases, [GOOD if row["sex"] == "f" else BAD for row in rows]

    for labels in (100, 200):
        suspector = Suspector(*people(labels))
        cases, truth = people(200)
        suspicion = suspector.rank(cases).suspicion
        wrong = np.array([case.predicted != label for case, label in zip(cases, truth, strict=True)])
        assert suspicion[wrong].min() > suspicion[~wrong].max()


def test_rank__too_few_labels_or_one_kind__the_score_alone() -> None:
    cases, labels = texts(200, seed=1)
    doubts = [Case(GOOD, doubt, "x") for doubt in (0.1, 0.4, 0.2)]
    for suspector in (
        Suspector([], []),
        Suspector(cases[:10], labels[:10]),
        Suspector(cases, [GOOD] * 200),
        Suspector(cases, [GOOD] * 197 + [BAD] * 3),
    ):
        found = suspector.rank(doubts)
        assert list(found.suspicion) == [0.1, 0.4, 0.2]
        assert suspector.labels_used == 0
        assert suspector.vectors(doubts) is None


def test_rank__decision_that_people_never_use__certainly_suspicious() -> None:
    suspector = Suspector(*texts(200, seed=1))

    odd, usual = suspector.rank([Case("odd", 0.1, "lovely"), Case(GOOD, 0.1, "lovely")]).suspicion

    assert odd == 0.55
    assert usual < 0.4


def test_spread__one_blunder_in_many_variants__leaves_room_for_others() -> None:
    generator = np.random.default_rng(3)
    same = np.tile([10.0, 0.0], (80, 1)) + generator.normal(0, 0.01, (80, 2))
    others = generator.normal(0, 3, (80, 2))
    suspicion = np.concatenate([np.full(80, 0.9), np.full(80, 0.5)])

    chosen = spread(suspicion, np.vstack([same, others]), 25)

    assert len(set(chosen.tolist())) == 25
    assert 0 < (chosen < 80).sum() < 25


def test_spread__nothing_to_tell_them_apart_by__the_most_suspicious() -> None:
    assert list(spread(np.array([0.1, 0.9, 0.5]), None, 2)) == [1, 2]
    assert list(spread(np.array([0.1, 0.9, 0.5]), None, 9)) == [1, 2, 0]
