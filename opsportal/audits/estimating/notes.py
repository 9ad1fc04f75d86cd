"""What a run may have left unfound, and what to know beside its figures."""

from opsportal.audits.estimating.as_figures import per_cent
from opsportal.audits.estimating.rows import Data
from opsportal.audits.estimating.sample import Sample
from opsportal.audits.figures import Figure
from opsportal.audits.models import Run, Stream
from opsportal.audits.statistics.estimators import Estimated
from opsportal.audits.statistics.remaining import most_left

# More than this many strata by name would be noise.
NAMED_MAX = 5


def remaining_of(run: Run, data: Data) -> Figure | None:
    """For targeted runs: from a random look at the rest, how many errors may still be unfound."""
    if run.kind != Run.Kind.TARGETED:
        return None
    name = "Errors still unfound"
    looked = data.drawn()
    told = [row for row in looked if row.label]
    if not told:
        return Figure(
            name=name, sentence="Nothing of the rest was labelled at random, so nobody knows what it hides."
        )
    pool = max(round(sum(1 / row.probability for row in looked if row.probability)), len(looked))
    hits = sum(row.label != row.predicted for row in told)
    left = most_left(pool, len(told), hits)
    unseen = pool - len(told)
    return Figure(
        name=name,
        value=None,
        high=left / unseen if unseen else 0.0,
        kind="upper",
        n=len(told),
        formula="Exact hypergeometric upper bound from a random look at the rest",
        source="Buonaccorsi 1987",
        sentence=(
            f"A random look at {len(told):,} of {pool:,} predictions that did not look suspicious found "
            f"{hits:,} wrong, so at most {left:,} of the other {unseen:,} are wrong (95 % sure)."
        ),
    )


def notes_of(run: Run, data: Data, sample: Sample, overall: Estimated | None) -> list[str]:
    """Sentences about what was left out of the figures, and why."""
    notes = []
    empty = [
        part
        for part, labelled in zip(sample.parts, sample.labelled, strict=True)
        if part.frame and not labelled
    ]
    if empty and overall is not None:
        hidden = sum(part.frame for part in empty) / int(sample.frames.sum())
        named = ", ".join(f"“{part.title}”" for part in empty[:NAMED_MAX])
        named += f" and {len(empty) - NAMED_MAX} more" if len(empty) > NAMED_MAX else ""
        notes.append(
            f"No item of {named} has a label: {per_cent(hidden)} of the frame is left out of the "
            f"rates. Whatever is there, the error rate lies between "
            f"{per_cent(overall.low * (1 - hidden))} and {per_cent(overall.high * (1 - hidden) + hidden)}."
        )
    if sample.cannot_tell and overall is not None:
        notes.append(_cannot_tell_words(sample))
    provisional = sum(row.is_provisional for row in sample.rows)
    if provisional:
        notes.append(
            f"{_items(provisional)} had answers but no settled label when the run was closed; the first "
            "answer counts, since leaving them out would leave out errors."
        )
    left = sample.drawn - len(sample.rows) - sample.cannot_tell
    if left and overall is not None:
        notes.append(
            f"{_items(left)} of the sample stayed unlabelled; the rates take them to be like the labelled "
            "ones of their stratum."
        )
    if run.erased:
        notes.append(
            f"{_items(run.erased)} erased since they were drawn, because their customers opted out."
            if run.erased != 1
            else "1 item was erased since it was drawn, because its customer opted out."
        )
    if sample.drawn and any(row.stream in {Stream.SUSPECT, Stream.REFERRED} for row in data.rows):
        notes.append("Only what was drawn by chance counts towards the rates; chosen items do not.")
    if any(answer.second_look for answer in data.answers):
        notes.append(
            "Second looks at suspected errors are left out of agreement and of the comparison of people: "
            "those items were not chosen by chance."
        )
    return notes


def _cannot_tell_words(sample: Sample) -> str:
    """How far the items that nobody could judge could move the rate."""
    told = len(sample.rows)
    share = sample.cannot_tell / (told + sample.cannot_tell)
    return (
        f"For {_items(sample.cannot_tell)} ({per_cent(share)} of those looked at) nobody could "
        "tell. The rates take them to be like the others of their stratum."
    )


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count:,} items"
