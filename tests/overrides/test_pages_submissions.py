"""The page of a submission and everything that can be done there."""

from collections.abc import Callable
from datetime import timedelta

import pytest
import time_machine
from django.test import Client

from opsportal.accounts.models import Role, RoleGrant, User
from opsportal.core import clock
from opsportal.events.models import Event
from opsportal.overrides import services
from opsportal.overrides.models import Approval, Block, Kind, OptOut, State, Submission
from tests.overrides.asking import saved
from tests.overrides.filling import applied, block_form, drafted, make_live, withdrawn

pytestmark = pytest.mark.django_db

ClientFor = Callable[[User], Client]
HTMX = {"HX-Request": "true"}


def _url(submission: Submission, verb: str = "") -> str:
    return submission.get_absolute_url() + (f"{verb}/" if verb else "")


def _waiting(ana: User) -> Submission:
    draft = drafted(ana, *(f"p{number}" for number in range(500)))
    return services.submit(actor=ana, submission_id=draft.pk)


def test_apply__draft__blocked_with_event(client_for: ClientFor, ana: User) -> None:
    draft = drafted(ana, "1", "2")

    response = client_for(ana).post(_url(draft, "apply"), {"version": draft.version}, follow=True)

    assert Block.objects.count() == 2
    page = response.content.decode()
    assert "Blocked 2 products everywhere" in page
    assert f'action="{_url(draft, "undo")}"' in page
    assert Event.objects.order_by("-sequence")[0].verb == "submission.applied"


@pytest.mark.parametrize("version", ["2", "", "x", "99999999999999999999"])
def test_apply__other_version__nothing_saved(client_for: ClientFor, ana: User, version: str) -> None:
    draft = drafted(ana, "1", "2")
    before = saved()

    response = client_for(ana).post(_url(draft, "apply"), {"version": version}, follow=True)

    assert "Look at" in response.content.decode()
    assert saved() == before


def test_apply__somebody_elses__refused(client_for: ClientFor, ana: User, root: User) -> None:
    draft = drafted(ana, "1", "2")

    assert client_for(root).post(_url(draft, "apply"), {"version": 1}).status_code == 403
    assert Block.objects.count() == 0


def test_apply__many__waits_and_only_then_a_second_person_sees_the_panel(
    client_for: ClientFor, ana: User, lena: User
) -> None:
    draft = drafted(ana, *(f"p{number}" for number in range(500)))

    client_for(ana).post(_url(draft, "apply"), {"version": 1})

    assert Submission.objects.get().state == State.WAITING
    assert "Your decision" not in client_for(ana).get(_url(draft)).content.decode()
    assert "Approve 500 blocks" in client_for(lena).get(_url(draft)).content.decode()


def test_approve__second_person__applied_with_the_vote(client_for: ClientFor, ana: User, lena: User) -> None:
    waiting = _waiting(ana)

    response = client_for(lena).post(_url(waiting, "approve"), {"version": 1, "comment": "Fine"}, follow=True)

    vote = Approval.objects.get()
    assert (vote.approver, vote.verdict, vote.comment) == (lena, "approved", "Fine")
    assert Block.objects.count() == 500
    assert "Blocked 500 products everywhere" in response.content.decode()


def test_approve__edited_meanwhile__refused_and_shown_again(
    client_for: ClientFor, ana: User, lena: User
) -> None:
    waiting = _waiting(ana)
    services.drop_items(actor=ana, submission_id=waiting.pk, version=1, rows=[999])
    Submission.objects.filter(pk=waiting.pk).update(version=2)

    response = client_for(lena).post(_url(waiting, "approve"), {"version": 1, "comment": "Fine"})

    assert response.status_code == 409
    assert "It is now version 2." in response.content.decode()
    assert "Fine" in response.content.decode()
    assert Approval.objects.count() == Block.objects.count() == 0


