"""`manage.py verify_events`: prove that the audit trail is whole."""

import sys

from django.core.management.base import BaseCommand

from opsportal.events import selectors


class Command(BaseCommand):
    help = "Check the audit chain; exit 1 if it is broken."

    def handle(self, *args: object, **options: object) -> None:
        proof = selectors.verify_chain()
        if proof.broken_at is not None:
            self.stderr.write(f"The chain is broken at event {proof.broken_at}: {proof.problem}.")
            sys.exit(1)
        self.stdout.write(f"The chain of {proof.events} events is whole.")
