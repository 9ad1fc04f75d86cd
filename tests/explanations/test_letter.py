"""The letter to a customer: what it says, what it never says, and the PDF."""

import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from datetime import date

import pytest
from django.test import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from opsportal.accounts.models import User
from opsportal.events.models import Event
from opsportal.explanations import letter_pdf
from opsportal.explanations.models import Explanation
from opsportal.explanations.selectors.letters import (
    BULLET,
    HEADING,
    Addressee,
    Letter,
    Paragraph,
    write_letter,
)
from opsportal.explanations.selectors.reasons import reasons_of
from opsportal.predictions.models import Prediction
from tests.explanations.making import explained, make_prediction, make_version

ClientFor = Callable[[User], Client]
URL = "/explain/titanic-690/letter/"
HTMX = {"HX-Request": "true"}
HOSTILE = [
    "</script><script>alert(1)</script>",
    "x" * 10_000,
    "\u2028 new \u2029 lines \x85 here",
    "emoji \U0001f680\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
    "\u4e2d\u6587 \u0e44\u0e17\u0e22",
    "\u05e2\u05d1\u05e8\u05d9\u05ea \u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "a\u0301 z\u0334\u0335\u0336 \x07\t\x00",
    "**bold** __under__ [a](b) \\ ( ) %",
    "",
]


@pytest.fixture
def ayoub(ana: User, worker: None) -> Prediction:
    """A passenger whose prediction was logged; a worker is there."""
    return make_prediction(make_version(), prediction_id="titanic-690", customer_id="C-1")


def _letter(*texts: str) -> Letter:
    return Letter(
        title=texts[0],
        sender=("Sender",),
        addressee=texts,
        date="2 November 2026",
        greeting="Dear customer,",
        paragraphs=tuple(Paragraph(kind, text) for text in texts for kind in (HEADING, BULLET)),
        closing="Yours sincerely,",
        signature="Ana",
        foot="Reference",
    )


def _text_of(pdf: bytes) -> str:
    """What the PDF shows, line by line: its strings through the fonts' own tables of characters."""
    objects = dict(re.findall(rb"(\d+) 0 obj\n(.*?)\nendobj", pdf, re.DOTALL))

    def stream(number: bytes) -> bytes:
        body = objects[number].split(b"stream\n", 1)[1].rsplit(b"\nendstream", 1)[0]
        return zlib.decompress(body) if b"FlateDecode" in objects[number] else body

    tables: dict[bytes, dict[int, str]] = {}
    for name, number in re.findall(rb"/(F\d+) (\d+) 0 R", pdf):
        unicodes = re.search(rb"/ToUnicode (\d+) 0 R", objects[number])
        assert unicodes is not None
        pairs = re.findall(rb"<([0-9A-F]{4})> <([0-9A-F]+)>", stream(unicodes[1]))
        tables[name] = {
            int(code, 16): bytes.fromhex(text.decode()).decode("utf-16-be") for code, text in pairs
        }
    lines = []
    for number in re.findall(rb"/Contents (\d+) 0 R", pdf):
        font = b""
        for chosen, shown in re.findall(
            rb"/(F\d+) [\d.]+ Tf|\(((?:[^()\\]|\\.)*)\) Tj", stream(number), re.DOTALL
        ):
            font = chosen or font
            if chosen:
                continue
            raw = re.sub(rb"\\([()\\rn])", lambda m: {b"r": b"\r", b"n": b"\n"}.get(m[1], m[1]), shown)
            codes = [int.from_bytes(raw[i : i + 2]) for i in range(0, len(raw), 2)]
            lines.append("".join(tables[font].get(code, "?") for code in codes))
    return "\n".join(lines)


# -- What it says -----------------------------------------------------------------------------


@pytest.mark.django_db
def test_letter__chosen_reasons__only_those_that_may_be_told(ayoub: Prediction) -> None:
    dictionary = ayoub.version.features
    reasons = reasons_of(explained(ayoub), dictionary, ayoub.values)
    letter = write_letter(
        ayoub,
        dictionary,
        reasons,
        chosen=["sex", "fare", "age"],
        with_score=False,
        to=Addressee(name="Miss Ayoub", address="12 Rue de la Mer\n\nBeirut"),
        today=date(2026, 11, 24),
    )

    bullets = [paragraph.text for paragraph in letter.paragraphs if paragraph.kind == BULLET]
    assert sorted(bullets) == ["An age of 13 years speaks for survival.", "Being female speaks for survival."]
    assert "£" not in letter.text  # the dictionary withholds the fare
    assert letter.addressee == ("Miss Ayoub", "12 Rue de la Mer", "Beirut")
    assert letter.greeting == "Dear Miss Ayoub,"
    assert "Its result was: survived." in letter.text
    assert "%" not in letter.text
    assert "contest the result" in letter.text
    assert letter.foot == "Survival model, version 1 · Reference titanic-690"


