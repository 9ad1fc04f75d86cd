"""Signing in and out, my account, and the keys of machines."""

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, logout, update_session_auth_hash
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from opsportal.accounts import selectors, services
from opsportal.accounts.access import needs, signed_in
from opsportal.accounts.forms import (
    KeyForm,
    PasswordForm,
    RevokeForm,
    SignInForm,
    TimeZoneForm,
    show_refusal,
)
from opsportal.accounts.middleware import start_session_clock
from opsportal.core.errors import Invalid, TooManyRequests
from opsportal.core.http import Request, client_address
from opsportal.core.pagination import keyset_page

KEYS_PER_PAGE = 50


@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    target = _safe_target(request)
    if request.user.is_authenticated:
        return HttpResponseRedirect(target)
    form = SignInForm(request.POST or None)
    status, headers = 200, {}
    if request.method == "POST" and form.is_valid():
        try:
            user = services.sign_in(address=client_address(request), **form.cleaned_data)
        except (Invalid, TooManyRequests) as error:
            show_refusal(form, error)
            status, headers = error.status, error.headers
        else:
            login(request, user)
            start_session_clock(request)
            return HttpResponseRedirect(target)
    context = {"form": form, "next": target, "ended": "ended" in request.GET}
    response = render(request, "accounts/sign_in.html", context, status=status)
    for name, value in headers.items():
        response[name] = value
    return response


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return redirect("accounts-sign-in")


@require_safe
@signed_in
def account(request: Request) -> HttpResponse:
    return _account_page(request)


@require_POST
@signed_in
def time_zone(request: Request) -> HttpResponse:
    form = TimeZoneForm(request.POST, default_zone=settings.TIME_ZONE)
    if not form.is_valid():
        return _account_page(request, time_zone_form=form)
    services.choose_time_zone(actor=request.user, **form.cleaned_data)
    messages.success(request, "Times are now shown in the zone you chose.")
    return redirect("account")


@sensitive_post_parameters()
@require_POST
@signed_in
def password(request: Request) -> HttpResponse:
    form = PasswordForm(request.POST, user=request.user)
    if form.is_valid():
        try:
            services.change_password(
                actor=request.user, user=request.user, password=form.cleaned_data["password"]
            )
        except Invalid as error:
            show_refusal(form, error)
        else:
            update_session_auth_hash(request, request.user)
            messages.success(request, "Your password is changed; your other sessions have ended.")
            return redirect("account")
    return _account_page(request, password_form=form)


@require_safe
@needs("keys.manage")
def keys(request: Request) -> HttpResponse:
    page = keyset_page(
        selectors.visible_keys(user=request.user),
        order=["-created_at", "id"],
        cursor=request.GET.get("cursor"),
        size=KEYS_PER_PAGE,
    )
    return render(request, "accounts/keys.html", {"page": page})


@require_http_methods(["GET", "HEAD", "POST"])
@needs("keys.manage")
def key_new(request: Request) -> HttpResponse:
    form = KeyForm(request.POST or None, initial={"owner": request.user.pk})
    if request.method == "POST" and form.is_valid():
        try:
            key, token = services.create_api_key(actor=request.user, **form.cleaned_data)
        except Invalid as error:
            show_refusal(form, error)
        else:
            # Shown on this answer only: a redirect would have to keep the token somewhere.
            return render(request, "accounts/key_created.html", {"key": key, "token": token})
    return render(request, "accounts/key_new.html", {"form": form})


@require_http_methods(["GET", "HEAD", "POST"])
@needs("keys.manage")
def key_revoke(request: Request, key_id: str) -> HttpResponse:
    key = get_object_or_404(selectors.visible_keys(user=request.user), id=key_id)
    form = RevokeForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        services.revoke_api_key(actor=request.user, key_id=key.id, **form.cleaned_data)
        messages.success(request, f"The key {key.name} no longer works.")
        return redirect("accounts-keys")
    return render(request, "accounts/key_revoke.html", {"key": key, "form": form})


def _account_page(
    request: Request,
    *,
    time_zone_form: TimeZoneForm | None = None,
    password_form: PasswordForm | None = None,
) -> HttpResponse:
    user = request.user
    initial = {"time_zone": user.time_zone}
    context = {
        "roles": sorted(role.label for role in user.roles),
        "time_zone_form": time_zone_form or TimeZoneForm(initial=initial, default_zone=settings.TIME_ZONE),
        "password_form": password_form or PasswordForm(user=user),
        "keys": selectors.visible_keys(user=user).filter(owner=user)[:KEYS_PER_PAGE],
    }
    return render(request, "accounts/account.html", context)


def _safe_target(request: HttpRequest) -> str:
    """Where to go after signing in: an address of ours that was asked for, else the home page."""
    asked = request.POST.get("next") or request.GET.get("next") or ""
    if asked.startswith("/") and url_has_allowed_host_and_scheme(
        asked, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        return asked
    return resolve_url(settings.LOGIN_REDIRECT_URL)
