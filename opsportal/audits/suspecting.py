"""Fill a targeted run: rank what is most likely wrong, and look at the rest at random. For workers only."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from django.db import transaction
from django.db.models import Q

from opsportal.audits.decisions import Decisions
from opsportal.audits.models import Item, Run, Stratum, Stream
from opsportal.audits.services.filling import NewItem, fill
from opsportal.audits.services.targeting import SUSPECT_TASK
from opsportal.audits.statistics.suspects import Case, Suspector, spread
from opsportal.core import clock
from opsportal.events import outbox
from opsportal.events import services as events
from opsportal.predictions.models import ModelVersion, Prediction
from opsportal.predictions.selectors import batches, suppressed_among
from opsportal.predictions.services.suppressing import hold_off_erasing

CANDIDATES_MAX = 200_000
LABELS_MAX = 20_000
PAGE = 2_000
# So many times as many as are wanted are looked at for being too much alike.
SPARE = 3
LOOK_WHY = "random look at the rest"
# From so much on a doubt is worth a word.
_NEAR, _SURE = 0.3, 0.6


@dataclass(order=True, slots=True)
class _Suspect:
    """A candidate that may be chosen, by its suspicion."""

    suspicion: float
    pk: int
    why: str


def rank(run_id: int) -> None:
    """Choose the suspects and the random look of a targeted run, and open it.

    Does nothing for a run that is not being put together. One pass over the newest 200,000 predictions of the
    model that nobody has labelled, in pages; memory: a suspicion for a few thousand of them. Ends with the
    run open, or failed with a sentence. The last step is one transaction, so a killed worker leaves nothing.
    """
    run = Run.objects.select_related("model").filter(pk=run_id, kind=Run.Kind.TARGETED).first()
    if run is None or run.state != Run.State.DRAWING:
        return
    versions = {
        version.pk: version
        for version in ModelVersion.objects.filter(model=run.model_id).exclude(
            state=ModelVersion.State.REFUSED
        )
    }
    chooser = _Chooser(run, versions)
    candidates = chooser.go()
    if not candidates:
        _fail(run, "The log holds no prediction of this model that nobody has labelled yet.")
        return
    suspects, look = chooser.suspects(), chooser.look()
    _open(run, chooser, suspects, look, candidates)


class _Chooser:
    """One pass over the candidates."""

    def __init__(self, run: Run, versions: dict[int, ModelVersion]) -> None:
        self._run = run
        self._versions = versions
        self._decisions = {pk: Decisions(version) for pk, version in versions.items()}
        self._labels = {label["value"] for label in run.labels}
        self._wanted: int = run.plan["suspects"]["wanted"]
        self._look_wanted: int = run.plan["random_look"]["wanted"]
        self.suspector = self._learn()
        self._top: list[_Suspect] = []
        # Smallest keyed hashes: a random part of all candidates, whatever the order and however often.
        self._lowest: list[tuple[int, int]] = []
        self._chosen: list[_Suspect] = []

    def go(self) -> int:
        """Rank every candidate; how many there are."""
        count = 0
        keep = SPARE * self._wanted
        draw = self._look_wanted + self._wanted
        for page in self._pages():
            cases = [self._case(row) for row in page]
            found = self.suspector.rank(cases)
            for place, row in enumerate(page):
                suspect = _Suspect(float(found.suspicion[place]), row.pk, "")
                if len(self._top) < keep or suspect > self._top[0]:
                    suspect.why = _why(
                        cases[place], row, found.suggested[place], float(found.certainty[place])
                    )
                    push = heapq.heappush if len(self._top) < keep else heapq.heapreplace
                    push(self._top, suspect)
                lot = (-_hash(row.prediction_id, self._run.seed), row.pk)
                if len(self._lowest) < draw:
                    heapq.heappush(self._lowest, lot)
                elif lot > self._lowest[0]:
                    heapq.heapreplace(self._lowest, lot)
            count += len(page)
            outbox.renew(SUSPECT_TASK, str(self._run.pk))
            Run.objects.filter(pk=self._run.pk).update(rows_done=count)
        return count

    def suspects(self) -> list[_Suspect]:
        """The chosen ones, the most suspicious first, not too many of a kind."""
        ranked = sorted(self._top, reverse=True)
        rows = {row.pk: row for row in self._rows([one.pk for one in ranked])}
        ranked = [one for one in ranked if one.pk in rows]
        vectors = self.suspector.vectors([self._case(rows[one.pk]) for one in ranked])
        suspicion = np.array([one.suspicion for one in ranked])
        self._chosen = [ranked[place] for place in spread(suspicion, vectors, self._wanted)]
        return self._chosen

    def look(self) -> list[int]:
        """Keys of the random look: of the candidates that were not chosen, those with the lowest lots."""
        chosen = {one.pk for one in self._chosen}
        lots = sorted(self._lowest, reverse=True)
        return [pk for _, pk in lots if pk not in chosen][: self._look_wanted]

    def items(self, pks: Sequence[int]) -> Iterator[tuple[int, NewItem]]:
        """The predictions as items, by key; those of customers who opted out meanwhile are left out."""
        for batch in batches(pks, 500):
            rows = list(Prediction.objects.filter(pk__in=batch))
            gone = suppressed_among({row.customer_key for row in rows if row.customer_key})
            for row in rows:
                if row.customer_key not in gone:
                    yield (
                        row.pk,
                        NewItem(
                            prediction_id=row.prediction_id,
                            version_id=row.version_id,
                            predicted_at=row.predicted_at,
                            score=row.score,
                            predicted=self._predicted(row),
                            product_id=row.product_id,
                            customer_key=row.customer_key,
                            surface=row.surface,
                            text=row.text,
                            features=row.features,
                        ),
                    )

    def _learn(self) -> Suspector:
        """From what people settled on in any run of the model, the newest first."""
        settled = Item.objects.filter(run__model=self._run.model_id, state=Item.State.SETTLED)
        rows = settled.exclude(label="").filter(version__in=self._versions).order_by("-pk")[:LABELS_MAX]
        cases: list[Case] = []
        labels: list[str] = []
        for item in rows.iterator(chunk_size=PAGE):
            decisions = self._decisions[item.version_id or 0]
            stated = decisions.stated_error(item.predicted, item.score)
            cases.append(Case(item.predicted, stated, item.text, {} if item.text else item.values))
            labels.append(item.label)
        return Suspector(cases, labels)

    def _case(self, row: Prediction) -> Case:
        predicted = self._predicted(row)
        stated = self._decisions[row.version_id].stated_error(predicted, row.score)
        return Case(predicted, stated, row.text, {} if row.text else row.values)

    def _predicted(self, row: Prediction) -> str:
        return self._decisions[row.version_id].predicted(row.label, row.score)

    def _pages(self) -> Iterator[list[Prediction]]:
        """The newest predictions, version by version, without those that nobody need look at."""
        left = CANDIDATES_MAX
        for version_id in sorted(self._versions, reverse=True):
            found = Prediction.objects.filter(version=version_id).order_by("-predicted_at", "-pk")
            page = list(found[: min(PAGE, left)])
            while page and left > 0:
                left -= len(page)
                if usable := self._usable(page):
                    yield usable
                moment, pk = page[-1].predicted_at, page[-1].pk
                earlier = Q(predicted_at__lt=moment) | Q(predicted_at=moment, pk__lt=pk)
                page = list(found.filter(predicted_at__lte=moment).filter(earlier)[: min(PAGE, left)])

    def _usable(self, page: list[Prediction]) -> list[Prediction]:
        """Those with a decision that people may confirm, and that nobody has labelled or is labelling."""
        seen: set[str] = set()
        for ids in batches([row.prediction_id for row in page]):
            items = Item.objects.filter(prediction_id__in=ids, run__model=self._run.model_id)
            seen |= set(items.exclude(state=Item.State.VOID).values_list("prediction_id", flat=True))
        gone = suppressed_among({row.customer_key for row in page if row.customer_key})
        return [
            row
            for row in page
            if row.prediction_id not in seen
            and row.customer_key not in gone
            and self._predicted(row) in self._labels
        ]

    def _rows(self, pks: Sequence[int]) -> Iterator[Prediction]:
        for batch in batches(pks):
            yield from Prediction.objects.filter(pk__in=batch)


def _open(run: Run, chooser: _Chooser, suspects: Sequence[_Suspect], look: Sequence[int], total: int) -> None:
    """Put the items in and open the run; nothing where somebody cancelled it meanwhile."""
    by_pk = {one.pk: one for one in suspects}
    rest = total - len(suspects)
    with transaction.atomic():
        locked = Run.objects.select_for_update(of=("self",)).get(pk=run.pk)
        if locked.state != Run.State.DRAWING:
            return
        hold_off_erasing()
        added = fill(
            run,
            (
                replace(
                    item, stream=Stream.SUSPECT, suspicion=round(by_pk[pk].suspicion, 6), why=by_pk[pk].why
                )
                for pk, item in chooser.items(list(by_pk))
            ),
        )
        looked = _fill_look(run, chooser, look, rest) if look else 0
        Run.objects.filter(pk=run.pk).update(
            state=Run.State.OPEN,
            drawn_at=clock.now(),
            frame=total,
            rows_total=total,
            rows_done=total,
            plan={
                **run.plan,
                "suspects": {
                    **run.plan["suspects"],
                    "chosen": added,
                    "labels": chooser.suspector.labels_used,
                },
                "random_look": {**run.plan["random_look"], "rest": rest, "drawn": looked},
                "words": _words(chooser.suspector, total, added, looked, rest),
            },
        )
        events.record(
            actor=None,
            verb="run.opened",
            subject_type="run",
            subject_id=run.pk,
            summary=f"Chose {added:,} likely errors of {total:,} predictions for “{run.title}”"[:300],
            after={"suspects": added, "look": looked, "rest": rest, "labels": chooser.suspector.labels_used},
        )


def _fill_look(run: Run, chooser: _Chooser, look: Sequence[int], rest: int) -> int:
    """The random look: a sample of the rest with its own stratum, from which the errors left are bounded."""
    stratum = Stratum.objects.create(
        run=run, number=1, title="A random look at the rest", frame=rest, planned=len(look), drawn=0
    )
    looked = fill(
        run,
        (
            replace(
                item,
                stream=Stream.SAMPLE,
                stratum=stratum,
                inclusion_probability=len(look) / rest,
                why=LOOK_WHY,
            )
            for _, item in chooser.items(look)
        ),
    )
    stratum.drawn = looked
    stratum.save(update_fields=["drawn"])
    return looked


def _words(suspector: Suspector, total: int, added: int, looked: int, rest: int) -> list[str]:
    """How the items were chosen, for the run's page."""
    how = (
        f"the score's own doubt and that of a model trained on {suspector.labels_used:,} labels"
        if suspector.labels_used
        else "the score's own doubt alone, since there are too few labels to learn from"
    )
    chosen = (
        f"Of {total:,} logged predictions that nobody had labelled, the {added:,} most suspicious were "
        f"chosen by {how}. They were chosen, not drawn, so they enter no error rate."
    )
    if not looked:
        return [chosen]
    drawn = (
        f"{looked:,} of the other {rest:,} were drawn at random: they alone say how many errors may still be "
        "unfound."
    )
    return [chosen, drawn]


