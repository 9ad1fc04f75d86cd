"""The audit trail as a page: filters, paging, what changed, and a safe file of it."""

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import time_machine
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from opsportal.accounts.models import User
from opsportal.events import services as events
from opsportal.events.models import Event
from opsportal.home.selectors import trail
from opsportal.overrides import services
from opsportal.predictions.pseudonyms import customer_key
from tests.home.deciding import block, draft, opt_out, words

ClientFor = Callable[[User], Client]
MONDAY = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def record(actor: User | None = None, **fields: object) -> Event:
    """An event of a person or of the portal."""
    content: dict[str, object] = {
        "verb": "person.waved",
        "subject_type": "person",
        "subject_id": 1,
        "summary": "Somebody waved",
        **fields,
    }
    with transaction.atomic():
        return events.record(actor=actor, **content)  # type: ignore[arg-type]  # any fields of an event


def found(browser: Client, **query: str | int) -> list[str]:
    """The summaries on the page, newest first."""
    response = browser.get("/activity/", query)
    assert response.status_code == 200
    return [entry.event.summary for entry in response.context["entries"]]


def test_activity__event__who_why_and_what_changed(ana: User, as_ana: Client) -> None:
    event = record(
        ana,
        summary="Moved an end",
        reason="The supplier is late.",
        before={"ends_at": "2026-11-23T09:00:00+00:00", "surface": "*", "impression_share": 0.01},
        after={"ends_at": None, "surface": "*", "impression_share": 0.5},
    )

    text = words(as_ana.get("/activity/")).replace("\xa0", " ")

    assert "Moved an end The supplier is late. ana" in text
    assert "Ends before: Mon 23 Nov 2026, 09:00:00 none" in text
    assert "before: 1 % after: 50 %" in text
    assert "Surface" not in text
    assert event.hash[:12] in text
    assert event.hash[12:40] not in text


def test_activity__filters__narrow_to_person_group_submission_and_text(
    ana: User, lena: User, as_ana: Client
) -> None:
    submission = block(ana, "00701")
    block(lena_as_agent(lena), "00702")
    record(None, summary="Tidied", subject_type="store", subject_id="store")

    assert found(as_ana, person="lena")[0] == "Blocked 1 product"
    assert len(found(as_ana, person="lena")) == 2
    assert found(as_ana, person="system") == ["Tidied"]
    assert found(as_ana, group="serving") == ["Tidied"]
    assert len(found(as_ana, group="overrides")) == 4
    assert len(found(as_ana, submission=f"#{submission.pk}")) == 2
    assert found(as_ana, submission=submission.pk) == found(as_ana, submission=f"#{submission.pk}")
    assert len(found(as_ana, text="00701")) == 2
    assert found(as_ana, text="tidied") == ["Tidied"]
    assert len(found(as_ana, text="recall of")) == 4
    assert found(as_ana, text="00701", person="lena") == []


def test_activity__days__are_those_of_the_person(ana: User, as_ana: Client) -> None:
    for hour in (22, 23):
        with time_machine.travel(datetime(2026, 11, 20, hour, 30, tzinfo=UTC), tick=False):
            record(ana, summary=f"at {hour}:30 UTC")
    User.objects.filter(pk=ana.pk).update(time_zone="Europe/Berlin")

    assert found(as_ana, since="2026-11-20", until="2026-11-20") == ["at 22:30 UTC"]
    assert found(as_ana, since="2026-11-21") == ["at 23:30 UTC"]
    assert found(as_ana, until="2026-11-19") == []
    assert found(as_ana, since="2026-11-22") == []


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"submission": "seventeen"}, "Submission: Give the number of a submission, such as 17."),
        ({"submission": "9" * 20}, "Submission: Give the number of a submission, such as 17."),
        ({"since": "yesterday"}, "From: Enter a valid date."),
        ({"since": "0001-01-01"}, "From: The year must lie between 2000 and 2100."),
        ({"until": "9999-12-31"}, "To: The year must lie between 2000 and 2100."),
        ({"since": "2026-02-01", "until": "2026-01-01"}, "To: The last day is before the first."),
        ({"person": "nobody"}, "Who: Select a valid choice."),
        ({"group": "everything"}, "What: Select a valid choice."),
    ],
)
def test_activity__filter_that_cannot_be_read__says_so_and_shows_the_rest(
    ana: User, as_ana: Client, query: dict[str, str], sentence: str
) -> None:
    record(ana)

    response = as_ana.get("/activity/", query)

    assert response.status_code == 200
    assert sentence in words(response)
    assert "Somebody waved" in words(response)


