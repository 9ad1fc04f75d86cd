"""Take in a file of predictions on the server."""

import sys
import time
from pathlib import Path
from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser

from opsportal.core.errors import PortalError
from opsportal.predictions.models import PredictionImport
from opsportal.predictions.services.importing import CHUNK, import_file

REFUSE, LEAVE_OUT = "refuse", "leave-out"
# Seconds between two lines of progress, on a terminal and in a log.
_OFTEN, _SELDOM = 0.2, 10.0


class Command(BaseCommand):
    help = (
        "Take in predictions from a CSV or Parquet file. Its columns are named like the fields of predictions"
        " (prediction_id, predicted_at, score, label, outcome, product_id, customer_id, surface, text) or"
        " like features of the version. The same file again goes on where it stopped, or does nothing."
        " Exit 1 with the numbers of the bad rows when it is refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--model", required=True, help="The name of the model, as in addresses.")
        parser.add_argument("--version", required=True, dest="model_version")
        parser.add_argument(
            "--map",
            nargs="+",
            action="extend",
            default=[],
            metavar="COLUMN=FIELD",
            help="What a column is: a field, a feature, or features.NAME for a feature named like a field.",
        )
        parser.add_argument(
            "--bad-rows",
            choices=[REFUSE, LEAVE_OUT],
            default=REFUSE,
            help="One bad row refuses the whole file (default), or bad rows are left out.",
        )
        parser.add_argument(
            "--chunk", type=int, default=CHUNK, help=f"Rows in one transaction (default {CHUNK:,})."
        )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """With `--version` for the model's; Django's own is asked for by `manage.py version`."""
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **kwargs)

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["chunk"] <= 100_000:
            raise CommandError("--chunk must lie within 1 and 100,000.")
        progress = _Progress(self)
        began = time.monotonic()
        try:
            found = import_file(
                actor=None,
                model=options["model"],
                version=options["model_version"],
                path=options["file"],
                mapping=_mapping(options["map"]),
                leave_out_bad=options["bad_rows"] == LEAVE_OUT,
                chunk=options["chunk"],
                progress=progress,
                passed_over=self._say_passed_over,
            )
        except OSError as error:
            raise CommandError(f"{options['file']}: {error.strerror}.") from None
        except PortalError as error:
            raise CommandError(error.message) from None
        finally:
            progress.end()
        self._say_bad_rows(found)
        if found.state == PredictionImport.State.REFUSED:
            raise CommandError(
                f"Nothing was saved: {found.bad:,} bad rows. Mend them, or leave them out with"
                f" --bad-rows {LEAVE_OUT}."
            )
        if not progress.told:
            self.stdout.write(
                f"This file was taken in already, on {found.finished_at:%d %b %Y at %H:%M} UTC."
            )
        seconds = f" in {time.monotonic() - began:,.0f} s" if progress.told else ""
        self.stdout.write(
            f"{found.created:,} predictions taken in{seconds}; {found.existing:,} were here already,"
            f" {found.suppressed:,} left out because the customer opted out, {found.bad:,} bad."
        )

    def _say_passed_over(self, columns: list[str]) -> None:
        shown = ", ".join(columns[:20]) + (" …" if len(columns) > 20 else "")
        self.stderr.write(f"Passed over these columns: {shown}")

    def _say_bad_rows(self, found: PredictionImport) -> None:
        for number, sentence in found.bad_rows:
            self.stderr.write(f"Row {number:,}: {sentence}")
        if found.bad > len(found.bad_rows):
            self.stderr.write(f"… and {found.bad - len(found.bad_rows):,} more.")


class _Progress:
    """Says on standard error how far it is: on one line of a terminal, on a line now and then elsewhere."""

    def __init__(self, command: BaseCommand) -> None:
        self.told = False
        self._out = command.stderr
        self._terminal = sys.stderr.isatty()
        self._doing = ""
        self._first_rows = 0
        self._began = self._last = time.monotonic()

    def __call__(self, doing: str, rows: int, total: int | None) -> None:
        self.told = True
        moment = time.monotonic()
        if doing != self._doing:
            self._doing, self._first_rows, self._began, self._last = doing, rows, moment, 0.0
        if moment - self._last < (_OFTEN if self._terminal else _SELDOM) and rows != total:
            return
        self._last = moment
        spent = moment - self._began
        speed = f", {(rows - self._first_rows) / spent:,.0f} rows/s" if spent > 1 else ""
        line = f"{doing}: {rows:,}{f' of {total:,}' if total else ''} rows{speed}"
        if self._terminal:
            self._out.write(f"\r{line}\x1b[K", ending="")
        else:
            self._out.write(line)

    def end(self) -> None:
        """Leave the terminal's line."""
        if self._terminal and self.told:
            self._out.write("")


def _mapping(pairs: list[str]) -> dict[str, str]:
    mapping = {}
    for pair in pairs:
        column, separator, target = pair.rpartition("=")
        if not (column and separator and target):
            raise CommandError(f"--map takes COLUMN=FIELD, not {pair!r}.")
        mapping[column] = target
    return mapping
