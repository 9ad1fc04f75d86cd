"""Verbs that change overrides. Each is one transaction with its event; who holds the head's lock decides."""

from opsportal.overrides.services.applying import apply_approved, retry, tidy
from opsportal.overrides.services.deciding import approve, reject, submit
from opsportal.overrides.services.drafting import (
    cancel,
    check_file,
    draft_changes,
    draft_targets,
    draft_undo,
    drop_items,
    edit,
    receive_file,
)
from opsportal.overrides.services.intent import Intent
from opsportal.overrides.services.looking_up import CustomerFacts, look_up_customer
from opsportal.overrides.services.requesting import request_changes, request_targets, request_undo
from opsportal.overrides.services.surfaces import name_surface

__all__ = [
    "CustomerFacts",
    "Intent",
    "apply_approved",
    "approve",
    "cancel",
    "check_file",
    "draft_changes",
    "draft_targets",
    "draft_undo",
    "drop_items",
    "edit",
    "look_up_customer",
    "name_surface",
    "receive_file",
    "reject",
    "request_changes",
    "request_targets",
    "request_undo",
    "retry",
    "submit",
    "tidy",
]