def test_approve__author__not_found_without_the_role_and_refused_with_it(
    client_for: ClientFor, ana: User
) -> None:
    from opsportal.accounts.models import RoleGrant
    from opsportal.accounts.permissions import Role

    waiting = _waiting(ana)

    assert client_for(ana).post(_url(waiting, "approve"), {"version": 1}).status_code == 404
    RoleGrant.objects.create(user=ana, role=Role.APPROVER)
    assert client_for(ana).post(_url(waiting, "approve"), {"version": 1}).status_code == 403

    assert Approval.objects.count() == Block.objects.count() == 0


def test_reject__without_a_reason__asks_for_one(client_for: ClientFor, ana: User, lena: User) -> None:
    waiting = _waiting(ana)

    refused = client_for(lena).post(_url(waiting, "reject"), {"version": 1, "comment": " "})
    rejected = client_for(lena).post(
        _url(waiting, "reject"), {"version": 1, "comment": "Wrong list"}, follow=True
    )

    assert refused.status_code == 400
    assert "Say why you reject it" in refused.content.decode()
    assert Submission.objects.get().state == State.REJECTED
    assert "Wrong list" in rejected.content.decode()


def test_drop__one_row_and_every_bad_one__left_out_in_a_new_version(client_for: ClientFor, ana: User) -> None:
    draft = drafted(ana, "1", "2", "3", "=x")

    client_for(ana).post(_url(draft, "drop"), {"version": 1, "rows": ["2", "3"]})
    response = client_for(ana).post(_url(draft, "drop"), {"version": 2, "invalid": "true"}, follow=True)

    assert list(draft.items.filter(dropped=True).values_list("row", flat=True)) == [2, 3, 4]
    assert Submission.objects.get().version == 3
    assert "Block 1 product everywhere" in response.content.decode()


@pytest.mark.parametrize(
    "form", [{}, {"version": 1}, {"version": 1, "rows": ["x"]}, {"version": 9, "rows": ["1"]}]
)
def test_drop__nothing_to_go_by__a_sentence_and_nothing_changed(
    client_for: ClientFor, ana: User, form: dict[str, object]
) -> None:
    draft = drafted(ana, "1", "2")
    before = saved()

    response = client_for(ana).post(_url(draft, "drop"), form, follow=True)

    assert response.status_code == 200
    assert response.context["messages"]
    assert saved() == before
    assert not draft.items.filter(dropped=True).exists()


def test_edit__waiting__vote_and_triage_anew_in_the_history(client_for: ClientFor, ana: User) -> None:
    draft = drafted(ana, "1", "2")

    form = block_form(reason="A better reason", version=1)
    response = client_for(ana).post(_url(draft, "edit"), form, follow=True)

    changed = Submission.objects.get()
    assert (changed.reason, changed.reason_code, changed.version) == ("A better reason", "safety", 2)
    assert "edited" in response.content.decode()


def test_edit__wrong_end__kept_and_shown(client_for: ClientFor, ana: User) -> None:
    draft = drafted(ana, "1", "2")

    response = client_for(ana).post(
        _url(draft, "edit"), block_form(reason="Typed", ends_at="2020-01-01T00:00", version=1)
    )

    assert response.status_code == 400
    assert "The end has passed already." in response.content.decode()
    assert "Typed" in response.content.decode()
    assert Submission.objects.get().version == 1


def test_cancel__draft__given_up(client_for: ClientFor, ana: User) -> None:
    draft = drafted(ana, "1", "2")

    response = client_for(ana).post(_url(draft, "cancel"), follow=True)

    assert Submission.objects.get().state == State.CANCELLED
    assert "Cancelled" in response.content.decode()


def test_retry__failed__applying_again(client_for: ClientFor, ana: User) -> None:
    draft = drafted(ana, "1", "2")
    Submission.objects.update(state=State.FAILED, error="Somebody was faster.")

    shown = client_for(ana).get(_url(draft)).content.decode()
    client_for(ana).post(_url(draft, "retry"))

    assert "Somebody was faster." in shown
    assert "Try again" in shown
    assert Submission.objects.get().state == State.APPLYING


