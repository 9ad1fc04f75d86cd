"""Who answered: how strictly, how rightly, how fast, and how much of the differences is chance."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from opsportal.audits import figures
from opsportal.audits.estimating.agreement import Codes
from opsportal.audits.estimating.as_figures import figure_of_share, per_cent
from opsportal.audits.estimating.rows import Answer, Data, Row
from opsportal.audits.figures import Figure
from opsportal.audits.models import Stream
from opsportal.audits.statistics import agreement, people


def people_of(data: Data, codes: Codes, focus: str) -> tuple[list[figures.Person], Figure | None, list[str]]:
    """Everybody who answered, the rate of all, and what chance explains of the differences, in words."""
    if not codes.people:
        return [], None, []
    code = codes.labels.index(focus) if focus in codes.labels else len(codes.labels)
    spread = people.spread(codes.matrix, code)
    found = people.strictness(codes.matrix, code)
    rows = {row.pk: row for row in data.rows}
    answers: dict[str, list[Answer]] = defaultdict(list)
    decided = {answer.item_id for answer in data.answers if answer.adjudicates}
    for answer in data.answers:
        if not answer.adjudicates and answer.item_id in rows:
            answers[answer.person].append(answer)
    together = sum(one.n > 0 for one in found)
    persons = [
        _person(name, one, answers[name], rows, decided, focus, together)
        for name, one in zip(codes.people, found, strict=True)
    ]
    pooled = None
    if spread is not None:
        pooled = Figure(
            name=f"“{focus}”, all people",
            value=spread.pooled,
            low=spread.bounds[0],
            high=spread.bounds[1],
            n=int((codes.matrix != agreement.MISSING).sum()),
            n_effective=spread.n_effective,
            formula="Share of all answers; Wilson on the effective size, items as clusters",
            source="Wilson 1927; Kish 1965, §5.4",
        )
    return persons, pooled, _spread_words(spread, together, focus)


def _spread_words(spread: people.Spread | None, count: int, focus: str) -> list[str]:
    if spread is None or spread.chance_share is None or spread.p is None:
        return []
    if spread.p >= 0.05:
        sentence = (
            f"Between {count} people the share of “{focus}” differs no more than chance explains "
            f"(p = {spread.p:.2f})."
        )
    else:
        sentence = (
            f"Of the spread between {count} people in how often they say “{focus}”, chance explains "
            f"{per_cent(spread.chance_share)}; the rest is how they judge, or which items they were given."
        )
    return [sentence]


def _person(
    name: str,
    found: people.Strictness,
    answers: Sequence[Answer],
    rows: dict[int, Row],
    decided: set[int],
    focus: str,
    together: int,
) -> figures.Person:
    told = [answer for answer in answers if answer.value]
    gold = [answer for answer in answers if rows[answer.item_id].stream == Stream.GOLD]
    knew = sum(answer.value == rows[answer.item_id].gold for answer in gold)
    disputed = [answer for answer in told if answer.item_id in decided]
    sided = sum(answer.value == rows[answer.item_id].label for answer in disputed)
    seconds = sorted(answer.seconds for answer in answers)
    return figures.Person(
        person=name,
        labelled=len(told),
        cannot_tell=len(answers) - len(told),
        rate=_rate_of(name, found, focus, together),
        difference=_difference_of(name, found, together),
        gold=figure_of_share("Known answers", knew, len(gold), "No known answer was among their items."),
        adjudicated=figure_of_share(
            "Sided with", sided, len(disputed), "No answer of theirs went to an audit lead."
        ),
        seconds=float(np.median(seconds)) if seconds else None,
        standing=found.standing,
        sentence=_standing_words(found, focus),
    )


def _rate_of(name: str, found: people.Strictness, focus: str, together: int) -> Figure:
    if not found.n:
        return Figure(name=name, sentence="They gave no label that could be compared.")
    return Figure(
        name=f"“{focus}”, {name}",
        value=found.hits / found.n,
        low=found.bounds[0],
        high=found.bounds[1],
        n=found.n,
        formula=f"Wilson score interval; holds for all {together} people at once (Bonferroni)",
        source="Wilson 1927; Dunn 1961",
    )


def _difference_of(name: str, found: people.Strictness, together: int) -> Figure:
    if found.difference is None or found.difference_bounds is None:
        return Figure(name=name, sentence="Nobody else labelled.")
    how = (
        f"Mean of (answer − others' mean) over {found.shared:,} shared items; t interval over items"
        if found.matched
        else "Share of answers less the others' share; Newcombe interval"
    )
    return Figure(
        name=f"Difference to the others, {name}",
        value=found.difference,
        low=found.difference_bounds[0],
        high=found.difference_bounds[1],
        n=found.shared if found.matched else found.n,
        formula=f"{how}; holds for all {together} people at once (Bonferroni)",
        source="Cochran 1977, §9; Dunn 1961" if found.matched else "Newcombe 1998; Dunn 1961",
    )


def _standing_words(found: people.Strictness, focus: str) -> str:
    """What the difference means, and how much of it chance explains."""
    if found.difference is None or found.difference_bounds is None or found.by_chance is None:
        return "There is nobody to compare with." if found.n else "They gave no label that could be compared."
    if found.n < people.LEAST_LABELS:
        return f"Only {found.n} labels: too few to compare."
    low, high = found.difference_bounds
    points = f"{abs(found.difference) * 100:.1f} points"
    interval = f"{low * 100:+.1f} to {high * 100:+.1f}".replace("-", "−")
    where = (
        f"on {found.shared:,} items others labelled too" if found.matched else "on other items than theirs"
    )
    chance = f"{found.by_chance * 100:.1f}"
    if found.standing == people.USUAL:
        return (
            f"Says “{focus}” about as often as others ({interval} points {where}): "
            f"chance alone explains differences of up to {chance} points."
        )
    more = "more" if found.standing == people.STRICT else "less"
    share = min(found.by_chance / abs(found.difference), 1.0)
    return (
        f"Says “{focus}” {more} often than others, by {points} ({interval} {where}). Chance alone "
        f"explains at most {chance} of them ({per_cent(share)} of the difference); the rest is how strictly "
        "they judge."
    )
