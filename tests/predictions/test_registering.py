"""Registering a model: what is kept, what is refused with its place, and that nothing happens twice."""

import hashlib
import io
import json
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import DatabaseError
from pytest_django import Settings

from opsportal.accounts.models import User
from opsportal.core.errors import Conflict, Invalid
from opsportal.events import services as events
from opsportal.events.models import Event, OutboxMessage
from opsportal.predictions.models import Format, Model, ModelVersion
from opsportal.predictions.services.registering import read_json, register_model
from tests.conftest import make_person
from tests.explanations.making import TITANIC, TITANIC_BACKGROUND, TITANIC_DICTIONARY

pytestmark = pytest.mark.django_db
SHA256 = hashlib.sha256(TITANIC).hexdigest()


@pytest.fixture
def dana(db: None) -> User:
    """A data scientist."""
    from opsportal.accounts.permissions import Role

    return make_person("dana", Role.DATA_SCIENTIST)


def register(actor: User | None = None, **fields: Any) -> ModelVersion:
    """The Titanic's model, with `fields` in place of some."""
    content = fields.pop("content", TITANIC)
    given: dict[str, Any] = {
        "name": "titanic",
        "version": "1",
        "file": io.BytesIO(content),
        "dictionary": TITANIC_DICTIONARY,
        "threshold": 0.5,
        **fields,
    }
    return register_model(actor=actor, **given)


def refused(**fields: Any) -> dict[str, str]:
    """Path → code of everything that was wrong; nothing may have been kept."""
    before = (
        Model.objects.count(),
        ModelVersion.objects.count(),
        Event.objects.count(),
        OutboxMessage.objects.count(),
    )
    with pytest.raises(Invalid) as caught:
        register(**fields)
    after = (
        Model.objects.count(),
        ModelVersion.objects.count(),
        Event.objects.count(),
        OutboxMessage.objects.count(),
    )
    assert after == before
    return {problem.path: problem.code for problem in caught.value.errors}


# -- What is kept -----------------------------------------------------------------------------


def test_register__new_model__is_kept_by_its_hash_and_waits_for_its_check(dana: User) -> None:
    training = {"learning_rate": 0.1, "data": {"from": "1912-04-10"}}

    row = register(
        dana, training=training, background=TITANIC_BACKGROUND, title="Titanic", purpose="Shows how."
    )

    row.refresh_from_db()
    assert (row.model.name, row.model.title, row.model.purpose) == ("titanic", "Titanic", "Shows how.")
    assert (row.state, row.format, row.threshold) == (ModelVersion.State.CHECKING, Format.LIGHTGBM, 0.5)
    assert (row.file.name, row.sha256, row.size) == (f"models/{SHA256}", SHA256, len(TITANIC))
    assert row.file.read() == TITANIC
    assert row.training == training
    kept = row.background.read()
    assert row.background.name == f"models/{row.background_sha256}"
    assert hashlib.sha256(kept).hexdigest() == row.background_sha256
    assert row.registered_by == dana
    message = OutboxMessage.objects.get()
    assert (message.task, message.key) == ("explanations.check_model", str(row.pk))
    event = Event.objects.get()
    assert (event.verb, event.actor, event.subject_id) == ("model.registered", dana, "titanic")
    assert event.after
    assert event.after["sha256"] == SHA256


def test_register__without_a_title__is_called_by_its_name() -> None:
    assert register(name="german-credit").model.title == "German credit"


def test_register__next_version__keeps_the_models_words_unless_new_ones_are_given() -> None:
    register(title="Titanic", purpose="Shows how.")

    row = register(version="2", purpose="Shows how it is done.")

    assert (row.model.title, row.model.purpose) == ("Titanic", "Shows how it is done.")
    assert Model.objects.count() == 1


# -- Twice ------------------------------------------------------------------------------------


def test_register__the_same_again__is_the_same_version() -> None:
    first = register(background=TITANIC_BACKGROUND)

    assert register(background=TITANIC_BACKGROUND).pk == first.pk
    assert register().pk == first.pk  # the engine may have frozen rows of its own
    assert (Event.objects.count(), OutboxMessage.objects.count()) == (1, 1)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"content": TITANIC.replace(b"0.05", b"0.06")}, "another file"),
        ({"dictionary": {**TITANIC_DICTIONARY, "outcome": "luck"}}, "another feature dictionary"),
        ({"training": {"seed": 2}}, "another training configuration"),
        ({"threshold": 0.6}, "another threshold"),
        ({"background": TITANIC_BACKGROUND.splitlines(keepends=True)[0]}, "another background"),
    ],
)
def test_register__same_version_with_other_content__is_a_conflict(other: dict[str, Any], words: str) -> None:
    first = register(background=TITANIC_BACKGROUND)

    with pytest.raises(Conflict, match=words):
        register(**{"background": TITANIC_BACKGROUND, **other})

    assert list(ModelVersion.objects.all()) == [first]
    assert Event.objects.count() == 1


