"""Many people and machines at once, each with a connection of its own; PostgreSQL has many writers."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any, NamedTuple

import pytest
from django.db import connection, connections
from django.test import Client
from pytest_django import Settings

from opsportal.accounts import services as accounts
from opsportal.accounts.models import RoleGrant, User
from opsportal.accounts.permissions import Role
from opsportal.core.errors import Conflict, Forbidden, PortalError
from opsportal.events.models import Change, Event, Head, Revision
from opsportal.events.selectors import verify_chain
from opsportal.overrides import services
from opsportal.overrides.models import (
    EVERYWHERE,
    Action,
    Approval,
    Block,
    Kind,
    OptOut,
    Source,
    State,
    Submission,
    Surface,
)
from opsportal.overrides.services import Intent
from tests.asking import Api
from tests.conftest import make_person
from tests.overrides.asking import blocks

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

THREADS = 24
SUBMISSIONS = 200
RISKY = 3


@pytest.fixture(autouse=True)
def _everywhere(transactional_db: None, settings: Settings) -> Iterator[None]:
    """What migrations put in and the clean-up of the test before took out; three items need approval."""
    settings.APPROVAL_MIN_ITEMS = RISKY
    Surface.objects.get_or_create(slug=EVERYWHERE, defaults={"name": "Everywhere"})
    yield
    connections.close_all()


@pytest.fixture
def agents() -> list[User]:
    """Four people who block and also approve."""
    return [make_person(f"agent-{number}", Role.AGENT, Role.APPROVER) for number in range(4)]


class Job(NamedTuple):
    """A call to make in a thread."""

    function: Callable[..., Any]
    arguments: dict[str, Any]


def job(function: Callable[..., Any], **arguments: Any) -> Job:
    """A call to make in a thread."""
    return Job(function, arguments)


def at_once(jobs: Sequence[Job]) -> list[Any]:
    """What each job returned or refused; every thread has a connection of its own."""

    def run(job: Job) -> Any:
        try:
            return job.function(**job.arguments)
        except PortalError as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, jobs))


def post(token: str, product_ids: list[str], key: str | None = None) -> Any:
    """Block products by API, with a client of its own."""
    return Api(Client(), token).post("blocks", blocks(*product_ids), key=key)


def intent(**fields: Any) -> Intent:
    """Block something."""
    return Intent(kind=Kind.BLOCK, source=Source.API, reason="Race.", **fields)


def check_the_books() -> None:
    """Revisions without gaps and in commit order, each change at its key's last one, one whole chain."""
    revisions = list(Revision.objects.order_by("number"))
    applied = Submission.objects.filter(state=State.APPLIED, revision__isnull=False)
    assert [revision.number for revision in revisions] == list(range(1, len(revisions) + 1))
    assert [revision.at for revision in revisions] == sorted(revision.at for revision in revisions)
    head = Head.objects.first()
    assert (head.revision if head else 0) == len(revisions) == applied.count()
    assert verify_chain().broken_at is None
    # The chain is written under the head's lock, so its order is the order of the commits.
    applications = Event.objects.filter(verb="submission.applied").order_by("sequence")
    in_chain = [event.after["revision"] for event in applications if event.after]
    assert [number for number in in_chain if number] == [revision.number for revision in revisions]
    for block in Block.objects.filter(closed_at=None):
        assert Change.objects.get(kind="p", key=block.product_id).revision >= block.revision


def test_two_hundred__submissions_and_approvals__nothing_lost_nothing_twice(agents: list[User]) -> None:
    chance = Random(4711)  # noqa: S311 the same order every time
    authors = [chance.choice(agents) for _ in range(SUBMISSIONS)]
    wanted = [
        # Every other one is risky and waits; product 0 is in all of them.
        [f"r{number}-{item}" for item in range(RISKY)] if number % 2 else [f"s{number}", "contested"]
        for number in range(SUBMISSIONS)
    ]
    made = at_once(
        [
            job(services.request_targets, actor=author, intent=intent(), texts=texts)
            for author, texts in zip(authors, wanted, strict=True)
        ]
    )
    assert not [answer for answer in made if isinstance(answer, Exception)]
    waiting = [submission for submission in made if submission.state == State.WAITING]
    assert len(waiting) == SUBMISSIONS // 2

    # Everybody tries to approve everything, their own included, in a different order.
    votes = [(voter, submission) for voter in agents for submission in waiting]
    chance.shuffle(votes)
    answers = at_once(
        [
            job(services.approve, actor=voter, submission_id=submission.pk, version=1)
            for voter, submission in votes
        ]
    )

    approved = Counter(answer.pk for answer in answers if isinstance(answer, Submission))
    assert approved == {submission.pk: 1 for submission in waiting}
    for (voter, submission), answer in zip(votes, answers, strict=True):
        if voter.pk == submission.author_id:
            assert isinstance(answer, Forbidden)
        elif not isinstance(answer, Submission):
            assert isinstance(answer, Conflict)
    assert Approval.objects.count() == len(waiting)
    for approval in Approval.objects.all():
        assert approval.approver_id != approval.author_id
    assert Submission.objects.filter(state=State.APPLIED).count() == SUBMISSIONS
    open_blocks = Counter(Block.objects.filter(closed_at=None).values_list("product_id", flat=True))
    assert open_blocks == {product: 1 for texts in wanted for product in texts}
    check_the_books()


