"""What our views know about a request."""

from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from django.conf import settings
from django.http import HttpRequest

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
