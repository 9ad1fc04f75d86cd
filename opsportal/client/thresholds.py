"""The published thresholds of a model: one for each version at most, `version,value,since,id;…`."""

import math
from typing import NamedTuple
from urllib.parse import unquote


class Threshold(NamedTuple):
    """From this score on (score >= value) the decision of the version is the positive one.

    since: when it was published, epoch seconds. threshold_id: its number in the portal.
    """

    version: str
    value: float
    since: int
    threshold_id: int


def parse_thresholds(text: str) -> list[Threshold]:
    """The thresholds of a model from what the store holds for it; what cannot be read is left out.

    A version whose threshold cannot be read keeps the one it was registered with.
    """
    found = []
    for part in text.split(";"):
        fields = part.split(",")
        try:
            version, value, since, number = fields
            threshold = Threshold(unquote(version), float(value), int(since), int(number))
        except ValueError:
            continue
        if version and math.isfinite(threshold.value):
            found.append(threshold)
    return found
