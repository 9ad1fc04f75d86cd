"""Refusals with a code and a sentence: services raise them, screens and the API show them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the input.

    path: where, as the API writes it (`product_ids[3]`); empty for the input as a whole.
    code: a stable word for machines. message: a sentence for people.
    """

    path: str
    code: str
    message: str


class PortalError(Exception):
    """A refusal. `errors` says what to change, one Problem per place; `headers` go with the answer."""

    status: ClassVar[int] = 500
    code: str = "error"
    title: ClassVar[str] = "Something went wrong"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        errors: Sequence[Problem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.errors = list(errors)
        self.headers = dict(headers or {})

    @classmethod
    def at(cls, path: str, code: str, message: str) -> Self:
        """A refusal with exactly one problem."""
        return cls(message, code=code, errors=[Problem(path, code, message)])


class Invalid(PortalError):
    """The input breaks a rule; the same input will always be refused."""

    status = 400
    code = "invalid"
    title = "The input is not valid"


class Unauthenticated(PortalError):
    """Nobody is signed in, or the key is unknown, expired or revoked."""

    status = 401
    code = "not_authenticated"
    title = "Sign in first"


class Forbidden(PortalError):
    """We know who asks, and they may not."""

    status = 403
    code = "forbidden"
    title = "Not allowed"


class NotFound(PortalError):
    """There is no such thing, or the person may not know that there is."""

    status = 404
    code = "not_found"
    title = "Not found"


class Conflict(PortalError):
    """Somebody else was faster, or the thing is no longer in a state that allows this."""

    status = 409
    code = "conflict"
    title = "The state has changed"


class TooLarge(PortalError):
    """More bytes, fields or items than one request may carry."""

    status = 413
    code = "too_large"
    title = "The request is too large"


class TooManyRequests(PortalError):
    """Too often. `Retry-After` says when to come back."""

    status = 429
    code = "too_many_requests"
    title = "Too many tries"


class Unavailable(PortalError):
    """Something we depend on does not answer. Nothing was saved; trying again later may help."""

    status = 503
    code = "unavailable"
    title = "Not available right now"
