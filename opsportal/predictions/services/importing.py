"""Take in a file of predictions of any length, in pieces that each are a transaction. For commands only."""

import json
import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from django.db import connection, transaction

from opsportal.accounts.models import User
from opsportal.core import clock
from opsportal.core.errors import Conflict, Invalid, Problem
from opsportal.events import outbox
from opsportal.events import services as events
from opsportal.predictions import tables
from opsportal.predictions.dictionary import FLAG, NUMBER, FeatureDictionary
from opsportal.predictions.intake import FIELDS, REQUIRED, Checked, Intake
from opsportal.predictions.models import ModelVersion, PredictionImport
from opsportal.predictions.services.storing import Result, conflicts_with, store
from opsportal.predictions.services.taking_in import require_writer, version_to_fill

PROFILE_TASK = "explanations.profile"
CHUNK = 10_000
# So many bad rows are named; all are counted.
NAMED_MAX = 100
_SENTENCE_MAX = 300
_SQLITE_CACHE_KB = 64_000
_SQLITE_LOG_PAGES = 20_000
_FIELD_COLUMNS = tuple(name for name in FIELDS if name != "features")
_FEATURE = "features."
_FLAGS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
_TWICE = "prediction_id: This ID stands in an earlier row with other content."
_OTHER = "prediction_id: This ID is here already with other content."


class Progress(Protocol):
    """Whoever is told how far an import came."""

    def __call__(self, doing: str, rows: int, total: int | None) -> None:
        """After each piece: what is being done, how many rows so far, how many there are if known."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which column feeds which field and which feature; a name that is both feeds both."""

    fields: dict[str, str]
    features: dict[str, str]
    passed_over: list[str]


@dataclass(slots=True)
class _Findings:
    """Bad rows: how many, and the first of them as [number, sentence]."""

    count: int = 0
    named: list[list[Any]] = field(default_factory=list)

    def add(self, number: int, sentence: str) -> None:
        self.count += 1
        if len(self.named) < NAMED_MAX:
            self.named.append([number, sentence[:_SENTENCE_MAX]])


def plan_columns(columns: Sequence[str], mapping: Mapping[str, str], dictionary: FeatureDictionary) -> Plan:
    """What each column of a file is, by its name or by what the mapping says. Raises Invalid.

    mapping: column → field or feature; `features.NAME` means the feature where a field has the same name.
    """
    known = dictionary.by_name.keys()
    problems = [
        Problem("map", "unknown_column", f"The file has no column “{name}”.")
        for name in mapping
        if name not in columns
    ]
    plan = Plan({}, {}, [])
    for column in columns:
        target = mapping.get(column, column)
        feeds = []
        if target in _FIELD_COLUMNS:
            feeds.append((plan.fields, target))
        if target in known:
            feeds.append((plan.features, target))
        elif target.startswith(_FEATURE) and target.removeprefix(_FEATURE) in known:
            feeds.append((plan.features, target.removeprefix(_FEATURE)))
        if not feeds and column in mapping:
            message = f"“{target}” is neither a field of predictions nor a feature of this version."
            problems.append(Problem("map", "unknown_field", message))
        elif not feeds:
            plan.passed_over.append(column)
        for names, name in feeds:
            if name in names:
                message = f"The columns “{names[name]}” and “{column}” both mean {name}."
                problems.append(Problem("map", "twice", message))
            names[name] = column
    missing = [name for name in REQUIRED if name not in plan.fields]
    if missing:
        there = ", ".join(columns[:10])[:200] or "none"
        message = f"The file lacks the column {' and '.join(missing)}. Its columns: {there}."
        problems.append(Problem("file", "columns", message))
    if problems:
        raise Invalid(" ".join(problem.message for problem in problems), code="columns", errors=problems)
    return plan


