"""Verbs that write people, roles and keys. Sign-in is here too, since every try is counted."""

import secrets
import string
import unicodedata
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.password_validation import validate_password
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.utils.crypto import salted_hmac

from opsportal.accounts.keyring import keyring, token_hash
from opsportal.accounts.models import MAX_KEY_AGE, ApiKey, Role, RoleGrant, SignInWindow, User
from opsportal.accounts.permissions import SCOPES
from opsportal.accounts.selectors import time_zone_names
from opsportal.core.clock import now, this_second
from opsportal.core.errors import Conflict, Forbidden, Invalid, NotFound, Problem, TooManyRequests
from opsportal.core.http import address_group
from opsportal.events.services import record

log = structlog.get_logger(__name__)

WRONG_CREDENTIALS = "The name or the password is wrong."
KEY_ID_ALPHABET = string.ascii_lowercase + string.digits
SECRET_ALPHABET = string.ascii_letters + string.digits
# 43 of 62 characters carry 256 bits.
SECRET_LENGTH = 43
NAME_LENGTH = 80


# -- Signing in -----------------------------------------------------------------------------


def sign_in(*, username: str, password: str, address: str) -> User:
    """The person with this name and password; the caller starts the session. Records the event.

    The try is counted and committed before the password is looked at, so that parallel tries cannot
    pass the limits together; a good sign-in takes its try back. Hashing (about 50 ms) happens outside
    any transaction. Answer and time are the same for unknown, inactive and mistaken people.
    Locks the three windows of the person and the address, in the order of their keys.
    Raises Invalid for wrong credentials, TooManyRequests (with Retry-After) above the limits.
    """
    both, of_user, of_address = _window_keys(username, address_group(address))
    limits = {
        both: settings.SIGN_IN_TRIES_PER_USER_AND_ADDRESS,
        of_user: settings.SIGN_IN_TRIES_PER_USER,
        of_address: settings.SIGN_IN_TRIES_PER_ADDRESS,
    }
    _reserve_try(limits)
    user = authenticate(username=username, password=password)
    if not isinstance(user, User):
        log.warning("sign_in_refused", address=address)
        raise Invalid(WRONG_CREDENTIALS, code="wrong_credentials")
    with transaction.atomic():
        _lock_windows(limits)
        SignInWindow.objects.filter(key=both).update(tries=0)
        SignInWindow.objects.filter(key__in=[of_user, of_address], tries__gt=0).update(tries=F("tries") - 1)
        record(
            actor=user,
            verb="signed_in",
            subject_type="person",
            subject_id=user.pk,
            summary=f"{user.username} signed in",
        )
    return user


def _window_keys(username: str, address: str) -> tuple[str, str, str]:
    # Spellings that a database or a person may take for the same name count as one.
    name = unicodedata.normalize("NFKC", username).casefold()

    def key(kind: str, value: str) -> str:
        return salted_hmac("accounts.sign_in", f"{kind}\n{value}", algorithm="sha256").hexdigest()

    return key("both", f"{name}\n{address}"), key("user", name), key("address", address)


def _reserve_try(limits: Mapping[str, int]) -> None:
    moment = now()
    with transaction.atomic():
        new = [SignInWindow(key=key, started_at=moment) for key in sorted(limits)]
        SignInWindow.objects.bulk_create(new, ignore_conflicts=True)
        windows = _lock_windows(limits)
        for window in windows:
            if moment - window.started_at >= settings.SIGN_IN_WINDOW:
                window.started_at, window.tries = moment, 0
        full = [window for window in windows if window.tries >= limits[window.key]]
        if full:
            raise _too_many(moment, max(window.started_at for window in full))
        for window in windows:
            window.tries += 1
        SignInWindow.objects.bulk_update(windows, ["started_at", "tries"])


def _lock_windows(keys: Collection[str]) -> list[SignInWindow]:
    """In one order everywhere: two sign-ins of one person at once would wait for each other for ever."""
    return list(SignInWindow.objects.select_for_update().filter(key__in=keys).order_by("key"))


