"""Keyset paging over rows of any app; people serve as the rows."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.signing import Signer
from hypothesis import given
from hypothesis import strategies as st

from opsportal.accounts.models import User
from opsportal.core.errors import Invalid
from opsportal.core.pagination import keyset_page

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def people(db: None) -> list[User]:
    """Ten people, of whom always three joined together."""
    return User.objects.bulk_create(
        User(username=f"p{number}", date_joined=START + timedelta(days=number // 3)) for number in range(10)
    )


@pytest.mark.parametrize(
    "order", [["date_joined", "id"], ["-date_joined", "id"], ["-date_joined", "-id"], ["-id"]]
)
@pytest.mark.parametrize("size", [1, 3, 4, 10, 11])
def test_page__walk_to_the_end__sees_every_row_once_in_order(
    people: list[User], order: list[str], size: int
) -> None:
    seen: list[User] = []
    cursor = None
    while True:
        page = keyset_page(User.objects.all(), order=order, cursor=cursor, size=size)
        seen += page.results
        cursor = page.next
        if cursor is None:
            break

    assert seen == list(User.objects.order_by(*order))


def test_page__longest_key_of_odd_letters__its_cursor_is_taken_back(db: None) -> None:
    names = ["🦊" * 127 + letter for letter in "ab"]
    User.objects.bulk_create(User(username=name) for name in names)

    first = keyset_page(User.objects.all(), order=["username"], cursor=None, size=1)
    second = keyset_page(User.objects.all(), order=["username"], cursor=first.next, size=1)

    assert [user.username for user in first.results + second.results] == names


def test_page__row_added_before_the_cursor__moves_nothing(people: list[User]) -> None:
    first = keyset_page(User.objects.all(), order=["-id"], cursor=None, size=5)
    User.objects.create(username="newest")

    second = keyset_page(User.objects.all(), order=["-id"], cursor=first.next, size=5)

    assert [user.username for user in second.results] == ["p4", "p3", "p2", "p1", "p0"]


@pytest.mark.parametrize(
    "cursor",
    ["x", "a.b", "🦄", "x" * 10_000, ".", Signer(salt="cursor:other").sign_object([1])],
)
def test_page__foreign_cursor__is_refused(db: None, cursor: str) -> None:
    with pytest.raises(Invalid) as caught:
        keyset_page(User.objects.all(), order=["id"], cursor=cursor, size=5)

    assert caught.value.errors[0].path == "cursor"


def test_page__cursor_of_another_order__is_refused(people: list[User]) -> None:
    cursor = keyset_page(User.objects.all(), order=["-id"], cursor=None, size=5).next

    with pytest.raises(Invalid):
        keyset_page(User.objects.all(), order=["id"], cursor=cursor, size=5)


@given(cursor=st.text(max_size=80))
def test_page__any_text_as_cursor__never_breaks(cursor: str) -> None:
    if not cursor:
        return
    with pytest.raises(Invalid):
        keyset_page(User.objects.all(), order=["id"], cursor=cursor, size=5)
