"""Bring the store to the state that the database wants, and keep it there."""

from opsportal.serving.services.projecting import Outcome, StoreOfAnotherDatabase, project, want_rebuild
from opsportal.serving.services.retrying import retry_message
from opsportal.serving.services.watching import Comparison, check, compare, heartbeat

__all__ = [
    "Comparison",
    "Outcome",
    "StoreOfAnotherDatabase",
    "check",
    "compare",
    "heartbeat",
    "project",
    "retry_message",
    "want_rebuild",
]