def import_file(
    *,
    actor: User | None,
    model: str,
    version: str,
    path: Path,
    mapping: Mapping[str, str] | None = None,
    leave_out_bad: bool = False,
    chunk: int = CHUNK,
    progress: Progress | None = None,
    passed_over: Callable[[list[str]], None] | None = None,
) -> PredictionImport:
    """Save a file's predictions that are new; the import says how many, and which rows were bad.

    Unless `leave_out_bad`, all rows are checked first and one bad row refuses the file: then nothing of
    it is saved. Each piece of `chunk` rows is a transaction that also notes how far it came, so the same
    file goes on where it was stopped, and once done does nothing. Events at start and end; at the end a
    message asks for the importance of the features anew.

    Raises Forbidden, Invalid for a file or columns that cannot be used, and Conflict when another process
    takes in the same file.
    """
    require_writer(actor)
    mapping = dict(mapping or {})
    found = version_to_fill(model, version)
    table = tables.open_table(path)
    dictionary = found.features
    plan = plan_columns(table.columns, mapping, dictionary)
    if passed_over and plan.passed_over:
        passed_over(plan.passed_over)
    fingerprint = tables.digest_of(path, json.dumps(mapping, sort_keys=True))
    _make_room()
    row = _begin(actor, found, path, fingerprint)
    if row.state == PredictionImport.State.DONE:
        return row
    reader = _Reader(table, plan, dictionary, chunk, progress)
    if not leave_out_bad and not row.rows_done:
        findings = reader.check_all(found.pk)
        if findings.count:
            return _end(actor, row, PredictionImport.State.REFUSED, reader.position, findings)
    for rows, bad in reader.rows("Saving", after=row.rows_done):
        row = _save_chunk(row, rows, bad, reader)
    return _end(actor, row, PredictionImport.State.DONE, row.rows_done)


class _Reader:
    """Reads rows of a table and checks them."""

    def __init__(
        self,
        table: tables.Table,
        plan: Plan,
        dictionary: FeatureDictionary,
        chunk: int,
        progress: Progress | None,
    ) -> None:
        self._table = table
        self._chunk = chunk
        self._progress = progress
        self._intake = Intake(dictionary, naive_is_utc=True)
        self._field_names, self._feature_names = tuple(plan.fields), tuple(plan.features)
        kinds = {"predicted_at": tables.MOMENT, "score": tables.VALUE}
        self._columns = [
            *(tables.Wanted(column, kinds.get(name, tables.TEXT)) for name, column in plan.fields.items()),
            *(tables.Wanted(column) for column in plan.features.values()),
        ]
        converters = [
            *(_number_of_score if name == "score" else None for name in plan.fields),
            *(_CONVERTERS.get(dictionary.by_name[name].type) for name in plan.features),
        ]
        # Of text only: a typed file's values are what they are.
        self._converters = [] if table.typed else list(enumerate(converters))
        # The position of the last row read.
        self.position = 0

    def number(self, position: int) -> int:
        """The row's number as people count: a spreadsheet's first row is the header."""
        return position + self._table.header_rows

    def rows(
        self, doing: str, *, after: int = 0
    ) -> Iterator[tuple[list[tuple[int, Checked]], list[tuple[int, str]]]]:
        """Sound and bad rows with their numbers, a piece at a time; `position` is its last row's."""
        split = len(self._field_names)
        self.position = after
        for piece in self._table.read(self._columns, after=after, size=self._chunk):
            sound: list[tuple[int, Checked]] = []
            bad: list[tuple[int, str]] = []
            for position, cells, problem in piece:
                if problem:
                    bad.append((self.number(position), problem))
                    continue
                if self._converters:
                    cells = [
                        convert(cells[place]) if convert else cells[place] or None
                        for place, convert in self._converters
                    ]
                raw: dict[str, Any] = dict(zip(self._field_names, cells, strict=False))
                raw["features"] = dict(zip(self._feature_names, cells[split:], strict=True))
                checked = self._intake.check(raw)
                if isinstance(checked, Checked):
                    sound.append((self.number(position), checked))
                else:
                    bad.append((self.number(position), _sentence(checked)))
            if piece:
                self.position = piece[-1].position
            yield sound, bad
            if self._progress:
                self._progress(doing, self.position, self._table.rows)

    def check_all(self, version_id: int) -> _Findings:
        """What is wrong with the file, without saving any of it. 24 bytes of memory a row."""
        findings = _Findings()
        ids, contents, numbers = array("q"), array("q"), array("q")
        for rows, bad in self.rows("Checking"):
            for number, sentence in bad:
                findings.add(number, sentence)
            for number, row in rows:
                ids.append(hash(row.prediction_id))
                contents.append(hash(row.content))
                numbers.append(number)
            other = {id(row) for row in conflicts_with(version_id, [row for _number, row in rows])}
            for number, row in rows:
                if id(row) in other:
                    findings.add(number, _OTHER)
        for place in tables.repeats_with_other_content(ids, contents):
            findings.add(numbers[place], _TWICE)
        findings.named.sort(key=lambda named: named[0])
        return findings


