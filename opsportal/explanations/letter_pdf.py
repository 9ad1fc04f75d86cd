"""A letter as PDF, with its font embedded. The library is loaded by the first letter."""

import sys
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from django.core.exceptions import ImproperlyConfigured

from opsportal.core import clock
from opsportal.explanations.selectors.letters import BULLET, HEADING, LANGUAGE, Letter

# DIN 5008 and BS 1808 agree on what matters: the address shows in the window of an envelope.
_LEFT, _RIGHT, _TOP, _BOTTOM = 25, 20, 20, 15
_ADDRESS_TOP, _ADDRESS_WIDTH, _BODY_TOP = 50, 85, 92
_SIZE, _LINE = 10, 5
_FONT = "DejaVu"
# What stands for a character that the font lacks; the font has this one.
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_loading = threading.Lock()


def letter_pdf(letter: Letter) -> bytes:
    """The letter on A4 pages, tagged with title and language; 0.2 s of processor time.

    Characters that the font lacks are printed as REPLACEMENT, see `lacking`.
    """
    pdf = _library().FPDF(format="A4")
    pdf.set_lang(LANGUAGE)
    pdf.set_title(printable(letter.title))
    pdf.set_subject(printable(letter.foot))
    pdf.set_creator("Opsportal")
    pdf.set_producer("fpdf2")
    pdf.set_creation_date(clock.now())
    pdf.set_display_mode("fullwidth")
    pdf.add_font(_FONT, "", _font_file("DejaVuSans.ttf"))
    pdf.add_font(_FONT, "B", _font_file("DejaVuSans-Bold.ttf"))
    pdf.set_margins(_LEFT, _TOP, _RIGHT)
    pdf.set_auto_page_break(auto=True, margin=_BOTTOM)
    pdf.add_page()

    def write(text: str, *, style: str = "", width: float = 0, indent: float = 0, after: float = 0) -> None:
        pdf.set_font(_FONT, style, _SIZE)
        pdf.set_x(_LEFT + indent)
        pdf.multi_cell(width, _LINE, printable(text), align="L", new_x="LMARGIN", new_y="NEXT")
        pdf.set_y(pdf.get_y() + after)

    if letter.sender:
        write("\n".join(letter.sender))
    pdf.set_y(max(_ADDRESS_TOP, pdf.get_y() + _LINE))
    if letter.addressee:
        write("\n".join(letter.addressee), width=_ADDRESS_WIDTH)
    pdf.set_y(max(_BODY_TOP, pdf.get_y() + _LINE))
    write(letter.date, after=_LINE)
    write(letter.title, style="B", after=_LINE)
    write(letter.greeting, after=_LINE / 2)
    listing = False
    for paragraph in letter.paragraphs:
        if listing and paragraph.kind != BULLET:
            pdf.set_y(pdf.get_y() + _LINE / 3)
        listing = paragraph.kind == BULLET
        if paragraph.kind == HEADING:
            # A heading alone at the foot of a page belongs to the next one.
            if pdf.will_page_break(4 * _LINE):
                pdf.add_page()
            pdf.set_y(pdf.get_y() + _LINE / 2)
            write(paragraph.text, style="B", after=_LINE / 4)
        elif paragraph.kind == BULLET:
            pdf.set_font(_FONT, "", _SIZE)
            pdf.text(_LEFT + 1, pdf.get_y() + _LINE * 0.72, "•")
            write(paragraph.text, indent=5, after=_LINE / 5)
        else:
            write(paragraph.text, after=_LINE / 2)
    if pdf.will_page_break(6 * _LINE):
        pdf.add_page()
    write(letter.closing, after=2.5 * _LINE)
    if letter.signature:
        write(letter.signature)
    pdf.set_y(pdf.get_y() + _LINE)
    pdf.set_font(_FONT, "", 8)
    pdf.set_text_color(90)
    foot = printable(letter.foot)
    if lacking(letter.text):
        foot += f"\n{REPLACEMENT} stands for a character that could not be printed."
    pdf.multi_cell(0, 4, foot, align="L")
    return bytes(pdf.output())


def printable(text: str) -> str:
    """The text with its line breaks, without invisible characters; REPLACEMENT for what the font lacks."""
    known = _known_characters()
    return "".join(
        character if ord(character) in known or character == "\n" else REPLACEMENT
        for character in _visible(text)
    )


def lacking(text: str) -> list[str]:
    """The distinct characters of the text that cannot be printed, in their order."""
    known = _known_characters()
    return list(
        dict.fromkeys(
            character for character in _visible(text) if character != "\n" and ord(character) not in known
        )
    )


def _visible(text: str) -> Iterator[str]:
    for character in unicodedata.normalize("NFC", text.replace("\r\n", "\n")):
        if character in {"\r", "\u2028", "\u2029", "\x85"}:
            yield "\n"
        elif character == "\t":
            yield " "
        elif character == "\n" or not _is_invisible(character):
            yield character


def _is_invisible(character: str) -> bool:
    """Whether it leaves no mark of its own: controls, joiners, direction marks, variation selectors."""
    is_selector = "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
    return is_selector or unicodedata.category(character) in {"Cc", "Cf"}


@cache
def _known_characters() -> frozenset[int]:
    """The code points that both weights have."""
    from fontTools.ttLib import TTFont  # noqa: PLC0415  only letters need it

    maps = []
    for name in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"):
        with TTFont(_font_file(name), lazy=True) as font:
            maps.append(frozenset(font.getBestCmap()))
    return maps[0] & maps[1]


def _font_file(name: str) -> Path:
    """A font out of matplotlib's package, which LIME brings along; the package itself is not imported."""
    spec = find_spec("matplotlib")
    path = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / name if spec and spec.origin else None
    if path is None or not path.is_file():
        raise ImproperlyConfigured(f"The font {name} of the package matplotlib is not installed.")
    return path


@cache
def _library() -> ModuleType:
    with _loading, _without_numpy():
        import fpdf  # noqa: PLC0415  only letters need it

        return fpdf


@contextmanager
def _without_numpy() -> Iterator[None]:
    """fpdf2 takes numpy where it finds it, for pictures; a letter has none, and web processes load none."""
    hide = "numpy" not in sys.modules
    if hide:
        sys.modules["numpy"] = None  # type: ignore[assignment]  # what makes an import fail
    try:
        yield
    finally:
        if hide:
            del sys.modules["numpy"]
