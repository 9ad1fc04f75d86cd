"""Tags and filters of every template: icons, badges, IDs, times, durations and numbers as read by people."""

import math
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from django import template
from django.http import HttpRequest, QueryDict
from django.template.context import Context, RequestContext
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from opsportal.core import clock

register = template.Library()

NOTHING: Final = "–"
SPACE: Final = "\u00a0"  # A number never parts from its unit at the end of a line.

# What a person may choose for herself, by cookie: the attribute on <html>, and the words it may hold.
PREFERENCES: Final = {
    "theme": frozenset({"light", "dark"}),
    "density": frozenset({"compact"}),
    "rail": frozenset({"narrow"}),
    "keys": frozenset({"off"}),
}

BADGE_ICONS: Final = {
    "block": "block",
    "boost": "boost",
    "privacy": "privacy",
    "opt_out": "privacy",
    "waiting": "waiting",
    "model": "model",
    "neutral": "neutral",
    "live": "live",
    "scheduled": "scheduled",
    "publishing": "publishing",
    "ended": "ended",
    "failed": "failed",
}
BADGE_LOOKS: Final = {"opt_out": "privacy"}


# -- Shapes -----------------------------------------------------------------------------------


@register.simple_tag
def icon(name: str, label: str = "") -> SafeString:
    """An icon of static/img/icons.svg; hidden from screen readers unless `label` gives it a meaning."""
    href = f"{static('img/icons.svg')}#{name}"
    if label:
        return format_html(
            '<svg class="icon" role="img" aria-label="{}"><use href="{}"></use></svg>', label, href
        )
    return format_html('<svg class="icon" aria-hidden="true"><use href="{}"></use></svg>', href)


@register.simple_tag
def badge(kind: str, text: object) -> SafeString:
    """A state or meaning as colour, icon and word. An unknown kind looks neutral rather than failing."""
    kind = str(kind)
    look = BADGE_LOOKS.get(kind, kind) if kind in BADGE_ICONS else "neutral"
    return format_html(
        '<span class="badge badge--{}">{}{}</span>', look, icon(BADGE_ICONS.get(kind, "neutral")), text
    )


@register.simple_tag
def id_chip(value: object) -> SafeString:
    """An ID in fixed-width type with a button that copies it; the button needs scripts."""
    return format_html(
        '<span class="id-chip"><code class="id-chip__text" title="{0}">{0}</code>'
        '<button type="button" class="id-chip__copy" data-copy="{0}" data-needs-js aria-label="Copy {0}">'
        "{1}</button></span>",
        value,
        icon("copy"),
    )


@register.simple_tag
def sparkline(values: Iterable[float], label: str = "") -> SafeString:
    """A small line through `values`, oldest first; empty below two values. `label` says it in words."""
    heights = [float(value) for value in values]
    if len(heights) < 2:
        return SafeString()
    low, high = min(heights), max(heights)
    spread = (high - low) or 1.0
    points = [
        (96 * place / (len(heights) - 1), 26 - 24 * (height - low) / spread if high > low else 14.0)
        for place, height in enumerate(heights)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    end_x, end_y = points[-1]
    return format_html(
        '<svg class="sparkline" viewBox="0 0 96 28" role="img" aria-label="{}">'
        '<polygon class="sparkline__area" points="0,28 {} 96,28"></polygon><polyline points="{}"></polyline>'
        '<circle class="sparkline__end" cx="{}" cy="{}" r="2.5"></circle></svg>',
        label or "Trend",
        line,
        line,
        f"{end_x:.1f}",
        f"{end_y:.1f}",
    )


# -- Times ------------------------------------------------------------------------------------


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if timezone.is_naive(moment) else moment


def _time_element(moment: datetime, words: str) -> SafeString:
    """The words, with the machine's time and, on hover, the UTC."""
    utc = moment.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        f"{utc:%a} {utc.day} {utc:%b %Y, %H:%M:%S} UTC",
        words,
    )


def _day(day: date) -> str:
    this_year = timezone.localtime(clock.now()).year
    return f"{day:%a} {day.day} {day:%b}" + ("" if day.year == this_year else f" {day.year}")


@register.filter
def when(moment: date | datetime | None) -> SafeString:
    """The time in the person's zone: Fri 27 Nov, 18:00; the year only if it is another. A dash for None."""
    if not moment:
        return SafeString(NOTHING)
    if not isinstance(moment, datetime):
        return format_html('<time datetime="{}">{}</time>', moment.isoformat(), _day(moment))
    local = timezone.localtime(_aware(moment))
    return _time_element(local, f"{_day(local)}, {local:%H:%M}")


