"""Verbs that write models and predictions. Each is one transaction with its event."""

from opsportal.predictions.services.erasing import erase_suppressed, tidy
from opsportal.predictions.services.looking_up import look_at, look_up, note_viewed
from opsportal.predictions.services.registering import read_json, register_model
from opsportal.predictions.services.suppressing import ask_to_erase, suppress, unsuppress
from opsportal.predictions.services.taking_in import take_in

__all__ = [
    "ask_to_erase",
    "erase_suppressed",
    "look_at",
    "look_up",
    "note_viewed",
    "read_json",
    "register_model",
    "suppress",
    "take_in",
    "tidy",
    "unsuppress",
]
