"""The routes that rankers call: plain views, since a DRF serializer would cost more than all the rest."""

import re
from datetime import UTC, datetime
from typing import TypeVar, cast

import msgspec
from django.http import HttpRequest, HttpResponse
from django.utils.http import parse_etags
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe
from rest_framework.authentication import CSRFCheck

from opsportal.accounts.authentication import authenticate_key
from opsportal.accounts.models import User
from opsportal.client import SCHEMA, Rule, Verdict, decide, explain, rank
from opsportal.core import clock
from opsportal.core.errors import Forbidden, Invalid
from opsportal.core.problems import OtherRefusal
from opsportal.overrides.services import look_up_customer
from opsportal.serving.api.shapes import (
    DecisionAnswer,
    DecisionRequest,
    ExplainAnswer,
    ExplainedRule,
    ExplainRequest,
    HeadAnswer,
    PublishedThreshold,
    RankAnswer,
    RankedItem,
    RankRequest,
    ThresholdsAnswer,
)
from opsportal.serving.decisions import Basis, check_surface, consult, consult_thresholds, store_head

SCOPE, CAPABILITY = "serving:read", "serving.view"
MODELS_MAX, MODEL = 100, re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
Wish = TypeVar("Wish", DecisionRequest, RankRequest, ExplainRequest)

_encode = msgspec.json.Encoder().encode
_decision_request = msgspec.json.Decoder(DecisionRequest)
_rank_request = msgspec.json.Decoder(RankRequest)
_explain_request = msgspec.json.Decoder(ExplainRequest)
_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_FIELD = re.compile(r"field `([^`]*)`")


@csrf_exempt
@require_POST
def decisions(request: HttpRequest) -> HttpResponse:
    """What is blocked and boosted among the candidates, and whether to personalise."""
    _authorise(request)
    wish = _decoded(_decision_request, request)
    basis = consult(wish.product_ids, wish.customer_id)
    decision = decide(
        wish.product_ids,
        surface=wish.surface,
        now=clock.now().timestamp(),
        rules=basis.rules,
        purposes=basis.purposes,
    )
    answer = DecisionAnswer(
        revision=basis.revision,
        as_of=basis.as_of,
        age_seconds=basis.age_seconds,
        personalize=decision.personalize,
        blocked=decision.blocked,
        boosts=decision.boosts,
    )
    return _response(answer, from_database=basis.from_database)


@csrf_exempt
@require_POST
def rank_items(request: HttpRequest) -> HttpResponse:
    """The candidates in final order, without the blocked ones."""
    _authorise(request)
    wish = _decoded(_rank_request, request)
    basis = consult([item.product_id for item in wish.items], wish.customer_id)
    ranking = rank(
        [(item.product_id, item.score) for item in wish.items],
        surface=wish.surface,
        now=clock.now().timestamp(),
        rules=basis.rules,
        purposes=basis.purposes,
        limit=wish.limit,
    )
    answer = RankAnswer(
        revision=basis.revision,
        as_of=basis.as_of,
        age_seconds=basis.age_seconds,
        personalize=ranking.personalize,
        items=[RankedItem(*item) for item in ranking.items],
        blocked=ranking.blocked,
    )
    return _response(answer, from_database=basis.from_database)


@csrf_exempt
@require_POST
def explain_decision(request: HttpRequest) -> HttpResponse:
    """Every rule that touches a product, which one wins on the surface, and why the others do not."""
    _authorise(request)
    wish = _decoded(_explain_request, request)
    basis = consult([wish.product_id], wish.customer_id)
    return _response(explanation(wish, basis), from_database=basis.from_database)


@require_safe
def head(request: HttpRequest) -> HttpResponse:
    """How far the store is. The entity tag stays the same until the store's content changes."""
    _authorise(request)
    held, from_database = store_head()
    etag = f'W/"{held.epoch}-{held.revision}-{held.digest}"'
    known = parse_etags(request.headers.get("If-None-Match", ""))
    if etag in known or "*" in known:
        return HttpResponse(status=304, headers={"ETag": etag})
    answer = HeadAnswer(
        schema=SCHEMA,
        epoch=held.epoch,
        revision=held.revision,
        products=held.products,
        customers=held.customers,
        thresholds=held.thresholds,
        digest=held.digest,
        heartbeat_at=datetime.fromtimestamp(held.heartbeat_at, tz=UTC),
    )
    response = _response(answer, from_database=from_database)
    response["ETag"] = etag
    return response


@require_safe
def thresholds(request: HttpRequest) -> HttpResponse:
    """The published thresholds of the models asked for by `model`, which may be repeated, or of all."""
    _authorise(request)
    models = list(dict.fromkeys(request.GET.getlist("model")))
    if len(models) > MODELS_MAX or not all(MODEL.fullmatch(model) for model in models):
        raise Invalid.at(
            "model", "model", f"Name at most {MODELS_MAX} models, each by its name in addresses."
        )
    basis = consult_thresholds(models)
    answer = ThresholdsAnswer(
        revision=basis.revision,
        as_of=basis.as_of,
        age_seconds=basis.age_seconds,
        thresholds=[
            PublishedThreshold(model, found.version, found.value, datetime.fromtimestamp(found.since, tz=UTC))
            for model, published in sorted(basis.thresholds.items())
            for found in published
        ],
    )
    return _response(answer, from_database=basis.from_database)


