"""Whether a LightGBM text file is whole and its trees hold together, told before LightGBM itself reads it.

The library takes a shortened file for a smaller model, and at a damaged tree it ends the process or reads
beyond its arrays. So every number that leads somewhere is looked at here.
"""

import re
from collections.abc import Mapping
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt

from opsportal.explanations.engine.contributions import EngineError

_END = "\nend of trees\n"
_HEAD_NUMBERS = ("num_class", "num_tree_per_iteration", "max_feature_idx")
# Lines of the head that have no value.
_HEAD_WORDS = {"tree", "average_output"}
# Members with one number for each split, and with one for each leaf.
_PER_SPLIT = ("split_feature", "threshold", "decision_type", "left_child", "right_child", "internal_count")
_PER_SPLIT_SOMETIMES = ("split_gain", "internal_value", "internal_weight")
_PER_LEAF = ("leaf_value", "leaf_count")
_PER_LEAF_SOMETIMES = ("leaf_weight",)
_IS_CATEGORICAL = 1
_KNOWN = {
    *_PER_SPLIT, *_PER_SPLIT_SOMETIMES, *_PER_LEAF, *_PER_LEAF_SOMETIMES,
    "num_leaves", "num_cat", "cat_boundaries", "cat_threshold", "shrinkage", "is_linear",
    "leaf_const", "num_features", "leaf_features", "leaf_coeff",
}  # fmt: skip

Numbers = npt.NDArray[np.float64]


def read_whole(content: bytes) -> str:
    """The file as text. Raises EngineError with a sentence saying where it is damaged."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise EngineError("The file is no LightGBM text model: it is not text.") from None
    if not text.startswith("tree\n"):
        raise EngineError("The file is no LightGBM text model: it does not begin with the word “tree”.")
    told = head(text)
    sizes = told.get("tree_sizes", "").split(" ")
    found = len(re.findall(r"^Tree=\d+$", text, flags=re.MULTILINE))
    first, end = text.find("\nTree=0\n") + 1, text.find(_END)
    if not 0 < first < end or found != len(sizes):
        raise EngineError(
            f"The file is not whole: it announces {len(sizes):,} trees and holds {found:,}, "
            f"and its end is {'there' if end >= 0 else 'missing'}."
        )
    _check_head(text[: first - 1], told)
    _check_trees(text[first:end].encode(), [int(size) for size in sizes], int(told["max_feature_idx"]))
    return text


def head(text: str) -> dict[str, str]:
    """What stands above the first tree; a word without a value has an empty one."""
    end = text.find("\n\n")
    return _members(text[: end if end >= 0 else len(text)])


def _check_head(lines: str, told: Mapping[str, str]) -> None:
    features = len(told.get("feature_names", "").split(" "))
    numbers = [told.get(name, "") for name in _HEAD_NUMBERS]
    if (
        any("=" not in line and line not in _HEAD_WORDS for line in lines.rstrip("\n").split("\n"))
        or not all(number.isdecimal() and number.isascii() for number in numbers)
        or not all(size.isdecimal() and size.isascii() for size in told["tree_sizes"].split(" "))
        or told.get("objective") == ""
        or told["max_feature_idx"] != str(features - 1)
        or len(told.get("feature_infos", "").split(" ")) != features
    ):
        raise EngineError("The file is damaged: its head does not describe its trees and features.")


def _check_trees(trees: bytes, sizes: list[int], last_feature: int) -> None:
    starts = [0, *accumulate(sizes)]
    for number, (start, end) in enumerate(pairwise(starts)):
        block = trees[start:end].decode(errors="replace")
        try:
            if not block.startswith(f"Tree={number}\n"):
                raise ValueError("it does not begin where the head says")
            _check_tree(_tree_members(block), last_feature)
        except (KeyError, ValueError, OverflowError) as error:
            why = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
            raise EngineError(f"The file is damaged: tree {number:,} cannot be read ({why}).") from error


def _check_tree(tree: Mapping[str, str], last_feature: int) -> None:
    """Raise ValueError or KeyError for a tree that LightGBM would stumble over."""
    if tree.get("is_linear", "0") != "0":
        raise EngineError("The model has linear trees. LightGBM cannot attribute what they say.")
    leaves, categorical = int(tree["num_leaves"]), int(tree["num_cat"])
    float(tree["shrinkage"])
    if leaves < 1 or categorical < 0:
        raise ValueError("it has no leaves")
    if leaves == 1:
        _numbers(tree, "leaf_value", 1)
        return
    splits = leaves - 1
    read = {name: _numbers(tree, name, splits) for name in _PER_SPLIT}
    read |= {name: _numbers(tree, name, leaves) for name in _PER_LEAF}
    for names, count in ((_PER_SPLIT_SOMETIMES, splits), (_PER_LEAF_SOMETIMES, leaves)):
        for name in names:
            if name in tree:
                _numbers(tree, name, count)
    if not _within(read["split_feature"], 0, last_feature):
        raise ValueError("it splits by a feature that there is not")
    _check_branches(read["left_child"], read["right_child"])
    _check_categories(tree, read, categorical)


def _check_branches(left: Numbers, right: Numbers) -> None:
    """Every split but the first and every leaf hangs on exactly one earlier split."""
    splits = len(left)
    expected = np.arange(-(splits + 1), splits)
    children = np.sort(np.concatenate([left, right, [0.0]]))
    later = np.arange(splits)
    if not np.array_equal(children, expected) or any(
        ((side >= 0) & (side <= later)).any() for side in (left, right)
    ):
        raise ValueError("its branches lead nowhere")


def _check_categories(tree: Mapping[str, str], read: Mapping[str, Numbers], categorical: int) -> None:
    kinds = read["decision_type"]
    if not _within(kinds, 0, 15):
        raise ValueError("it splits in a way that there is not")
    is_set = kinds.astype(np.int64) & _IS_CATEGORICAL == _IS_CATEGORICAL
    if not categorical:
        if is_set.any():
            raise ValueError("it splits by categories that it does not hold")
        return
    bounds = _numbers(tree, "cat_boundaries", categorical + 1)
    if bounds[0] != 0 or (np.diff(bounds) <= 0).any() or not _within(bounds, 0, len(tree["cat_threshold"])):
        raise ValueError("its categories are out of order")
    words = _numbers(tree, "cat_threshold", int(bounds[-1]))
    if not _within(words, 0, 2**32 - 1) or not _within(read["threshold"][is_set], 0, categorical - 1):
        raise ValueError("its categories are out of range")


def _numbers(tree: Mapping[str, str], name: str, count: int) -> Numbers:
    found = np.array(tree[name].split(" "), dtype=np.float64)
    if len(found) != count:
        raise ValueError(f"{name} has {len(found):,} numbers, not {count:,}")
    return found


def _within(numbers: Numbers, low: float, high: float) -> bool:
    """Whether all are whole numbers within low..high."""
    return bool(((numbers >= low) & (numbers <= high) & (numbers == np.floor(numbers))).all())


def _tree_members(block: str) -> dict[str, str]:
    """A tree's lines. LightGBM stops reading at an empty line, and at one that it does not know."""
    _, *lines = block.rstrip("\n").split("\n")
    names = [line.partition("=")[0] for line in lines]
    if "" in names or not all("=" in line for line in lines) or not _KNOWN.issuperset(names):
        raise ValueError("it has a line that no tree has")
    return _members("\n".join(lines))


def _members(block: str) -> dict[str, str]:
    return {name: value for name, _, value in (line.partition("=") for line in block.split("\n"))}
