"""The pages of rules, through the front door."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from opsportal.accounts.models import User
from opsportal.accounts.permissions import Role
from opsportal.audits.models import Application, Rule, Search, Suggestion
from opsportal.audits.services import applying
from opsportal.events.models import Event
from opsportal.predictions.models import ModelVersion
from tests.audits.ruling import (
    NOT_GOOD,
    label_sample,
    log_reviews,
    make_reviews,
    make_rule,
    previewed,
    sample_of,
)
from tests.conftest import make_person
from tests.explanations.making import NOON

pytestmark = pytest.mark.django_db
ClientFor = Callable[[User], Client]
EVIDENCE: dict[str, Any] = {
    "discovery": {},
    "held_out": {"matches": 12, "errors": 9, "rate": 0.75, "low": 0.47, "high": 0.91, "rate_outside": 0.05},
    "p_adjusted": 0.0004,
    "tested": 7,
}


@pytest.fixture
def version() -> ModelVersion:
    return make_reviews()


@pytest.fixture
def lara(db: None) -> User:
    """An audit lead."""
    return make_person("lara", Role.AUDIT_LEAD)


@pytest.fixture
def vera(db: None) -> User:
    """A viewer: aggregates only."""
    return make_person("vera", Role.VIEWER)


@pytest.fixture
def proven(version: ModelVersion, lara: User) -> Rule:
    log_reviews(version, 10, text="this is not good")
    sample_of(version, (30, "so not good", "positive", "negative"), (30, "good", "positive", "positive"))
    return previewed(make_rule(lara, version.model))


def typed(**more: Any) -> dict[str, Any]:
    given = {
        "title": "Not good",
        "label": "negative",
        "bar": "90",
        "rows": "3",
        "field_0": "text",
        "is_0": "contains",
        "value_0": "not good",
    }
    return given | more


def page_of(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


# -- Writing ----------------------------------------------------------------------------------


def test_new__rows_with_and_and_or__become_a_tree(
    version: ModelVersion, lara: User, client_for: ClientFor
) -> None:
    given = typed(
        join_1="and",
        field_1="score",
        is_1="between",
        value_1="0.2 to 0.6",
        join_2="or",
        field_2="feature:shop",
        is_2="one_of",
        value_2="app | web",
    )

    response = client_for(lara).post(reverse("audits-rule-new"), given)

    rule = Rule.objects.get()
    assert response.headers["Location"] == rule.get_absolute_url()
    assert rule.condition == {
        "any": [
            {"all": [NOT_GOOD, {"field": "score", "is": "between", "value": [0.2, 0.6]}]},
            {"field": "feature:shop", "is": "one_of", "value": ["app", "web"]},
        ]
    }
    assert rule.bar == 0.9


def test_new__add_a_row__keeps_what_was_typed(
    version: ModelVersion, lara: User, client_for: ClientFor
) -> None:
    response = client_for(lara).post(reverse("audits-rule-new"), typed(title="", add="1"))

    content = response.content.decode()
    assert response.status_code == 200
    assert 'name="field_3"' in content
    assert 'value="not good"' in content
    assert "Give it a title" not in content
    assert Rule.objects.count() == 0


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"is_0": "matches", "value_0": "(a"}, "A “(” in this pattern is never closed."),
        ({"is_0": "above"}, "The text can be asked: contains the words"),
        ({"field_0": "score", "is_0": "above", "value_0": "much"}, "This must be a number."),
        ({"field_0": "", "value_0": ""}, "Give at least one comparison."),
        ({"field_0": ""}, "Choose what this value is compared with."),
        ({"field_0": "feature:nope"}, "Choose one of the list."),
        ({"label": "mixed"}, "Choose one of the list."),
        ({"bar": "20"}, "greater than or equal to 50"),
        ({"bar": "nan"}, "Give a number, such as 90."),
        ({"rows": "99999999999999999999", "title": ""}, "Give it a title."),
    ],
)
def test_new__something_wrong__says_so_beside_it(
    version: ModelVersion, lara: User, client_for: ClientFor, wrong: dict[str, str], sentence: str
) -> None:
    response = client_for(lara).post(reverse("audits-rule-new"), typed(**wrong))

    assert response.status_code == 400
    assert sentence in response.content.decode()
    assert Rule.objects.count() == 0


def test_new__from_a_suggestion__is_filled_in_and_remembers_it(
    version: ModelVersion, lara: User, client_for: ClientFor
) -> None:
    run = sample_of(version, (1, "not good", "positive", "negative"))
    decided = {"field": "predicted", "is": "equals", "value": "positive"}
    suggestion = Suggestion.objects.create(
        run=run,
        condition={"all": [decided, NOT_GOOD]},
        words="the model’s decision is “positive” and the text contains the words “not good”",
        label="negative",
        evidence=EVIDENCE,
        made_at=NOON,
    )
    url = f"{reverse('audits-rule-new')}?suggestion={suggestion.pk}"
    client = client_for(lara)

    content = page_of(client, url)
    client.post(url, typed(field_1="predicted", is_1="equals", value_1="positive"))

    assert 'value="The text contains the words “not good”"' in content
    assert Rule.objects.get().suggestion == suggestion
    for nonsense in ("0", "x", "9" * 30):
        assert client.get(f"{reverse('audits-rule-new')}?suggestion={nonsense}").status_code == 404


def test_edit__shows_the_rule_and_changes_it(proven: Rule, lara: User, client_for: ClientFor) -> None:
    client = client_for(lara)
    url = reverse("audits-rule-edit", args=[proven.pk])

    content = page_of(client, url)
    late = client.post(url, typed(version="7", bar="80"))
    response = client.post(url, typed(version="1", bar="80"))

    proven.refresh_from_db()
    assert 'value="not good"' in content
    assert late.status_code == 409
    assert response.status_code == 302
    assert (proven.version, proven.bar) == (2, 0.8)


# -- The list ---------------------------------------------------------------------------------


def test_list__patterns_and_rules__with_their_numbers(
    version: ModelVersion, proven: Rule, vera: User, lara: User, client_for: ClientFor
) -> None:
    run = sample_of(version, (1, "x", "positive", "negative"))
    Search.objects.create(
        run=run, labelled=100, errors=20, kept=1, tested=7, sentence="Sought and found.", made_at=NOON
    )
    Suggestion.objects.create(
        run=run,
        condition=NOT_GOOD,
        words="the text is bad",
        label="negative",
        evidence=EVIDENCE,
        made_at=NOON,
    )

    seen, led = (page_of(client_for(person), reverse("audits-rules")) for person in (vera, lara))

    assert "9 of 12 wrong on the held-out half, 5\u00a0% elsewhere" in seen
    assert "0.0004" in seen
    assert "Sought and found." in seen
    assert "the text contains the words “not good”" in seen
    assert "Make a rule" in led
    assert "Make a rule" not in seen
    assert "Proven" in seen


def test_list__one_run__only_its_patterns(version: ModelVersion, vera: User, client_for: ClientFor) -> None:
    run = sample_of(version, (1, "x", "positive", "negative"))

    content = page_of(client_for(vera), f"{reverse('audits-rules')}?run={run.pk}")

    assert "A worker is looking for what its errors have in common." in content
    assert page_of(client_for(vera), f"{reverse('audits-rules')}?run=x")


# -- One rule ---------------------------------------------------------------------------------


def test_rule__proven__tells_how_sure_and_hides_what_one_may_not_see(
    proven: Rule, vera: User, client_for: ClientFor
) -> None:
    content = page_of(client_for(vera), proven.get_absolute_url())

    assert "<strong>30 of 30</strong>" in content
    assert "<strong>at least 90.4\u00a0%</strong>" in content
    assert "Show examples" not in content
    assert "Apply the rule" not in content
    assert "this is not good" not in content
    assert client_for(vera).get(reverse("audits-rule-examples", args=[proven.pk])).status_code == 404


def test_rule__under_way__asks_again_by_itself(
    version: ModelVersion, lara: User, client_for: ClientFor
) -> None:
    rule = make_rule(lara, version.model)
    client = client_for(lara)

    asks = f'hx-get="{rule.get_absolute_url()}"'
    assert asks in page_of(client, rule.get_absolute_url())
    previewed(rule)
    content = page_of(client, rule.get_absolute_url())
    assert asks not in content
    assert "This rule would change nothing." in content


def test_examples__shown__and_the_look_is_recorded(proven: Rule, lara: User, client_for: ClientFor) -> None:
    content = page_of(client_for(lara), reverse("audits-rule-examples", args=[proven.pk]))

    assert content.count("so not good") == 20
    assert content.count("this is not good") == 10
    event = Event.objects.get(verb="prediction.looked_up")
    assert event.summary == "Looked at examples of the rule “Not good”"
    assert event.after is not None
    assert len(event.after["predictions"]) == 10


def test_life__applied_accepted_reverted__by_clicks(proven: Rule, lara: User, client_for: ClientFor) -> None:
    client = client_for(lara)
    apply_url = reverse("audits-rule-apply", args=[proven.pk])
    assert client.post(apply_url, {"apply-version": "1", "apply-reason": ""}).status_code == 400

    client.post(apply_url, {"apply-version": "1", "apply-reason": "Sarcasm."})
    application = Application.objects.get()
    assert "Relabelling" in page_of(client, proven.get_absolute_url())
    applying.apply(application.pk)
    assert "0 of 8 labelled" in page_of(client, proven.get_absolute_url())
    application.refresh_from_db()
    applying.settle_acceptance(label_sample(application, right=8))
    assert "8 of 8 corrections they could judge" in page_of(client, proven.get_absolute_url())
    # What is applied is not changed.
    assert (
        client.post(reverse("audits-rule-edit", args=[proven.pk]), typed(version="1", bar="80")).status_code
        == 409
    )

    client.post(
        reverse("audits-rule-revert", args=[proven.pk]),
        {"revert-application": str(application.pk), "revert-reason": "A mistake."},
    )
    applying.revert(application.pk)
    content = page_of(client, proven.get_absolute_url())
    assert "Taken back: A mistake." in content
    assert "Apply the rule" in content


def test_decide__second_person__approves_or_rejects_but_never_the_author(
    proven: Rule, lara: User, client_for: ClientFor, settings: Any
) -> None:
    settings.AUDIT_RULE_APPROVAL_MIN = 1
    both = make_person("both", Role.AUDIT_LEAD, Role.APPROVER)
    anton = make_person("anton", Role.APPROVER)
    application = applying.apply_rule(actor=both, rule=proven, version=1, reason="Sarcasm.")
    url = reverse("audits-rule-decide", args=[proven.pk])
    given = {"decide-application": str(application.pk), "decide-comment": ""}

    assert "second person has to approve" in page_of(client_for(both), proven.get_absolute_url())
    assert client_for(both).post(url, given).status_code == 403
    assert client_for(lara).post(url, given).status_code == 404
    assert client_for(anton).post(url, {**given, "reject": "1"}).status_code == 400
    assert client_for(anton).post(url, {**given, "decide-application": "999"}).status_code == 404
    assert client_for(anton).post(url, {**given, "approve": "1"}).status_code == 302

    application.refresh_from_db()
    assert (application.state, application.decided_by) == ("applying", anton)
    assert client_for(anton).post(url, given).status_code == 409