def test_undo__applied__put_back_at_once_and_only_once(client_for: ClientFor, ana: User) -> None:
    submission = applied(ana, "1", "2")

    response = client_for(ana).post(_url(submission, "undo"), follow=True)
    again = client_for(ana).post(_url(submission, "undo"), follow=True)

    assert Block.objects.filter(closed_at=None).count() == 0
    assert f"Undid #{submission.pk} for 2 blocks" in response.content.decode()
    assert "undone already" in again.content.decode()
    assert "Undone by ana" in client_for(ana).get(_url(submission)).content.decode()


def test_undo__opt_out__only_who_may_withdraw_and_with_a_second_person(
    client_for: ClientFor, ana: User, priya: User
) -> None:
    submission = applied(ana, "C-1", kind=Kind.OPT_OUT)

    assert _url(submission, "undo") not in client_for(ana).get(_url(submission)).content.decode()
    assert client_for(ana).post(_url(submission, "undo")).status_code == 403
    response = client_for(priya).post(_url(submission, "undo"), follow=True)

    assert "Ask for approval" in response.content.decode()
    assert OptOut.objects.get().closed_at is None


def test_delivery__until_live__polled_then_told_to_stop(client_for: ClientFor, ana: User) -> None:
    submission = applied(ana, "1", live=False)
    client = client_for(ana)

    page = client.get(_url(submission)).content.decode()
    queued = client.get(_url(submission, "delivery"), headers=HTMX)
    make_live()
    live = client.get(_url(submission, "delivery"), headers=HTMX)

    assert f'hx-get="{_url(submission, "delivery")}"' in page
    assert queued.status_code == 200
    assert "Publishing" in queued.content.decode()
    assert live.status_code == 286
    assert "after 0.4 s" in live.content.decode().replace("\u00a0", " ")
    assert "hx-get" not in live.content.decode()
    assert "Publishing" not in live.content.decode()


def test_delivery__store_away__says_so_after_ten_seconds(client_for: ClientFor, ana: User) -> None:
    submission = applied(ana, "1", live=False)

    with time_machine.travel(clock.now() + timedelta(seconds=11)):
        page = client_for(ana).get(_url(submission)).content.decode()

    assert "Saved. Not live yet: the serving store does not answer; it goes live by itself." in page


def test_progress__checking__then_the_page_anew(client_for: ClientFor, ana: User) -> None:
    from opsportal.overrides.models import Source
    from opsportal.overrides.services import Intent

    intent = Intent(kind=Kind.BLOCK, source=Source.CSV, reason="Because")
    submission = services.receive_file(actor=ana, intent=intent, chunks=[b"product_id\n1\n2\n"])
    client = client_for(ana)

    working = client.get(_url(submission, "progress"), headers=HTMX)
    services.check_file(submission.pk)
    done = client.get(_url(submission, "progress"), headers=HTMX)

    assert "Finding out what each row would do" in working.content.decode()
    assert done["HX-Refresh"] == "true"
    assert client.get(_url(submission, "progress")).status_code == 302


def test_page__long_group__paged_by_row(client_for: ClientFor, ana: User) -> None:
    draft = drafted(ana, *(f"p{number:03}" for number in range(250)))
    client = client_for(ana)

    first = client.get(_url(draft)).content.decode()
    second = client.get(_url(draft), {"group": "unknown", "after": "200"}).content.decode()

    assert "p199" in first
    assert "p200" not in first
    assert "?group=unknown&amp;after=200" in first
    assert "p200" in second
    assert "p199" not in second


@pytest.mark.parametrize("query", [{"group": "x", "after": "-1"}, {"group": "new", "after": "9" * 40}])
def test_page__nonsense_in_the_address__still_reads(
    client_for: ClientFor, ana: User, query: dict[str, str]
) -> None:
    assert client_for(ana).get(_url(drafted(ana, "1")), query).status_code == 200


