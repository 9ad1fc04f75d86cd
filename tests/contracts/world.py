"""One row of everything that an address may name, and the addresses themselves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver, reverse

from opsportal.accounts import services as accounts
from opsportal.accounts.keyring import keyring
from opsportal.accounts.models import User
from opsportal.accounts.permissions import SCOPES
from opsportal.audits.models import Rule, Threshold
from opsportal.core import clock
from opsportal.events.models import OutboxMessage
from opsportal.explanations.services.stacking import stack_predictions
from opsportal.overrides import services as overrides
from opsportal.overrides.models import Block, Boost, Kind, OptOut, Source
from opsportal.overrides.services import Intent
from opsportal.predictions.selectors import LookUp
from opsportal.serving.services import project
from tests.audits.making import make_items, make_policy, make_run
from tests.audits.resulting import estimate
from tests.explanations.making import make_prediction, make_version

# So many items ask for a second person.
MANY = 3
# Django's own pages behind our guard: one rule for all of them, tested by itself.
SUPPORT_SITE = "admin/"


@dataclass(frozen=True)
class World:
    """Ids of rows that are there; `waiting` is a submission of blocks that waits for a second person,
    `run` is closed and has its figures, `item` waits to be labelled in another."""

    block: int
    boost: int
    opt_out: int
    waiting: int
    key: str
    message: int
    prediction: str
    stack: int
    policy: int
    rule: int
    threshold: int
    run: int
    item: int

    def url(self, name: str) -> str:
        """The address of this name, of a row that is there."""
        number = {
            "overrides-block": self.block,
            "overrides-boost": self.boost,
            "overrides-opt-out": self.opt_out,
            "api-block": self.block,
            "api-boost": self.boost,
            "api-opt-out": self.opt_out,
        }
        arguments: dict[str, Any] = {
            "pk": number.get(name, self.waiting),
            "submission_id": self.waiting,
            "override_id": next((pk for part, pk in number.items() if name.startswith(part)), 0),
            "kind": Kind.BLOCK,
            "key_id": self.key,
            "message_id": self.message,
            "prediction_id": self.prediction,
            "stack_id": self.stack,
            "policy_id": self.policy,
            "rule_id": self.rule,
            "threshold_id": self.threshold,
            "run_id": self.run,
            "item_id": self.item,
            # The model that made it.
            "name": "survival",
            "version": "1",
        }
        route = ROUTES[name]
        return reverse(
            name, kwargs={part: value for part, value in arguments.items() if f":{part}>" in route}
        )


def make_world(author: User) -> World:
    """Write the rows, as `author`, who may do everything; set APPROVAL_MIN_ITEMS to MANY before."""
    keyring.forget()
    wanted: dict[Kind, dict[str, Any]] = {
        Kind.BLOCK: {},
        Kind.BOOST: {"factor": 2.0, "ends_at": clock.this_second() + timedelta(days=7)},
        Kind.OPT_OUT: {"purposes": ["personalisation"], "channel": "phone"},
    }
    for kind, more in wanted.items():
        intent = Intent(kind=kind, reason="Test.", source=Source.API, **more)
        overrides.request_targets(actor=author, intent=intent, texts=["85123A"])
    many = Intent(kind=Kind.BLOCK, reason="Test.", source=Source.API)
    waiting = overrides.request_targets(
        actor=author, intent=many, texts=[f"p{number}" for number in range(MANY)]
    )
    project()
    key, _token = accounts.create_api_key(actor=None, name="old", scopes=list(SCOPES), owner=author)
    moment = clock.now()
    message = OutboxMessage.objects.create(
        task="serving.project", key="1", created_at=moment, due_at=moment, dead_at=moment
    )
    prediction = make_prediction(make_version(), prediction_id="titanic-690", score=0.5)
    stack = stack_predictions(
        actor=author, wanted=LookUp(model="survival"), version=prediction.version, title="model survival"
    )
    rule = Rule.objects.create(
        model=prediction.version.model,
        title="Without a text",
        condition={"field": "text", "is": "missing"},
        label="survived",
        author=author,
        created_at=moment,
    )
    return World(
        block=Block.objects.get().pk,
        boost=Boost.objects.get().pk,
        opt_out=OptOut.objects.get().pk,
        waiting=waiting.pk,
        key=key.pk,
        message=message.pk,
        prediction=prediction.prediction_id,
        stack=stack.pk,
        policy=make_policy(prediction.version.model).pk,
        rule=rule.pk,
        threshold=Threshold.objects.create(
            version=prediction.version,
            run=make_run(state="closed"),
            label="survived",
            goal=Threshold.Goal.PRECISION,
            target=0.9,
            value=0.5,
            state=Threshold.State.WAITING,
            author=author,
            created_at=moment,
        ).pk,
        run=estimate(make_run(state="closed")).pk,
        item=make_items(make_run(), 2)[0].pk,
    )


def _walk(patterns: Sequence[URLPattern | URLResolver], prefix: str = "") -> Iterator[tuple[str, str]]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield str(pattern.name or route), route
        elif route != SUPPORT_SITE:
            yield from _walk(pattern.url_patterns, route)


# Name → route of every address of the portal.
ROUTES = dict(_walk(get_resolver().url_patterns))
API = {name: route for name, route in ROUTES.items() if route.startswith("api/v1/")}
