"""Surfaces: made known on the server, each time with an event."""

import pytest
from django.core.management import CommandError, call_command

from opsportal.events.models import Event
from opsportal.overrides.models import Surface


def test_name_surface__new_one__makes_it_known(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("name_surface", "home-left", "Home page, left")

    event = Event.objects.get()
    assert Surface.objects.get(pk="home-left").name == "Home page, left"
    assert (event.verb, event.subject_id, event.before) == ("surface.named", "home-left", None)
    assert capsys.readouterr().out == "home-left is Home page, left.\n"


def test_name_surface__known_one__renames_it(db: None) -> None:
    Surface.objects.create(pk="home-left", name="Left")

    call_command("name_surface", "home-left", "Home page, left")

    event = Event.objects.get()
    assert Surface.objects.get(pk="home-left").name == "Home page, left"
    assert (event.before, event.after) == ({"name": "Left"}, {"name": "Home page, left"})


def test_name_surface__the_same_again__records_nothing(db: None) -> None:
    Surface.objects.create(pk="home-left", name="Left")

    call_command("name_surface", "home-left", "Left")

    assert not Event.objects.exists()


@pytest.mark.parametrize(
    ("slug", "name"),
    [
        ("*", "All"),
        ("Home Left", "Left"),
        ("", "Left"),
        ("a" * 65, "Left"),
        ("left", ""),
        ("left", "x" * 101),
    ],
)
def test_name_surface__what_rankers_cannot_send__is_refused(db: None, slug: str, name: str) -> None:
    before = set(Surface.objects.values_list("pk", "name"))

    with pytest.raises(CommandError):
        call_command("name_surface", slug, name)

    assert set(Surface.objects.values_list("pk", "name")) == before
    assert not Event.objects.exists()
