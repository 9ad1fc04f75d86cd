"""Signing in, and the throttle in front of it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from unittest.mock import patch

import pytest
import time_machine
from django.db import connection, connections
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from opsportal.accounts import services
from opsportal.accounts.models import SignInWindow, User
from opsportal.core.clock import now
from opsportal.core.errors import Invalid, PortalError, TooManyRequests
from opsportal.events.models import Event
from tests.conftest import PASSWORD, make_person

SIGN_IN = "/account/sign-in/"
WRONG = "The name or the password is wrong."


def attempt(username: str = "ana", password: str = "wrong", address: str = "1.2.3.4") -> str:
    """`in`, `wrong` or `throttled`."""
    try:
        services.sign_in(username=username, password=password, address=address)
    except TooManyRequests:
        return "throttled"
    except Invalid as error:
        return "wrong" if error.message == WRONG else error.message
    return "in"


# -- The page -------------------------------------------------------------------------------


def test_sign_in__right_password__starts_a_session_and_records_it(client: Client, ana: User) -> None:
    response = client.post(SIGN_IN, {"username": "ana", "password": PASSWORD, "next": "/account/"})

    assert response.status_code == 302
    assert response.headers["Location"] == "/account/"
    assert client.get("/account/").status_code == 200
    event = Event.objects.get()
    assert (event.actor, event.verb, event.subject_type) == (ana, "signed_in", "person")


@pytest.mark.parametrize(
    ("username", "password"), [("ana", "hunter2"), ("nobody", "hunter2"), ("nobody", PASSWORD)]
)
def test_sign_in__wrong__says_the_same_for_everybody(
    client: Client, ana: User, username: str, password: str
) -> None:
    response = client.post(SIGN_IN, {"username": username, "password": password})

    assert response.status_code == 400
    assert WRONG in response.content.decode()
    assert password not in response.content.decode()
    assert client.get("/account/").status_code == 302


def test_sign_in__inactive_person__is_wrong_like_any_other(client: Client, ana: User) -> None:
    User.objects.filter(pk=ana.pk).update(is_active=False)

    response = client.post(SIGN_IN, {"username": "ana", "password": PASSWORD})

    assert WRONG in response.content.decode()


@pytest.mark.parametrize(
    ("asked", "target"),
    [
        ("/account/?a=1", "/account/?a=1"),
        ("", reverse("home")),
        ("https://evil.example/", reverse("home")),
        ("//evil.example/", reverse("home")),
        ("/\\evil.example", reverse("home")),
        ("javascript:alert(1)", reverse("home")),
        ("no-address-and-no-name", reverse("home")),
    ],
)
def test_sign_in__next__stays_on_our_site(client: Client, ana: User, asked: str, target: str) -> None:
    response = client.post(SIGN_IN, {"username": "ana", "password": PASSWORD, "next": asked})

    assert response.headers["Location"] == target


def test_sign_in__signed_in_already_with_an_odd_next__goes_home(client: Client, ana: User) -> None:
    client.force_login(ana)

    response = client.get(SIGN_IN, {"next": "nowhere"})

    assert (response.status_code, response.headers["Location"]) == (302, reverse("home"))


def test_sign_in__session_fixation__gets_a_new_session(client: Client, ana: User) -> None:
    client.get(SIGN_IN)
    client.session["planted"] = "1"
    client.session.save()
    before = client.session.session_key

    client.post(SIGN_IN, {"username": "ana", "password": PASSWORD})

    assert client.session.session_key != before


def test_sign_in__throttled__says_how_long_to_wait(client: Client, ana: User) -> None:
    for _ in range(5):
        client.post(SIGN_IN, {"username": "ana", "password": "wrong"})

    response = client.post(SIGN_IN, {"username": "ana", "password": PASSWORD})

    assert response.status_code == 429
    assert 890 <= int(response.headers["Retry-After"]) <= 901
    assert "Wait 15 minutes" in response.content.decode()
    assert client.get("/account/").status_code == 302


def test_sign_out__get__does_nothing(client: Client, ana: User) -> None:
    client.force_login(ana)

    assert client.get("/account/sign-out/").status_code == 405
    assert client.get("/account/").status_code == 200
    assert client.post("/account/sign-out/").status_code == 302
    assert client.get("/account/").status_code == 302


# -- The throttle ---------------------------------------------------------------------------


def test_throttle__sixth_try__is_not_even_looked_at(ana: User) -> None:
    results = [attempt() for _ in range(5)]
    with patch.object(services, "authenticate") as authenticate:
        results.append(attempt(password=PASSWORD))

    assert results == ["wrong"] * 5 + ["throttled"]
    authenticate.assert_not_called()


def test_throttle__victim_elsewhere__still_signs_in(ana: User) -> None:
    for _ in range(10):
        attempt(address="6.6.6.6")

    assert attempt(password=PASSWORD, address="1.2.3.4") == "in"


def test_throttle__other_spelling__counts_as_the_same_name(ana: User) -> None:
    spellings = ["ana", "ANA", "Ana", "aNa", "\uff41na"]

    assert [attempt(username=name) for name in spellings] == ["wrong"] * 5
    assert attempt() == "throttled"


def test_throttle__one_ipv6_network__counts_as_one_address(ana: User) -> None:
    for host in range(5):
        attempt(address=f"2001:db8:1:2::{host}")

    assert attempt(address="2001:db8:1:2:ffff::1") == "throttled"
    assert attempt(address="2001:db8:1:3::1") == "wrong"


def test_throttle__many_addresses__stop_at_the_limit_of_the_person(settings: Settings, ana: User) -> None:
    settings.SIGN_IN_TRIES_PER_USER = 7

    results = [attempt(address=f"1.1.1.{number}") for number in range(9)]

    assert results == ["wrong"] * 7 + ["throttled"] * 2


def test_throttle__many_names__stop_at_the_limit_of_the_address(settings: Settings, db: None) -> None:
    settings.SIGN_IN_TRIES_PER_ADDRESS = 7

    results = [attempt(username=f"name{number}") for number in range(9)]

    assert results == ["wrong"] * 7 + ["throttled"] * 2


def test_throttle__success__takes_its_try_back(settings: Settings, ana: User) -> None:
    settings.SIGN_IN_TRIES_PER_ADDRESS = 6

    results = [attempt(password=PASSWORD) for _ in range(20)]

    assert results == ["in"] * 20


def test_throttle__success__clears_earlier_mistakes(ana: User) -> None:
    for _ in range(4):
        attempt()

    assert attempt(password=PASSWORD) == "in"
    assert [attempt() for _ in range(5)] == ["wrong"] * 5


def test_throttle__window_over__starts_again(ana: User) -> None:
    with time_machine.travel("2026-03-01T10:00:00Z", tick=False) as traveller:
        for _ in range(5):
            attempt()
        traveller.shift(timedelta(minutes=14, seconds=59))
        assert attempt(password=PASSWORD) == "throttled"

        traveller.shift(timedelta(seconds=1))

        assert attempt(password=PASSWORD) == "in"


def test_throttle__what_is_stored__names_nobody(ana: User) -> None:
    attempt(username="my-password-by-mistake")

    keys = SignInWindow.objects.values_list("key", flat=True)
    assert len(keys) == 3
    assert all(len(key) == 64 for key in keys)
    assert "mistake" not in "".join(keys)


def test_tidy__forgets_only_what_is_over(ana: User) -> None:
    attempt(address="1.1.1.1")
    SignInWindow.objects.update(started_at=now() - timedelta(minutes=16))
    attempt(address="2.2.2.2")

    services.forget_old_tries_and_sessions()

    # The window of the person has started again; both of the first address are gone.
    assert SignInWindow.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_throttle__hundred_tries_at_once__cannot_pass_together(ana: User) -> None:
    looked_at: list[str] = []

    def count(*, username: str, password: str) -> None:
        looked_at.append(username)

    def one_try(number: int) -> str:
        try:
            services.sign_in(username="ana", password=f"wrong{number}", address="1.2.3.4")
        except PortalError as error:
            return type(error).__name__
        finally:
            connection.close()
        return "in"

    with patch.object(services, "authenticate", count), ThreadPoolExecutor(20) as threads:
        results = list(threads.map(one_try, range(100)))

    assert len(looked_at) == 5
    assert results.count("Invalid") == 5
    assert results.count("TooManyRequests") == 95


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_throttle__many_good_sign_ins_at_once__none_waits_for_another_for_ever() -> None:
    person = make_person("ana")

    def sign_in(_: int) -> str:
        try:
            return attempt(password=PASSWORD)
        finally:
            connections.close_all()

    with (
        patch.object(services, "authenticate", return_value=person),
        ThreadPoolExecutor(max_workers=4) as pool,
    ):
        results = list(pool.map(sign_in, range(200)))

    assert results == ["in"] * 200
