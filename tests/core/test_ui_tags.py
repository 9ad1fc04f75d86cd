"""The template tags and filters: what people read, and that nothing they read is taken for HTML."""

import datetime as dt
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
import time_machine
from django.http import HttpRequest, HttpResponse
from django.template import Context, RequestContext, Template
from django.test import RequestFactory
from django.urls import path
from django.utils import timezone
from pytest_django.fixtures import Settings

from opsportal.core.templatetags import ui

NOW = dt.datetime(2026, 11, 27, 17, 0, tzinfo=dt.UTC)
SPACE = "\u00a0"

urlpatterns = [
    path("", lambda request: HttpResponse(), name="home"),
    path("overrides/blocks/", lambda request: HttpResponse(), name="overrides-blocks"),
]


def render(source: str, request: HttpRequest | None = None, **context: object) -> str:
    return Template(source).render(RequestContext(request, context) if request else Context(context))


# -- Shapes -----------------------------------------------------------------------------------


def test_icon__without_a_label__is_hidden_from_screen_readers() -> None:
    html = render("{% icon 'block' %}")

    assert 'aria-hidden="true"' in html
    assert 'img/icons.svg#block"' in html


def test_icon__with_a_label__is_an_image_that_says_it() -> None:
    html = render("{% icon 'check' 'Done' %}")

    assert 'role="img" aria-label="Done"' in html


@pytest.mark.parametrize("kind", sorted(ui.BADGE_ICONS))
def test_badge__known_kind__has_its_icon_and_word(kind: str) -> None:
    html = render("{% badge kind 'Word' %}", kind=kind)

    assert f"#{ui.BADGE_ICONS[kind]}" in html
    assert html.endswith("Word</span>")


def test_badge__opt_out__looks_like_privacy() -> None:
    assert "badge--privacy" in render("{% badge 'opt_out' 'Opt-out' %}")


def test_badge__unknown_kind_with_markup__is_neutral_and_escaped() -> None:
    html = render("{% badge kind text %}", kind='"><script>', text="<b>x</b>")

    assert "badge--neutral" in html
    assert "<script" not in html
    assert "&lt;b&gt;x&lt;/b&gt;" in html


def test_id_chip__id_with_markup__is_escaped_in_text_and_attribute() -> None:
    html = render("{% id_chip value %}", value='85123"><img>')

    assert "<img>" not in html
    assert 'data-copy="85123&quot;&gt;&lt;img&gt;"' in html


def test_icons__every_name_in_the_code__is_drawn_in_the_sprite(settings: Settings) -> None:
    sprite = (settings.BASE_DIR / "static/img/icons.svg").read_text(encoding="utf-8")

    missing = [name for name in ui.BADGE_ICONS.values() if f'<symbol id="{name}"' not in sprite]

    assert missing == []


def test_sparkline__rising_values__ends_at_the_top_right() -> None:
    html = render("{% sparkline values 'Blocks, rising' %}", values=[1, 2, 3])

    assert 'points="0.0,26.0 48.0,14.0 96.0,2.0"' in html
    assert 'aria-label="Blocks, rising"' in html


def test_sparkline__flat_values__is_a_line_in_the_middle() -> None:
    assert 'points="0.0,14.0 96.0,14.0"' in render("{% sparkline values %}", values=[7, 7])


@pytest.mark.parametrize("values", [[], [4]])
def test_sparkline__too_few_values__is_nothing(values: list[float]) -> None:
    assert render("{% sparkline values %}", values=values) == ""


# -- Times ------------------------------------------------------------------------------------


@time_machine.travel(NOW, tick=False)
def test_when__in_the_persons_zone__shows_local_time_with_utc_on_hover() -> None:
    with timezone.override("Europe/Berlin"):
        html = ui.when(NOW)

    assert html == (
        '<time datetime="2026-11-27T17:00:00Z" title="Fri 27 Nov 2026, 17:00:00 UTC">Fri 27 Nov, 18:00</time>'
    )


@time_machine.travel(NOW, tick=False)
def test_when__in_another_year__names_the_year() -> None:
    assert ">Sun 5 Jan 2025, 09:05<" in ui.when(dt.datetime(2025, 1, 5, 9, 5, tzinfo=dt.UTC))


@time_machine.travel(NOW, tick=False)
def test_when__a_plain_date__shows_the_day_alone() -> None:
    assert ui.when(dt.date(2026, 11, 5)) == '<time datetime="2026-11-05">Thu 5 Nov</time>'


@pytest.mark.parametrize("read", [ui.when, ui.ago, ui.duration, ui.count, ui.percent])
def test_read__nothing__is_a_dash(read: Callable[[None], str]) -> None:
    assert read(None) == "–"


@pytest.mark.parametrize(
    ("distance", "words"),
    [
        (timedelta(seconds=-2), "just now"),
        (timedelta(seconds=-45), f"45{SPACE}s ago"),
        (timedelta(minutes=-3), f"3{SPACE}min ago"),
        (timedelta(minutes=-59, seconds=-40), f"1{SPACE}h ago"),
        (timedelta(hours=5), f"in 5{SPACE}h"),
        (timedelta(hours=23, minutes=45), f"in 1{SPACE}day"),
        (timedelta(days=3), f"in 3{SPACE}days"),
    ],
)
@time_machine.travel(NOW, tick=False)
def test_ago__distance__reads_as_one_rounded_unit(distance: timedelta, words: str) -> None:
    assert f">{words}</time>" in ui.ago(NOW + distance)


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(), f"0.0{SPACE}s"),
        (0.0004, f"1{SPACE}ms"),
        (timedelta(milliseconds=40), f"40{SPACE}ms"),
        (timedelta(milliseconds=400), f"0.4{SPACE}s"),
        (9.96, f"10{SPACE}s"),
        (59.6, f"1{SPACE}min"),
        (timedelta(minutes=3), f"3{SPACE}min"),
        (timedelta(days=3), f"3{SPACE}days"),
    ],
)
def test_duration__span__reads_in_words(span: timedelta | float, words: str) -> None:
    assert ui.duration(span) == words


