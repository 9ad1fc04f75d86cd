"""Who gets through to which address: every route × every role, and every route of the API × every scope."""

from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from opsportal.accounts import services as accounts
from opsportal.accounts.models import User
from opsportal.accounts.permissions import CAPABILITIES, SCOPES, Role
from opsportal.explanations.services import asking
from tests.conftest import make_person
from tests.contracts.world import API, MANY, ROUTES, World, make_world

# Who may do what is decided by our tables; what the views then ask of a database, their own tests see.
pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

PUBLIC, SIGNED_IN = "public", "signed in"


@dataclass(frozen=True)
class Row:
    """`get` and `post`: the capability that lets people through (or PUBLIC, SIGNED_IN); "" where the
    method does not exist. `get_scope` and `post_scope`: the scope that lets keys through; "": none does."""

    get: str = ""
    post: str = ""
    get_scope: str = ""
    post_scope: str = ""


ANY_WRITE = "blocks.write|boosts.write|optouts.write"
READ, WRITE = "overrides:read", "overrides:write"
# A new route belongs in here: the test below fails until it is.
MATRIX = {
    # Pages of no app
    "healthz": Row(get=PUBLIC),
    "readyz": Row(get=PUBLIC),
    "api-schema": Row(get=PUBLIC),
    # home
    "home": Row(get=SIGNED_IN),
    "search": Row(get="overrides.view", post="overrides.view"),
    "activity": Row(get="activity.view"),
    "activity-export": Row(get="activity.view"),
    # accounts
    "accounts-sign-in": Row(get=PUBLIC, post=PUBLIC),
    "accounts-sign-out": Row(post=PUBLIC),
    "account": Row(get=SIGNED_IN),
    "accounts-password": Row(post=SIGNED_IN),
    "accounts-time-zone": Row(post=SIGNED_IN),
    "accounts-keys": Row(get="keys.manage"),
    "accounts-key-new": Row(get="keys.manage", post="keys.manage"),
    "accounts-key-revoke": Row(get="keys.manage", post="keys.manage"),
    # overrides
    "overrides-blocks": Row(get="overrides.view"),
    "overrides-block-new": Row(get="blocks.write", post="blocks.write"),
    "overrides-block": Row(get="overrides.view"),
    "overrides-boosts": Row(get="overrides.view"),
    "overrides-boost-new": Row(get="boosts.write", post="boosts.write"),
    "overrides-boost": Row(get="overrides.view"),
    "overrides-opt-outs": Row(get="optouts.view"),
    "overrides-opt-out-find": Row(post="optouts.view"),
    "overrides-opt-out-new": Row(get="optouts.write", post="optouts.write"),
    "overrides-opt-out": Row(get="optouts.view"),
    "overrides-bulk": Row(post="overrides.view"),
    "overrides-export": Row(get="overrides.view"),
    "overrides-import": Row(get=ANY_WRITE, post=ANY_WRITE),
    "overrides-submissions": Row(get="overrides.view"),
    "overrides-submissions-export": Row(get="overrides.view"),
    "overrides-submission": Row(get="overrides.view"),
    "overrides-submission-apply": Row(post="overrides.view"),
    "overrides-submission-approve": Row(post="overrides.approve"),
    "overrides-submission-cancel": Row(post="overrides.view"),
    "overrides-submission-delivery": Row(get="overrides.view"),
    "overrides-submission-drop": Row(post="overrides.view"),
    "overrides-submission-edit": Row(post="overrides.view"),
    "overrides-submission-progress": Row(get="overrides.view"),
    "overrides-submission-reject": Row(post="overrides.approve"),
    "overrides-submission-retry": Row(post="overrides.view"),
    "overrides-submission-undo": Row(post="overrides.view"),
    # explanations
    "explain": Row(get="predictions.view", post="predictions.view"),
    "explain-prediction": Row(get="predictions.view"),
    "explain-again": Row(post="predictions.write"),
    "explain-copied": Row(post="predictions.view"),
    "explain-progress": Row(get="predictions.view"),
    "explain-second-opinion": Row(get="predictions.view"),
    "explain-alternatives": Row(get="predictions.view"),
    "explain-compare": Row(get="predictions.view"),
    "explain-letter": Row(get="predictions.view", post="predictions.view"),
    "explain-stack": Row(get="predictions.view"),
    "explain-together": Row(post="predictions.view"),
    "explain-what-if": Row(get="predictions.view", post="predictions.view"),
    # models
    "models": Row(get="models.view"),
    "models-new": Row(get="models.write", post="models.write"),
    "models-version": Row(get="models.view"),
    "models-measure": Row(post="models.write"),
    # audits, their runs
    "audits": Row(get="audits.view"),
    "audits-compare": Row(get="audits.view"),
    "audits-corrections": Row(get="predictions.view"),
    "audits-corrections-export": Row(get="audits.export"),
    "audits-refer": Row(get="audits.refer", post="audits.refer"),
    "audits-run": Row(get="audits.view"),
    "audits-run-cancel": Row(post="audits.lead"),
    "audits-run-close": Row(post="audits.lead"),
    "audits-run-export": Row(post="audits.export"),
    "audits-run-export-progress": Row(get="audits.export"),
    "audits-run-figures": Row(get="audits.view"),
    "audits-run-items": Row(get="predictions.view"),
    "audits-run-labels": Row(get="audits.export"),
    "audits-run-people": Row(get="audits.label"),
    "audits-run-progress": Row(get="audits.view"),
    # audits, their policies
    "audits-policies": Row(get="audits.view"),
    "audits-policy": Row(get="audits.view"),
    "audits-policy-new": Row(get="audits.lead", post="audits.lead"),
    "audits-policy-edit": Row(get="audits.lead", post="audits.lead"),
    "audits-policy-draw": Row(post="audits.lead"),
    "audits-policy-pause": Row(post="audits.lead"),
    # audits, their rules
    "audits-rules": Row(get="audits.view"),
    "audits-rule-new": Row(get="audits.lead", post="audits.lead"),
    "audits-rule": Row(get="audits.view"),
    "audits-rule-edit": Row(get="audits.lead", post="audits.lead"),
    "audits-rule-examples": Row(get="predictions.view"),
    "audits-rule-preview": Row(post="audits.lead"),
    "audits-rule-apply": Row(post="audits.lead"),
    "audits-rule-decide": Row(post="audits.approve"),
    "audits-rule-revert": Row(post="audits.lead"),
    "audits-rule-retire": Row(post="audits.lead"),
    # audits, their thresholds and targeted runs
    "audits-target-new": Row(get="audits.lead", post="audits.lead"),
    "audits-thresholds": Row(get="audits.view"),
    "audits-threshold-new": Row(get="audits.lead", post="audits.lead"),
    "audits-threshold": Row(get="audits.view"),
    "audits-threshold-ask": Row(post="audits.lead"),
    "audits-threshold-decide": Row(post="audits.approve"),
    "audits-threshold-delivery": Row(get="audits.view"),
    "audits-threshold-undo": Row(post="audits.lead|audits.approve"),
    # audits, their review
    "audits-review": Row(get="audits.label"),
    "audits-review-next": Row(post="audits.label"),
    "audits-review-answer": Row(post="audits.label"),
    "audits-review-anyway": Row(post="audits.label"),
    "audits-review-skip": Row(post="audits.label"),
    "audits-review-undo": Row(post="audits.label"),
    "audits-review-reveal": Row(post="audits.label"),
    "audits-review-renew": Row(post="audits.label"),
    "audits-review-release": Row(post="audits.label"),
    "audits-adjudicate": Row(get="audits.lead"),
    "audits-adjudicate-next": Row(post="audits.lead"),
    "audits-adjudicate-answer": Row(post="audits.lead"),
    "audits-adjudicate-undo": Row(post="audits.lead"),
    "audits-adjudicate-reveal": Row(post="audits.lead"),
    # serving
    "serving": Row(get="serving.view"),
    "serving-pill": Row(get="serving.view"),
    "serving-rebuild": Row(post="serving.operate"),
    "serving-retry": Row(post="serving.operate"),
    # REST
    "api-blocks": Row("overrides.view", "blocks.write", READ, WRITE),
    "api-block": Row("overrides.view", get_scope=READ),
    "api-block-withdraw": Row(post="blocks.write", post_scope=WRITE),
    "api-block-extend": Row(post="blocks.write", post_scope=WRITE),
    "api-boosts": Row("overrides.view", "boosts.write", READ, WRITE),
    "api-boost": Row("overrides.view", get_scope=READ),
    "api-boost-withdraw": Row(post="boosts.write", post_scope=WRITE),
    "api-boost-extend": Row(post="boosts.write", post_scope=WRITE),
    "api-opt-outs": Row("optouts.view", "optouts.write", READ, WRITE),
    "api-opt-outs-search": Row(post="optouts.view", post_scope=READ),
    "api-opt-out": Row("optouts.view", get_scope=READ),
    "api-opt-out-withdraw": Row(post="optouts.withdraw", post_scope=WRITE),
    "api-submissions": Row("overrides.view", get_scope=READ),
    "api-submission": Row("overrides.view", get_scope=READ),
    "api-submission-items": Row("overrides.view", get_scope=READ),
    "api-approve": Row(post="overrides.approve"),
    "api-reject": Row(post="overrides.approve"),
    "api-undo": Row(post="overrides.view"),
    "api-predictions": Row(post="predictions.write", post_scope="predictions:write"),
    "api-predictions-search": Row(post="predictions.view", post_scope="predictions:read"),
    "api-prediction": Row("predictions.view", get_scope="predictions:read"),
    "api-prediction-explanation": Row("predictions.view", get_scope="predictions:read"),
    "api-audit-next": Row(post="audits.label", post_scope="audits:write"),
    "api-audit-label": Row(post="audits.label", post_scope="audits:write"),
    "api-audit-run": Row("audits.view", get_scope="audits:read"),
    "api-audit-labels": Row("audits.export", get_scope="audits:read"),
    "api-decisions": Row(post="serving.view", post_scope="serving:read"),
    "api-decisions-explain": Row(post="serving.view", post_scope="serving:read"),
    "api-rank": Row(post="serving.view", post_scope="serving:read"),
    "api-serving-head": Row("serving.view", get_scope="serving:read"),
    "api-serving-thresholds": Row("serving.view", get_scope="serving:read"),
}


