"""Policies, runs and items to test audits with."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

from opsportal.accounts.models import User
from opsportal.audits.models import Item, Policy, Run, Stratum, Stream
from opsportal.audits.services.filling import NewItem, fill
from opsportal.audits.services.runs import plan_of
from opsportal.predictions.models import Model, ModelVersion
from opsportal.predictions.pseudonyms import customer_key
from tests.explanations.making import NOON

LABELS: list[dict[str, Any]] = [
    {"value": "survived", "title": "Survived", "key": "1", "guideline": "Rescued by any boat."},
    {"value": "did not survive", "title": "Did not survive", "key": "2", "guideline": ""},
]
WEEK_BEGINS = datetime(2026, 11, 2, tzinfo=UTC)
WEEK_ENDS = datetime(2026, 11, 9, tzinfo=UTC)
SEED = "00112233445566778899aabbccddeeff"
_number = count(1)


def make_model(name: str = "survival") -> Model:
    """The model of that name, made where missing; tests.explanations.making.make_version adds versions."""
    return Model.objects.get_or_create(
        name=name, defaults={"title": f"{name.capitalize()} model", "created_at": NOON}
    )[0]


def make_person(name: str) -> User:
    """A person without roles, made where missing: somebody must have written a policy."""
    return User.objects.get_or_create(username=name, defaults={"first_name": name.capitalize()})[0]


def make_policy(
    model: Model | None = None, *, reviewers: Sequence[User] = (), created_by: User | None = None, **more: Any
) -> Policy:
    """A standing order for a share of 2 % a week of the Titanic's model in one stratum; `more` are fields."""
    number = next(_number)
    given: dict[str, Any] = {
        "title": f"Policy {number}",
        "name": f"policy-{number}",
        "sizing": "rate",
        "rate": 0.02,
        "labels": LABELS,
        "double_share": 0.0,
        "created_at": NOON,
    }
    policy = Policy.objects.create(
        **{**given, **more},
        model=model or make_model(),
        created_by=created_by or make_person("author"),
    )
    policy.reviewers.set(reviewers)
    return policy


def make_run(
    policy: Policy | None = None,
    *,
    state: str = Run.State.OPEN,
    reviewers: Sequence[User] = (),
    **more: Any,
) -> Run:
    """A run of the policy over the first week of November 2026, with no items yet; `more` are fields."""
    policy = policy or make_policy()
    given: dict[str, Any] = {
        "kind": Run.Kind.AUDIT,
        "title": f"{policy.title}, a run",
        "starts_at": WEEK_BEGINS,
        "ends_at": WEEK_ENDS,
        "seed": SEED,
        "plan": plan_of(policy),
        "labels": policy.labels,
        "guidelines": policy.guidelines,
        "blind": policy.blind,
        "sensitive": policy.sensitive,
        "second_look_at_errors": policy.second_look_at_errors,
        "created_at": NOON,
        "drawn_at": None if state == Run.State.DRAWING else NOON,
        "closed_at": NOON if state == Run.State.CLOSED else None,
    }
    run = Run.objects.create(**{**given, **more}, policy=policy, model=policy.model, state=state)
    run.reviewers.set(reviewers or policy.reviewers.all())
    return run


def make_stratum(run: Run, *, frame: int, drawn: int, **more: Any) -> Stratum:
    """The run's next stratum; the frame of the run grows with it."""
    number = Stratum.objects.filter(run=run).count() + 1
    given: dict[str, Any] = {"number": number, "title": "All predictions", "planned": drawn}
    stratum = Stratum.objects.create(**{**given, **more}, run=run, frame=frame, drawn=drawn)
    run.frame += frame
    run.save(update_fields=["frame"])
    return stratum


def make_items(
    run: Run,
    n: int,
    *,
    stratum: Stratum | None = None,
    frame: int = 0,
    stream: Stream = Stream.SAMPLE,
    version: ModelVersion | None = None,
    predicted: str | Sequence[str] = "survived",
    score: float | Sequence[float] = 0.9,
    reviews: int = 1,
    customer_id: str = "",
    **more: Any,
) -> list[Item]:
    """Put `n` items into the run through the real filling; those that are new, in their order.

    A sample gets a stratum of `frame` predictions (10 × n unless said) where none is given, and the
    probability that follows. predicted, score: one for all, or one each. more: further fields of NewItem.
    """
    probability = None
    if stream == Stream.SAMPLE:
        stratum = stratum or make_stratum(run, frame=frame or 10 * n, drawn=n)
        probability = stratum.drawn / stratum.frame
    ids = [f"item-{next(_number)}" for _ in range(n)]
    fill(
        run,
        (
            NewItem(
                prediction_id=prediction_id,
                version_id=version.pk if version else None,
                predicted_at=NOON,
                score=score if isinstance(score, float | int) else score[place],
                predicted=predicted if isinstance(predicted, str) else predicted[place],
                customer_key=customer_key(customer_id) if customer_id else "",
                stream=stream,
                stratum=stratum,
                inclusion_probability=probability,
                reviews=reviews,
                **more,
            )
            for place, prediction_id in enumerate(ids)
        ),
    )
    run.refresh_from_db()
    return list(Item.objects.filter(run=run, prediction_id__in=ids).order_by("pk"))