def _too_many(moment: datetime, started_at: datetime) -> TooManyRequests:
    wait = max(1, int((started_at + settings.SIGN_IN_WINDOW - moment).total_seconds()) + 1)
    minutes = -(-wait // 60)
    plural = "" if minutes == 1 else "s"
    return TooManyRequests(
        f"There were too many tries. Wait {minutes} minute{plural}, then try again.",
        headers={"Retry-After": str(wait)},
    )


def forget_old_tries_and_sessions() -> int:
    """Delete sign-in windows that are over and sessions that have expired. Returns how many rows went."""
    windows, _ = SignInWindow.objects.filter(started_at__lt=now() - settings.SIGN_IN_WINDOW).delete()
    sessions, _ = Session.objects.filter(expire_date__lt=now()).delete()
    return windows + sessions


# -- People ---------------------------------------------------------------------------------


@transaction.atomic
def create_person(
    *, actor: User | None, username: str, roles: Collection[str] = (), password: str | None = None
) -> User:
    """A new account with these roles; without a password nobody can sign in with it.

    Raises Invalid for a bad or weak input, Conflict if the name is taken.
    """
    _require(actor, "accounts.manage")
    user = User(username=User.normalize_username(username.strip()))
    if password is None:
        user.set_unusable_password()
    else:
        _check_password(password, user)
        user.set_password(password)
    if User.objects.filter(username__iexact=user.username).exists():
        raise Conflict(f"The name {user.username} is taken.", code="name_taken")
    try:
        user.full_clean()
    except ValidationError as exc:
        raise Invalid.at("username", "invalid", " ".join(exc.messages)) from None
    user.save()
    record(
        actor=actor,
        verb="created",
        subject_type="person",
        subject_id=user.pk,
        summary=f"Account of {user.username} created",
        after={"username": user.username},
    )
    for role in roles:
        grant_role(actor=actor, user=user, role=role)
    return user


@transaction.atomic
def change_password(*, actor: User | None, user: User, password: str) -> None:
    """Set the person's password; their sessions end with it. Raises Invalid if it is weak."""
    if actor != user:
        _require(actor, "accounts.manage")
    _check_password(password, user)
    user.set_password(password)
    user.save(update_fields=["password"])
    record(
        actor=actor,
        verb="password_changed",
        subject_type="person",
        subject_id=user.pk,
        summary=f"The password of {user.username} was changed",
    )


@transaction.atomic
def set_active(*, actor: User | None, user: User, active: bool, reason: str = "") -> None:
    """Close or reopen the account: a closed one loses its sessions, keys and rights with the next request.

    Locks the administrators' grants. Raises Conflict if nobody would be administrator any more.
    """
    _require(actor, "accounts.manage")
    if user.is_active == active:
        return
    if not active:
        _keep_an_administrator(without=user)
    user.is_active = active
    user.save(update_fields=["is_active"])
    _roles_changed(user)
    record(
        actor=actor,
        verb="reopened" if active else "closed",
        subject_type="person",
        subject_id=user.pk,
        summary=f"Account of {user.username} {'reopened' if active else 'closed'}",
        reason=reason,
    )


def choose_time_zone(*, actor: User, time_zone: str) -> None:
    """Show times to this person in the zone; empty for the portal's. A preference: no event.

    Raises Invalid for an unknown zone.
    """
    if time_zone and time_zone not in time_zone_names():
        raise Invalid.at("time_zone", "unknown", f"There is no time zone {time_zone[:60]!r}.")
    actor.time_zone = time_zone
    actor.save(update_fields=["time_zone"])


@transaction.atomic
def grant_role(*, actor: User | None, user: User, role: str, reason: str = "") -> RoleGrant:
    """Give the person the role; does nothing if they have it. Raises Invalid for an unknown role."""
    _require(actor, "accounts.manage")
    grant, is_new = RoleGrant.objects.get_or_create(
        user=user, role=_known_role(role), defaults={"granted_by": actor, "at": now()}
    )
    if is_new:
        _roles_changed(user)
        record(
            actor=actor,
            verb="role_granted",
            subject_type="person",
            subject_id=user.pk,
            summary=f"{user.username} is now {grant.get_role_display()}",
            reason=reason,
            after={"role": grant.role},
        )
    return grant


@transaction.atomic
def revoke_role(*, actor: User | None, user: User, role: str, reason: str = "") -> None:
    """Take the role from the person; effective with their next request. Locks the administrators' grants.

    Raises NotFound if they do not have it, Conflict if nobody would be administrator any more.
    """
    _require(actor, "accounts.manage")
    known = _known_role(role)
    grant = RoleGrant.objects.filter(role=known, user=user).first()
    if grant is None:
        raise NotFound(f"{user.username} is not {known.label}.")
    if known == Role.ADMINISTRATOR:
        _keep_an_administrator(without=user)
    grant.delete()
    _roles_changed(user)
    record(
        actor=actor,
        verb="role_revoked",
        subject_type="person",
        subject_id=user.pk,
        summary=f"{user.username} is no longer {known.label}",
        reason=reason,
        before={"role": known.value},
    )


# -- Keys -----------------------------------------------------------------------------------


@transaction.atomic
def create_api_key(
    *,
    actor: User | None,
    name: str,
    scopes: Collection[str],
    owner: User | None = None,
    days: int = 90,
) -> tuple[ApiKey, str]:
    """A new key and its token. The token is shown once and stored nowhere.

    actor None: a command on the server. owner: the account the key acts as, `actor` by default.
    days: 1–400 until it expires. Raises Invalid with one problem per wrong field.
    """
    _require(actor, "keys.manage")
    holder = owner or actor
    name = " ".join(name.split())
    problems = list(_key_problems(name, scopes, holder, days))
    if holder is None or problems:
        raise Invalid("The key cannot be made like this.", errors=problems)
    key_id = "".join(secrets.choice(KEY_ID_ALPHABET) for _ in range(10))
    token = f"opk_{key_id}_" + "".join(secrets.choice(SECRET_ALPHABET) for _ in range(SECRET_LENGTH))
    made_at = this_second()
    key = ApiKey(
        id=key_id,
        name=name,
        owner=holder,
        secret_hash=token_hash(token),
        scopes=[scope for scope in SCOPES if scope in scopes],
        created_at=made_at,
        expires_at=made_at + timedelta(days=days),
    )
    key.save(force_insert=True)
    record(
        actor=actor,
        verb="created",
        subject_type="key",
        subject_id=key.id,
        summary=f"Key {key.name} made for {holder.username}",
        after={"scopes": key.scopes, "expires_at": key.expires_at.isoformat(), "owner": holder.username},
    )
    _keys_changed()
    return key, token


@transaction.atomic
def revoke_api_key(*, actor: User | None, key_id: str, reason: str = "") -> ApiKey:
    """End the key for good: at once in this process, within seconds in the others. Locks the key.

    Revoking twice changes nothing. Raises NotFound.
    """
    _require(actor, "keys.manage")
    key = ApiKey.objects.select_for_update().filter(id=key_id).first()
    if key is None:
        raise NotFound("There is no such key.")
    if key.revoked_at is None:
        key.revoked_at = now()
        key.save(update_fields=["revoked_at"])
        record(
            actor=actor,
            verb="revoked",
            subject_type="key",
            subject_id=key.id,
            summary=f"Key {key.name} revoked",
            reason=reason,
        )
    _keys_changed()
    return key


def service_account(*, name: str) -> User:
    """The account that keys made by commands act as; created without a password when it is missing."""
    user = User.objects.filter(username=name).first()
    return user or create_person(actor=None, username=name)


# -- Shared by the verbs above --------------------------------------------------------------


def _require(actor: User | None, capability: str) -> None:
    if actor is not None and not actor.can(capability):
        raise Forbidden("Your roles do not allow this.", code="capability")


def _keep_an_administrator(*, without: User) -> None:
    # Locked, so that two administrators cannot remove each other at the same moment.
    grants = RoleGrant.objects.select_for_update(of=("self",)).filter(role=Role.ADMINISTRATOR)
    holders = set(grants.filter(user__is_active=True).order_by("pk").values_list("user_id", flat=True))
    if holders == {without.pk}:
        raise Conflict("Somebody must stay administrator.", code="last_administrator")


def _known_role(role: str) -> Role:
    if role not in Role.values:
        known = ", ".join(Role.values)
        raise Invalid.at("role", "unknown", f"There is no role {role[:40]!r}. The roles are {known}.")
    return Role(role)


def _check_password(password: str, user: User) -> None:
    try:
        validate_password(password, user)
    except ValidationError as exc:
        raise Invalid.at("password", "weak", " ".join(exc.messages)) from None


def _key_problems(name: str, scopes: Collection[str], holder: User | None, days: int) -> list[Problem]:
    problems = []
    if not name or len(name) > NAME_LENGTH or not name.isprintable():
        problems.append(Problem("name", "invalid", f"Give the key a name of 1 to {NAME_LENGTH} characters."))
    unknown = sorted(set(scopes) - SCOPES.keys())
    if unknown:
        known = ", ".join(SCOPES)
        message = f"There is no scope {unknown[0][:40]!r}. The scopes are {known}."
        problems.append(Problem("scopes", "unknown", message))
    elif not scopes:
        problems.append(Problem("scopes", "required", "Choose at least one scope."))
    if not 1 <= days <= MAX_KEY_AGE.days:
        message = f"A key lasts from 1 to {MAX_KEY_AGE.days} days."
        problems.append(Problem("days", "range", message))
    if holder is None or not holder.is_active:
        problems.append(Problem("owner", "inactive", "The key needs an active account to act as."))
    return problems


def _roles_changed(user: User) -> None:
    user.__dict__.pop("roles", None)
    _keys_changed()


def _keys_changed() -> None:
    # Now for callers inside this transaction, and again when the others can see what it wrote.
    keyring.forget()
    transaction.on_commit(keyring.forget)
