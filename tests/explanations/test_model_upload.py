"""Register a model from a browser and on the server: what is asked again, refused, and what goes to disk."""

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client, RequestFactory
from pytest_django import Settings

from opsportal.accounts.models import User
from opsportal.accounts.permissions import Role
from opsportal.core.http import upload_limit
from opsportal.events.models import Event, OutboxMessage
from opsportal.predictions.models import Model, ModelVersion
from opsportal.predictions.services import register_model
from tests.conftest import make_person
from tests.explanations.making import TITANIC, TITANIC_BACKGROUND, TITANIC_DICTIONARY

pytestmark = pytest.mark.django_db
ClientFor = Callable[[User], Client]
URL = "/models/new/"
DICTIONARY = json.dumps(TITANIC_DICTIONARY)


@pytest.fixture
def dana(db: None) -> User:
    """A data scientist."""
    return make_person("dana", Role.DATA_SCIENTIST)


def upload(content: bytes, name: str = "model.txt") -> SimpleUploadedFile:
    """A file as a browser sends it."""
    return SimpleUploadedFile(name, content)


def form(**fields: Any) -> dict[str, Any]:
    """The Titanic's form, with `fields` in place of some; None leaves one out."""
    given: dict[str, Any] = {
        "name": "titanic",
        "version": "1",
        "title": "Titanic",
        "purpose": "",
        "threshold": "0.5",
        "file": upload(TITANIC),
        "dictionary": DICTIONARY,
        "training": "",
        **fields,
    }
    return {name: value for name, value in given.items() if value is not None}


def errors_of(response: Any) -> dict[str, list[str]]:
    """Field → sentences of a refused form."""
    assert response.status_code in {400, 409}, response.status_code
    return dict(response.context["page"].form.errors)


# -- From a browser ---------------------------------------------------------------------------


def test_upload__whole_form__leads_to_the_version_that_is_being_checked(
    client_for: ClientFor, dana: User
) -> None:
    training = SimpleUploadedFile("t.json", b'\xef\xbb\xbf{"seed": 7}')

    response = client_for(dana).post(
        URL, form(training_file=training, background=upload(TITANIC_BACKGROUND, "rows.jsonl"))
    )

    version = ModelVersion.objects.get()
    assert (response.status_code, response.headers["Location"]) == (302, "/models/titanic/1/")
    assert (version.state, version.training, version.registered_by) == ("checking", {"seed": 7}, dana)
    assert version.background_sha256
    assert OutboxMessage.objects.get().task == "explanations.check_model"


def test_upload__dictionary_as_a_file__wins_over_pasted_text(client_for: ClientFor, dana: User) -> None:
    file = SimpleUploadedFile("d.json", DICTIONARY.encode())

    client_for(dana).post(URL, form(dictionary="{}", dictionary_file=file))

    assert ModelVersion.objects.get().dictionary == TITANIC_DICTIONARY


def test_upload__new_version__begins_with_the_models_name(client_for: ClientFor, dana: User) -> None:
    page = client_for(dana).get(URL, {"model": "titanic"}).content.decode()

    assert 'value="titanic"' in page


def test_upload__empty_form__names_every_field_that_is_missing(client_for: ClientFor, dana: User) -> None:
    errors = errors_of(client_for(dana).post(URL, {}))

    assert set(errors) == {"name", "version", "file", "dictionary_file"}
    assert Model.objects.count() == 0


