"""Labels, closed runs and stored figures to test the pages of results with; no numeric library is needed."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from opsportal.accounts.models import User
from opsportal.audits import figures
from opsportal.audits.figures import (
    Agreement,
    Cell,
    ClassFigures,
    Figure,
    Frame,
    Pair,
    Person,
    Results,
    Segment,
    StratumFigures,
)
from opsportal.audits.models import Estimate, Item, Label, Review, Run
from tests.explanations.making import NOON

HAJEK = "Weighted mean (Hájek), interval after Wilson on the effective size"
WILSON = "Wilson, JASA 22, 1927"


def figure(
    name: str = "error_rate",
    value: float | None = 0.02,
    low: float | None = 0.01,
    high: float | None = 0.04,
    **more: Any,
) -> Figure:
    """A figure of 300 labels; 2 % with 1 to 4 % unless said."""
    given: dict[str, Any] = {"n": 300, "formula": HAJEK, "source": WILSON}
    return Figure(name=name, value=value, low=low, high=high, **{**given, **more})


def make_results(**more: Any) -> Results:
    """The figures of 300 labels out of 3,000 predictions, six of them errors; `more` are fields."""
    values: dict[str, Any] = {
        "frame": Frame(
            frame=3_000,
            excluded=12,
            unusable=0,
            drawn=310,
            labelled=300,
            cannot_tell=4,
            unlabelled=6,
            erased=0,
            gold=0,
        ),
        "error_rate": figure(),
        "error_rate_powered": figure("error_rate_powered", 0.021, 0.012, 0.034),
        "error_rate_corrected": figure("error_rate_corrected", 0.015, 0.004, 0.038),
        "classes": [
            ClassFigures(
                label=label,
                precision=figure("precision", 0.98, 0.96, 0.99),
                recall=figure("recall", 0.97, 0.93, 0.985),
                predicted=figure("predicted", share, share - 0.02, share + 0.02),
                true=figure("true", share, share - 0.03, share + 0.03),
            )
            for label, share in (("survived", 0.4), ("did not survive", 0.6))
        ],
        "confusion": [
            Cell(predicted="survived", true="survived", count=116, weighted=1160.0),
            Cell(predicted="survived", true="did not survive", count=4, weighted=40.0),
            Cell(predicted="did not survive", true="survived", count=2, weighted=20.0),
            Cell(predicted="did not survive", true="did not survive", count=178, weighted=1780.0),
        ],
        "strata": [
            StratumFigures(
                number=number, title=title, frame=1_500, drawn=155, labelled=150, errors=errors,
                error_rate=figure("error_rate", errors / 150, errors / 300, errors / 75),
            )
            for number, title, errors in ((1, "Score below 0.5", 2), (2, "Score from 0.5", 4))
        ],
        "segments": [
            Segment(
                dimension="surface", value="home", labelled=100, errors=5,
                error_rate=figure("error_rate", 0.05, 0.02, 0.11), p=0.004, p_adjusted=0.012,
            ),
            Segment(
                dimension="surface", value="search", labelled=200, errors=1,
                error_rate=figure("error_rate", 0.005, 0.001, 0.027), p=0.4, p_adjusted=0.4,
            ),
        ],
        "agreement": Agreement(
            items=60,
            people=3,
            percent=figure("percent", 0.95, 0.86, 0.98),
            fleiss=figure("fleiss", 0.81, 0.66, 0.93),
            krippendorff=figure("krippendorff", 0.82, 0.67, 0.94),
            pairs=[
                Pair(first="lena", second="otto", items=30, agreed=28, kappa=figure("kappa", 0.8, 0.6, 0.95))
            ],
            positive=[figure("survived", 0.94, 0.85, 0.98), figure("did not survive", 0.96, 0.9, 0.99)],
        ),
        "people": [
            Person(
                person=person, labelled=150, cannot_tell=2,
                rate=figure("rate", rate, rate - 0.06, rate + 0.06),
                difference=figure("difference", rate - 0.4, rate - 0.46, rate - 0.34),
                gold=figure("gold", 0.95, 0.8, 0.99), adjudicated=figure("adjudicated", 0.5, 0.2, 0.8),
                seconds=4.2, standing=standing, sentence=sentence,
            )
            for person, rate, standing, sentence in (
                ("lena", 0.41, "usual", "Within what chance explains."),
                ("otto", 0.55, "strict", "Chance explains a tenth of the difference."),
            )
        ],
        "focus": "survived",
        "pooled": figure("pooled", 0.42, 0.38, 0.46),
        "notes": ["Ten items were left unlabelled."],
    }  # fmt: skip
    return Results(**{**values, **more})


def estimate(run: Run, results: Results | None = None) -> Run:
    """Store figures of a closed run as a worker would; the run as pages read it."""
    Estimate.objects.create(
        run=run, figures=figures.encode(results or make_results()), method=figures.METHOD, made_at=NOON
    )
    return run


def settle(
    items: Sequence[Item],
    label: str | Sequence[str],
    *,
    people: Sequence[User] = (),
    provenance: str = "human",
    at: datetime = NOON,
) -> None:
    """Settle items on labels, as if each of the people had said so; `` is cannot tell."""
    for place, item in enumerate(items):
        value = label if isinstance(label, str) else label[place]
        item.state, item.label, item.provenance, item.settled_at = "settled", value, provenance, at
        item.save()
        for number, person in enumerate(people, start=1):
            review, _ = Review.objects.update_or_create(
                item=item,
                number=number,
                defaults={"run": item.run, "shuffle": 0, "state": Review.State.DONE},
            )
            Label.objects.create(
                run=item.run, item=item, review=review, person=person, value=value,
                token=secrets.token_hex(16), seconds=4.0, at=at,
            )  # fmt: skip
    if items:
        run = Run.objects.get(pk=items[0].run_id)
        run.settled += len(items)
        run.save(update_fields=["settled"])


def close(run: Run, *, at: datetime = NOON) -> Run:
    """The run closed, without events and messages."""
    run.refresh_from_db()
    run.state, run.closed_at = Run.State.CLOSED, at
    run.save()
    return run
