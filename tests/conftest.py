"""The cast, the store and what the machine offers."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.models.signals import post_migrate
from django.test import Client

from opsportal.accounts import services as accounts
from opsportal.accounts.keyring import keyring
from opsportal.accounts.models import RoleGrant, User
from opsportal.accounts.permissions import Role
from opsportal.demo.store import server_command
from opsportal.overrides.models import EVERYWHERE, Surface
from tests.asking import Api, ApiOf
from tests.browsers import find_chromium

PASSWORD = "correct horse battery staple"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what this machine or this part of the suite cannot run, with the reason.

    What asks no database, or nothing in which databases differ, has been run in the SQLite part.
    """
    if connection.vendor == "postgresql":
        elsewhere = [item for item in items if not _asks_the_database(item)]
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if _asks_the_database(item)]
    chromium = find_chromium()
    for item in items:
        if item.get_closest_marker("browser") and chromium is None:
            item.add_marker(pytest.mark.skip(reason="no Chromium found"))
        if item.get_closest_marker("postgres") and connection.vendor != "postgresql":
            item.add_marker(pytest.mark.skip(reason="needs PostgreSQL: python -m tests.postgres pytest …"))


def _asks_the_database(item: pytest.Item) -> bool:
    if item.get_closest_marker("any_database"):
        return False
    fixtures: list[str] = getattr(item, "fixturenames", [])
    return item.get_closest_marker("django_db") is not None or not {"db", "transactional_db"}.isdisjoint(
        fixtures
    )


def pytest_configure() -> None:
    """Make this process's folder; put back the migrations' rows whenever a test has emptied the tables."""
    Path(settings.TEST_FOLDER).mkdir(mode=0o700)
    post_migrate.connect(_put_back_everywhere, sender=apps.get_app_config("overrides"))


def pytest_unconfigure() -> None:
    """Remove this process's folder."""
    shutil.rmtree(settings.TEST_FOLDER, ignore_errors=True)


def _put_back_everywhere(using: str, **_: object) -> None:
    Surface.objects.using(using).get_or_create(slug=EVERYWHERE, defaults={"name": "Everywhere"})


# -- The store ------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def _store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    """A real Valkey for this process, on the port that tests.settings chose; the broker lives in it too."""
    folder: Path = tmp_path_factory.mktemp("store")
    port = urlsplit(settings.REDIS_URL).port
    assert port is not None
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(server_command(port=port, folder=folder), stdout=log, stderr=log)
    client = redis.Redis.from_url(settings.REDIS_URL)
    try:
        _wait_until_ready(client, server, folder / "log")
        yield client
    finally:
        client.close()
        server.kill()
        server.wait()


def _wait_until_ready(client: redis.Redis, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            client.ping()
        except redis.ConnectionError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the store does not start: {log.read_text()}") from None
            time.sleep(0.01)
        else:
            return


@pytest.fixture(autouse=True)
def store(_store: redis.Redis) -> redis.Redis:
    """A client of the store, which is empty when a test begins."""
    _store.flushall()
    return _store


@pytest.fixture
def store_url() -> str:
    """The URL of the (empty) store, as REDIS_URL gives it to the portal."""
    return str(settings.REDIS_URL)


@pytest.fixture
def dead_store_url() -> str:
    """A URL where nobody listens: connections are refused at once."""
    return "redis://127.0.0.1:1/0"


@pytest.fixture
def postgres_url() -> str:
    """The DATABASE_URL of the PostgreSQL server that this part of the suite runs on."""
    if connection.vendor != "postgresql":
        pytest.skip("needs PostgreSQL: python -m tests.postgres pytest …")
    return os.environ["TEST_DATABASE_URL"]


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The system's Chromium."""
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium found")
    return path


# -- The cast -------------------------------------------------------------------------------


def make_person(name: str, *roles: Role) -> User:
    """A person with these roles and the password of the cast."""
    person = User.objects.create_user(username=name, password=PASSWORD, first_name=name.capitalize())
    RoleGrant.objects.bulk_create(RoleGrant(user=person, role=role) for role in roles)
    return person


@pytest.fixture
def ana(db: None) -> User:
    """An agent: blocks, opt-outs."""
    return make_person("ana", Role.AGENT)


@pytest.fixture
def max(db: None) -> User:
    """An account manager: boosts."""
    return make_person("max", Role.ACCOUNT_MANAGER)


@pytest.fixture
def priya(db: None) -> User:
    """A privacy officer: opt-outs and their withdrawal."""
    return make_person("priya", Role.PRIVACY_OFFICER)


@pytest.fixture
def lena(db: None) -> User:
    """An approver and audit lead."""
    return make_person("lena", Role.APPROVER, Role.AUDIT_LEAD)


@pytest.fixture
def otto(db: None) -> User:
    """An auditor: labels."""
    return make_person("otto", Role.AUDITOR)


@pytest.fixture
def dana(db: None) -> User:
    """A data scientist: models, predictions, exports."""
    return make_person("dana", Role.DATA_SCIENTIST)


@pytest.fixture
def mallory(db: None) -> User:
    """Signed in, without any role."""
    return make_person("mallory")


@pytest.fixture
def root(db: None) -> User:
    """An administrator."""
    return make_person("root", Role.ADMINISTRATOR)


@pytest.fixture
def client_for() -> Callable[[User], Client]:
    """`client_for(ana)`: a browser in which that person is signed in."""

    def sign_in(person: User) -> Client:
        client = Client()
        client.force_login(person)
        return client

    return sign_in


# -- Keys -----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _fresh_keyring() -> Iterator[None]:
    """The key ring outlives a test's transaction, as it does in a web process."""
    keyring.forget()
    yield
    keyring.forget()


@pytest.fixture
def machine(db: None) -> User:
    """The account that keys act as: it has no role."""
    return accounts.service_account(name="machine")


@pytest.fixture
def api_of(machine: User) -> ApiOf:
    """`api_of("overrides:read")`: the API as a key with these scopes sees it."""

    def ask(*scopes: str, owner: User = machine) -> Api:
        _key, token = accounts.create_api_key(actor=None, name="test", scopes=scopes, owner=owner)
        return Api(token=token)

    return ask


@pytest.fixture
def as_person(client_for: Callable[[User], Client]) -> Callable[[User], Api]:
    """`as_person(lena)`: the API from the browser of somebody signed in."""
    return lambda person: Api(client_for(person))
