"""Register a model's file on the server, and check it at once."""

import json
from pathlib import Path
from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser

from opsportal.core.errors import PortalError
from opsportal.predictions.models import ModelVersion
from opsportal.predictions.services.registering import read_json, register_model


class Command(BaseCommand):
    help = (
        "Register a version of a model with its feature dictionary, load it, and say what was found. "
        "The same again changes nothing. Exit 1 with the reasons when it is refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="As it stands in addresses, such as german-credit.")
        parser.add_argument("version", help="Such as 2026-11-24 or v3.")
        parser.add_argument("--file", required=True, help="LightGBM text, XGBoost UBJ or JSON, or skops.")
        parser.add_argument("--features", required=True, help="The feature dictionary, a JSON file.")
        parser.add_argument("--training", help="How it was trained: a JSON file with an object.")
        parser.add_argument("--threshold", type=float, help="From this score on the decision is positive.")
        parser.add_argument("--background", help="Rows of training data: CSV, JSON lines or a JSON list.")
        parser.add_argument("--title", default="", help="What people call the model.")
        parser.add_argument("--purpose", default="", help="What it decides, in one sentence.")
        parser.add_argument(
            "--positive", help="What the positive outcome is called, if not in the dictionary."
        )
        parser.add_argument("--negative", help="What the negative outcome is called, likewise.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            version = self._register(options)
        except OSError as error:
            raise CommandError(f"{error.filename}: {error.strerror}.") from None
        except PortalError as error:
            places = [f"{problem.path}: {problem.message}" for problem in error.errors]
            raise CommandError("\n".join(places or [error.message])) from None
        if version.state == ModelVersion.State.CHECKING:
            # Loads the numeric libraries, which only this command and the workers do.
            from opsportal.explanations import explaining  # noqa: PLC0415

            explaining.check_model(version.pk)
            version.refresh_from_db()
        if version.state != ModelVersion.State.READY:
            raise CommandError("\n".join([f"{version} was refused.", *version.problems]))
        self.stdout.write(f"{version} is ready: {version.get_format_display()}, SHA-256 {version.sha256}.")
        for fact, value in version.facts.items():
            self.stdout.write(f"  {fact}: {value if isinstance(value, str) else json.dumps(value)}")

    def _register(self, options: dict[str, Any]) -> ModelVersion:
        dictionary = _object(options["features"], at="dictionary", what="The feature dictionary")
        dictionary |= {word: options[word] for word in ("positive", "negative") if options[word]}
        training = options["training"]
        background = options["background"]
        with Path(options["file"]).open("rb") as file:
            return register_model(
                actor=None,
                name=options["name"],
                version=options["version"],
                file=file,
                dictionary=dictionary,
                training=_object(training, at="training", what="The training file") if training else None,
                threshold=options["threshold"],
                background=Path(background).read_bytes() if background else None,
                title=options["title"],
                purpose=options["purpose"],
            )


def _object(path: str, *, at: str, what: str) -> dict[str, Any]:
    return read_json(Path(path).read_bytes(), at=at, what=what)