def test_register__version_that_was_refused__may_come_again() -> None:
    first = register()
    ModelVersion.objects.filter(pk=first.pk).update(state=ModelVersion.State.REFUSED, problems=["No."])

    second = register(threshold=0.7)

    assert second.pk != first.pk
    assert second.state == ModelVersion.State.CHECKING


def test_register__file_that_was_swapped_in_storage__is_put_right() -> None:
    row = register()
    default_storage.delete(str(row.file.name))
    default_storage.save(row.file.name, ContentFile(b"something else"))

    again = register()

    assert again.pk == row.pk
    assert again.file.read() == TITANIC


def test_register__failed_transaction__leaves_a_file_that_the_next_try_uses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(**_: object) -> None:
        raise DatabaseError("the database is gone")

    with monkeypatch.context() as broken:
        broken.setattr(events, "record", fail)
        with pytest.raises(DatabaseError):
            register(content=TITANIC + b"\n")
    assert (Model.objects.count(), ModelVersion.objects.count(), OutboxMessage.objects.count()) == (0, 0, 0)

    row = register(content=TITANIC + b"\n")

    assert row.file.name == f"models/{row.sha256}"
    assert row.file.read() == TITANIC + b"\n"


# -- Refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "new", "Titanic", "-a", "a b", "a/b", "é", "a" * 65, "a\n"])
def test_register__name_that_cannot_stand_in_an_address__is_refused(name: str) -> None:
    assert set(refused(name=name)) == {"name"}


@pytest.mark.parametrize("version", ["", ".", "..", "a/b", "a b", "ü", "1" * 65, "1\n"])
def test_register__version_that_cannot_stand_in_an_address__is_refused(version: str) -> None:
    assert set(refused(version=version)) == {"version"}


@pytest.mark.parametrize("version", ["1", "v2.0", "2026-11-24", "a+b_c", "...", "1" * 64])
def test_register__versions_as_people_write_them__are_taken(version: str) -> None:
    assert register(version=version).get_absolute_url() == f"/models/titanic/{version}/"


def test_register__file_that_is_no_model__is_refused_with_everything_else_that_is_wrong() -> None:
    dictionary = {"features": [{"name": "age", "type": "sum"}, {"label": "No name"}]}

    found = refused(name="A", content=b"\x80\x04.", dictionary=dictionary, threshold=2)

    assert found == {
        "name": "name",
        "file": "format",
        "dictionary.features[0].type": "unknown",
        "dictionary.features[1].name": "required",
    }


def test_register__file_that_is_too_large__is_refused_unread(settings: Settings) -> None:
    settings.MODEL_MAX_BYTES = len(TITANIC) - 1

    assert refused() == {"file": "too_large"}


@pytest.mark.parametrize(
    ("threshold", "code"),
    [(float("nan"), "number"), (float("inf"), "number"), (1.5, "out_of_range"), (-0.1, "out_of_range")],
)
def test_register__threshold_that_no_probability_has__is_refused(threshold: float, code: str) -> None:
    assert refused(threshold=threshold) == {"threshold": code}


def test_register__threshold_of_a_plain_score__may_be_any_number() -> None:
    assert register(threshold=1.5, dictionary={**TITANIC_DICTIONARY, "link": "identity"}).threshold == 1.5


@pytest.mark.parametrize(
    ("training", "code"),
    [
        ([1], "type"),
        ("seed=1", "type"),
        ({"rate": float("nan")}, "json"),
        ({"note": "x" * 65_536}, "too_large"),
        ({"note": "a\0b"}, "unclean_text"),
    ],
)
def test_register__training_that_cannot_be_kept__is_refused(training: object, code: str) -> None:
    assert refused(training=training) == {"training": code}


@pytest.mark.parametrize(("field", "longest"), [("title", 100), ("purpose", 300)])
def test_register__words_of_a_model__are_one_line_of_limited_length(field: str, longest: int) -> None:
    assert refused(**{field: "x" * (longest + 1)}) == {field: "too_long"}
    assert refused(**{field: "a\nb"}) == {field: "unclean_text"}