def test_upload__refused__keeps_what_was_typed_and_the_text_of_small_files(
    client_for: ClientFor, dana: User
) -> None:
    broken = {"features": [{"name": "age"}, {"name": "sex", "type": "sum"}]}
    file = SimpleUploadedFile("d.json", json.dumps(broken).encode())

    response = client_for(dana).post(
        URL, form(dictionary=None, dictionary_file=file, purpose="Shows how.", training='{"seed": 7}')
    )

    assert errors_of(response)["dictionary"] == [
        "features[1].type: This must be one of: number, category, flag, text."
    ]
    page = response.content.decode()
    assert 'value="Shows how."' in page
    assert "{&quot;seed&quot;: 7}" in page
    assert "&quot;type&quot;: &quot;sum&quot;" in page
    assert "Browsers do not keep chosen files" in page
    assert ModelVersion.objects.count() == 0


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_upload__pickle_called_txt__is_refused_with_the_reason(
    client_for: ClientFor, dana: User, protocol: int
) -> None:
    content = pickle.dumps({"weights": [1, 2, 3]}, protocol)

    response = client_for(dana).post(URL, form(file=upload(content, "model.txt")))

    assert "This is a pickle" in errors_of(response)["file"][0]
    assert (ModelVersion.objects.count(), Event.objects.count()) == (0, 0)


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"name": "Titanic"}, "name", "Lower-case letters"),
        ({"name": "new"}, "name", "address of the portal"),
        ({"version": "a/b"}, "version", "such as 2026.11"),
        ({"threshold": "half"}, "threshold", "such as 0.5"),
        ({"threshold": "2"}, "threshold", "within 0 and 1"),
        ({"threshold": "nan"}, "threshold", "such as 0.5"),
        ({"file": None}, "file", "Choose the model’s file"),
        ({"file": upload(b"")}, "file", "The file is empty."),
        ({"file": upload(TITANIC[:900])}, "file", "cut short"),
        ({"dictionary": "{"}, "dictionary", "The feature dictionary is not JSON"),
        ({"dictionary": "[]"}, "dictionary", "must be a JSON object"),
        ({"dictionary": '{"features": [], "features": []}'}, "dictionary", "stands twice"),
        ({"dictionary": '{"colour": 1}'}, "dictionary", "colour: There is no such field here."),
        ({"dictionary": '{"a": "\\u0000"}'}, "dictionary", "a: Text must not contain NUL"),
        ({"training": "[1]"}, "training", "must be a JSON object"),
        ({"training": json.dumps({"a": "x" * 70_000})}, "training", "at most 65,536"),
        ({"training": "[" * 100_000}, "training", "nested deeper"),
        ({"background": upload(b"age\n1\n")}, "background", "has no column"),
        ({"title": "x" * 101}, "title", "At most 100"),
        ({"title": "a\nb"}, "title", "One line"),
    ],
)
def test_upload__wrong_field__says_so_beside_it(
    client_for: ClientFor, dana: User, fields: dict[str, Any], field: str, words: str
) -> None:
    errors = errors_of(client_for(dana).post(URL, form(**fields)))

    assert set(errors) == {field}
    assert words in " ".join(errors[field])
    assert (Model.objects.count(), Event.objects.count()) == (0, 0)


def test_upload__same_version_with_another_file__is_a_conflict_at_the_version(
    client_for: ClientFor, dana: User
) -> None:
    client = client_for(dana)
    client.post(URL, form())

    response = client.post(URL, form(file=upload(TITANIC + b"\n")))

    assert response.status_code == 409
    assert "never changed" in errors_of(response)["version"][0]
    assert ModelVersion.objects.count() == 1


def test_upload__the_same_again__leads_to_the_same_version(client_for: ClientFor, dana: User) -> None:
    client = client_for(dana)

    places = {client.post(URL, form()).headers["Location"] for _ in range(2)}

    assert places == {"/models/titanic/1/"}
    assert (ModelVersion.objects.count(), Event.objects.count()) == (1, 1)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.AGENT, Role.APPROVER])
def test_upload__by_somebody_else__is_not_there_and_changes_nothing(
    client_for: ClientFor, db: None, role: Role
) -> None:
    response = client_for(make_person("somebody", role)).post(URL, form())

    assert response.status_code == 404
    assert (Model.objects.count(), OutboxMessage.objects.count()) == (0, 0)


def test_register__by_somebody_who_may_not__is_refused_by_the_service_too(mallory: User) -> None:
    from opsportal.core.errors import Forbidden

    with pytest.raises(Forbidden):
        register_model(
            actor=mallory,
            name="titanic",
            version="1",
            file=io.BytesIO(TITANIC),
            dictionary=TITANIC_DICTIONARY,
        )


# -- Sizes ------------------------------------------------------------------------------------


def test_limit__model_file_above_it__is_refused_at_its_field(
    client_for: ClientFor, dana: User, settings: Settings
) -> None:
    settings.MODEL_MAX_BYTES = 1_000_000

    response = client_for(dana).post(URL, form(file=upload(b"tree\n" * 300_000)))

    assert "at most 1,000,000 are taken" in errors_of(response)["file"][0]


