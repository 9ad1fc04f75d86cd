"""The last step of a drawing: strata, items and reviews, all in one transaction or none."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from django.db import transaction
from django.db.models import F

from opsportal.audits.decisions import Decisions
from opsportal.audits.drawing.columns import BILLION, Tally
from opsportal.audits.drawing.designing import Part, Undrawable, as_plan
from opsportal.audits.drawing.hashing import GOLD, SECOND_LOOK, draw_hashes
from opsportal.audits.models import FrameFile, Run, Stratum, Stream
from opsportal.audits.planning import gold_count
from opsportal.audits.services.filling import NewItem, fill
from opsportal.audits.strata import Dimension, key_of, title_of
from opsportal.core import clock
from opsportal.events import services as events
from opsportal.predictions.models import ModelVersion, Prediction
from opsportal.predictions.selectors import batches, suppressed_among
from opsportal.predictions.services.suppressing import hold_off_erasing


class Winners(ABC):
    """Who was drawn."""

    @abstractmethod
    def ids(self) -> list[str]:
        """The IDs of their predictions, in any order."""

    @abstractmethod
    def items(self) -> Iterator[tuple[int, NewItem]]:
        """Each with the place of its stratum in the design; those that are no longer there are left out."""


def finish(
    run: Run, dimensions: Sequence[Dimension], parts: Sequence[Part], tally: Tally, winners: Winners
) -> bool:
    """Open the run with everything that was drawn; False where it was finished or cancelled meanwhile.

    One transaction that locks the run: whoever else draws it waits, and then finds it open. Customers who
    opted out since the run began lose their places: those count as drawn from their strata but erased.
    Raises Undrawable where a prediction stands in the frame twice.
    """
    ids = winners.ids()
    twice = next((name for name, count in Counter(ids).items() if count > 1), "")
    if twice:
        raise Undrawable(
            f"The prediction “{twice}” stands in the files more than once, so that nobody knows how many "
            "there are. Leave out the repetitions."
        )
    second = _chosen(ids, run.seed, SECOND_LOOK, round(run.plan["double_share"] * len(ids)))
    gold = _gold(run, ids, sum(part["planned"] for part in parts))
    with transaction.atomic():
        locked = Run.objects.select_for_update(of=("self",)).get(pk=run.pk)
        if locked.state != Run.State.DRAWING:
            return False
        hold_off_erasing()
        strata = _strata(run, dimensions, parts)
        drawn = Counter[int]()

        def sample() -> Iterator[NewItem]:
            for batch in batches(winners.items(), 500):
                gone = suppressed_among({item.customer_key for _, item in batch if item.customer_key})
                for place, item in batch:
                    if item.customer_key in gone:
                        continue
                    drawn[place] += 1
                    yield replace(
                        item,
                        stream=Stream.SAMPLE,
                        stratum=strata[place],
                        inclusion_probability=parts[place]["planned"] / parts[place]["frame"],
                        reviews=2 if item.prediction_id in second else 1,
                    )

        added = fill(run, sample())
        for place, stratum in enumerate(strata):
            stratum.drawn = drawn[place]
        Stratum.objects.bulk_update(strata, ["drawn"], batch_size=500)
        known = fill(run, gold)
        planned = sum(part["planned"] for part in parts)
        _open(locked, parts, tally, erased=planned - added)
        events.record(
            actor=None,
            verb="run.opened",
            subject_type="run",
            subject_id=run.pk,
            summary=f"Drew {added:,} of {tally.frame:,} predictions for “{run.title}”"[:300],
            after={
                "frame": tally.frame,
                "drawn": added,
                "gold": known,
                "excluded": tally.excluded,
                "unusable": tally.unusable.total(),
                "strata": len(parts),
            },
        )
    return True


def _open(run: Run, parts: Sequence[Part], tally: Tally, *, erased: int) -> None:
    """Write what was found; counters of items are `fill`'s."""
    FrameFile.objects.filter(run=run).update(candidates=[])
    Run.objects.filter(pk=run.pk).update(
        state=Run.State.OPEN,
        drawn_at=clock.now(),
        frame=tally.frame,
        excluded=tally.excluded,
        unusable=tally.unusable.total(),
        erased=F("erased") + erased,
        rows_done=F("rows_total"),
        plan={**run.plan, **as_plan(parts, tally)},
    )


def _strata(run: Run, dimensions: Sequence[Dimension], parts: Sequence[Part]) -> list[Stratum]:
    return Stratum.objects.bulk_create(
        Stratum(
            run=run,
            number=number,
            key=key_of(dimensions, part["cells"]),
            title=title_of(dimensions, part["cells"]),
            frame=part["frame"],
            planned=part["planned"],
            drawn=0,
            stated_error_sum=part["sums"][0] / BILLION,
            stated_error_square_sum=part["sums"][1] / BILLION,
        )
        for number, part in enumerate(parts, 1)
    )


def _chosen(ids: Sequence[str], seed: str, purpose: bytes, count: int) -> set[str]:
    """So many of the IDs, by a hash of their own: the same ones in whatever order they come."""
    hashes = draw_hashes(ids, seed, purpose)
    return {ids[place] for place in np.argsort(hashes, kind="stable")[:count]}


def _gold(run: Run, drawn: Sequence[str], n: int) -> list[NewItem]:
    """Known answers that are in the log and were not drawn, as many as the plan's share of all items."""
    answers = {one["prediction_id"]: one["label"] for one in run.plan["gold"]}
    for prediction_id in answers.keys() & set(drawn):
        del answers[prediction_id]
    count = gold_count(n, run.plan["gold_share"], len(answers))
    if not count:
        return []
    rows: list[Prediction] = []
    for ids in batches(answers):
        rows += Prediction.objects.filter(prediction_id__in=ids, version__model=run.model_id)
    gone = suppressed_among({row.customer_key for row in rows if row.customer_key})
    there = {row.prediction_id: row for row in rows if row.customer_key not in gone}
    chosen = sorted(_chosen(sorted(there), run.seed, GOLD, count))
    versions = ModelVersion.objects.in_bulk({there[name].version_id for name in chosen})
    decisions = {pk: Decisions(version) for pk, version in versions.items()}
    return [
        NewItem(
            prediction_id=row.prediction_id,
            version_id=row.version_id,
            predicted_at=row.predicted_at,
            score=row.score,
            predicted=decisions[row.version_id].predicted(row.label, row.score),
            product_id=row.product_id,
            customer_key=row.customer_key,
            surface=row.surface,
            text=row.text,
            features=row.features,
            stream=Stream.GOLD,
            gold=answers[row.prediction_id],
        )
        for row in (there[name] for name in chosen)
    ]