def explanation(wish: ExplainRequest, basis: Basis) -> ExplainAnswer:
    """The engine's explanation in the API's words."""
    found = explain(
        basis.rules.get(wish.product_id, ""),
        surface=wish.surface,
        now=clock.now().timestamp(),
        purposes=basis.purposes,
    )
    rules = [_explained(verdict) for verdict in found.verdicts]
    return ExplainAnswer(
        surface=wish.surface,
        product_id=wish.product_id,
        revision=basis.revision,
        as_of=basis.as_of,
        age_seconds=basis.age_seconds,
        personalize=found.personalize,
        blocked=found.blocked,
        boost=found.boost,
        winner=next((rule for rule in rules if rule.wins), None),
        rules=rules,
    )


def _explained(verdict: Verdict) -> ExplainedRule:
    rule: Rule = verdict.rule
    is_block = rule.kind == "b"
    return ExplainedRule(
        kind="block" if is_block else "boost",
        override_id=rule.override_id,
        surface=rule.surface,
        factor=None if is_block else rule.factor,
        starts_at=_moment(rule.starts),
        ends_at=_moment(rule.ends),
        applies=verdict.applies,
        wins=verdict.wins,
        why=verdict.why,
    )


def _moment(epoch_seconds: int) -> datetime | None:
    return datetime.fromtimestamp(epoch_seconds, tz=UTC) if epoch_seconds else None


def _authorise(request: HttpRequest) -> None:
    """A key with the scope, or the session of a person who may look at the store (writes need CSRF)."""
    if "HTTP_AUTHORIZATION" in request.META or not isinstance(request.user, User):
        authenticate_key(request, scope=SCOPE)
        return
    if not request.user.can(CAPABILITY):
        raise Forbidden("Your roles do not allow this.", code="capability")
    check = CSRFCheck(lambda _: HttpResponse())
    check.process_request(request)
    if check.process_view(request, None, (), {}) is not None:  # type: ignore[arg-type]  # no view is exempt here
        raise Forbidden("The CSRF token is missing or wrong.", code="csrf")


def _decoded(decoder: "msgspec.json.Decoder[Wish]", request: HttpRequest) -> Wish:
    """The body in its shape, and its surface known. Raises Invalid with the place.

    A person who names a customer is recorded, and refused without the right to see opt-outs.
    """
    if request.content_type != "application/json":
        raise OtherRefusal(
            "Send the body as application/json.", status=415, code="unsupported_media_type", headers={}
        )
    try:
        wish = decoder.decode(request.body)
    except msgspec.ValidationError as error:
        raise _misshapen(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Invalid("The body is not JSON in UTF-8.", code="json") from None
    if b"\\u0000" in request.body:
        _refuse_nul(wish)
    check_surface(wish.surface)
    if wish.customer_id is not None and "HTTP_AUTHORIZATION" not in request.META:
        # The answer tells a person whether this customer opted out, so the rules of looking up hold.
        look_up_customer(actor=cast(User, request.user), customer_id=wish.customer_id)
    return wish


def _refuse_nul(wish: DecisionRequest | RankRequest | ExplainRequest) -> None:
    """PostgreSQL takes no NUL, so the answer would depend on where it comes from."""
    if isinstance(wish, DecisionRequest):
        texts = [(f"product_ids[{place}]", text) for place, text in enumerate(wish.product_ids)]
    elif isinstance(wish, RankRequest):
        texts = [(f"items[{place}].product_id", item.product_id) for place, item in enumerate(wish.items)]
    else:
        texts = [("product_id", wish.product_id)]
    for path, text in [*texts, ("customer_id", wish.customer_id or "")]:
        if "\0" in text:
            raise Invalid.at(path, "unclean_text", "Text must not contain NUL.")


def _misshapen(message: str) -> Invalid:
    place = _PLACE.search(message)
    sentence = _PLACE.sub("", message)
    path = place[1] if place else ""
    field = _FIELD.search(sentence)
    if field:
        path = f"{path}.{field[1]}" if path else field[1]
    if "unknown field" in sentence:
        return Invalid.at(path, "unknown_field", "There is no such field here.")
    if "missing required field" in sentence:
        return Invalid.at(path, "required", "This field is required.")
    return Invalid.at(path, "invalid", f"{sentence.replace('`', '')}.")


def _response(answer: msgspec.Struct, *, from_database: bool) -> HttpResponse:
    response = HttpResponse(_encode(answer), content_type="application/json")
    if from_database:
        response["X-Served-From"] = "database"
    return response