def test_page__opt_out__not_there_for_who_may_not_see_it(client_for: ClientFor, ana: User, max: User) -> None:
    submission = applied(ana, "C-1", kind=Kind.OPT_OUT)
    client = client_for(max)

    assert client.get(_url(submission)).status_code == 404
    for verb in ("apply", "cancel", "undo", "drop", "edit", "retry"):
        assert client.post(_url(submission, verb), {"version": 1}).status_code == 404
    assert client.get(_url(submission, "delivery"), headers=HTMX).status_code == 404
    assert (
        "opt-out"
        not in client.get("/overrides/submissions/")
        .content.decode()
        .partition("<main")[2]
        .partition("<table")[2]
    )


def test_page__mallory__404_and_nothing_changed(client_for: ClientFor, ana: User, mallory: User) -> None:
    draft = drafted(ana, "1", "2")
    before = saved()
    client = client_for(mallory)

    assert client.get(_url(draft)).status_code == client.get("/overrides/submissions/").status_code == 404
    for verb in ("apply", "approve", "reject", "cancel", "undo", "drop", "edit", "retry"):
        assert client.post(_url(draft, verb), {"version": 1}).status_code == 404

    assert saved() == before


def test_page__withdrawal__links_what_it_closed(client_for: ClientFor, ana: User) -> None:
    applied(ana, "1")
    block = Block.objects.get()
    submission = withdrawn(ana, block.pk)

    page = client_for(ana).get(_url(submission)).content.decode()

    assert "Withdrew 1 block" in page
    assert block.get_absolute_url() in page
    assert "Withdrawn" in page


def test_list__filters__by_state_number_and_product(client_for: ClientFor, ana: User, lena: User) -> None:
    first, waiting = applied(ana, "00701"), _waiting(ana)
    client = client_for(lena)

    def shown(**query: str) -> list[int]:
        rows = client.get("/overrides/submissions/", query).context["page"].rows
        return [item.row.pk for item in rows]

    assert shown() == [waiting.pk, first.pk]
    assert shown(state="for_me") == [waiting.pk]
    assert shown(state="applied") == shown(q="00701") == shown(q=f"#{first.pk}") == [first.pk]
    assert shown(mine="true") == shown(kind="boost") == []
    assert shown(state="nonsense", kind="nonsense") == [waiting.pk, first.pk]


def test_page__being_carried_out__shows_progress_then_the_page_anew(client_for: ClientFor, ana: User) -> None:
    draft = drafted(ana, "1", "2")
    Submission.objects.update(state=State.APPLYING)
    client = client_for(ana)

    working = client.get(_url(draft)).content.decode()
    services.apply_approved(draft.pk)
    done = client.get(_url(draft, "progress"), headers=HTMX)

    assert f'hx-get="{_url(draft, "progress")}"' in working
    assert done["HX-Refresh"] == "true"


def test_drop__rows_of_an_undo__refused_since_it_puts_everything_back(
    client_for: ClientFor, ana: User, lena: User
) -> None:
    with time_machine.travel(clock.now() - timedelta(hours=2)):
        big = _waiting(ana)
        services.approve(actor=lena, submission_id=big.pk, version=big.version)
    client = client_for(ana)
    client.post(_url(big, "undo"), {"reason": "Wrong list."})
    undo = Submission.objects.get(undoes=big)

    client.post(_url(undo, "drop"), {"version": undo.version, "rows": [*range(1, 300)]})
    client.post(_url(undo, "apply"), {"version": undo.version})

    undo.refresh_from_db()
    assert (undo.state, undo.needs_approval) == (State.WAITING, True)
    assert Block.objects.filter(closed_at=None).count() == 500


def test_apply__role_gone_since_the_draft__refused(client_for: ClientFor, ana: User) -> None:
    draft = drafted(ana, "1", "2")
    RoleGrant.objects.filter(user=ana).update(role=Role.VIEWER)
    before = saved()
    client = client_for(ana)

    page = client.get(_url(draft)).content.decode()
    applied = client.post(_url(draft, "apply"), {"version": draft.version})
    edited = client.post(_url(draft, "edit"), {"version": draft.version, **block_form(reason="Another.")})

    assert _url(draft, "apply") not in page
    assert (applied.status_code, edited.status_code) == (403, 403)
    assert saved() == before
