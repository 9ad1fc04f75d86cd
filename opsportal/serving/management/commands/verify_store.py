"""`manage.py verify_store`: does the store hold what the database wants?"""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from opsportal.serving import services
from opsportal.serving.services import StoreOfAnotherDatabase
from opsportal.serving.store import StoreDown


class Command(BaseCommand):
    help = "Compare database and store; exit 1 on drift."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--repair", action="store_true", help="put right what differs")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            found = services.compare(repair=options["repair"])
        except (StoreDown, StoreOfAnotherDatabase) as error:
            raise CommandError(str(error)) from error
        if found.clean:
            self.stdout.write(f"The store is as the database wants it: {found.compared:,} keys compared.")
            return
        self.stderr.write(
            f"The store differs: {found.missing:,} missing, {found.extra:,} unexpected, "
            f"{found.altered:,} altered{', and its head is wrong' if found.head_wrong else ''}."
        )
        if options["repair"]:
            self.stderr.write("It has been repaired.")
        sys.exit(1)
