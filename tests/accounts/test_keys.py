"""Keys of machines, from making to revoking."""

import hashlib
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
import time_machine
from django.db import IntegrityError, OperationalError, connection, transaction
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext

from opsportal.accounts import keyring as keyring_module
from opsportal.accounts import services
from opsportal.accounts.authentication import authenticate_key
from opsportal.accounts.keyring import KeyRing, keyring
from opsportal.accounts.models import ApiKey, User
from opsportal.accounts.permissions import SCOPES
from opsportal.core.clock import now
from opsportal.core.errors import Forbidden, Invalid, NotFound, Unauthenticated, Unavailable
from opsportal.events.models import Event
from tests.accounts.conftest import MakeKey

pytestmark = [pytest.mark.urls("tests.core.error_urls"), pytest.mark.django_db]

SCOPED = "/api/v1/test/scoped"


def call(client: Client, token: str, method: str = "get") -> Any:
    return getattr(client, method)(SCOPED, headers={"Authorization": f"Api-Key {token}"})


# -- Making ---------------------------------------------------------------------------------


def test_create__key__is_stored_as_a_hash_only(root: User, ana: User, make_key: MakeKey) -> None:
    key, token = make_key("overrides:write", "serving:read", owner=ana)

    assert token.startswith(f"opk_{key.id}_")
    assert key.secret_hash == hashlib.sha256(token.encode()).hexdigest()
    assert key.scopes == ["serving:read", "overrides:write"]
    row = ApiKey.objects.values().get()
    assert token not in str(row)
    assert token.rpartition("_")[2] not in str(row)
    event = Event.objects.get()
    assert (event.actor, event.verb, event.subject_id) == (root, "created", key.id)
    assert token not in str(Event.objects.values().get())


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"name": "  "}, "name"),
        ({"name": "x" * 81}, "name"),
        ({"name": "a\x07b"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["serving:read", "everything"]}, "scopes"),
        ({"days": 0}, "days"),
        ({"days": 401}, "days"),
    ],
)
def test_create__bad_input__names_the_field_and_makes_nothing(
    root: User, change: dict[str, Any], path: str
) -> None:
    with pytest.raises(Invalid) as caught:
        services.create_api_key(**{"actor": root, "name": "ranker", "scopes": ["serving:read"], **change})

    assert [problem.path for problem in caught.value.errors] == [path]
    assert not ApiKey.objects.exists()
    assert not Event.objects.exists()


def test_create__by_somebody_else__is_refused(ana: User) -> None:
    with pytest.raises(Forbidden):
        services.create_api_key(actor=ana, name="ranker", scopes=["serving:read"])

    assert not ApiKey.objects.exists()


@pytest.mark.parametrize(
    "change",
    [{"id": "short"}, {"id": "UPPERCASE1"}, {"name": ""}, {"secret_hash": "x"}, {"expires_at": now()}],
)
def test_database__impossible_key__is_refused(make_key: MakeKey, change: dict[str, Any]) -> None:
    make_key()

    with pytest.raises(IntegrityError), transaction.atomic():
        ApiKey.objects.update(**change)


# -- Using ----------------------------------------------------------------------------------


def test_use__right_scope__acts_as_the_owner(client: Client, ana: User, make_key: MakeKey) -> None:
    _, token = make_key("overrides:read", owner=ana)

    response = call(client, token)

    assert (response.status_code, response.json()) == (200, {"user": "ana"})


def test_use__owner_without_roles__the_scope_alone_decides(
    client: Client, mallory: User, make_key: MakeKey
) -> None:
    _, token = make_key("overrides:write", owner=mallory)

    assert call(client, token, "post").status_code == 200


def test_use__wrong_scope__is_forbidden(client: Client, root: User, make_key: MakeKey) -> None:
    _, token = make_key("overrides:read", owner=root)

    response = call(client, token, "post")

    assert response.status_code == 403
    assert response.json()["code"] == "scope"
    assert "overrides:write" in response.json()["detail"]