def _make_room() -> None:
    """Let SQLite keep more of its indexes in memory, and write them back less often, on this connection."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA cache_size=-{_SQLITE_CACHE_KB}")
            cursor.execute(f"PRAGMA wal_autocheckpoint={_SQLITE_LOG_PAGES}")


def _begin(actor: User | None, version: ModelVersion, path: Path, fingerprint: str) -> PredictionImport:
    """The import of this file: a new one, or the earlier one to go on with. A refused one begins anew."""
    with transaction.atomic():
        row, _new = PredictionImport.objects.select_for_update().get_or_create(
            version=version,
            fingerprint=fingerprint,
            defaults={"file_name": path.name[:200], "started_at": clock.now()},
        )
        if row.state == PredictionImport.State.DONE:
            return row
        if row.state == PredictionImport.State.REFUSED:
            row.state, row.finished_at = PredictionImport.State.RUNNING, None
            row.bad, row.bad_rows, row.rows_total = 0, [], 0
            row.save()
        events.record(
            actor=actor,
            verb="predictions.import_started",
            subject_type="model_version",
            subject_id=version.pk,
            summary=f"Began to import predictions of {version}"
            + (f", after row {row.rows_done:,}" if row.rows_done else ""),
            after={"import": row.pk, "rows_done": row.rows_done},
        )
    return row


def _save_chunk(
    row: PredictionImport,
    rows: Sequence[tuple[int, Checked]],
    bad: Sequence[tuple[int, str]],
    reader: _Reader,
) -> PredictionImport:
    with transaction.atomic():
        locked = PredictionImport.objects.select_for_update().get(pk=row.pk)
        if (locked.rows_done, locked.state) != (row.rows_done, row.state):
            raise Conflict("Another process is taking in this file.", code="running")
        results = store(locked.version_id, [checked for _number, checked in rows])
        findings = _Findings(locked.bad, locked.bad_rows)
        also_bad = [
            (number, _OTHER)
            for (number, _checked), result in zip(rows, results, strict=True)
            if result == Result.CONFLICT
        ]
        for number, sentence in sorted([*bad, *also_bad]):
            findings.add(number, sentence)
        counts = Counter(results)
        locked.created += counts[Result.CREATED]
        locked.existing += counts[Result.EXISTS]
        locked.suppressed += counts[Result.SUPPRESSED]
        locked.bad, locked.bad_rows = findings.count, findings.named
        locked.rows_done = reader.position
        locked.save()
    return locked


def _end(
    actor: User | None,
    row: PredictionImport,
    state: PredictionImport.State,
    rows_total: int,
    findings: _Findings | None = None,
) -> PredictionImport:
    with transaction.atomic():
        row.state, row.rows_total, row.finished_at = state, rows_total, clock.now()
        if findings:
            row.bad, row.bad_rows = findings.count, findings.named
        row.save()
        refused = state == PredictionImport.State.REFUSED
        if row.created:
            outbox.send(task=PROFILE_TASK, key=row.version_id)
        events.record(
            actor=actor,
            verb="predictions.import_refused" if refused else "predictions.imported",
            subject_type="model_version",
            subject_id=row.version_id,
            summary=f"Refused a file of predictions of {row.version}: {row.bad:,} bad rows"
            if refused
            else f"Imported {row.created:,} predictions of {row.version}",
            after={
                "import": row.pk,
                "rows": row.rows_total,
                "created": row.created,
                "existing": row.existing,
                "suppressed": row.suppressed,
                "bad": row.bad,
            },
        )
    return row


def _sentence(problems: Sequence[Problem]) -> str:
    return " ".join(f"{problem.path}: {problem.message}" for problem in problems[:3])


# -- Texts as values ----------------------------------------------------------------------------


def _number_of_score(text: str) -> float | str | None:
    try:
        return float(text)
    except ValueError:
        return text or None


def _number(text: str) -> float | int | str | None:
    """A number where it is written as we would write it; `00701` and `3.50` stay as they are."""
    try:
        number = float(text)
        if text.isdecimal():
            return int(text) if str(int(text)) == text else text
    except ValueError:
        return text or None
    return number if math.isfinite(number) and repr(number) == text else text


def _flag(text: str) -> bool | str | None:
    return _FLAGS.get(text.casefold(), text) if text else None


_CONVERTERS: dict[str, Callable[[str], Any]] = {NUMBER: _number, FLAG: _flag}
