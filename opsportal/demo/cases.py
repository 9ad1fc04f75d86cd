"""The demo's data as cases to learn from: passengers, credits, showings of products, sentences of reviews.

Pure Python; see data/NOTICE for where the files come from.
"""

import json
from collections import Counter
from csv import DictReader
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from opsportal.demo.impressions import LOG, product_id
from opsportal.predictions.dictionary import Value

Values = dict[str, Value]

_DATA = Path(__file__).parent / "data"

AYOUB, VESTROM = "Miss Banoura Ayoub", "Miss Hulda Amanda Adolfina Vestrom"
POSITIONS = {"1": "left", "2": "centre", "3": "right"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A row of the data: what a model sees of it and beside it, what became of it, and whether it may be
    learnt from or is kept for measuring.
    """

    values: Values
    true: bool
    trains: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Showing(Case):
    """A product that was shown to somebody, and when."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence(Case):
    """A sentence of a review. votes: from −4 (very negative) to 4, each of another person."""

    sentence_id: str
    review: int
    votes: tuple[int, ...]

    @property
    def mean(self) -> float:
        """The votes' mean."""
        return sum(self.votes) / len(self.votes)


def dictionary(name: str) -> dict[str, Any]:
    """The feature dictionary `titanic`, `credit`, `clicks` or `reviews`, as it is registered."""
    text = (_DATA / "dictionaries" / f"{name}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    if name == "clicks":
        product = next(feature for feature in found["features"] if feature["name"] == "product")
        numbers = sorted({int(row["item_id"]) for row in _rows(LOG)})
        product["categories"] = [product_id(str(number)) for number in numbers]
    return found


# -- The Titanic --------------------------------------------------------------------------------

_CLASSES = {"1": "first class", "2": "second class", "3": "third class"}


def passengers() -> list[Case]:
    """The 891 passengers in the order of the file; true: survived."""
    return [
        Case(
            values={
                "name": natural_name(row["name"]),
                "sex": row["sex"],
                "age": _number(row["age"]),
                "passenger_class": _CLASSES[row["passenger_class"]],
                "fare": _number(row["fare"]),
                "siblings_spouses": _number(row["siblings_spouses"]),
                "parents_children": _number(row["parents_children"]),
                "deck": row["deck"] or None,
                "embarked": row["embarked"] or None,
            },
            true=row["survived"] == "1",
            trains=row["split"] == "train",
        )
        for row in _rows(_DATA / "titanic.csv")
    ]


def natural_name(name: str) -> str:
    """`Ayoub, Miss. Banoura` → `Miss Banoura Ayoub`; a maiden name in brackets stays at the end."""
    surname, _, rest = name.partition(", ")
    title, _, given = rest.partition(". ")
    given, bracket, maiden = given.partition("(")
    return " ".join(f"{title} {given} {surname} {bracket}{maiden}".split())


# -- Credit -------------------------------------------------------------------------------------

# Feature → column of the file, where the name differs.
_COLUMNS = {
    "application": "application_id",
    "checking_account": "status_of_existing_checking_account",
    "duration": "duration_in_month",
    "amount": "credit_amount",
    "savings": "savings_account_and_bonds",
    "employed_since": "present_employment_since",
    "instalment_rate": "installment_rate_in_percentage_of_disposable_income",
    "personal_status_sex": "personal_status_and_sex",
    "other_debtors": "other_debtors_or_guarantors",
    "residence_since": "present_residence_since",
    "age": "age_in_years",
    "other_instalments": "other_installment_plans",
    "existing_credits": "number_of_existing_credits_at_this_bank",
    "dependants": "number_of_people_being_liable_to_provide_maintenance_for",
}
# Label of the file → label of the dictionary, where it differs.
_LABELS = {
    "... < 0 DM": "below 0 DM",
    "0 <= ... < 200 DM": "0 to 200 DM",
    "... >= 200 DM / salary assignments for at least 1 year": "200 DM or more, or a salary for a year",
    "no checking account": "none",
    "no credits taken/ all credits paid back duly": "no credits taken, or all paid back duly",
    "critical account/ other credits existing (not at this bank)": "critical, or credits at other banks",
    "car (new)": "new car",
    "car (used)": "used car",
    "furniture/equipment": "furniture or equipment",
    "radio/television": "radio or television",
    "... < 100 DM": "below 100 DM",
    "100 <= ... < 500 DM": "100 to 500 DM",
    "500 <= ... < 1000 DM": "500 to 1000 DM",
    "... >= 1000 DM": "1000 DM or more",
    "unknown/ no savings account": "unknown, or no savings account",
    "... < 1 year": "below 1 year",
    "1 <= ... < 4 years": "1 to 4 years",
    "4 <= ... < 7 years": "4 to 7 years",
    "... >= 7 years": "7 years or more",
    "male : single": "male, single",
    "male : married/widowed": "male, married or widowed",
    "male : divorced/separated": "male, divorced or separated",
    "female : divorced/separated/married": "female, divorced, separated or married",
    "building society savings agreement/ life insurance": "building society savings or life insurance",
    "car or other, not in attribute Savings account/bonds": "car or other",
    "unknown / no property": "unknown, or no property",
    "unemployed/ unskilled - non-resident": "unemployed, or unskilled and non-resident",
    "unskilled - resident": "unskilled, resident",
    "skilled employee / official": "skilled employee or official",
    "management/ self-employed/ highly qualified employee/ officer": "self-employed or highly qualified",
}


def applications() -> list[Case]:
    """The 1,000 applications in the order of the file; true: paid back. Seven of ten may be learnt from."""
    features = dictionary("credit")["features"]
    return [
        Case(
            values={
                feature["name"]: _answer(feature["type"], row[_COLUMNS.get(feature["name"], feature["name"])])
                for feature in features
            },
            true=row["creditability"] == "good",
            trains=number % 10 < 7,
        )
        for number, row in enumerate(_rows(_DATA / "german_credit.csv"))
    ]


def _answer(kind: str, raw: str) -> Value:
    if kind == "number":
        return _number(raw)
    return raw.startswith("yes") if kind == "flag" else _LABELS.get(raw, raw)


# -- Clicks -------------------------------------------------------------------------------------


def showings() -> list[Showing]:
    """The 2,715 showings of products in the order of the log; true: clicked. The first five days may be
    learnt from.
    """
    rows = [(datetime.fromisoformat(row["timestamp"]), row) for row in _rows(LOG)]
    first_day = min(at.date() for at, _ in rows)
    shown = Counter((row["item_id"], at.date()) for at, row in rows)
    clicked = Counter((row["item_id"], at.date()) for at, row in rows if row["click"] == "1")
    found = []
    for at, row in rows:
        day_before = (row["item_id"], at.date() - timedelta(days=1))
        is_known = at.date() > first_day
        values: Values = {
            "product": product_id(row["item_id"]),
            "shown_yesterday": shown[day_before] if is_known else None,
            "clicked_yesterday": clicked[day_before] if is_known else None,
            "hour": at.hour,
            "position": POSITIONS[row["position"]],
            "visitor_segment": row["user_segment"],
            "chosen_by": {"bts": "Thompson sampling", "random": "chance"}[row["policy"]],
            "chance_of_being_shown": _number(row["propensity_score"]),
        }
        is_early = at.date() < first_day + timedelta(days=5)
        found.append(Showing(values=values, true=row["click"] == "1", trains=is_early, at=at))
    return found


# -- Reviews ------------------------------------------------------------------------------------

# The file has the reviews of one product after those of another: number of the last review → product.
_PRODUCTS = {98: "DVD player", 143: "camera", 175: "compact camera", 215: "phone", 309: "music player"}
NEGATIVE_FROM = -0.5


def reviews() -> list[Sentence]:
    """The 3,708 sentences in the order of the file; true: negative, by the mean of 20 people's votes.

    Those of every other review may be learnt from, so that no review is on both sides.
    """
    found = []
    for row in _rows(_DATA / "reviews.csv"):
        review, place = (int(number) for number in row["snippet_id"].split("_"))
        product = next(product for last, product in _PRODUCTS.items() if review <= last)
        votes = tuple(int(vote) for vote in row["ratings"].split())
        found.append(
            Sentence(
                values={"sentence": row["text"], "product": product, "place": place},
                true=sum(votes) / len(votes) <= NEGATIVE_FROM,
                trains=review % 2 == 1,
                sentence_id=f"review-{review:03}-{place:02}",
                review=review,
                votes=votes,
            )
        )
    return found


# -- Files --------------------------------------------------------------------------------------


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(DictReader(file))


def _number(text: str) -> float | int | None:
    """The number as a system would log it: whole ones without a fraction, none where nothing is known."""
    if not text:
        return None
    number = float(text)
    return int(number) if number.is_integer() else number
