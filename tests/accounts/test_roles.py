"""Who may do what, and who may change that."""

from collections.abc import Callable

import pytest
from django.test import Client

from opsportal.accounts import services
from opsportal.accounts.models import Role, RoleGrant, User
from opsportal.accounts.permissions import CAPABILITIES
from opsportal.core.errors import Conflict, Forbidden, Invalid, NotFound
from opsportal.events.models import Event

A, M, P, T, C, L, D, V, R = (
    Role.AGENT,
    Role.ACCOUNT_MANAGER,
    Role.PRIVACY_OFFICER,
    Role.AUDITOR,
    Role.AUDIT_LEAD,
    Role.APPROVER,
    Role.DATA_SCIENTIST,
    Role.VIEWER,
    Role.ADMINISTRATOR,
)
EVERYBODY = set(Role)

# The promise, written a second time on purpose: a change of CAPABILITIES must be meant.
TABLE = {
    "overrides.view": EVERYBODY,
    "blocks.write": {A, R},
    "boosts.write": {M, R},
    "optouts.view": {A, P, L, R},
    "optouts.write": {A, P, R},
    "optouts.withdraw": {P, R},
    "overrides.approve": {L},
    "predictions.view": {A, M, P, T, C, D, R},
    "predictions.write": {D, R},
    "audits.view": EVERYBODY,
    "audits.label": {T, C},
    "audits.lead": {C},
    "audits.approve": {L},
    "audits.export": {C, D, R},
    "audits.refer": {A, P, T, C, R},
    "models.view": EVERYBODY,
    "models.write": {D, R},
    "serving.view": EVERYBODY,
    "serving.operate": {R},
    "activity.view": EVERYBODY,
    "accounts.manage": {R},
    "keys.manage": {R},
}


def test_capabilities__table__is_as_promised() -> None:
    assert CAPABILITIES == TABLE


@pytest.mark.parametrize("role", list(Role))
def test_can__one_role__gives_exactly_its_capabilities(db: None, role: Role) -> None:
    user = User.objects.create(username="somebody")
    RoleGrant.objects.create(user=user, role=role)

    assert user.capabilities == {name for name, roles in TABLE.items() if role in roles}


def test_can__no_role_or_inactive__nothing(mallory: User, ana: User) -> None:
    ana.is_active = False

    assert mallory.capabilities == frozenset()
    assert ana.capabilities == frozenset()


def test_can__superuser_flag__gives_nothing(mallory: User) -> None:
    mallory.is_superuser = mallory.is_staff = True

    assert mallory.capabilities == frozenset()


def test_can__unknown_capability__is_a_mistake_of_ours(ana: User) -> None:
    with pytest.raises(KeyError):
        ana.can("blocks.wirte")


def test_grant__role__works_at_once_and_is_recorded(root: User, mallory: User) -> None:
    assert not mallory.can("blocks.write")

    services.grant_role(actor=root, user=mallory, role="agent", reason="new colleague")

    assert mallory.can("blocks.write")
    event = Event.objects.get()
    assert (event.actor, event.verb, event.reason) == (root, "role_granted", "new colleague")
    assert event.after == {"role": "agent"}


def test_grant__twice__changes_nothing(root: User, ana: User) -> None:
    services.grant_role(actor=root, user=ana, role="agent")

    assert RoleGrant.objects.filter(user=ana).count() == 1
    assert not Event.objects.exists()


def test_grant__unknown_role__is_refused(root: User, ana: User) -> None:
    with pytest.raises(Invalid):
        services.grant_role(actor=root, user=ana, role="emperor")


def test_grant__by_somebody_else__is_refused(ana: User, mallory: User) -> None:
    with pytest.raises(Forbidden):
        services.grant_role(actor=ana, user=mallory, role="agent")

    assert not RoleGrant.objects.filter(user=mallory).exists()


def test_revoke__role__ends_at_once_and_is_recorded(root: User, ana: User) -> None:
    assert ana.can("blocks.write")

    services.revoke_role(actor=root, user=ana, role="agent")

    assert not ana.can("blocks.write")
    assert Event.objects.get().verb == "role_revoked"
    with pytest.raises(NotFound):
        services.revoke_role(actor=root, user=ana, role="agent")


def test_revoke__last_administrator__is_refused(root: User, ana: User) -> None:
    with pytest.raises(Conflict):
        services.revoke_role(actor=root, user=root, role="administrator")

    services.grant_role(actor=root, user=ana, role="administrator")
    services.revoke_role(actor=root, user=root, role="administrator")
    assert not root.can("accounts.manage")


@pytest.mark.parametrize(
    "path", ["/admin/", "/admin/accounts/user/", "/admin/accounts/apikey/", "/admin/accounts/rolegrant/"]
)
def test_support_site__administrator_looks__others_find_nothing(
    client: Client, client_for: Callable[[User], Client], root: User, ana: User, path: str
) -> None:
    assert client_for(root).get(path).status_code == 200
    assert client_for(ana).get(path).status_code == 404
    assert client.get(path).headers["Location"].startswith("/account/sign-in/?next=%2Fadmin%2F")


@pytest.mark.parametrize("path", ["add/", "{id}/change/", "{id}/delete/"])
def test_support_site__nobody_edits(
    client_for: Callable[[User], Client], root: User, ana: User, path: str
) -> None:
    browser = client_for(root)

    response = browser.post("/admin/accounts/user/" + path.format(id=ana.pk), {"username": "hacked"})

    assert response.status_code == 403
    assert User.objects.filter(username="ana").exists()


def test_support_site__own_sign_in__leads_to_ours(client: Client) -> None:
    assert client.get("/admin/login/").headers["Location"] == "/account/sign-in/"
    assert client.post("/admin/login/", {"username": "x", "password": "y"}).status_code == 302