# -- Background -------------------------------------------------------------------------------

SMALL = {
    "features": [
        {"name": "age"},
        {"name": "port", "type": "category"},
        {"name": "alone", "type": "flag"},
        {"name": "place", "constant": 1},
        {"name": "name", "type": "category", "input": False},
    ]
}


def _rows(background: bytes) -> list[dict[str, Any]]:
    row = register(dictionary=SMALL, background=background)
    return [json.loads(line) for line in row.background.read().splitlines()]


def test_background__csv__keeps_types_and_the_models_inputs_alone() -> None:
    content = "name,age,port,alone,target\nAnn,22,00701,true,1\nBob,,S,no,0\nEve,-0.50,,,1\n"

    assert _rows(content.encode("utf-8-sig")) == [
        {"age": 22, "port": "00701", "alone": True},
        {"age": None, "port": "S", "alone": False},
        {"age": -0.5, "port": None, "alone": None},
    ]


@pytest.mark.parametrize("form", ["lines", "list"])
def test_background__json__is_taken_as_lines_or_as_a_list(form: str) -> None:
    rows = [{"age": 22, "port": "S", "alone": True, "other": 1}, {"age": None, "port": None, "alone": None}]
    content = json.dumps(rows) if form == "list" else "\n\n".join(map(json.dumps, rows))

    assert _rows(content.encode()) == [
        {"age": 22, "port": "S", "alone": True},
        {"age": None, "port": None, "alone": None},
    ]


def test_background__semicolons_and_nan__are_understood() -> None:
    assert _rows(b"age;port;alone\nNaN;S;1\n") == [{"age": None, "port": "S", "alone": True}]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", {"background": "columns"}),
        (b"age,port,alone\n", {"background": "empty"}),
        (b"[]", {"background": "empty"}),
        (b"age,port\n1,S\n", {"background": "columns"}),
        (b"age,port,alone\nold,S,true\n", {"background[1].age": "value"}),
        (
            b"age,port,alone\n1,S,true\ninf,S,maybe\n",
            {"background[2].age": "value", "background[2].alone": "value"},
        ),
        (b'age,port,alone\n1,"S,true\n', {"background": "csv"}),
        (b'{"age": 1, "port": "S"}', {"background[1].alone": "missing"}),
        (b'{"age": [1], "port": "S", "alone": null}', {"background[1].age": "type"}),
        (b'{"age": NaN, "port": "S", "alone": null}', {"background": "json"}),
        (b'{"age": 1e999, "port": "S", "alone": null}', {"background[1].age": "value"}),
        (b'{"age": 1', {"background": "json"}),
        (b'[{"age": 1, "port": "S", "alone": null}, 2]', {"background": "type"}),
        (b"[2]", {"background": "type"}),
        (b"[" * 100_000, {"background": "json"}),
        (b"\xff\xfe", {"background": "encoding"}),
        (b"age,port,alone\n" + b"1,S,true\n" * 5_001, {"background": "too_many"}),
        (b" " * 16_000_001, {"background": "too_large"}),
    ],
)
def test_background__that_cannot_be_used__is_refused_with_its_place(
    content: bytes, found: dict[str, str]
) -> None:
    problems = refused(dictionary=SMALL, background=content)

    assert problems.items() >= found.items()


def test_background__many_bad_rows__names_the_first_twenty() -> None:
    content = b"age,port,alone\n" + b"old,S,true\n" * 5_000

    assert len(refused(dictionary=SMALL, background=content)) == 20


# -- JSON as it comes in ------------------------------------------------------------------------


def test_read_json__with_a_byte_order_mark__is_read() -> None:
    assert read_json(b'\xef\xbb\xbf{"a": 1}', at="dictionary", what="The dictionary") == {"a": 1}


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (b"", "dictionary"),
        (b"[]", "dictionary"),
        (b'{"a": NaN}', "dictionary"),
        (b'{"a": 1, "a": 2}', "dictionary"),
        (b'{"a": {"b": "\\u0000"}}', "dictionary.a.b"),
        (b'{"a": ' * 30 + b"1" + b"}" * 30, "dictionary"),
    ],
)
def test_read_json__what_is_no_object__is_refused_at_its_place(content: bytes, path: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_json(content, at="dictionary", what="The dictionary")

    assert [problem.path for problem in caught.value.errors] == [path]
    assert "body" not in caught.value.message
