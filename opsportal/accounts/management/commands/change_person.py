"""Change what an account may do: roles, a new password, closing and reopening."""

from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser
from django.db import transaction

from opsportal.accounts import services
from opsportal.accounts.management.passwords import read_password
from opsportal.accounts.models import Role, User
from opsportal.core.errors import PortalError


class Command(BaseCommand):
    help = "Grant or revoke roles, set a new password (asked for, or from standard input), close or reopen."

    def add_arguments(self, parser: CommandParser) -> None:
        roles = "One of: " + ", ".join(Role.values)
        parser.add_argument("name")
        parser.add_argument("--grant", action="append", default=[], metavar="ROLE", help=roles)
        parser.add_argument("--revoke", action="append", default=[], metavar="ROLE", help=roles)
        parser.add_argument("--password", action="store_true", help="Set a new password.")
        parser.add_argument("--close", action="store_true", help="Nobody can sign in with it any more.")
        parser.add_argument("--reopen", action="store_true", help="Take back --close.")
        parser.add_argument("--reason", default="", help="Stands in the activity.")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["name"]).first()
        if user is None:
            raise CommandError(f"There is no account {options['name']!r}.")
        password = read_password() if options["password"] else None
        try:
            self._change(user, password, options)
        except PortalError as error:
            raise CommandError(error.message) from None
        state = ", ".join(sorted(user.roles)) if user.is_active else "closed"
        self.stdout.write(f"{user.username}: {state or 'no roles'}")

    @transaction.atomic
    def _change(self, user: User, password: str | None, options: dict[str, Any]) -> None:
        reason = options["reason"]
        for role in options["grant"]:
            services.grant_role(actor=None, user=user, role=role, reason=reason)
        for role in options["revoke"]:
            services.revoke_role(actor=None, user=user, role=role, reason=reason)
        if password is not None:
            services.change_password(actor=None, user=user, password=password)
        if options["close"] or options["reopen"]:
            services.set_active(actor=None, user=user, active=options["reopen"], reason=reason)