def test_activity__pages__follow_each_other_without_gap(ana: User, as_ana: Client) -> None:
    for number in range(120):
        record(ana, summary=f"wave {number}")

    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        response = as_ana.get("/activity/", {"cursor": cursor, "group": "people"})
        seen += [entry.event.summary for entry in response.context["entries"]]
        cursor = response.context["page"].next

    assert seen == [f"wave {number}" for number in range(119, -1, -1)]


def test_activity__foreign_cursor__is_refused(as_ana: Client) -> None:
    assert as_ana.get("/activity/?cursor=x").status_code == 400


def test_activity__customers__show_by_pseudonym_only(ana: User, as_ana: Client) -> None:
    opt_out(ana, "SECRET-1")
    as_ana.post("/search/", {"q": "SECRET-1"})

    page = as_ana.get("/activity/").content.decode()
    table = b"".join(as_ana.get("/activity/export/").streaming_content).decode()  # type: ignore[attr-defined]

    key = customer_key("SECRET-1")
    assert f"Looked up customer c·{key[:6]}" in page
    for text in (page, table):
        assert "SECRET-1" not in text
        assert key not in text


def test_activity_export__same_filters__formulas_are_text(ana: User, as_ana: Client) -> None:
    record(ana, summary="=HYPERLINK(1)", reason="-1+1", before={"a": 1}, after={"a": 2})
    record(ana, summary="other", subject_type="store")

    response = as_ana.get("/activity/export/?group=people")

    text = b"".join(response.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
    rows = list(csv.DictReader(io.StringIO(text)))
    assert response.headers["Content-Disposition"].startswith('attachment; filename="activity-20')
    assert [(row["summary"], row["reason"], row["who"]) for row in rows] == [
        ("'=HYPERLINK(1)", "'-1+1", "ana")
    ]
    assert (rows[0]["before"], rows[0]["after"]) == ('{"a": 1}', '{"a": 2}')


def test_activity__without_role__does_not_exist(as_mallory: Client) -> None:
    for path in ("/activity/", "/activity/export/"):
        assert as_mallory.get(path).status_code == 404


def test_activity__ten_times_as_much__takes_as_many_queries(ana: User, as_ana: Client) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            found(as_ana, text="00701", person="ana", since="2020-01-01")
        return len(queries)

    block(ana, "00701")
    found(as_ana)
    one = count()
    for _ in range(9):
        draft(ana, "00701")

    assert count() == one
    assert one <= 20


def test_activity__more_events_than_are_searched__says_so(
    ana: User, as_ana: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail, "SEARCHED_EVENTS", 2)
    for name in ("first", "second", "third"):
        record(ana, summary=name)

    assert found(as_ana, text="first") == []
    assert "Words are looked for in the newest 50,000 entries" in words(as_ana.get("/activity/?text=third"))


def lena_as_agent(lena: User) -> User:
    """Lena, who may now block too."""
    lena.role_grants.create(role="agent")
    return User.objects.get(pk=lena.pk)


def test_activity__without_the_right_to_see_opt_outs__tells_nothing_of_them(
    ana: User, priya: User, max: User, client_for: ClientFor
) -> None:
    block(ana, "P1")
    opt_out(priya, "C-1")
    services.look_up_customer(actor=priya, customer_id="C-1")
    record(ana, subject_type="store", subject_id="store", summary="Something about the store")

    pages = {
        person.username: "".join(
            words(client_for(person).get(url)) for url in ("/activity/", "/activity/?text=opt-out", "/")
        )
        for person in (priya, max)
    }
    exported = b"".join(client_for(max).get("/activity/export/"))

    for secret in ("Recorded the opt-out", "Looked up customer"):
        assert secret in pages["priya"]
        assert secret not in pages["max"]
        assert secret.encode() not in exported
    assert "Blocked 1 product" in pages["max"]
    assert "Something about the store" in pages["max"]
