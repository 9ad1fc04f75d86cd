"""Files of figures and labels as responses: pages and the API give the same ones away."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, astuple
from datetime import datetime
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse

from opsportal.audits import figures
from opsportal.audits.figures import Figure, Results
from opsportal.audits.models import Export, Run
from opsportal.audits.selectors import labels
from opsportal.audits.services import exports
from opsportal.core import clock
from opsportal.core.spreadsheets import csv_response, safe_cell

PARQUET_TYPE = "application/vnd.apache.parquet"
_NUMBERS = ("value", "low", "high", "kind", "n", "n_effective")
_TEXTS = ("formula", "source", "sentence")


def figures_body(run: Run, results: Results) -> dict[str, Any]:
    """The figures with what they are about, as plain values."""
    return {
        "run": run.pk,
        "title": run.title,
        "model": run.model.name,
        "period": run.period,
        "starts_at": run.starts_at,
        "ends_at": run.ends_at,
        "closed_at": run.closed_at,
        "seed": run.seed,
        "method": figures.METHOD,
        "figures": figures.encode(results),
    }


def figures_csv(results: Results) -> bytes:
    """Every figure as a line, numbers with all their digits; UTF-8 with a byte-order mark."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["group", "name", *_NUMBERS, *_TEXTS])
    for group, figure in _figures(results):
        # No apostrophe before a minus: none of the numbers comes from people.
        numbers = [getattr(figure, column) for column in _NUMBERS]
        texts = [getattr(figure, column) for column in _TEXTS]
        writer.writerow([safe_cell(group), safe_cell(figure.name), *numbers, *map(safe_cell, texts)])
    return b"\xef\xbb\xbf" + file.getvalue().encode()


def _figures(results: Results) -> Iterator[tuple[str, Figure]]:
    yield "run", results.error_rate
    for figure in (
        results.error_rate_powered,
        results.error_rate_corrected,
        results.remaining,
        results.pooled,
    ):
        if figure is not None:
            yield "run", figure
    for one in results.classes:
        for figure in (one.precision, one.recall, one.predicted, one.true):
            yield f"class: {one.label}", figure
    for stratum in results.strata:
        yield f"stratum: {stratum.title}", stratum.error_rate
    for segment in results.segments:
        yield f"{segment.dimension}: {segment.value}", segment.error_rate
    if results.agreement is not None:
        for figure in (results.agreement.percent, results.agreement.fleiss, results.agreement.krippendorff):
            yield "agreement", figure
        for figure in results.agreement.positive:
            yield "agreement", figure
        for pair in results.agreement.pairs:
            yield f"pair: {pair.first}, {pair.second}", pair.kappa
    for person in results.people:
        for figure in (person.rate, person.difference, person.gold, person.adjudicated):
            yield f"person: {person.person}", figure


def labels_response(run: Run, format: str) -> StreamingHttpResponse:
    """The labels, sent while they are read. format: csv or jsonl."""
    name = f"run-{run.pk}-labels"
    rows = labels.label_rows(run)
    if format == "csv":
        return csv_response(name, labels.LABEL_COLUMNS, (astuple(row) for row in rows))
    return json_lines(name, (asdict(row) for row in rows))


def parquet_response(run: Run) -> HttpResponse | None:
    """The Parquet file, where there is one that may still be given away."""
    export = Export.objects.filter(run=run, format=exports.PARQUET).first()
    if export is None or not exports.is_fit(export):
        return None
    return attachment(bytes(export.content), f"run-{run.pk}-labels.parquet", PARQUET_TYPE)


def json_lines(name: str, rows: Iterable[dict[str, Any]]) -> StreamingHttpResponse:
    """A download of one JSON object a line, sent while they are read."""
    lines = (json.dumps(row, ensure_ascii=False, default=_moment) + "\n" for row in rows)
    response = StreamingHttpResponse(lines, content_type="application/x-ndjson")
    response["Content-Disposition"] = f'attachment; filename="{name}-{clock.now():%Y-%m-%d}.jsonl"'
    return response


def _moment(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(f"cannot write a {type(value).__name__}")


def attachment(content: bytes, name: str, content_type: str) -> HttpResponse:
    """A file to be saved under this name."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(content, content_type=content_type, headers=headers)