def test_use__view_without_declared_scope__is_closed_to_everybody(
    client: Client, root: User, make_key: MakeKey, client_for: Callable[[User], Client]
) -> None:
    _, token = make_key(*SCOPES, owner=root)

    by_key = client.get("/api/v1/test/undeclared", headers={"Authorization": f"Api-Key {token}"})
    by_session = client_for(root).get("/api/v1/test/undeclared")

    assert (by_key.status_code, by_session.status_code) == (403, 403)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Api-Key",
        "Api-Key ",
        "Api-Key nonsense",
        "Api-Key opk_aaaaaaaaaa_" + "a" * 43,
        "Api-Key " + "x" * 5_000,
        "Bearer opk_aaaaaaaaaa_" + "a" * 43,
        "Basic cm9vdDpyb290",
    ],
)
def test_use__no_usable_key__is_401_with_a_challenge(client: Client, header: str) -> None:
    response = client.get(SCOPED, headers={"Authorization": header} if header else {})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Api-Key"
    assert response.headers["Content-Type"] == "application/problem+json"


def test_use__one_character_off__is_unknown(client: Client, make_key: MakeKey) -> None:
    _, token = make_key()
    other = token[:-1] + ("a" if token[-1] != "a" else "b")

    assert call(client, other).status_code == 401
    assert call(client, token).status_code == 200


def test_use__revoked__same_words_as_unknown(client: Client, root: User, make_key: MakeKey) -> None:
    key, token = make_key()
    unknown = call(client, "opk_aaaaaaaaaa_" + "a" * 43)
    assert call(client, token).status_code == 200

    services.revoke_api_key(actor=root, key_id=key.id, reason="leaked")

    revoked = call(client, token)
    assert (revoked.status_code, revoked.json()) == (401, unknown.json())
    event = Event.objects.order_by("sequence").last()
    assert event is not None
    assert (event.verb, event.reason) == ("revoked", "leaked")


def test_use__expired__is_refused_to_the_second(client: Client, make_key: MakeKey) -> None:
    with time_machine.travel("2026-03-01T10:00:00Z", tick=False) as traveller:
        _, token = make_key(days=1)
        traveller.shift(timedelta(days=1, seconds=-1))
        assert call(client, token).status_code == 200

        traveller.shift(timedelta(seconds=1))

        assert call(client, token).status_code == 401


def test_use__owner_deactivated__is_refused(client: Client, ana: User, make_key: MakeKey) -> None:
    _, token = make_key(owner=ana)
    User.objects.filter(pk=ana.pk).update(is_active=False)

    keyring.forget()

    assert call(client, token).status_code == 401


def test_use__last_use__is_noted_once_a_minute(client: Client, make_key: MakeKey) -> None:
    with time_machine.travel("2026-03-01T10:00:00Z", tick=False) as traveller:
        _, token = make_key()
        call(client, token)
        first = ApiKey.objects.get().last_used_at
        traveller.shift(timedelta(seconds=59))
        with CaptureQueriesContext(connection) as queries:
            call(client, token)
        traveller.shift(timedelta(seconds=2))
        call(client, token)

    assert not [query for query in queries.captured_queries if "UPDATE" in query["sql"]]
    last = ApiKey.objects.get().last_used_at
    assert first is not None
    assert last == first + timedelta(seconds=61)


def test_use__note_fails__the_request_does_not(client: Client, make_key: MakeKey) -> None:
    _, token = make_key()
    assert call(client, token).status_code == 200
    keyring._used_at.clear()

    with patch.object(ApiKey.objects, "filter", side_effect=OperationalError):
        response = call(client, token)

    assert response.status_code == 200


# -- The ring -------------------------------------------------------------------------------


def test_ring__known_key__asks_no_database(make_key: MakeKey) -> None:
    _, token = make_key()
    ring = KeyRing()
    ring.find(token)

    with CaptureQueriesContext(connection) as queries:
        record = ring.find(token)

    assert record is not None
    assert len(queries) == 0


