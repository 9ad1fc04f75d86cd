"""Who calls the API: a machine with a key, or a person with a session."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from opsportal.accounts.keyring import KeyRecord, keyring
from opsportal.accounts.models import User
from opsportal.accounts.permissions import capabilities_of
from opsportal.core.errors import Forbidden, Unauthenticated

if TYPE_CHECKING:
    # DRF's views import this module through the settings.
    from rest_framework.views import APIView

KEYWORD = "Api-Key"
# The same words for a key that never existed and for one that was revoked.
BAD_KEY = "This key is unknown, expired or revoked."


def authenticate_key(request: HttpRequest, *, scope: str | None = None) -> KeyRecord:
    """The key the request came with, for views without DRF; no query while the key is in memory.

    Raises Unauthenticated without a usable key, and Forbidden if it lacks the scope.
    """
    token = _token(request)
    if token is None:
        raise _unauthenticated(f"Send a key: `Authorization: {KEYWORD} opk_…`.")
    record = keyring.find(token)
    if record is None:
        raise _unauthenticated(BAD_KEY)
    keyring.note_use(record)
    if scope is not None:
        check_scope(record, scope)
    return record


def caller(request: Request) -> User:
    """Who calls: a person, or the owner of a key, limited to what the key may do."""
    user = request.user
    if not isinstance(user, User):  # the permission class has seen to that
        raise TypeError("nobody is signed in")
    return user


def check_scope(record: KeyRecord, scope: str) -> None:
    """Raise Forbidden unless the key has the scope."""
    if scope not in record.scopes:
        raise Forbidden(f"The key {record.id} does not have the scope {scope}.", code="scope")


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Api-Key opk_…`; `request.auth` is the KeyRecord.

    `request.user` is the key's owner, able to do what the scopes say and nothing else.
    """

    def authenticate(self, request: Request) -> tuple[User, KeyRecord] | None:
        token = _token(request)
        if token is None:
            return None
        record = keyring.find(token)
        if record is None:
            raise AuthenticationFailed(BAD_KEY, code="bad_key")
        keyring.note_use(record)
        return record.owner.limited_to(capabilities_of(record.scopes)), record

    def authenticate_header(self, request: Request) -> str:
        return KEYWORD


class SignedInSession(SessionAuthentication):
    """The session of a signed-in person; writes need the CSRF token, as in a form."""


class HasScope(BasePermission):
    """A key needs the view's `required_scope`, a person its `required_capability`.

    A view that names neither is closed to everybody.
    """

    def has_permission(self, request: Request, view: "APIView") -> bool:
        method = "GET" if request.method in {"HEAD", "OPTIONS"} else str(request.method)
        if isinstance(request.auth, KeyRecord):
            if scope := _for_method(getattr(view, "required_scope", None), method):
                check_scope(request.auth, scope)
                return True
            raise Forbidden("A key cannot do this.", code="scope")
        if not isinstance(request.user, User):
            return False
        capability = _for_method(getattr(view, "required_capability", None), method)
        if capability is None or not request.user.can(capability):
            raise Forbidden("Your roles do not allow this.", code="capability")
        return True


def _for_method(required: str | Mapping[str, str] | None, method: str) -> str | None:
    return required.get(method) if isinstance(required, Mapping) else required


def _token(request: HttpRequest | Request) -> str | None:
    """The token of the Authorization header; None for another scheme, which is not ours to judge."""
    keyword, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return token.strip() if keyword.lower() == KEYWORD.lower() else None


def _unauthenticated(message: str) -> Unauthenticated:
    return Unauthenticated(message, code="bad_key", headers={"WWW-Authenticate": KEYWORD})