@pytest.fixture
def world(settings: Settings, root: User, monkeypatch: pytest.MonkeyPatch) -> World:
    """One row of everything; nobody waits for a worker."""
    monkeypatch.setattr(asking, "wait_for", lambda explanation, **_: explanation)
    settings.APPROVAL_MIN_ITEMS = MANY
    return make_world(root)


def test_matrix__every_route__has_a_row() -> None:
    assert set(ROUTES) - set(MATRIX) == set(), "name who may use these routes"
    assert set(MATRIX) - set(ROUTES) == set(), "these routes are gone"


@pytest.mark.parametrize("name", ROUTES)
def test_people__every_role__get_through_or_not(name: str, world: World) -> None:
    row = MATRIX[name]
    people = {role: make_person(f"p-{role}", role) for role in Role}
    url = world.url(name)

    for method, need in (("get", row.get), ("post", row.post)):
        if not need:
            continue
        assert _gets_through(name, Client(), method, url) is (need == PUBLIC), f"nobody {method}"
        nobody = make_person(f"nobody-{method}")
        assert _gets_through(name, _browser(nobody), method, url) is (need in {PUBLIC, SIGNED_IN})
        for role, person in people.items():
            allowed = need in {PUBLIC, SIGNED_IN} or any(
                role in CAPABILITIES[capability] for capability in need.split("|")
            )
            assert _gets_through(name, _browser(person), method, url) is allowed, f"{role} {method}"


