"""The import of CSV files, from the upload to the dry run and its bad rows."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError
from django.test import Client
from pytest_django import Settings

from opsportal.accounts.models import User
from opsportal.events import outbox
from opsportal.events.models import Event, OutboxMessage
from opsportal.overrides import services
from opsportal.overrides.models import Block, OptOut, Source, State, Submission, SubmissionItem
from tests.overrides.asking import saved
from tests.overrides.filling import block_form, opt_out_form

pytestmark = pytest.mark.django_db

URL = "/overrides/import/"
ClientFor = Callable[[User], Client]


def _form(content: bytes, **fields: Any) -> dict[str, Any]:
    return {**block_form(**fields), "file": SimpleUploadedFile("list.csv", content)}


def test_import__good_file__checked_then_applied(client_for: ClientFor, ana: User) -> None:
    client = client_for(ana)

    received = client.post(
        f"{URL}?kind=block", _form(b"\xef\xbb\xbfproduct_id;name\r\n00701;x\r\n85123A;y\r\n")
    )
    submission = Submission.objects.get()
    checking = client.get(submission.get_absolute_url()).content.decode()
    services.check_file(submission.pk)
    drafted = client.get(submission.get_absolute_url()).content.decode()
    client.post(f"{submission.get_absolute_url()}apply/", {"version": 1})

    assert received["Location"] == submission.get_absolute_url()
    assert OutboxMessage.objects.get().task == "overrides.check_file"
    assert "Finding out what each row would do" in checking
    assert "Block 2 products" in drafted
    assert [row.product_id for row in Block.objects.order_by("id")] == ["00701", "85123A"]
    assert Submission.objects.get().source == Source.CSV
    assert Event.objects.filter(verb="submission.received", actor=ana).exists()


def test_import__bad_rows__named_and_left_out_at_a_press(client_for: ClientFor, ana: User) -> None:
    client = client_for(ana)
    client.post(f"{URL}?kind=block", _form(b"product_id\n1\n=SUM(A1)\n2\n"))
    submission = Submission.objects.get()
    services.check_file(submission.pk)

    page = client.get(submission.get_absolute_url()).content.decode()
    refused = client.post(f"{submission.get_absolute_url()}apply/", {"version": 1}, follow=True)
    client.post(f"{submission.get_absolute_url()}drop/", {"version": 1, "invalid": "true"})
    client.post(f"{submission.get_absolute_url()}apply/", {"version": 2})

    assert "Leave out the 1 row that cannot be used" in page
    assert "Block 2 products</button>" not in page
    assert "cannot be used" in refused.content.decode()
    assert Block.objects.count() == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "The file is empty."),
        (b"name\n1\n", "no column “product_id”"),
        (b"product_id\n", "no rows"),
        (b"product_id\n\xff\xfe\n", "not UTF-8"),
        (b"product_id\n1\x002\n", "NUL"),
        (b"product_id\n" + b"x" * 1_000_000 + b"\n", "longer than 64,000"),
        (b'product_id\n"1\n', "cannot be read as CSV"),
        (b"product_id,product_id\n1,2\n", "more than once"),
    ],
)
def test_import__bad_file__named_and_nothing_saved(
    client_for: ClientFor, ana: User, content: bytes, words: str
) -> None:
    before = saved()

    response = client_for(ana).post(f"{URL}?kind=block", _form(content, reason="Typed"))

    assert response.status_code == 400
    assert words in response.context["page"].form.errors["file"][0]
    assert "Typed" in response.content.decode()
    assert saved() == before


def test_import__too_large__said_in_words(client_for: ClientFor, ana: User, settings: Settings) -> None:
    settings.CSV_MAX_BYTES = 100

    response = client_for(ana).post(f"{URL}?kind=block", _form(b"product_id\n" + b"1\n" * 100))

    assert response.status_code == 400
    assert "at most 100 are taken" in response.context["page"].form.errors["file"][0]
    assert Submission.objects.count() == 0


def test_import__customers__pseudonyms_as_they_are_read(client_for: ClientFor, ana: User) -> None:
    form = {**opt_out_form(), "file": SimpleUploadedFile("list.csv", b"customer_id\nC-104711\n=C-104712\n")}

    client_for(ana).post(f"{URL}?kind=opt_out", form)

    assert outbox.drain() >= 0
    submission = Submission.objects.get()
    services.check_file(submission.pk)
    assert not SubmissionItem.objects.filter(target__contains="10471").exists()
    assert Submission.objects.get().state == State.DRAFT
    assert OptOut.objects.count() == 0


def test_import__kinds__only_those_the_person_may_write(
    client_for: ClientFor, ana: User, max: User, lena: User, mallory: User
) -> None:
    assert client_for(ana).get(URL).status_code == 200
    assert client_for(ana).get(f"{URL}?kind=boost").status_code == 404
    assert client_for(max).get(URL).context["page"].pages.kind == "boost"
    assert client_for(max).post(f"{URL}?kind=block", _form(b"product_id\n1\n")).status_code == 404
    assert client_for(lena).get(URL).status_code == client_for(mallory).get(URL).status_code == 404
    assert Submission.objects.count() == 0


def test_import__edited_while_the_worker_checks__refused(client_for: ClientFor, ana: User) -> None:
    client = client_for(ana)
    client.post(f"{URL}?kind=block", _form(b"product_id\n1\n2\n"))
    submission = Submission.objects.get()
    before = saved()

    for verb, fields in (("edit", block_form(reason="Another.")), ("drop", {"rows": [2]})):
        client.post(f"{submission.get_absolute_url()}{verb}/", {"version": 1, **fields})

    assert saved() == before
    assert Submission.objects.get().version == 1
    client.post(f"{submission.get_absolute_url()}cancel/")
    assert Submission.objects.get().state == State.CANCELLED


def test_import__database_gives_up_midway__is_not_left_half_received(
    client_for: ClientFor, ana: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_arguments: object, **_named: object) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(SubmissionItem.objects, "bulk_create", locked)

    response = client_for(ana).post(f"{URL}?kind=block", _form(b"product_id\n1\n2\n"))

    assert response.status_code == 503
    assert Submission.objects.get().state == State.CANCELLED
    assert not OutboxMessage.objects.exists()
