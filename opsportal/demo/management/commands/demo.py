"""`manage.py demo`: the whole portal on this machine, with people and data to play with."""

import json
import os
import secrets
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError, call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from opsportal.demo import environment, supervisor
from opsportal.demo.audits import load_audits
from opsportal.demo.impressions import load_impressions
from opsportal.demo.people import PEOPLE, load_people, usable_key
from opsportal.demo.ports import free_port, is_free
from opsportal.demo.predictions import load_models, missing_models
from opsportal.demo.processes import RUN, running_supervisor, stop_leftovers
from opsportal.demo.submissions import load_submissions

_LOGINS = environment.VAR / "demo.json"
_DEFAULT_PORT = 8000


class Command(BaseCommand):
    help = "Prepare this clone once, then run every process of the portal in the foreground."
    # They take a second and have nothing to say to somebody who tries the demo; `make check` runs them.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="prepare and load, then exit")

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("The demo prints passwords, so it runs only with DEBUG=true.")
        port = _chosen_port()
        RUN.mkdir(parents=True, exist_ok=True)
        if not once:
            self._clear_the_way(port)
        self._migrate()
        demo = self._load(port)
        if once:
            self.stdout.write(f"Loaded. The logins and the API key are in {_LOGINS}.")
            return
        self.stdout.write(f"Starting the portal on {demo['url']} …")
        self.stdout.flush()
        connection.close()
        supervisor.run(port=port)

    def _clear_the_way(self, port: int) -> None:
        if pid := running_supervisor():
            raise CommandError(
                f"The demo of this folder runs already, as process {pid}. Stop it first: kill {pid}"
            )
        if leftovers := stop_leftovers():
            self.stdout.write(f"Stopped what an earlier crash left running: {', '.join(leftovers)}.")
        if not is_free(port):
            raise CommandError(f"Port {port} is in use. Choose another one: PORT={port + 1} make demo")
        store_port = environment.store_port()
        if not is_free(store_port):
            store_port = free_port()
            environment.move_store(store_port)
        # Whatever REDIS_URL says outside, the demo runs its own store.
        os.environ.update(environment.store_urls(store_port))

    def _migrate(self) -> None:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            self.stdout.write("Creating the tables …")
            call_command("migrate", verbosity=0, interactive=False)

    def _load(self, port: int) -> dict[str, Any]:
        remembered = json.loads(_LOGINS.read_text(encoding="utf-8")) if _LOGINS.exists() else {}
        password = next(iter(remembered.get("users", {}).values()), None) or _new_password()
        # The broker does not run yet. The tick finds what is left to do.
        settings.OUTBOX_NUDGE = False
        # Celery, too, would have the project checked before it looks at a task.
        os.environ["CELERY_SKIP_CHECKS"] = "true"
        load_people(password)
        load_impressions()
        load_submissions()
        if models := missing_models():
            self.stdout.write("Training the demo's models …")
            self.stdout.flush()
            load_models(models)
        load_audits()
        demo = {
            "url": f"http://127.0.0.1:{port}",
            "api_key": usable_key(remembered.get("api_key", "")),
            "redis_url": environment.read_env()["REDIS_URL"],
            "users": {person.username: password for person in PEOPLE},
        }
        environment.write_private(_LOGINS, json.dumps(demo, indent=2) + "\n")
        return demo


def _chosen_port() -> int:
    text = os.environ.get("PORT") or str(_DEFAULT_PORT)
    if not text.isascii() or not text.isdigit() or not 1024 <= int(text) <= 65_535:
        raise CommandError(f"PORT must be a number from 1024 to 65535, not {text!r}.")
    return int(text)


def _new_password() -> str:
    """Long enough for the sign-in rules and short enough to type."""
    return "-".join(["demo", *(secrets.token_hex(2) for _ in range(4))])
