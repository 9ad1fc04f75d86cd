"""Which features matter over many predictions: means of attributions, one axis at a time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from opsportal.predictions.dictionary import FeatureDictionary

# What marks the line of a group: its members summed in each row, before the means are taken.
GROUP = "group"


def importance_of(
    names: Sequence[str], rows: Sequence[Sequence[float]], dictionary: FeatureDictionary
) -> list[list[Any]]:
    """[feature, mean |attribution|, mean attribution] in the model's order, then the same of each group.

    names: k features. rows: n ≥ 1 times their k attributions. A group's line has a fourth member, `group`;
    near copies of a feature share its effect, so their sum is taken before the size.
    """
    values = np.asarray(rows, dtype=np.float64)
    sizes, means = np.abs(values).mean(axis=0), values.mean(axis=0)
    found: list[list[Any]] = [
        [name, float(size), float(mean)] for name, size, mean in zip(names, sizes, means, strict=True)
    ]
    for group, places in _places_of_groups(names, dictionary).items():
        sums = values[:, places].sum(axis=1)
        found.append([group, float(np.abs(sums).mean()), float(sums.mean()), GROUP])
    return found


def strongest_first(rows: Sequence[Sequence[float]]) -> list[int]:
    """The features' places by mean |attribution|, the largest first; equal ones in their order. n ≥ 1."""
    sizes = np.abs(np.asarray(rows, dtype=np.float64)).mean(axis=0)
    order: list[int] = np.argsort(-sizes, kind="stable").tolist()
    return order


def evenly(count: int, most: int) -> list[int]:
    """At most so many places of `count`, evenly spread, always the same ones."""
    if count <= most:
        return list(range(count))
    places: list[int] = np.unique(np.linspace(0, count - 1, most).round().astype(int)).tolist()
    return places


def _places_of_groups(names: Sequence[str], dictionary: FeatureDictionary) -> Mapping[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        feature = dictionary.by_name.get(name)
        if feature is not None and feature.group:
            found.setdefault(feature.group, []).append(place)
    return found