def test_api__same_idempotency_key_at_once__one_submission() -> None:
    machine = accounts.service_account(name="machine")
    _key, token = accounts.create_api_key(
        actor=None, name="race", scopes=["overrides:read", "overrides:write"], owner=machine
    )

    responses = at_once(
        [job(post, token=token, product_ids=["p1", "p2"], key="same") for _ in range(THREADS)]
    )

    assert {response.status_code for response in responses} == {201}
    assert len({response.content for response in responses}) == 1
    assert Submission.objects.count() == Revision.objects.count() == 1
    assert Block.objects.count() == 2
    check_the_books()


def test_api__same_idempotency_key_other_content_at_once__one_wins() -> None:
    machine = accounts.service_account(name="machine")
    _key, token = accounts.create_api_key(actor=None, name="race", scopes=["overrides:write"], owner=machine)

    responses = at_once(
        [job(post, token=token, product_ids=[f"p{number}"], key="same") for number in range(THREADS)]
    )

    assert Counter(response.status_code for response in responses) == {201: 1, 409: THREADS - 1}
    assert Submission.objects.count() == Block.objects.count() == 1
    check_the_books()


def test_opt_outs__same_customer_at_once__one_row_with_all_purposes(agents: list[User]) -> None:
    purposes = ["personalisation", "training", "sharing"]
    jobs = [
        job(
            services.request_targets,
            actor=agents[number % 4],
            intent=Intent(
                kind=Kind.OPT_OUT,
                source=Source.API,
                reason="Race.",
                purposes=[purposes[number % 3]],
                channel="phone",
            ),
            texts=["C-1"],
        )
        for number in range(THREADS)
    ]

    answers = at_once(jobs)

    assert not [answer for answer in answers if isinstance(answer, Exception)]
    assert OptOut.objects.get().purposes == purposes
    check_the_books()


def test_withdraw_extend_and_undo__at_once__the_books_stay_right(agents: list[User]) -> None:
    """Whoever comes first wins, and what the others wanted is either done or refused in words."""
    author, second = agents[:2]
    made = [
        services.request_targets(actor=author, intent=intent(), texts=[f"p{number}"]) for number in range(30)
    ]
    rows = dict(Block.objects.values_list("submission_id", "id"))
    jobs: list[Job] = []
    for submission in made:
        pk = rows[submission.pk]
        jobs += [
            job(
                services.request_changes,
                actor=author,
                intent=intent(action=Action.WITHDRAW),
                override_ids=[pk],
            ),
            job(
                services.request_changes,
                actor=second,
                intent=intent(action=Action.WITHDRAW),
                override_ids=[pk],
            ),
            job(services.request_undo, actor=second, submission_id=submission.pk),
            job(services.request_undo, actor=author, submission_id=submission.pk),
        ]
    Random(7).shuffle(jobs)  # noqa: S311 the same order every time

    answers = at_once(jobs)

    unexpected = [answer for answer in answers if not isinstance(answer, Submission | Conflict)]
    assert unexpected == []
    assert Block.objects.filter(closed_at=None).count() == 0
    check_the_books()


def test_edit_against_approve__at_once__only_the_version_looked_at_counts(agents: list[User]) -> None:
    author, voters = agents[0], agents[1:]
    waiting = [
        services.request_targets(
            actor=author, intent=intent(), texts=[f"p{number}-{item}" for item in range(RISKY)]
        )
        for number in range(20)
    ]
    jobs: list[Job] = []
    for submission in waiting:
        jobs.append(
            job(
                services.edit,
                actor=author,
                submission_id=submission.pk,
                version=1,
                intent=intent(reason_code="legal"),
            )
        )
        jobs += [
            job(services.approve, actor=voter, submission_id=submission.pk, version=1) for voter in voters
        ]
    Random(11).shuffle(jobs)  # noqa: S311 the same order every time

    answers = at_once(jobs)

    assert not [
        answer for answer in answers if isinstance(answer, Exception) and not isinstance(answer, Conflict)
    ]
    for submission in Submission.objects.all():
        verdicts = submission.approvals.filter(voided_at=None)
        if submission.state == State.APPLIED:
            assert [vote.version for vote in verdicts] == [submission.version] == [1]
        else:
            assert (submission.state, submission.version, verdicts.count()) == (State.WAITING, 2, 0)
    check_the_books()


def test_keys__revoked_while_in_use__no_request_is_half_done() -> None:
    machine = accounts.service_account(name="machine")
    RoleGrant.objects.create(user=machine, role=Role.VIEWER)
    key, token = accounts.create_api_key(actor=None, name="race", scopes=["overrides:write"], owner=machine)
    jobs: list[Job] = [job(post, token=token, product_ids=[f"p{number}"]) for number in range(40)]
    jobs.insert(20, job(accounts.revoke_api_key, actor=None, key_id=key.pk))

    answers = at_once(jobs)

    statuses = Counter(answer.status_code for answer in answers if hasattr(answer, "status_code"))
    assert set(statuses) <= {201, 401}
    assert Block.objects.count() == Submission.objects.count() == statuses[201]
    check_the_books()
