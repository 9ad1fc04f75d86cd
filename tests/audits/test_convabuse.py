"""Eight annotators of the ConvAbuse corpus replayed as eight reviewers: who is strict, and is it chance?

Cercas Curry, Abercrombie & Rieser, EMNLP 2021. The file is none of this repository's.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from opsportal.audits import figures
from opsportal.audits.models import Item, Label, Review, Run
from tests.audits.making import make_items, make_person, make_policy, make_run
from tests.explanations.making import NOON

FILE = Path(os.environ.get("OPSPORTAL_DATA_DIR", "")) / "convabuse_annotations.parquet"
LABELS = [
    {"value": "abusive", "title": "Abusive", "key": "1", "guideline": ""},
    {"value": "fine", "title": "Fine", "key": "2", "guideline": ""},
]

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(
        not (os.environ.get("OPSPORTAL_DATA_DIR") and FILE.is_file()),
        reason="OPSPORTAL_DATA_DIR has no convabuse_annotations.parquet",
    ),
]


def replay() -> tuple[Run, "np.ndarray[tuple[int, int], np.dtype[np.float64]]"]:
    """A closed run in which each annotator gave their first answer to each item; and the same as a matrix."""
    import pandas

    table = pandas.read_parquet(FILE, columns=["item_id", "annotator_id", "is_abusive"])
    table = table.drop_duplicates(["item_id", "annotator_id"])
    matrix = table.pivot(index="annotator_id", columns="item_id", values="is_abusive").astype(float)
    run = make_run(make_policy(labels=LABELS))
    items = make_items(run, len(matrix.columns), predicted="fine", score=0.1)
    reviews = dict(Review.objects.filter(run=run).values_list("item_id", "pk"))
    labels = []
    for number, (name, answers) in enumerate(matrix.iterrows(), start=1):
        person = make_person(str(name).lower())
        labels += [
            Label(
                run=run,
                item=item,
                review_id=reviews[item.pk],
                person=person,
                token=f"{number}-{item.pk}",
                value="abusive" if answer else "fine",
                seconds=5 + number,
                at=NOON,
            )
            for item, answer in zip(items, answers, strict=True)
            if not np.isnan(answer)
        ]
    Label.objects.bulk_create(labels, batch_size=2_000)
    # Whatever is left open is left out or counts by its first answer: nothing here is about the error rate.
    Item.objects.filter(run=run).update(state=Item.State.VOID)
    Run.objects.filter(pk=run.pk).update(state=Run.State.CLOSED, closed_at=NOON)
    return run, matrix.to_numpy()


def test_estimate__eight_reviewers__finds_the_strict_and_the_lenient_one() -> None:
    import krippendorff

    from opsportal.audits.estimating.results import estimate

    run, matrix = replay()

    estimate(run.pk)

    run.refresh_from_db()
    results = figures.decode(run.estimate.figures)
    assert results.agreement is not None
    alpha = krippendorff.alpha(reliability_data=matrix, level_of_measurement="nominal")
    assert results.agreement.krippendorff.value == pytest.approx(alpha, abs=1e-12)
    assert results.agreement.krippendorff.low is not None
    assert results.agreement.krippendorff.low < alpha < (results.agreement.krippendorff.high or 0)
    assert (results.focus, results.agreement.people) == ("abusive", 8)

    people = {person.person: person for person in results.people}
    by_rate = sorted(people.values(), key=lambda person: person.rate.value or 0)
    strict, lenient = people["annotator5"], people["annotator7"]
    assert (by_rate[-1], by_rate[0]) == (strict, lenient)
    assert (strict.standing, lenient.standing) == ("strict", "lenient")
    pooled = results.pooled
    assert pooled is not None
    assert pooled.value is not None
    assert strict.rate.low is not None
    assert strict.rate.low > pooled.value
    assert lenient.rate.high is not None
    assert lenient.rate.high < pooled.value
    assert strict.difference.low is not None
    assert strict.difference.low > 0
    assert lenient.difference.high is not None
    assert lenient.difference.high < 0

    assert strict.sentence.startswith("Says “abusive” more often than others, by ")
    assert "Chance alone explains at most " in strict.sentence
    assert lenient.sentence.startswith("Says “abusive” less often than others, by ")
    spread = next(note for note in results.notes if note.startswith("Of the spread between 8 people"))
    assert "chance explains " in spread
