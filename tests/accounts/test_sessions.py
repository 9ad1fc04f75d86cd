"""How long a session lasts, and what ends it."""

from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from opsportal.accounts.models import User
from opsportal.core.clock import now
from tests.conftest import PASSWORD


@pytest.fixture
def signed_in(client: Client, ana: User) -> Client:
    client.post("/account/sign-in/", {"username": "ana", "password": PASSWORD})
    return client


def is_in(client: Client) -> bool:
    # Ana may not see this page, which makes it the cheapest one that tells her from a stranger.
    status = client.get("/account/keys/").status_code
    assert status in {404, 302}
    return status == 404


def test_session__idle_for_half_an_hour__ends_and_says_so(client: Client, ana: User) -> None:
    with time_machine.travel(now(), tick=False) as traveller:
        client.post("/account/sign-in/", {"username": "ana", "password": PASSWORD})
        traveller.shift(timedelta(minutes=29))
        assert is_in(client)
        traveller.shift(timedelta(minutes=31))

        response = client.get("/account/?a=1")

    assert response.headers["Location"] == "/account/sign-in/?next=%2Faccount%2F%3Fa%3D1&ended=1"
    assert b"session has ended" in client.get(response.headers["Location"]).content
    assert not is_in(client)


def test_session__used_all_day__ends_after_twelve_hours(client: Client, ana: User) -> None:
    with time_machine.travel(now(), tick=False) as traveller:
        client.post("/account/sign-in/", {"username": "ana", "password": PASSWORD})
        for _ in range(36):
            traveller.shift(timedelta(minutes=20))
            assert is_in(client)
        traveller.shift(timedelta(minutes=1))

        assert not is_in(client)


def test_session__only_fragments_are_fetched__goes_idle_all_the_same(client: Client, ana: User) -> None:
    with time_machine.travel(now(), tick=False) as traveller:
        client.post("/account/sign-in/", {"username": "ana", "password": PASSWORD})
        for _ in range(7):
            traveller.shift(timedelta(minutes=5))
            client.get("/account/", headers={"HX-Request": "true"})

        assert not is_in(client)


def test_session__fragment_after_the_end__moves_the_whole_page(client: Client, db: None) -> None:
    page = "http://testserver/account/keys/?cursor=x"

    response = client.get("/account/", headers={"HX-Request": "true", "HX-Current-URL": page})

    assert response.status_code == 200
    assert response.headers["HX-Redirect"] == "/account/sign-in/?next=%2Faccount%2Fkeys%2F%3Fcursor%3Dx"


def test_session__reading_pages__writes_nothing(signed_in: Client) -> None:
    with CaptureQueriesContext(connection) as queries:
        signed_in.get("/account/")

    verbs = {query["sql"].split()[0] for query in queries.captured_queries}
    assert verbs == {"SELECT"}


@pytest.mark.parametrize("change", [{"is_active": False}, {"password": "!"}])
def test_session__person_deactivated_or_password_changed__ends_with_the_next_request(
    signed_in: Client, ana: User, change: dict[str, object]
) -> None:
    assert is_in(signed_in)

    User.objects.filter(pk=ana.pk).update(**change)

    assert not is_in(signed_in)


def test_time_zone__chosen__is_used_and_can_be_dropped(signed_in: Client, ana: User) -> None:
    signed_in.post("/account/time-zone/", {"time_zone": "Asia/Tokyo"})

    ana.refresh_from_db()
    assert ana.time_zone == "Asia/Tokyo"
    assert b'<option value="Asia/Tokyo" selected>' in signed_in.get("/account/").content

    signed_in.post("/account/time-zone/", {"time_zone": ""})

    ana.refresh_from_db()
    assert ana.time_zone == ""


def test_time_zone__unknown__is_refused_and_nothing_changes(signed_in: Client, ana: User) -> None:
    response = signed_in.post("/account/time-zone/", {"time_zone": "Mars/Olympus"})

    assert response.status_code == 200
    assert b"not one of the available choices" in response.content
    ana.refresh_from_db()
    assert ana.time_zone == ""


def test_password__changed__keeps_this_session_and_ends_the_others(signed_in: Client, ana: User) -> None:
    other = Client()
    other.force_login(ana)

    response = signed_in.post(
        "/account/password/",
        {"current": PASSWORD, "password": "a much longer secret 7", "again": "a much longer secret 7"},
    )

    assert response.status_code == 302
    assert is_in(signed_in)
    assert not is_in(other)


@pytest.mark.parametrize(
    ("current", "password", "again", "reason"),
    [
        ("wrong", "a much longer secret 7", "a much longer secret 7", "not your current password"),
        (PASSWORD, "short", "short", "too short"),
        (PASSWORD, "a much longer secret 7", "another secret 7", "differ"),
    ],
)
def test_password__bad_change__is_refused_in_words(
    signed_in: Client, ana: User, current: str, password: str, again: str, reason: str
) -> None:
    response = signed_in.post(
        "/account/password/", {"current": current, "password": password, "again": again}
    )

    assert reason in response.content.decode()
    ana.refresh_from_db()
    assert ana.check_password(PASSWORD)
