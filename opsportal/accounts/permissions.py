"""Who may do what: two tables, read by screens, services and the API alike."""

from collections.abc import Iterable

from django.db.models import TextChoices


class Role(TextChoices):
    """What a person does here. A person may have several roles, or none and then sees nothing."""

    VIEWER = "viewer", "viewer"
    AGENT = "agent", "agent"
    ACCOUNT_MANAGER = "account_manager", "account manager"
    PRIVACY_OFFICER = "privacy_officer", "privacy officer"
    AUDITOR = "auditor", "auditor"
    AUDIT_LEAD = "audit_lead", "audit lead"
    APPROVER = "approver", "approver"
    DATA_SCIENTIST = "data_scientist", "data scientist"
    ADMINISTRATOR = "administrator", "administrator"


EVERYBODY = frozenset(Role)
# Who works with single predictions, which are personal data.
READS_PREDICTIONS = EVERYBODY - {Role.VIEWER, Role.APPROVER}

# Capability of a person → the roles that have it.
CAPABILITIES: dict[str, frozenset[Role]] = {
    "overrides.view": EVERYBODY,
    "blocks.write": frozenset({Role.AGENT, Role.ADMINISTRATOR}),
    "boosts.write": frozenset({Role.ACCOUNT_MANAGER, Role.ADMINISTRATOR}),
    "optouts.view": frozenset({Role.AGENT, Role.PRIVACY_OFFICER, Role.APPROVER, Role.ADMINISTRATOR}),
    "optouts.write": frozenset({Role.AGENT, Role.PRIVACY_OFFICER, Role.ADMINISTRATOR}),
    "optouts.withdraw": frozenset({Role.PRIVACY_OFFICER, Role.ADMINISTRATOR}),
    "overrides.approve": frozenset({Role.APPROVER}),
    "predictions.view": READS_PREDICTIONS,
    "predictions.write": frozenset({Role.DATA_SCIENTIST, Role.ADMINISTRATOR}),
    "audits.view": EVERYBODY,
    "audits.label": frozenset({Role.AUDITOR, Role.AUDIT_LEAD}),
    "audits.lead": frozenset({Role.AUDIT_LEAD}),
    "audits.approve": frozenset({Role.APPROVER}),
    "audits.export": frozenset({Role.AUDIT_LEAD, Role.DATA_SCIENTIST, Role.ADMINISTRATOR}),
    "audits.refer": frozenset(
        {Role.AGENT, Role.PRIVACY_OFFICER, Role.AUDITOR, Role.AUDIT_LEAD, Role.ADMINISTRATOR}
    ),
    "models.view": EVERYBODY,
    "models.write": frozenset({Role.DATA_SCIENTIST, Role.ADMINISTRATOR}),
    "serving.view": EVERYBODY,
    "serving.operate": frozenset({Role.ADMINISTRATOR}),
    "activity.view": EVERYBODY,
    "accounts.manage": frozenset({Role.ADMINISTRATOR}),
    "keys.manage": frozenset({Role.ADMINISTRATOR}),
}

# Scope of a key → what it lets a machine do. A key does only what its scopes say, whatever its owner may do.
SCOPES: dict[str, str] = {
    "serving:read": "Ask for decisions, read the snapshot and its changes, send receipts",
    "overrides:read": "Read blocks, boosts, opt-outs and submissions",
    "overrides:write": "Submit and withdraw blocks, boosts and opt-outs",
    "predictions:read": "Look up predictions and their explanations",
    "predictions:write": "Log predictions",
    "audits:read": "Read runs, their figures and labels",
    "audits:write": "Claim items and label them",
}

# Scope of a key → the capabilities of a person that services ask for.
SCOPE_CAPABILITIES: dict[str, frozenset[str]] = {
    "serving:read": frozenset({"serving.view"}),
    "overrides:read": frozenset({"overrides.view", "optouts.view"}),
    "overrides:write": frozenset(
        {
            "overrides.view",
            "blocks.write",
            "boosts.write",
            "optouts.view",
            "optouts.write",
            "optouts.withdraw",
        }
    ),
    "predictions:read": frozenset({"predictions.view", "models.view"}),
    "predictions:write": frozenset({"predictions.write"}),
    "audits:read": frozenset({"audits.view", "audits.export"}),
    "audits:write": frozenset({"audits.view", "audits.label"}),
}


def capabilities_of(scopes: Iterable[str]) -> frozenset[str]:
    """Everything a key with these scopes may do."""
    return frozenset().union(*(SCOPE_CAPABILITIES[scope] for scope in scopes))
