"""Draw a run step by step: the bodies of the tasks of drawing.

`draw` is the body of "audits.draw", `count_file` and `draw_file` those of the tasks of the same name. All
of them may be killed at any moment and begun again by another: only the last step writes what people see.
"""

from collections.abc import Callable

from django.db import transaction

from opsportal.audits.drawing import from_files
from opsportal.audits.drawing.designing import Undrawable, as_plan, design
from opsportal.audits.drawing.finishing import finish
from opsportal.audits.drawing.from_log import FrameLog
from opsportal.audits.drawing.progress import Progress, Stopped
from opsportal.audits.drawing.reading import FrameTable
from opsportal.audits.models import FrameFile, Run, Source
from opsportal.audits.strata import Dimension, TooManyStrata, dimensions_of
from opsportal.core.errors import Invalid
from opsportal.events import services as events
from opsportal.predictions.models import ModelVersion

_State = FrameFile.State


def draw(run_id: int) -> None:
    """Draw the run, or take its next step where other tasks count and read its files.

    Ends with the run open, or failed with a sentence. Does nothing for a run that is not being drawn.
    """
    run = Run.objects.select_related("model").filter(pk=run_id, state=Run.State.DRAWING).first()
    if run is not None:
        _ending_in_words(run, lambda: _draw(run))


def count_file(file_id: int) -> None:
    """Count the rows of one file by stratum; see from_files.count_file."""
    _with_file(file_id, _State.WAITING, from_files.COUNT_TASK, from_files.count_file)


def draw_file(file_id: int) -> None:
    """Choose the candidates of one file; see from_files.draw_file."""
    _with_file(file_id, _State.COUNTED, from_files.DRAW_TASK, from_files.draw_file)


def fail(run: Run, sentence: str) -> None:
    """The run cannot be drawn, and this is why. One transaction with its event; nothing of it is left."""
    with transaction.atomic():
        failed = Run.objects.filter(pk=run.pk, state=Run.State.DRAWING).update(
            state=Run.State.FAILED, problem=sentence[:500]
        )
        if failed:
            FrameFile.objects.filter(run=run).update(candidates=[])
            events.record(
                actor=None,
                verb="run.failed",
                subject_type="run",
                subject_id=run.pk,
                summary=f"Could not draw “{run.title}”"[:300],
                reason=sentence[:500],
            )


def _draw(run: Run) -> None:
    version = _version_of(run)
    dimensions = dimensions_of(run.plan["strata"], run.plan["score_edges"], version.features)
    progress = Progress(run.pk, from_files.MERGE_TASK, run.pk)
    if run.plan["source"] == Source.LOG:
        versions = (
            [version]
            if run.plan["version"]
            else list(
                ModelVersion.objects.filter(model=run.model_id).exclude(state=ModelVersion.State.REFUSED)
            )
        )
        frame = FrameLog(run, dimensions, versions, version)
        rows = frame.count()
        Run.objects.filter(pk=run.pk).update(rows_total=frame.passes(rows) * rows, rows_done=0)
        parts, tally, chosen = frame.draw(progress, rows)
        progress.write()
        finish(run, dimensions, parts, tally, chosen)
        return
    table_of = from_files.TableOf(run, version, dimensions)
    states = dict(FrameFile.objects.filter(run=run).values_list("name", "state"))
    if not states:
        from_files.begin(run, table_of)
    elif set(states.values()) == {_State.COUNTED} and "parts" not in run.plan:
        tally = from_files.tally_of(run)
        from_files.send_for_candidates(run, as_plan(design(run, dimensions, version, tally), tally))
    elif set(states.values()) == {_State.DRAWN}:
        winners = from_files.FileWinners(run, version, table_of, progress)
        progress.write()
        finish(run, dimensions, run.plan["parts"], from_files.tally_of(run), winners)


def _with_file(
    file_id: int,
    state: str,
    task: str,
    work: Callable[[FrameFile, FrameTable, ModelVersion, tuple[Dimension, ...], Progress], None],
) -> None:
    file = (
        FrameFile.objects.select_related("run__model")
        .filter(pk=file_id, state=state, run__state=Run.State.DRAWING)
        .first()
    )
    if file is None:
        return

    def run_it() -> None:
        version = _version_of(file.run)
        dimensions = dimensions_of(file.run.plan["strata"], file.run.plan["score_edges"], version.features)
        table = from_files.TableOf(file.run, version, dimensions)(file.name)
        work(file, table, version, dimensions, Progress(file.run_id, task, file_id))

    _ending_in_words(file.run, run_it, file)


def _version_of(run: Run) -> ModelVersion:
    """The version that the plan names, else the newest that can be used: its words and features count."""
    versions = ModelVersion.objects.select_related("model").filter(model=run.model_id)
    if run.plan["version"]:
        return versions.get(pk=run.plan["version"])
    version = versions.exclude(state=ModelVersion.State.REFUSED).order_by("-pk").first()
    if version is None:
        raise Undrawable("The model has no version.")
    return version


def _ending_in_words(run: Run, work: Callable[[], None], file: FrameFile | None = None) -> None:
    """Do it; what can be said in a sentence ends the run with it, anything else is the outbox's to repeat."""
    try:
        work()
    except Stopped:
        return
    except (Undrawable, TooManyStrata, Invalid) as error:
        sentence = error.message if isinstance(error, Invalid) else str(error)
        if file is not None and file.name not in sentence:
            sentence = f"{file.name}: {sentence}"
        if file is not None:
            FrameFile.objects.filter(pk=file.pk).update(state=_State.FAILED, problem=sentence[:500])
        fail(run, sentence)
