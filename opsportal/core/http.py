"""What our views know about a request."""

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, TypeVar

from django.conf import settings
from django.http import HttpRequest
from django.urls import Resolver404, resolve

V = TypeVar("V", bound=Callable[..., Any])

if TYPE_CHECKING:
    from django_htmx.middleware import HtmxDetails

    from opsportal.accounts.models import User


class Request(HttpRequest):
    """A request of a signed-in person: views behind `signed_in` or `needs` may rely on `user`."""

    if TYPE_CHECKING:
        user: User
        htmx: HtmxDetails


def is_api(request: HttpRequest) -> bool:
    """True under /api/, where every error is problem+json."""
    return request.path_info.startswith("/api/")


def takes_uploads(limit: Callable[[], int]) -> Callable[[V], V]:
    """Let forms with files of up to limit() bytes through to this view; others stay below CSV_MAX_BYTES.

    What does not fit FILE_UPLOAD_MAX_MEMORY_SIZE goes to a temporary file, so a view that reads customer
    IDs never has this. Stands innermost, or below decorators that use functools.wraps.
    """

    def mark(view: V) -> V:
        view.upload_limit = limit  # type: ignore[attr-defined]  # a function may have attributes
        return view

    return mark


def upload_limit(request: HttpRequest) -> int:
    """How many bytes a form with files may have at this address."""
    # A file within its own limit beside the other fields of its form.
    usual: int = settings.CSV_MAX_BYTES + 1_000_000
    try:
        view = resolve(request.path_info).func
    except Resolver404:
        return usual
    limit: Callable[[], int] | None = getattr(view, "upload_limit", None)
    return usual if limit is None else limit() + 1_000_000


def client_address(request: HttpRequest) -> str:
    """The address of the browser or ranker, as far as our own proxies vouch for it.

    Each of the TRUSTED_PROXIES appends the address it saw to X-Forwarded-For, so the right-most
    ones are ours and everything further left is what the client claims.
    """
    peer = str(request.META.get("REMOTE_ADDR", ""))
    count: int = settings.TRUSTED_PROXIES
    claimed = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")]
    if not count or len(claimed) < count:
        return peer
    return claimed[-count] if _is_address(claimed[-count]) else peer


def address_group(address: str) -> str:
    """The address to count tries under: one household or host may use a whole IPv6 /64."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> 64 << 64)) + "/64"
    return str(parsed)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
