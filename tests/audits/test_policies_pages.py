"""The pages of policies."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from opsportal.accounts.models import User
from opsportal.audits.models import Policy, Run
from opsportal.audits.views.policies import PoliciesPage, PolicyFormPage, PolicyPage
from opsportal.events.models import Event
from tests.audits.making import WEEK_ENDS, make_policy, make_run
from tests.audits.test_drawing import log_predictions
from tests.explanations.making import make_version

pytestmark = pytest.mark.django_db
SignIn = Callable[[User], Client]

TYPED: dict[str, Any] = {
    "model": "survival",
    "title": "Weekly audit",
    "period": "weekly",
    "source": "log",
    "version": "",
    "sizing": "width",
    "half_width": "2",
    "expected_error": "5",
    "rate": "rubbish that nobody reads",
    "strata": ["predicted"],
    "allocation": "proportional",
    "core_share": "30",
    "minimum_per_stratum": "2",
    "double_share": "10",
    "gold_share": "0",
    "blind": "on",
    "label-0-value": "survived",
    "label-0-title": "Survived",
    "label-0-key": "1",
    "label-0-guideline": "Rescued.",
    "label-1-value": "did not survive",
    "label-1-title": "",
    "label-1-key": "2",
    "label-1-guideline": "",
}


def test_list__policies__shows_state_and_newest_run(ana: User, client_for: SignIn) -> None:
    policy = make_policy(title="Weekly audit")
    make_run(policy)
    make_policy(title="Sleeping", active=False, period="by_hand")

    answer = client_for(ana).get("/audits/policies/")

    assert {one.name for one in fields(PoliciesPage)} == {"rows", "may_lead"}
    page = answer.content.decode()
    assert page.index("Weekly audit") < page.index("Sleeping")
    assert "Paused" in page
    assert "New policy" not in page


def test_list__more_policies__costs_no_more_queries(
    lena: User, client_for: SignIn, django_assert_num_queries: Any
) -> None:
    client = client_for(lena)
    make_run(make_policy())
    client.get("/audits/policies/")  # what is looked up once per process
    with CaptureQueriesContext(connection) as counted:
        client.get("/audits/policies/")
    for _ in range(9):
        make_run(make_policy())

    with django_assert_num_queries(len(counted.captured_queries)):
        client.get("/audits/policies/")


def test_new__no_model_chosen__asks_for_it(lena: User, client_for: SignIn) -> None:
    make_version()

    page = client_for(lena).get("/audits/policies/new/").content.decode()

    assert "?model=survival" in page


def test_new__model_chosen__brings_its_labels_and_features(lena: User, client_for: SignIn) -> None:
    make_version()

    answer = client_for(lena).get("/audits/policies/new/?model=survival")

    rows = answer.context["page"].form.rows
    assert [row.initial.get("value") for row in rows] == ["survived", "did not survive", None, None]
    assert "feature:sex" in answer.content.decode()
    assert client_for(lena).get("/audits/policies/new/?model=nothing").status_code == 404


def test_create__good_form__lands_on_the_policy(lena: User, client_for: SignIn) -> None:
    make_version()

    answer = client_for(lena).post("/audits/policies/new/", TYPED, follow=True)

    policy = Policy.objects.get()
    assert answer.redirect_chain == [(policy.get_absolute_url(), 302)]
    assert (policy.half_width, policy.expected_error) == (0.02, 0.05)
    assert (policy.rate, policy.double_share) == (None, 0.1)
    assert policy.labels == [
        {"value": "survived", "title": "Survived", "key": "1", "guideline": "Rescued."},
        {"value": "did not survive", "title": "did not survive", "key": "2", "guideline": ""},
    ]
    assert (policy.created_by, policy.blind, policy.sensitive) == (lena, True, False)
    assert {one.name for one in fields(PolicyPage)} >= {"sentences", "forecast"}
    assert "Predictions are divided by what the model decided" in answer.content.decode()


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"sizing": "rate", "rate": "50"}, "Give a share from 1 to 5 %."),
        ({"sizing": "rate", "rate": "many"}, "Give a number, such as 2 or 0.5."),
        ({"half_width": ""}, "Give points between 0 and 50"),
        ({"label-1-key": "1"}, "Two labels have this digit."),
        ({"label-1-value": "drowned"}, "This is not what the model says"),
        ({"label-1-value": "", "label-1-key": ""}, "two labels at least"),
        ({"strata": ["score_band"], "score_edges": "a, b"}, "Give numbers with commas"),
        ({"strata": ["weather"]}, "Choose one of the list."),
        ({"period": "hourly"}, "Choose one of the list."),
        ({"gold": "p-1"}, "Line 1: each prediction needs its answer"),
        ({"source": "files", "pattern": "../x.csv"}, "no path that leads out"),
        ({"source": "files", "pattern": "x.csv", "columns": "uid"}, "write COLUMN=FIELD"),
        ({"reviewers": ["999999"]}, "Choose one of the list."),
        ({"version": "999999"}, "Choose one of the list."),
        ({"title": ""}, "Name the policy."),
        ({"minimum_per_stratum": "x"}, "Give a whole number."),
    ],
)
def test_create__bad_form__says_so_at_the_field_and_keeps_what_was_typed(
    typed: dict[str, Any], sentence: str, lena: User, client_for: SignIn
) -> None:
    make_version()

    answer = client_for(lena).post("/audits/policies/new/", {**TYPED, "guidelines": "Look twice.", **typed})

    page = answer.content.decode()
    assert answer.status_code == 400
    assert sentence in page
    assert "Look twice." in page
    assert "Rescued." in page
    assert not Policy.objects.exists()
    assert not Event.objects.exists()


def test_preview__with_and_without_scripts__says_what_it_would_mean_and_saves_nothing(
    lena: User, client_for: SignIn
) -> None:
    log_predictions(make_version(), 1_000)
    client = client_for(lena)
    sentence = "About 320 items a week from about 1,000 predictions: ±2 points if 5 % are wrong"

    with time_machine.travel(WEEK_ENDS, tick=False):
        client.force_login(lena)
        whole = client.post("/audits/policies/new/", {**TYPED, "preview": "1"})
        part = client.post("/audits/policies/new/", {**TYPED, "preview": "1"}, headers={"HX-Request": "true"})

    assert sentence in whole.content.decode()
    assert sentence in part.content.decode()
    assert "<form" not in part.content.decode()
    assert {one.name for one in fields(PolicyFormPage)} >= {"form", "forecast", "problem"}
    assert not Policy.objects.exists()


def test_preview__something_is_impossible__says_what(lena: User, client_for: SignIn) -> None:
    make_version()

    answer = client_for(lena).post(
        "/audits/policies/new/",
        {**TYPED, "sizing": "rate", "rate": "9", "preview": "1"},
        headers={"HX-Request": "true"},
    )

    assert answer.status_code == 200
    assert "Give a share from 1 to 5 %." in answer.content.decode()


def test_edit__policy__shows_it_in_percent_and_saves_it_unchanged(lena: User, client_for: SignIn) -> None:
    version = make_version()
    log_predictions(version, 3)
    policy = make_policy(
        version.model,
        title="Weekly audit",
        double_share=0.07,
        gold_share=0.1,
        gold=[{"prediction_id": "p-00001", "label": "survived"}],
        strata=["score_band"],
        score_edges=[0.4, 0.65],
        minimum_per_stratum=1,
        reviewers=[lena],
    )
    before = Policy.objects.filter(pk=policy.pk).values().get()
    client = client_for(lena)

    form = client.get(f"/audits/policies/{policy.pk}/edit/").context["page"].form

    typed = {name: form[name].value() for name in form.fields if form[name].value() not in (None, False)}
    for row in form.rows:
        typed |= {row[part].html_name: row[part].value() or "" for part in row.fields}
    assert (typed["rate"], typed["double_share"], typed["score_edges"]) == (2.0, 7.0, "0.4, 0.65")
    answer = client.post(f"/audits/policies/{policy.pk}/edit/", typed)
    assert answer.status_code == 302
    assert Policy.objects.filter(pk=policy.pk).values().get() == before
    assert not Event.objects.filter(verb="policy.changed").exists()


def test_draw__period__starts_a_run_and_lands_on_it(lena: User, client_for: SignIn) -> None:
    policy = make_policy(make_version().model)

    answer = client_for(lena).post(
        f"/audits/policies/{policy.pk}/draw/", {"first": "2026-11-02", "last": "2026-11-08"}
    )

    run = Run.objects.get()
    assert answer.headers["Location"] == run.get_absolute_url()
    assert (run.created_by, run.period, run.ends_at) == (lena, "", WEEK_ENDS)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({}, "Say the first day."),
        ({"first": "2026-11-09", "last": "2026-11-02"}, "ends before it begins"),
        ({"first": "yesterday", "last": "2026-11-02"}, "Give a date."),
        ({"first": "0001-01-01", "last": "9999-12-31"}, "between 2000 and 2100"),
    ],
)
def test_draw__no_period__says_so(
    typed: dict[str, str], sentence: str, lena: User, client_for: SignIn
) -> None:
    policy = make_policy(make_version().model)

    answer = client_for(lena).post(f"/audits/policies/{policy.pk}/draw/", typed)

    assert answer.status_code == 400
    assert sentence in answer.content.decode()
    assert not Run.objects.exists()


def test_pause__and_go_on__changes_the_schedule(lena: User, client_for: SignIn) -> None:
    policy = make_policy(make_version().model)
    client = client_for(lena)

    client.post(f"/audits/policies/{policy.pk}/pause/", {"active": "0"})
    page = client.get(policy.get_absolute_url()).content.decode()
    client.post(f"/audits/policies/{policy.pk}/pause/", {"active": "1"})

    assert "None while the policy is paused." in page
    policy.refresh_from_db()
    assert policy.active


def test_policy__reader__sees_it_without_the_forms(ana: User, client_for: SignIn) -> None:
    policy = make_policy(make_version().model)
    client = client_for(ana)

    page = client.get(policy.get_absolute_url()).content.decode()

    assert "Every prediction has the same chance." in page
    assert "Draw this period" not in page
    for way in ("edit", "draw", "pause"):
        assert client.post(f"/audits/policies/{policy.pk}/{way}/").status_code == 404
    assert client.get("/audits/policies/0/").status_code == 404
