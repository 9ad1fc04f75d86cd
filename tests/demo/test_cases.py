"""The demo's data and the dictionaries that word it."""

from collections.abc import Callable, Sequence

import pytest

from opsportal.demo import cases
from opsportal.demo.cases import AYOUB, VESTROM, Case
from opsportal.predictions.dictionary import CATEGORY, FLAG, NUMBER, Feature, Group, read_dictionary

NAMES = ("titanic", "credit", "clicks", "reviews")
READERS: dict[str, Callable[[], Sequence[Case]]] = {
    "titanic": cases.passengers,
    "credit": cases.applications,
    "clicks": cases.showings,
    "reviews": cases.reviews,
}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_dictionary__every_feature__is_worded_whichever_way_it_pushes(name: str) -> None:
    words = read_dictionary(cases.dictionary(name))

    pushing: list[Feature | Group] = [*words.inputs, *words.groups]
    assert [item.name for item in pushing if not item.up or not item.down] == []
    assert [item.name for item in pushing if not item.tellable and not item.withheld] == []
    assert [item.name for item in pushing if item.tellable and item.withheld] == []
    assert [item.name for item in words.features if not item.description] == []


def test_dictionary__real_rows__every_value_is_known_and_in_range(name: str) -> None:
    words = read_dictionary(cases.dictionary(name))

    for case in READERS[name]():
        assert list(case.values) == [feature.name for feature in words.features]
        for feature in words.features:
            value = case.values[feature.name]
            assert feature.problem(value) == ""
            assert [badge for badge in feature.badges(value) if badge != "missing"] == []


def test_dictionary__real_rows__ranges_and_categories_are_no_wider_than_the_data(name: str) -> None:
    words = read_dictionary(cases.dictionary(name))
    rows = [case.values for case in READERS[name]()]

    for feature in words.inputs:
        seen = {row[feature.name] for row in rows} - {None}
        if feature.type == CATEGORY:
            assert set(feature.categories) == seen
        elif feature.type == NUMBER and feature.high is not None:
            assert feature.high == max(float(value or 0) for value in seen)
        elif feature.type == FLAG:
            assert seen == {True, False}


def test_dictionary__credit__protected_features_are_seen_but_not_told() -> None:
    words = read_dictionary(cases.dictionary("credit"))

    untold = {feature.name for feature in words.inputs if not feature.tellable}
    assert untold == {"personal_status_sex", "age", "foreign_worker", "dependants"}
    assert all(not words.by_name[name].changeable for name in untold)


def test_dictionary__clicks__position_is_held_constant() -> None:
    words = read_dictionary(cases.dictionary("clicks"))

    right = next(case.values for case in cases.showings() if case.values["position"] == "right")

    assert words.as_seen(right)["position"] == "left"


def test_passengers__names__read_naturally() -> None:
    names = {str(case.values["name"]): case for case in cases.passengers()}

    assert len(names) == 891
    assert names[AYOUB].true
    assert not names[VESTROM].true
    assert not names[AYOUB].trains
    assert "Mrs John Bradley Cumings (Florence Briggs Thayer)" in names


def test_natural_name__odd_ones__lose_nothing() -> None:
    assert cases.natural_name("Rothes, the Countess. of (Lucy Noel Martha Dyer-Edwards)") == (
        "the Countess of Rothes (Lucy Noel Martha Dyer-Edwards)"
    )
    assert cases.natural_name('O\'Brien, Mrs. Thomas (Johanna "Hannah" Godfrey)') == (
        'Mrs Thomas O\'Brien (Johanna "Hannah" Godfrey)'
    )


def test_showings__first_day__knows_no_day_before() -> None:
    found: list[Case] = [*cases.showings()]

    assert found[0].values["shown_yesterday"] is None
    assert found[-1].values["shown_yesterday"] is not None
    assert sum(case.true for case in found) == 115


def test_reviews__votes_of_twenty__say_what_is_negative() -> None:
    found = cases.reviews()

    assert len(found) == len({case.sentence_id for case in found}) == 3_708
    assert {len(case.votes) for case in found} == {20}
    assert sum(case.true for case in found) == 1_235
    assert found[0].sentence_id == "review-001-01"
    assert (found[0].mean, found[0].true) == (-0.9, True)


def test_reviews__no_review__is_on_both_sides() -> None:
    found = cases.reviews()

    learnt = {case.review for case in found if case.trains}
    kept = {case.review for case in found if not case.trains}
    assert learnt & kept == set()
    assert sum(case.trains for case in found) == 1_837


def test_reviews__products__are_those_that_the_texts_speak_of() -> None:
    found = cases.reviews()

    products = {
        word: {str(case.values["product"]) for case in found if word in str(case.values["sentence"])}
        for word in ("apex", "powershot g3", "coolpix 4300", "t-mobile", "zen xtra")
    }
    assert products == {
        "apex": {"DVD player"},
        "powershot g3": {"camera"},
        "coolpix 4300": {"compact camera"},
        "t-mobile": {"phone"},
        "zen xtra": {"music player"},
    }
