"""Figures, labels and corrections to take along."""

from dataclasses import asdict, astuple, dataclass

import msgspec
from django.db.models import QuerySet
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from opsportal.accounts.access import needs
from opsportal.audits.files import (
    attachment,
    figures_body,
    figures_csv,
    json_lines,
    labels_response,
    parquet_response,
)
from opsportal.audits.forms_runs import CorrectionFilterForm
from opsportal.audits.models import Correction, Export, Run
from opsportal.audits.selectors import labels, runs
from opsportal.audits.selectors.results import for_reader, results_of
from opsportal.audits.services import exports
from opsportal.core.errors import Conflict, Invalid
from opsportal.core.http import Request
from opsportal.core.spreadsheets import csv_response

PAGE_SIZE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionLine:
    """One correction as it is listed. source: the run or rule it comes from, with its address."""

    row: Correction
    who: str
    source: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionsPage:
    """Corrections, newest first. next: the cursor of the next page, or None. query: the filters."""

    form: CorrectionFilterForm
    rows: list[CorrectionLine]
    next: str | None
    query: str
    may_export: bool


# -- Figures --------------------------------------------------------------------------------


@require_safe
@needs("audits.view")
def figures_of_run(request: Request, run_id: int) -> HttpResponse:
    """Every figure with its formula and source; of people only those whom this person may see."""
    found = runs.run_of(run_id)
    results = results_of(found) if found.state == Run.State.CLOSED else None
    if results is None:
        raise Conflict(
            "The figures are there once the run is closed and they are computed.", code="no_figures"
        )
    results = for_reader(results, request.user)
    name = f"run-{found.pk}-figures"
    match request.GET.get("format", "json"):
        case "csv":
            return attachment(figures_csv(results), f"{name}.csv", "text/csv; charset=utf-8")
        case "json":
            body = msgspec.json.format(msgspec.json.encode(figures_body(found, results)), indent=1)
            return attachment(body, f"{name}.json", "application/json")
        case _:
            raise Invalid.at("format", "choice", "Figures can be had as json or csv.")


# -- Labels ---------------------------------------------------------------------------------


@require_safe
@needs("audits.view", "audits.export")
def labels_of_run(request: Request, run_id: int) -> HttpResponseBase:
    """The labels as CSV or JSON lines, sent while they are read, or as the Parquet file that is ready."""
    found = runs.run_of(run_id)
    exports.require_closed(found, request.user)
    match request.GET.get("format", "csv"):
        case "csv" | "jsonl" as format:
            exports.note_export(actor=request.user, run=found, format=format)
            return labels_response(found, format)
        case exports.PARQUET:
            return parquet_response(found) or redirect(f"{found.get_absolute_url()}#downloads")
        case _:
            raise Invalid.at("format", "choice", "Labels can be had as csv, jsonl or parquet.")


@require_POST
@needs("audits.view", "audits.export")
def want_export(request: Request, run_id: int) -> HttpResponse:
    """Have a worker write the Parquet file."""
    found = runs.run_of(run_id)
    exports.want_export(actor=request.user, run=found)
    return redirect(f"{found.get_absolute_url()}#downloads")


@require_safe
@needs("audits.view", "audits.export")
def export_progress(request: Request, run_id: int) -> HttpResponse:
    """The part of the page that waits for the Parquet file."""
    found = runs.run_of(run_id)
    export = Export.objects.filter(run=found, format=exports.PARQUET).defer("content").first()
    context = {"run": found, "export": export, "is_fit": export is not None and exports.is_fit(export)}
    return render(request, "audits/_export.html", context)


# -- Corrections ----------------------------------------------------------------------------


@require_safe
@needs("audits.view", "predictions.view")
def corrections(request: Request) -> HttpResponse:
    """What predictions should have been, newest first."""
    form = CorrectionFilterForm(request.GET)
    found = labels.correction_page(_narrowed(form), cursor=request.GET.get("cursor"), size=PAGE_SIZE)
    query = request.GET.copy()
    query.pop("cursor", None)
    page = CorrectionsPage(
        form=form,
        rows=[_line(row) for row in found.results],
        next=found.next,
        query=query.urlencode(),
        may_export=request.user.can("audits.export"),
    )
    return render(request, "audits/corrections.html", {"page": page})


@require_safe
@needs("audits.view", "audits.export")
def corrections_export(request: Request) -> StreamingHttpResponse:
    """The corrections that match the list's filters, as CSV or JSON lines."""
    rows = labels.correction_rows(_narrowed(CorrectionFilterForm(request.GET)))
    match request.GET.get("format", "csv"):
        case "csv":
            return csv_response("corrections", labels.CORRECTION_COLUMNS, (astuple(row) for row in rows))
        case "jsonl":
            return json_lines("corrections", (asdict(row) for row in rows))
        case _:
            raise Invalid.at("format", "choice", "Corrections can be had as csv or jsonl.")


def _narrowed(form: CorrectionFilterForm) -> "QuerySet[Correction]":
    return labels.corrections(
        model=form.given("model"), provenance=form.given("provenance"), state=form.given("state")
    )


def _line(row: Correction) -> CorrectionLine:
    if row.application is not None:
        rule = row.application.rule
        return CorrectionLine(
            row=row, who=labels.provenance_of(row), source=rule.title, url=rule.get_absolute_url()
        )
    if row.item is None:
        raise ValueError("a correction comes from an item or a rule")
    run = row.item.run
    return CorrectionLine(
        row=row, who=labels.provenance_of(row), source=run.title, url=run.get_absolute_url()
    )