@pytest.mark.django_db
def test_letter__nobody_named__is_polite_and_says_how_to_reach_us(ayoub: Prediction) -> None:
    dictionary = ayoub.version.features
    reasons = reasons_of(explained(ayoub), dictionary, ayoub.values)
    letter = write_letter(
        ayoub, dictionary, reasons, chosen=[], with_score=True, to=Addressee(), today=date(2026, 11, 24)
    )

    assert letter.greeting == "Dear Sir or Madam,"
    assert "Simply reply to this letter." in letter.text
    assert "The chance of survival that it calculated was" in letter.text
    assert "The reasons" not in letter.text


# -- The page ---------------------------------------------------------------------------------


def test_page__opened__shows_form_and_letter_and_records_a_look(
    client_for: ClientFor, ana: User, ayoub: Prediction
) -> None:
    response = client_for(ana).get(URL)

    page = response.context["page"]
    assert page.letter is not None
    assert page.form.chosen() == [name for name, _ in page.form.fields["sentences"].choices]
    assert "fare" not in page.form.chosen()
    assert page.untold.endswith("may not be told to the customer.")
    assert page.letter.signature == "Ana"
    assert [event.verb for event in Event.objects.all()] == ["prediction.looked_up"]


def test_print__asked__tells_the_reasons_and_never_the_addressee(
    client_for: ClientFor, ana: User, ayoub: Prediction
) -> None:
    response = client_for(ana).post(
        URL, {"how": "print", "name": "Miss Ayoub", "address": "Secret Street 7", "sentences": ["sex"]}
    )

    assert response.status_code == 200
    assert response.context["page"].prints
    assert "js/print.js" in response.content.decode()
    told = Event.objects.get(verb="prediction.told")
    assert told.after == {"how": "printed", "reasons": ["sex"]}
    everything = repr(list(Event.objects.values())) + repr(list(Explanation.objects.values()))
    assert "Secret Street" not in everything
    assert "Miss Ayoub" not in everything


def test_pdf__asked__is_downloaded_with_what_was_typed_and_recorded(
    client_for: ClientFor, ana: User, ayoub: Prediction
) -> None:
    response = client_for(ana).post(
        URL,
        {"how": "pdf", "name": "Miss Ayoub", "sentences": ["sex"], "with_score": "on", "signature": "Ana"},
    )

    assert response["Content-Type"] == "application/pdf"
    assert response["Content-Disposition"] == 'attachment; filename="letter-titanic-690.pdf"'
    assert response["Cache-Control"] == "no-store"
    text = _text_of(response.content)
    assert "Dear Miss Ayoub," in text
    assert "Being female speaks for survival." in text
    assert "Your rights" in text
    assert "years" not in text
    assert Event.objects.get(verb="prediction.told").after == {"how": "letter", "reasons": ["sex"]}


def test_follow__while_one_types__is_one_look_and_no_telling(
    client_for: ClientFor, ana: User, ayoub: Prediction
) -> None:
    client = client_for(ana)
    client.get(URL)
    client.post(URL, {"name": "M", "sentences": ["sex"]}, headers=HTMX)
    response = client.post(URL, {"name": "Miss", "sentences": ["sex"]}, headers=HTMX)

    assert response.context["page"].letter.greeting == "Dear Miss,"
    assert Event.objects.count() == 1


def test_follow__without_having_looked__is_a_look(
    client_for: ClientFor, ana: User, ayoub: Prediction
) -> None:
    client_for(ana).post(URL, {"name": "M"}, headers=HTMX)

    assert Event.objects.get().verb == "prediction.looked_up"


@pytest.mark.parametrize(
    ("field", "text", "sentence"),
    [
        ("sentences", "fare", "Choose among the reasons that may be told."),
        ("name", "x" * 201, "at most 200 characters"),
        ("note", "x" * 4_001, "at most 4000 characters"),
    ],
)
def test_letter__what_cannot_be_used__a_sentence_and_nothing_told(
    client_for: ClientFor, ana: User, ayoub: Prediction, field: str, text: str, sentence: str
) -> None:
    response = client_for(ana).post(URL, {"how": "pdf", "address": "Somewhere", field: text})

    body = response.content.decode()
    assert response.status_code == 400
    assert sentence in body
    assert "Somewhere" in body
    assert not Event.objects.filter(verb="prediction.told").exists()


def test_letter__refused_explanation__there_is_nothing_to_tell(
    client_for: ClientFor, ana: User, ayoub: Prediction
) -> None:
    Prediction.objects.filter(pk=ayoub.pk).update(score=0.5)
    response = client_for(ana).post(URL, {"how": "pdf"})

    assert response["Content-Type"].startswith("text/html")
    assert "There is nothing to tell" in response.content.decode()
    assert not Event.objects.filter(verb="prediction.told").exists()


