"""What holds for every request and every answer."""

import pytest
from django.conf import settings as portal_settings
from django.core.files.uploadedfile import InMemoryUploadedFile, SimpleUploadedFile
from django.test import Client, RequestFactory
from pytest_django import Settings

pytestmark = [pytest.mark.urls("tests.core.error_urls"), pytest.mark.django_db]

HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
STRICT = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "object-src 'none'",
)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/account/", 302),
        ("/admin/", 302),
        ("/account/sign-in/", 200),
        ("/nothing/", 404),
        ("/nothing\0", 400),
        ("/api/v1/nothing", 404),
        ("/api/v1/test/scoped", 401),
        ("/test/faults/bug", 500),
        ("/api/v1/test/faults/bug", 500),
        ("/test/faults/database", 503),
        ("/static/css/app.css", 200),
        ("/static/nothing.css", 404),
        ("/static/%00", 400),
    ],
)
def test_headers__every_kind_of_answer__are_there(
    settings: Settings, debug: bool, path: str, status: int
) -> None:
    settings.DEBUG = debug

    response = Client(raise_request_exception=False).get(path)

    assert response.status_code == status
    assert {name: response.headers[name] for name in HEADERS} == HEADERS
    assert all(part in response.headers["Content-Security-Policy"] for part in STRICT)
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert "camera=()" in response.headers["Permissions-Policy"]
    is_static = path.startswith("/static/css")
    assert ("no-store" in response.headers.get("Cache-Control", "")) is not is_static


@pytest.mark.parametrize(
    "query",
    ["a=%00", "%00=a", "a=x%00y", "a=%ff", "a=%c3%28", "a=%ed%a0%80", "a=\xff"],
)
def test_query__unclean__is_refused(client: Client, query: str) -> None:
    response = client.generic("GET", "/healthz", QUERY_STRING=query)

    assert response.status_code == 400
    assert b"UTF-8" in response.content


@pytest.mark.parametrize("path", ["/a%00b", "/a%FFb", "/a%c3%28", "/account/%00/", "/api/v1/%ff"])
def test_path__unclean__is_refused(client: Client, path: str) -> None:
    assert client.get(path).status_code == 400


@pytest.mark.parametrize("path", ["/é/", "/🦄", "/a%25b", "/%2541"])
def test_path__unusual_but_clean__is_looked_up(client: Client, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("value", ["a\0b", "a\xffb"])
def test_header__unclean__is_refused(client: Client, value: str) -> None:
    assert client.get("/healthz", HTTP_X_ANYTHING=value).status_code == 400
    assert client.get("/healthz", HTTP_COOKIE=value).status_code == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"a=1", 200),
        (b"a=%00", 400),
        (b"a=\0", 400),
        (b"a=%ff", 400),
        (b"%ff=a", 400),
        (b"a=" + b"x" * (portal_settings.DATA_UPLOAD_MAX_MEMORY_SIZE - 2), 200),
        (b"a=" + b"x" * portal_settings.DATA_UPLOAD_MAX_MEMORY_SIZE, 413),
        (b"a=&" * (portal_settings.DATA_UPLOAD_MAX_NUMBER_FIELDS + 1), 413),
    ],
)
def test_form__unclean_or_too_large__is_refused(client: Client, body: bytes, status: int) -> None:
    response = client.generic("POST", "/test/form", body, content_type="application/x-www-form-urlencoded")

    assert response.status_code == status


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"a": "1"}, 200),
        ({"a": "x\0y"}, 400),
        ({"a\0": "y"}, 400),
        ({"a": SimpleUploadedFile("ok.csv", b"\0\xff")}, 200),
        ({"a": SimpleUploadedFile("ok.csv", b"x" * (portal_settings.CSV_MAX_BYTES + 1_000_001))}, 413),
    ],
)
def test_upload__unclean_or_too_large__is_refused(
    client: Client, fields: dict[str, object], status: int
) -> None:
    assert client.post("/test/form", fields).status_code == status


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-data; boundary=\xff", b"x"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--x--',
        ),
        ("application/x-www-form-urlencoded; charset=utf-16", b"a=1"),
    ],
)
def test_form__that_cannot_be_parsed__is_refused(client: Client, content_type: str, body: bytes) -> None:
    assert client.generic("POST", "/test/form", body, content_type=content_type).status_code == 400


@pytest.mark.parametrize("length", ["-1", "abc", "1e3"])
def test_length__that_is_no_number__is_refused(client: Client, length: str) -> None:
    assert client.generic("POST", "/test/form", b"a=1", CONTENT_LENGTH=length).status_code == 400


# -- Addresses and the log ------------------------------------------------------------------


@pytest.mark.parametrize("debug", [False, True])
def test_slash__missing__is_added_for_reading_and_never_loses_a_form(settings: Settings, debug: bool) -> None:
    settings.DEBUG = debug
    client = Client(raise_request_exception=False)

    read, sent = client.get("/account"), client.post("/account/sign-in", {"username": "ana"})

    assert (read.status_code, read.headers["Location"]) == (301, "/account/")
    assert sent.status_code == 404


def test_log__query__is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    Client().get("/nothing/", {"customer_id": "C-10234"})

    assert "GET /nothing/" in caplog.text
    assert "C-10234" not in caplog.text


def test_upload__large_file__stays_off_the_disk(rf: RequestFactory) -> None:
    request = rf.post("/", {"file": SimpleUploadedFile("customers.csv", b"x" * 5_000_000)})

    assert type(request.FILES["file"]) is InMemoryUploadedFile
