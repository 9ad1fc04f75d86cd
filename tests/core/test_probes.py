"""The two answers for probes."""

import pytest
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client


def test_healthz__database_away__still_answers(client: Client) -> None:
    # Without the db mark any query fails.
    response = client.get("/healthz")

    assert (response.status_code, response.content) == (200, b"ok\n")


@pytest.mark.django_db
def test_readyz__migrated__is_ready(client: Client) -> None:
    response = client.get("/readyz")

    assert (response.status_code, response.json()) == (200, {"status": "ready"})


@pytest.mark.django_db
def test_readyz__migration_missing__names_it(client: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'accounts'")

    response = client.get("/readyz")

    assert response.status_code == 503
    assert "accounts.0001_people_and_keys" in response.json()["detail"]


@pytest.mark.django_db
def test_readyz__database_away__says_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(self: object) -> None:
        raise OperationalError("no route to host db.example")

    monkeypatch.setattr(MigrationRecorder, "applied_migrations", away)

    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json()["code"] == "database_away"
    assert "db.example" not in response.content.decode()