@register.filter
def ago(moment: datetime | None) -> SafeString:
    """The distance from now: just now, 3 min ago, in 3 days. A dash for None."""
    if not moment:
        return SafeString(NOTHING)
    moment = _aware(moment)
    distance = moment - clock.now()
    if abs(distance) < timedelta(seconds=5):
        words = "just now"
    elif distance < timedelta():
        words = f"{_rough(-distance)} ago"
    else:
        words = f"in {_rough(distance)}"
    return _time_element(moment, words)


def _rough(span: timedelta) -> str:
    """One unit, the largest that fits, rounded: 45 s, 3 min, 5 h, 3 days."""
    seconds = span.total_seconds()
    if seconds < 59.5:
        return f"{seconds:.0f}{SPACE}s"
    if seconds < 3570:
        return f"{seconds / 60:.0f}{SPACE}min"
    if seconds < 84_600:
        return f"{seconds / 3600:.0f}{SPACE}h"
    days = round(seconds / 86_400)
    return f"{days}{SPACE}day" + ("" if days == 1 else "s")


@register.filter
def duration(span: timedelta | float | None) -> str:
    """A length of time in words: 40 ms, 0.4 s, 3 min, 5 h, 3 days. Plain numbers are seconds."""
    if span is None:
        return NOTHING
    span = span if isinstance(span, timedelta) else timedelta(seconds=span)
    seconds = abs(span.total_seconds())
    if 0 < seconds < 0.0995:
        return f"{max(1, round(seconds * 1000))}{SPACE}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}{SPACE}s"
    return _rough(abs(span))


# -- Numbers ----------------------------------------------------------------------------------


@register.filter
def count(number: float | None) -> str:
    """A number with its thousands apart: 10,000. A dash for None."""
    return NOTHING if number is None else f"{number:,}"


@register.filter
def percent(share: float | None) -> str:
    """A share of one as per cent: 0.031 is 3.1 %, 0.96 is 96 %, and very little is never shown as none."""
    if share is None or not math.isfinite(share):
        return NOTHING
    value = float(share) * 100
    if 0 < value < 0.1:
        return f"<{SPACE}0.1{SPACE}%"
    digits = 1 if 0 < abs(value) < 9.95 else 0
    text = f"{value:.{digits}f}"
    return f"{text.removesuffix('.0')}{SPACE}%"


# -- Pages ------------------------------------------------------------------------------------


def _request(context: Context) -> HttpRequest | None:
    return (
        getattr(context, "request", None) if isinstance(context, RequestContext) else context.get("request")
    )


@register.simple_tag(takes_context=True)
def preferences(context: Context) -> SafeString:
    """The person's theme, density, rail and keys as attributes for <html>; other words are ignored."""
    request = _request(context)
    cookies = request.COOKIES if request else {}
    return format_html_join(
        "",
        ' data-{}="{}"',
        ((name, cookies[name]) for name, words in PREFERENCES.items() if cookies.get(name) in words),
    )


@register.inclusion_tag("components/nav_link.html", takes_context=True)
def nav_link(
    context: Context,
    url_name: str,
    symbol: str,
    text: str,
    key: str = "",
    waiting: int = 0,
    look: str = "rail__link",
    below: str = "",
) -> dict[str, Any]:
    """A link of the rail. It is current on its own page and on the pages below it; Home only on its own.

    below: the path that counts as below it, where that is wider than its own address.
    """
    request = _request(context)
    url = reverse(url_name)
    path = request.path if request else ""
    current = "page" if path == url else "true" if url != "/" and path.startswith(below or url) else ""
    return {
        "url": url,
        "symbol": symbol,
        "text": text,
        "key": key,
        "waiting": waiting,
        "look": look,
        "current": current,
    }


@register.simple_tag(takes_context=True)
def sort_header(context: Context, field: str, text: str, css: str = "", default: str = "") -> SafeString:
    """A column head that sorts by ?sort=field, and the other way on the next click; back to the first page.

    default: the order in force when the address names none, as in `-starts_at`.
    """
    request = _request(context)
    query = request.GET.copy() if request else QueryDict(mutable=True)
    order = query.get("sort") or default
    query.pop("cursor", None)
    query["sort"] = f"-{field}" if order == field else field
    state = {field: "ascending", f"-{field}": "descending"}.get(order, "")
    symbol = {"ascending": "sort-up", "descending": "sort-down"}.get(state, "sort")
    return format_html(
        '<th scope="col"{}{}><a class="sort" href="?{}">{}{}</a></th>',
        format_html(' class="{}"', css) if css else "",
        format_html(' aria-sort="{}"', state) if state else "",
        query.urlencode(),
        text,
        icon(symbol),
    )
