"""What people and keys need done regularly."""

from celery import shared_task

from opsportal.accounts.services import forget_old_tries_and_sessions


@shared_task(name="accounts.tidy")
def tidy() -> None:
    """Forget sign-in tries and sessions that are over."""
    forget_old_tries_and_sessions()
