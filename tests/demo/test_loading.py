"""What the demo loads: people, a week of impressions, overrides in every state. Once."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from opsportal.accounts.keyring import keyring
from opsportal.accounts.models import ApiKey, User
from opsportal.accounts.permissions import SCOPES
from opsportal.accounts.services import revoke_api_key
from opsportal.core import clock
from opsportal.demo.impressions import load_impressions
from opsportal.demo.people import PEOPLE, load_people, usable_key
from opsportal.demo.submissions import load_submissions
from opsportal.events.models import Event, Revision
from opsportal.overrides.models import Block, Boost, OptOut, Submission, Surface
from opsportal.predictions.models import Impressions, Product

pytestmark = pytest.mark.django_db

PASSWORD = "demo-0000-1111-2222-3333"


def load_everything() -> None:
    load_people(PASSWORD)
    load_impressions()
    load_submissions()


def counts() -> dict[str, int]:
    models = (User, Product, Impressions, Submission, Block, Boost, OptOut, Event, Revision)
    return {model.__name__: model.objects.count() for model in models}


def test_load_people__first_run__gives_each_person_their_job() -> None:
    load_people(PASSWORD)

    roles = {user.username: sorted(user.roles) for user in User.objects.all()}
    assert roles == {
        "ana": ["agent"],
        "max": ["account_manager"],
        "priya": ["privacy_officer"],
        "otto": ["auditor"],
        "nora": ["auditor"],
        "sam": ["auditor"],
        "lena": ["approver", "audit_lead"],
        "vera": ["approver"],
        "dana": ["data_scientist"],
        "root": ["administrator"],
    }
    assert all(user.check_password(PASSWORD) for user in User.objects.all())


def test_load_people__password_lost__sets_the_new_one_for_all() -> None:
    load_people(PASSWORD)

    load_people("demo-another-password")

    assert User.objects.count() == len(PEOPLE)
    assert all(user.check_password("demo-another-password") for user in User.objects.all())


def test_load_impressions__first_run__covers_the_seven_days_until_yesterday() -> None:
    load_impressions()

    today = clock.now().date()
    days = sorted(set(Impressions.objects.values_list("day", flat=True)))
    assert days == [today - timedelta(days=back) for back in range(7, 0, -1)]
    assert sum(Impressions.objects.values_list("shown", flat=True)) == 2_715
    assert Product.objects.count() == 34
    assert set(Surface.objects.values_list("slug", flat=True)) == {
        "*",
        "home-left",
        "home-centre",
        "home-right",
    }


def test_load_impressions__days_later__moves_the_week() -> None:
    monday = datetime(2026, 3, 2, 9, tzinfo=UTC)
    with time_machine.travel(monday, tick=False):
        load_impressions()
    before = Impressions.objects.count()

    with time_machine.travel(monday + timedelta(days=3), tick=False):
        load_impressions()

    assert Impressions.objects.count() == before
    assert max(Impressions.objects.values_list("day", flat=True)) == (monday + timedelta(days=2)).date()


def test_load_submissions__first_run__shows_every_state() -> None:
    load_everything()

    states = Counter(Submission.objects.values_list("state", flat=True))
    assert states == {"applied": 11, "waiting": 2, "rejected": 1}
    now = clock.now()
    assert Block.objects.filter(closed_at=None, starts_at__gt=now).exists()
    assert Block.objects.filter(closed_at=None, starts_at__lte=now, ends_at=None).exists()
    assert Boost.objects.filter(closed_at__isnull=False).exists()
    assert OptOut.objects.filter(closed_at=None).count() == 3


def test_load__second_run__changes_nothing() -> None:
    load_everything()
    before = counts()

    load_everything()

    assert counts() == before


def test_usable_key__first_run__has_every_scope() -> None:
    token = usable_key("")

    record = keyring.find(token)
    assert record is not None
    assert record.scopes == frozenset(SCOPES)
    assert record.owner.username == "demo-machine"


def test_usable_key__still_good__is_kept() -> None:
    token = usable_key("")

    assert usable_key(token) == token
    assert ApiKey.objects.count() == 1


def test_usable_key__revoked__is_replaced() -> None:
    token = usable_key("")
    revoke_api_key(actor=None, key_id=token.split("_")[1])

    assert usable_key(token) != token