def test_methods__those_not_in_the_matrix__are_refused(world: World) -> None:
    browser = _browser(make_person("everybody", *Role))

    for name, row in MATRIX.items():
        missing = [method for method, need in (("get", row.get), ("post", row.post)) if not need]
        for method in [*missing, "put", "patch", "delete"]:
            assert getattr(browser, method)(world.url(name)).status_code == 405, f"{method} {name}"


@pytest.mark.parametrize("scope", SCOPES)
def test_keys__every_scope__get_through_or_not(scope: str, world: World) -> None:
    machine = accounts.service_account(name="machine")
    _key, token = accounts.create_api_key(actor=None, name="test", scopes=[scope], owner=machine)
    client = Client(headers={"Authorization": f"Api-Key {token}"})

    for name in API:
        row = MATRIX[name]
        for method, exists, needed in (
            ("get", row.get, row.get_scope),
            ("post", row.post, row.post_scope),
        ):
            if exists:
                response = _ask(client, method, world.url(name))
                refused = response.status_code == 403 and response.json()["code"] == "scope"
                assert refused is (needed != scope), f"{method} {name}: {response.content!r}"


@pytest.mark.parametrize("path", ["/admin/", "/admin/accounts/user/", "/admin/overrides/submission/"])
def test_support_site__only_administrators(path: str, root: User, lena: User, mallory: User) -> None:
    assert Client().get(path).status_code == 302
    for person in (lena, mallory):
        assert _browser(person).get(path).status_code == 404
    assert _browser(root).get(path).status_code == 200


def _browser(person: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(person)
    return client


def _ask(client: Client, method: str, url: str) -> Any:
    if method == "get":
        return client.get(url)
    if url.startswith("/api/"):
        return client.post(url, {}, content_type="application/json")
    return client.post(url)


def _gets_through(name: str, client: Client, method: str, url: str) -> bool:
    """Whether the view itself answered; an empty form may be refused, but only by it."""
    response = _ask(client, method, url)
    assert response.status_code < 500, f"{method} {url}: {response.status_code}"
    assert response.status_code != 405, f"{method} {url} does not exist"
    if name in API:
        if response.status_code == 403:
            return bool(response.json()["code"] != "capability")
        return bool(response.status_code != 401)
    if name == "accounts-sign-out":
        return True
    to_sign_in = response.status_code == 302 and response.headers["Location"].startswith("/account/sign-in/")
    return not to_sign_in and response.status_code != 404