def test_limit__form_above_everything__is_refused_before_it_is_read(
    client_for: ClientFor, dana: User, settings: Settings
) -> None:
    settings.MODEL_MAX_BYTES, settings.CSV_MAX_BYTES = 1_000_000, 1_000_000

    assert client_for(dana).post(URL, form(file=upload(b"x" * 3_100_000))).status_code == 413


def test_limit__of_every_other_address__is_that_of_a_csv_file(rf: RequestFactory, settings: Settings) -> None:
    limits = {path: upload_limit(rf.post(path)) for path in (URL, "/overrides/import/", "/nowhere/")}

    usual = settings.CSV_MAX_BYTES + 1_000_000
    assert limits == {
        URL: settings.MODEL_MAX_BYTES + usual,
        "/overrides/import/": usual,
        "/nowhere/": usual,
    }
    # What fits there stays in memory: customer IDs never touch the disk.
    assert usual <= settings.FILE_UPLOAD_MAX_MEMORY_SIZE


def test_upload__large_model__goes_through_a_temporary_file(
    client_for: ClientFor, dana: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10_000
    seen: list[Any] = []

    def notice(**given: Any) -> ModelVersion:
        seen.append(given["file"])
        return register_model(**given)

    monkeypatch.setattr("opsportal.explanations.views.models.register_model", notice)

    response = client_for(dana).post(URL, form())

    assert response.status_code == 302
    assert type(seen[0]) is TemporaryUploadedFile
    assert ModelVersion.objects.get().file.read() == TITANIC


# -- On the server ----------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the Titanic's files."""
    (tmp_path / "model.txt").write_bytes(TITANIC)
    (tmp_path / "features.json").write_text(DICTIONARY, encoding="utf-8")
    (tmp_path / "training.json").write_text('{"seed": 7}', encoding="utf-8")
    (tmp_path / "rows.jsonl").write_bytes(TITANIC_BACKGROUND)
    return tmp_path


def register(files: Path, *more: str, features: str = "features.json", file: str = "model.txt") -> str:
    """What `manage.py register_model titanic 1` prints."""
    out = io.StringIO()
    arguments = ["titanic", "1", "--file", str(files / file), "--features", str(files / features), *more]
    call_command("register_model", *arguments, stdout=out)
    return out.getvalue()


def test_command__whole_model__is_registered_checked_and_described(files: Path) -> None:
    printed = register(
        files,
        *("--training", str(files / "training.json"), "--background", str(files / "rows.jsonl")),
        *("--threshold", "0.5", "--title", "Titanic", "--positive", "was saved"),
    )

    version = ModelVersion.objects.get()
    assert (version.state, version.training, version.threshold) == ("ready", {"seed": 7}, 0.5)
    assert version.dictionary["positive"] == "was saved"
    assert "titanic 1 is ready: LightGBM text" in printed
    assert "space: log_odds" in printed


def test_command__the_same_again__changes_nothing(files: Path) -> None:
    register(files)
    events = Event.objects.count()

    assert "is ready" in register(files)
    assert (ModelVersion.objects.count(), Event.objects.count()) == (1, events)


def test_command__dictionary_that_misses_a_feature__exits_with_the_reason(files: Path) -> None:
    features = [feature for feature in TITANIC_DICTIONARY["features"] if feature["name"] != "age"]
    (files / "features.json").write_text(json.dumps({**TITANIC_DICTIONARY, "features": features}))

    with pytest.raises(CommandError, match="age"):
        register(files)

    assert ModelVersion.objects.get().state == "refused"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.txt", pickle.dumps([1]), "file: This is a pickle"),
        ("model.txt", TITANIC[:500], "file: The file is cut short"),
        ("features.json", b"{", "dictionary: The feature dictionary is not JSON"),
        ("features.json", b'{"features": [{}]}', r"dictionary.features\[0\].name: The name is missing."),
    ],
)
def test_command__what_cannot_be_taken__exits_with_its_place(
    files: Path, name: str, content: bytes, words: str
) -> None:
    (files / name).write_bytes(content)

    with pytest.raises(CommandError, match=words):
        register(files)

    assert Model.objects.count() == 0


def test_command__file_that_is_not_there__exits_with_its_name(files: Path) -> None:
    with pytest.raises(CommandError, match=r"missing\.txt: No such file"):
        register(files, file="missing.txt")