@pytest.mark.django_db
def test_letter__still_computing__polls_without_a_look(
    client_for: ClientFor, ana: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_prediction(make_version(), prediction_id="titanic-690")
    monkeypatch.setattr("opsportal.explanations.services.asking.PATIENCE_SECONDS", 0)
    monkeypatch.setattr(
        "opsportal.explanations.services.asking.wait_for", lambda explanation, **_: explanation
    )
    client = client_for(ana)

    assert client.get(URL).context["page"].is_computing
    assert client.get(URL, headers=HTMX).status_code == 204
    assert Event.objects.count() == 1


@pytest.mark.parametrize("value", HOSTILE)
def test_letter__hostile_values__are_text_on_the_page_and_in_the_pdf(
    client_for: ClientFor, ana: User, ayoub: Prediction, value: str
) -> None:
    client = client_for(ana)
    typed = {
        "name": value[:200].replace("\0", ""),
        "note": value[:4_000].replace("\0", ""),
        "sentences": "sex",
    }
    page = client.post(URL, typed).content.decode()
    pdf = client.post(URL, {**typed, "how": "pdf"})

    assert "<script>alert" not in page
    assert (pdf.status_code, pdf.content[:5]) == (200, b"%PDF-")


def test_letter__without_the_role__does_not_exist(
    client_for: ClientFor, mallory: User, ayoub: Prediction
) -> None:
    client = client_for(mallory)

    assert client.get(URL).status_code == client.post(URL, {"how": "pdf"}).status_code == 404
    assert Event.objects.count() == 0


# -- The PDF ----------------------------------------------------------------------------------


def test_pdf__any_letter__has_title_language_and_an_embedded_subset() -> None:
    pdf = letter_pdf.letter_pdf(_letter("Zoë"))

    assert b"/Lang (en-GB)" in pdf
    assert f"/Title <feff{'Zoë'.encode('utf-16-be').hex()}>".encode() in pdf
    assert b"+DejaVuSans" in pdf
    assert b"/FontFile2" in pdf
    assert len(pdf) < 60_000
    assert "Zoë" in _text_of(pdf)


@pytest.mark.parametrize("text", HOSTILE)
def test_pdf__hostile_text__never_fails(text: str) -> None:
    assert letter_pdf.letter_pdf(_letter(text or " "))[:5] == b"%PDF-"


def test_pdf__10_000_characters_without_a_space__go_on_over_the_pages() -> None:
    pdf = letter_pdf.letter_pdf(_letter("x" * 10_000))

    assert _text_of(pdf).count("x") == 40_000
    assert pdf.count(b"/Type /Page\n") > 5


def test_pdf__characters_that_the_font_lacks__are_replaced_and_said_so() -> None:
    text = "\u4e2d\u6587 fine \u2764\ufe0f"

    assert letter_pdf.lacking(text) == ["\u4e2d", "\u6587"]
    assert letter_pdf.printable(text) == "\ufffd\ufffd fine \u2764"
    assert "\ufffd stands for a character that could not be printed." in _text_of(
        letter_pdf.letter_pdf(_letter(text))
    )
    assert "could not be printed" not in _text_of(letter_pdf.letter_pdf(_letter("plain")))


def test_page__characters_that_the_pdf_lacks__are_named(
    client_for: ClientFor, ana: User, ayoub: Prediction
) -> None:
    body = client_for(ana).post(URL, {"name": "\u4e2d\u6587", "sentences": "sex"}).content.decode()

    assert "The PDF’s font lacks 2 characters of this letter" in body
    assert "\u4e2d \u6587" in body


@given(text=st.text(max_size=300))
def test_printable__any_text__has_only_what_the_font_has(text: str) -> None:
    printed = letter_pdf.printable(text)

    assert letter_pdf.lacking(printed) == []
    assert letter_pdf.printable(printed) == printed
    assert ("\ufffd" in printed) == bool(letter_pdf.lacking(text) or "\ufffd" in text)


@settings(max_examples=5, deadline=None)
@given(text=st.text(min_size=1, max_size=500))
def test_pdf__any_text_at_all__never_fails(text: str) -> None:
    assert letter_pdf.letter_pdf(_letter(text))[:5] == b"%PDF-"


def test_pdf__in_a_web_process__loads_no_numeric_stack() -> None:
    script = (
        "import os, sys; os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings'\n"
        "import django; django.setup()\n"
        "from tests.explanations.test_letter import _letter\n"
        "from opsportal.explanations import letter_pdf\n"
        "heavy = {'numpy', 'pandas', 'matplotlib', 'scipy', 'pyarrow'}\n"
        "fonts = {'fpdf', 'fontTools', 'PIL'}\n"
        "early = {name.partition('.')[0] for name in sys.modules} & (heavy | fonts)\n"
        "letter_pdf.letter_pdf(_letter('Zoë'))\n"
        "late = {name.partition('.')[0] for name in sys.modules} & heavy\n"
        "print(sorted(early), sorted(late))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[] []"