def test_ring__revoked_elsewhere__holds_within_seconds(
    make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = make_key()
    clock = Ticking(monkeypatch)
    ring = KeyRing()
    assert ring.find(token) is not None
    ApiKey.objects.update(revoked_at=now())

    clock.seconds += 2.1

    assert ring.find(token) is None


def test_ring__made_elsewhere__works_at_once_but_guesses_cost_little(
    make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Ticking(monkeypatch)
    ring = KeyRing()
    ring.find("opk_aaaaaaaaaa_" + "a" * 43)
    _, token = make_key()
    clock.seconds += 0.3

    assert ring.find(token) is not None
    with CaptureQueriesContext(connection) as queries:
        for _ in range(100):
            ring.find("opk_aaaaaaaaaa_" + "a" * 43)
    assert len(queries) <= 1


def test_ring__database_away__keeps_the_last_known_keys(
    make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = make_key()
    clock = Ticking(monkeypatch)
    ring = KeyRing()
    assert ring.find(token) is not None

    def away() -> None:
        raise OperationalError

    monkeypatch.setattr(keyring_module, "_read_keys", away)
    clock.seconds += 60

    assert ring.find(token) is not None


def test_ring__database_away_from_the_start__does_not_call_a_key_bad(
    make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = make_key()

    def away() -> None:
        raise OperationalError

    monkeypatch.setattr(keyring_module, "_read_keys", away)

    with pytest.raises(Unavailable):
        KeyRing().find(token)


class Ticking:
    """A monotonic clock that moves when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 1000.0
        monkeypatch.setattr("opsportal.accounts.keyring.time.monotonic", lambda: self.seconds)


# -- Without DRF, and by session ------------------------------------------------------------


def test_authenticate_key__plain_view__gives_the_record(rf: RequestFactory, make_key: MakeKey) -> None:
    key, token = make_key("serving:read")
    request = rf.get("/", headers={"Authorization": f"Api-Key {token}"})

    record = authenticate_key(request, scope="serving:read")

    assert (record.id, record.scopes) == (key.id, frozenset({"serving:read"}))
    with pytest.raises(Forbidden):
        authenticate_key(request, scope="overrides:write")
    with pytest.raises(Unauthenticated) as caught:
        authenticate_key(rf.get("/"))
    assert caught.value.headers == {"WWW-Authenticate": "Api-Key"}


def test_session__capability__decides(
    client_for: Callable[[User], Client], ana: User, lena: User, mallory: User
) -> None:
    statuses = {
        person.username: (
            client_for(person).get(SCOPED).status_code,
            client_for(person).post(SCOPED).status_code,
        )
        for person in (ana, lena, mallory)
    }

    assert statuses == {"ana": (200, 200), "lena": (200, 403), "mallory": (403, 403)}


def test_session__write_without_csrf_token__is_refused(ana: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(ana)

    assert client.get(SCOPED).status_code == 200
    assert client.post(SCOPED).status_code == 403


# -- Pages ----------------------------------------------------------------------------------


def test_pages__administrator__makes_sees_once_and_revokes(
    client_for: Callable[[User], Client], root: User, client: Client
) -> None:
    browser = client_for(root)

    made = browser.post(
        "/account/keys/new/",
        {"name": "search EU", "owner": root.pk, "scopes": ["overrides:read"], "days": 30},
    ).content.decode()

    key = ApiKey.objects.get()
    token = re.findall(rf"opk_{key.id}_\w{{43}}", made)[0]
    assert call(client, token).status_code == 200
    listed = browser.get("/account/keys/").content.decode()
    assert "search EU" in listed
    assert token not in listed
    browser.post(f"/account/keys/{key.id}/revoke/", {"reason": "done"})
    assert call(client, token).status_code == 401
    assert "Revoked" in browser.get("/account/keys/").content.decode()


def test_pages__bad_key__keeps_what_was_typed(client_for: Callable[[User], Client], root: User) -> None:
    page = client_for(root).post("/account/keys/new/", {"name": "search EU", "days": 500}).content.decode()

    assert "search EU" in page
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("path", ["/account/keys/", "/account/keys/new/", "/account/keys/{id}/revoke/"])
def test_pages__without_the_role__do_not_exist(
    client_for: Callable[[User], Client], ana: User, mallory: User, make_key: MakeKey, path: str
) -> None:
    key, _ = make_key(owner=ana)

    for person in (ana, mallory):
        assert client_for(person).get(path.format(id=key.id)).status_code == 404
        assert client_for(person).post(path.format(id=key.id)).status_code in {404, 405}
    key.refresh_from_db()
    assert key.revoked_at is None


def test_revoke__unknown__is_not_found(root: User) -> None:
    with pytest.raises(NotFound):
        services.revoke_api_key(actor=root, key_id="aaaaaaaaaa")
