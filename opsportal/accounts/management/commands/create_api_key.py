"""Make a key for a machine and print it once."""

from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser

from opsportal.accounts import services
from opsportal.accounts.models import User
from opsportal.accounts.permissions import SCOPES
from opsportal.core.errors import PortalError

SERVICE_ACCOUNT = "service"


class Command(BaseCommand):
    help = "Make an API key. It is printed once, on standard output, and stored nowhere."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="Which machine or team uses it.")
        parser.add_argument("--scope", action="append", required=True, help="One of: " + ", ".join(SCOPES))
        parser.add_argument(
            "--owner",
            default=SERVICE_ACCOUNT,
            help=f"Account its changes are recorded under (default: {SERVICE_ACCOUNT}, made if missing).",
        )
        parser.add_argument("--days", type=int, default=90, help="Days until it expires, at most 400.")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["owner"]
        owner = User.objects.filter(username=name).first()
        if owner is None:
            if name != SERVICE_ACCOUNT:
                raise CommandError(f"There is no account {name!r}.")
            owner = services.service_account(name=name)
        try:
            _, token = services.create_api_key(
                actor=None, name=options["name"], scopes=options["scope"], owner=owner, days=options["days"]
            )
        except PortalError as error:
            raise CommandError(
                "\n".join(problem.message for problem in error.errors) or error.message
            ) from None
        self.stdout.write(token)
