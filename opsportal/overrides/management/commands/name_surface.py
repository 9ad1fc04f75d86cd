"""Make a surface known on the server, so that overrides and rankers can name it."""

from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser

from opsportal.core.errors import PortalError
from opsportal.overrides import services


class Command(BaseCommand):
    help = "Make a surface known under the slug that rankers send, or give a known one another name."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="As rankers send it, such as home-left.")
        parser.add_argument("name", help="As people read it, such as “Home page, left”.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            surface = services.name_surface(actor=None, slug=options["slug"], name=options["name"])
        except PortalError as error:
            raise CommandError(error.message) from None
        self.stdout.write(f"{surface.slug} is {surface.name}.")