def _fail(run: Run, sentence: str) -> None:
    with transaction.atomic():
        failed = Run.objects.filter(pk=run.pk, state=Run.State.DRAWING).update(
            state=Run.State.FAILED, problem=sentence
        )
        if failed:
            events.record(
                actor=None,
                verb="run.failed",
                subject_type="run",
                subject_id=run.pk,
                summary=f"Could not put together “{run.title}”"[:300],
                reason=sentence,
            )


def _why(case: Case, row: Prediction, suggested: str, certainty: float) -> str:
    """Why it is suspicious, in words."""
    reasons = []
    if suggested and suggested != case.predicted:
        sure = f", {100 * certainty:.0f} % sure" if certainty >= _SURE else ""
        reasons.append(f"a model trained on the labels says “{suggested}”{sure}")
    if case.stated_error >= _NEAR and case.stated_error != 0.5:
        reasons.append(f"its own score {row.score:.3g} leaves it {100 * case.stated_error:.0f} % in doubt")
    if not reasons:
        reasons.append("more doubtful than the others that are left")
    return " and ".join(reasons)[:300].capitalize()


def _hash(prediction_id: str, seed: str) -> int:
    return int.from_bytes(
        blake2b(prediction_id.encode(), key=bytes.fromhex(seed), digest_size=8).digest(), "big"
    )
