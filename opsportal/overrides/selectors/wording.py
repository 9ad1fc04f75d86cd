"""What a submission wants, does or did, as a sentence."""

from datetime import datetime

from django.utils import timezone

from opsportal.overrides.models import EVERYWHERE, Action, Kind, State, Submission
from opsportal.predictions.pseudonyms import shown_customer

_NOUNS = {Kind.BLOCK: "block", Kind.BOOST: "boost", Kind.OPT_OUT: "opt-out"}
_DONE = {
    "Block": "Blocked",
    "Boost": "Boosted",
    "Record": "Recorded",
    "Change": "Changed",
    "Withdraw": "Withdrew",
    "Undo": "Undid",
}


def count_of(number: int, noun: str) -> str:
    """A number with its noun: 1 block, 2,000 blocks."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def noun_of(kind: str) -> str:
    """What an override of this kind is called: block, boost, opt-out."""
    return _NOUNS[Kind(kind)]


def shown_target(kind: str, target: str) -> str:
    """A product by its ID, a customer by the first digits of the key: `c·8ac56a`."""
    return shown_customer(target) if kind == Kind.OPT_OUT else target


def items_of(submission: Submission) -> int:
    """How many items take or took effect, as far as the row itself knows."""
    if submission.state == State.APPLIED:
        return submission.revision.keys if submission.revision else 0
    return int(submission.risk.get("items", submission.rows_total))


def command(submission: Submission, items: int) -> str:
    """What a press of the button does: Block 291 products everywhere."""
    where = "everywhere" if submission.surface_id == EVERYWHERE else f"on {submission.surface.name}"
    overrides = count_of(items, noun_of(submission.kind))
    match Action(submission.action), Kind(submission.kind):
        case Action.ADD, Kind.BLOCK:
            return f"Block {count_of(items, 'product')} {where}"
        case Action.ADD, Kind.BOOST:
            return f"Boost {count_of(items, 'product')} ×{submission.factor or 1:g} {where}"
        case Action.ADD, _:
            return f"Record the opt-out of {count_of(items, 'customer')}"
        case Action.EXTEND, _:
            ends = f"to {day_and_time(submission.ends_at)}" if submission.ends_at else "to none"
            return f"Change the end of {overrides} {ends}"
        case Action.WITHDRAW, _:
            return f"Withdraw {overrides}"
        case _:
            # One that was given up makes room for the next undo of the same submission.
            undone = f"#{submission.undoes_id}" if submission.undoes_id else "an earlier submission"
            return f"Undo {undone} for {overrides}"


def title(submission: Submission, items: int) -> str:
    """The sentence above a submission: in the past tense once it has been applied."""
    sentence = command(submission, items)
    if submission.state != State.APPLIED:
        return sentence
    verb, _, rest = sentence.partition(" ")
    return f"{_DONE[verb]} {rest}"


def short_command(submission: Submission, items: int) -> str:
    """What the main button says: Block 291 products, or Ask for approval of 10,000 blocks."""
    if submission.needs_approval:
        return f"Ask for approval of {_approved_thing(submission, items)}"
    if submission.action == Action.ADD and submission.kind != Kind.OPT_OUT:
        return f"{'Block' if submission.kind == Kind.BLOCK else 'Boost'} {count_of(items, 'product')}"
    return command(submission, items)


def approval_command(submission: Submission, items: int) -> str:
    """What the second person's button says: Approve 600 blocks."""
    return f"Approve {_approved_thing(submission, items)}"


def day_and_time(moment: datetime) -> str:
    """Fri 27 Nov 2026, 18:00, in the person's zone, as plain text for sentences."""
    local = timezone.localtime(moment)
    return f"{local:%a} {local.day} {local:%b %Y, %H:%M}"


def _approved_thing(submission: Submission, items: int) -> str:
    overrides = count_of(items, noun_of(submission.kind))
    match Action(submission.action):
        case Action.ADD:
            return overrides
        case Action.EXTEND:
            return f"the new end of {overrides}"
        case Action.WITHDRAW:
            return f"the withdrawal of {overrides}"
        case _:
            return f"the undoing of #{submission.undoes_id}"