# -- Numbers ----------------------------------------------------------------------------------


def test_count__thousands__stand_apart() -> None:
    assert ui.count(1_234_567) == "1,234,567"


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0, f"0{SPACE}%"),
        (0.0004, f"<{SPACE}0.1{SPACE}%"),
        (0.031, f"3.1{SPACE}%"),
        (0.05, f"5{SPACE}%"),
        (0.0996, f"10{SPACE}%"),
        (0.96, f"96{SPACE}%"),
        (1, f"100{SPACE}%"),
        (float("nan"), "–"),
    ],
)
def test_percent__share__reads_with_the_digits_that_matter(share: float, words: str) -> None:
    assert ui.percent(share) == words


def test_percent__very_little_on_a_page__is_escaped() -> None:
    assert render("{{ share|percent }}", share=0.0004) == f"&lt;{SPACE}0.1{SPACE}%"


# -- Pages ------------------------------------------------------------------------------------


def test_preferences__known_and_unknown_words__keeps_only_the_known() -> None:
    request = RequestFactory().get("/")
    request.COOKIES = {"theme": "dark", "density": '"><script>', "rail": "narrow", "other": "x"}

    assert render("{% preferences %}", request) == ' data-theme="dark" data-rail="narrow"'


def test_preferences__no_request__is_nothing() -> None:
    assert render("{% preferences %}") == ""


def test_sort_header__not_sorted_yet__links_to_ascending_on_the_first_page() -> None:
    request = RequestFactory().get("/", {"state": "live", "cursor": "abc"})

    html = render("{% sort_header 'product' 'Product' %}", request)

    assert "aria-sort" not in html
    assert 'href="?state=live&amp;sort=product"' in html


@pytest.mark.parametrize(
    ("query", "state", "target"),
    [
        ({"sort": "product"}, "ascending", "-product"),
        ({"sort": "-product"}, "descending", "product"),
    ],
)
def test_sort_header__sorted__says_so_and_turns_it_round(
    query: dict[str, str], state: str, target: str
) -> None:
    html = render("{% sort_header 'product' 'Product' %}", RequestFactory().get("/", query))

    assert f'aria-sort="{state}"' in html
    assert f'href="?sort={target}"' in html


def test_sort_header__default_order__counts_as_sorted() -> None:
    html = render("{% sort_header 'starts_at' 'Starts' default='-starts_at' %}", RequestFactory().get("/"))

    assert 'aria-sort="descending"' in html


@pytest.mark.urls(__name__)
@pytest.mark.parametrize(
    ("address", "url_name", "current"),
    [
        ("/", "home", 'aria-current="page"'),
        ("/overrides/blocks/", "overrides-blocks", 'aria-current="page"'),
        ("/overrides/blocks/7/", "overrides-blocks", 'aria-current="true"'),
        ("/overrides/blocks/", "home", None),
    ],
)
def test_nav_link__address__is_current_on_its_page_and_below(
    address: str, url_name: str, current: str | None
) -> None:
    source = f"{{% nav_link '{url_name}' 'block' 'Blocks' key='b' %}}"

    html = render(source, RequestFactory().get(address))

    assert 'data-go="b"' in html
    assert (current in html) if current else ("aria-current" not in html)


@pytest.mark.urls(__name__)
def test_nav_link__something_waits__says_how_many() -> None:
    html = render("{% nav_link 'home' 'home' 'Home' waiting=1204 %}", RequestFactory().get("/"))

    assert '1,204<span class="visually-hidden"> waiting for you</span>' in html


# -- Components -------------------------------------------------------------------------------


def test_components__every_file__opens_with_its_context(settings: Settings) -> None:
    folder = settings.BASE_DIR / "templates/components"

    silent = [page.name for page in folder.glob("*.html") if not page.read_text("utf-8").startswith("{# ")]

    assert silent == []


def test_components__every_icon_they_name__is_drawn(settings: Settings) -> None:
    sprite = (settings.BASE_DIR / "static/img/icons.svg").read_text(encoding="utf-8")
    drawn = set(re.findall(r'<symbol id="([a-z-]+)"', sprite))

    named = {
        name
        for page in (settings.BASE_DIR / "templates").rglob("*.html")
        for name in re.findall(r'{% icon "([a-z-]+)"', page.read_text(encoding="utf-8"))
    }

    assert named - drawn == set()


@pytest.mark.parametrize(
    "mark", [r"\sstyle=", r"\son[a-z]+=", r"<style", r"<script(?![^>]* src=)", r"\bhx-on"]
)
def test_templates__every_file__has_nothing_inline(settings: Settings, mark: str) -> None:
    pages = (settings.BASE_DIR / "templates").rglob("*.html")

    # `{% with one=… %}` is a template's own word, not an attribute.
    guilty = [
        page.name
        for page in pages
        if re.search(mark, re.sub(r"{%.*?%}", "", page.read_text(encoding="utf-8")))
    ]

    assert guilty == []
