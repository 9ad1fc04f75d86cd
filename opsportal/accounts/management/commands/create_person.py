"""Make an account on the server: the first administrator comes into being this way."""

from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser

from opsportal.accounts import services
from opsportal.accounts.management.passwords import read_password
from opsportal.accounts.models import Role
from opsportal.core.errors import PortalError


class Command(BaseCommand):
    help = "Make an account with roles. The password is asked for, or read from standard input."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--role", action="append", default=[], help="One of: " + ", ".join(Role.values))

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            user = services.create_person(
                actor=None, username=options["name"], roles=options["role"], password=read_password()
            )
        except PortalError as error:
            raise CommandError(error.message) from None
        self.stdout.write(f"{user.username} can sign in now.")
