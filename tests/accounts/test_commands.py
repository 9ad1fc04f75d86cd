"""Accounts and keys made on the server."""

import io

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from opsportal.accounts.keyring import keyring
from opsportal.accounts.models import ApiKey, Role, User
from opsportal.events.models import Event
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db


def run(*words: str) -> str:
    output = io.StringIO()
    call_command(*words, stdout=output)
    return output.getvalue()


def test_create_api_key__prints_only_a_key_that_works() -> None:
    output = run("create_api_key", "ranker", "--scope", "serving:read", "--scope", "overrides:read")

    token = output.strip()
    record = keyring.find(token)
    assert record is not None
    assert output == f"{token}\n"
    assert record.scopes == {"serving:read", "overrides:read"}
    assert record.owner.username == "service"
    assert not record.owner.has_usable_password()
    assert Event.objects.filter(actor=None, verb="created", subject_type="key").count() == 1


def test_create_api_key__twice__shares_the_service_account(ana: User) -> None:
    run("create_api_key", "one", "--scope", "serving:read")
    run("create_api_key", "two", "--scope", "serving:read")
    run("create_api_key", "three", "--scope", "serving:read", "--owner", "ana", "--days", "1")

    owners = ApiKey.objects.order_by("created_at").values_list("owner__username", flat=True)
    assert sorted(owners) == ["ana", "service", "service"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--scope", "everything"], "There is no scope 'everything'. The scopes are serving:read"),
        (["--scope", "serving:read", "--days", "401"], "A key lasts from 1 to 400 days."),
        (["--scope", "serving:read", "--owner", "nobody"], "There is no account 'nobody'."),
    ],
)
def test_create_api_key__bad_input__says_why(words: list[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        run("create_api_key", "ranker", *words)

    assert not ApiKey.objects.exists()


def test_create_person__password_from_standard_input__can_sign_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD + "\n"))

    run("create_person", "boss", "--role", "administrator", "--role", "approver")

    person = User.objects.get(username="boss")
    assert person.check_password(PASSWORD)
    assert person.roles == {Role.ADMINISTRATOR, Role.APPROVER}


@pytest.mark.parametrize(
    ("name", "password", "role", "sentence"),
    [
        ("boss", "short", "viewer", "too short"),
        ("ANA", PASSWORD, "viewer", "taken"),
        ("two words", PASSWORD, "viewer", "valid username"),
        ("boss", PASSWORD, "emperor", "There is no role 'emperor'"),
    ],
)
def test_create_person__bad_input__makes_nothing(
    ana: User, monkeypatch: pytest.MonkeyPatch, name: str, password: str, role: str, sentence: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(password + "\n"))

    with pytest.raises(CommandError, match=sentence):
        run("create_person", name, "--role", role)

    assert list(User.objects.values_list("username", flat=True)) == ["ana"]


def test_change_person__roles_and_password__in_one_go(ana: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a much longer secret 7\n"))

    output = run("change_person", "ana", "--grant", "approver", "--revoke", "agent", "--password")

    assert output == "ana: approver\n"
    ana = User.objects.get(username="ana")
    assert ana.roles == {Role.APPROVER}
    assert ana.check_password("a much longer secret 7")
    verbs = list(Event.objects.order_by("sequence").values_list("verb", flat=True))
    assert verbs == ["role_granted", "role_revoked", "password_changed"]


def test_change_person__one_part_fails__changes_nothing(ana: User) -> None:
    with pytest.raises(CommandError, match="There is no role 'emperor'"):
        run("change_person", "ana", "--grant", "approver", "--grant", "emperor")

    assert User.objects.get(username="ana").roles == {Role.AGENT}
    assert not Event.objects.exists()


def test_change_person__closed__is_out_at_once_and_comes_back(ana: User, client: Client) -> None:
    client.force_login(ana)
    assert client.get("/account/").status_code == 200

    assert run("change_person", "ana", "--close", "--reason", "left us") == "ana: closed\n"

    assert client.get("/account/").status_code == 302
    assert Event.objects.get().reason == "left us"
    assert run("change_person", "ana", "--reopen") == "ana: agent\n"
    assert client.get("/account/").status_code == 200


def test_change_person__last_administrator__cannot_be_closed(root: User) -> None:
    with pytest.raises(CommandError, match="Somebody must stay administrator"):
        run("change_person", "root", "--close")

    assert User.objects.get(username="root").is_active
