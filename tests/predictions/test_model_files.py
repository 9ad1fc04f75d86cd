"""What a model's file is, told by its bytes: models pass, programs and halves do not."""

import bz2
import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np
import pytest
import skops.io
import xgboost
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings
from sklearn.tree import DecisionTreeClassifier

from opsportal.core.errors import Invalid
from opsportal.predictions.model_files import sniff
from opsportal.predictions.models import Format
from tests.explanations.making import TITANIC

TREE = DecisionTreeClassifier(max_depth=2).fit([[0.0], [1.0], [2.0]], [0, 1, 1])
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def boosted() -> xgboost.Booster:
    """A small XGBoost model."""
    table = xgboost.DMatrix(np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0]] * 9), label=[0, 1, 1] * 9)
    return xgboost.train({"objective": "binary:logistic", "max_depth": 2}, table, 3)


@pytest.fixture(scope="module")
def ubj(boosted: xgboost.Booster) -> bytes:
    """The model as UBJ."""
    return bytes(boosted.save_raw("ubj"))


def _refusal(content: bytes) -> Invalid:
    with pytest.raises(Invalid) as caught:
        sniff(io.BytesIO(content))
    assert [problem.path for problem in caught.value.errors] == ["file"]
    return caught.value


def _zip(**members: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return target.getvalue()


# -- What is taken ----------------------------------------------------------------------------


def test_sniff__files_of_the_three_libraries__are_told_apart(boosted: xgboost.Booster, ubj: bytes) -> None:
    found = [
        sniff(io.BytesIO(content))
        for content in (TITANIC, ubj, bytes(boosted.save_raw("json")), skops.io.dumps(TREE))
    ]

    assert found == [Format.LIGHTGBM, Format.XGBOOST, Format.XGBOOST, Format.SKOPS]


def test_sniff__a_file_on_the_disk__is_left_at_its_start(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"  # the name says nothing
    path.write_bytes(TITANIC)

    with path.open("rb") as file:
        assert sniff(file) == Format.LIGHTGBM
        assert file.read() == TITANIC


# -- Pickles ----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "thing",
    [
        1,
        -0.5,
        "text",
        b"bytes",
        None,
        True,
        (1, 2),
        [1, 2, 3],
        {"a": 1},
        list(range(50_000)),
        np.arange(9),
        TREE,
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_sniff__pickle_of_any_protocol__is_refused_as_one(thing: Any, protocol: int) -> None:
    refused = _refusal(pickle.dumps(thing, protocol))

    assert "This is a pickle" in refused.message
    assert "never" in refused.message or "none is ever taken" in refused.message


@given(PLAIN, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_sniff__pickle_of_anything__is_refused(thing: object, protocol: int) -> None:
    assert _refusal(pickle.dumps(thing, protocol)).code == "format"


@pytest.mark.parametrize("compress", [0, "zlib", "gzip", "bz2", "xz", "lzma"])
def test_sniff__joblib_with_any_compression__is_refused_as_a_pickle(tmp_path: Path, compress: Any) -> None:
    path = tmp_path / "model.txt"
    joblib.dump(TREE, path, compress=(compress, 3) if compress else 0)

    refused = _refusal(path.read_bytes())

    assert "pickle" in refused.message
    assert "skops.io.dump" in refused.message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x04\x22\x4d\x18" + b"rest", "lz4"),
        (b"\x28\xb5\x2f\xfd" + b"rest", "zstd"),
        (b"ZF0x1f" + bytes(20), "old joblib"),
        # An old joblib put the bytes of arrays between the instructions.
        (pickle.dumps(TREE, 2)[:200] + b"\xff" * 100, "pickle"),
        (b"cjoblib.numpy_pickle\nNumpyArrayWrapper\nq\x01" + b"\xff" * 100, "pickle"),
        (b"cos\nsystem\n(S'true'\ntR.", "pickle"),
    ],
)
def test_sniff__other_ways_to_hide_a_program__are_refused(content: bytes, words: str) -> None:
    assert words in _refusal(content).message


@pytest.mark.parametrize("packed", [gzip.compress, bz2.compress, lzma.compress, zlib.compress])
def test_sniff__compressed_model__is_to_be_unpacked(packed: Callable[[bytes], bytes]) -> None:
    assert "Unpack it" in _refusal(packed(TITANIC)).message


# -- Archives ---------------------------------------------------------------------------------


def test_sniff__zip_with_a_pickle__is_refused_whatever_else_is_in_it() -> None:
    torch = _zip(archive__data__pkl=pickle.dumps({"weights": 1}, 2), schema__json=b"{}")

    assert "PyTorch" in _refusal(_zip(**{"archive/data.pkl": pickle.dumps({}, 2)})).message
    assert _refusal(torch).code == "pickle"
    assert _refusal(_zip(schema__json=b"{}", x__npy=pickle.dumps(TREE, 0))).code == "pickle"


def test_sniff__array_of_pickled_objects_in_a_zip__is_refused() -> None:
    target = io.BytesIO()
    np.save(target, np.array([{"a": 1}], dtype=object), allow_pickle=True)

    assert _refusal(_zip(schema__json=b"{}", x__npy=target.getvalue())).code == "pickle"


def test_sniff__tar__is_refused() -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pkl"))

    assert "tar archive" in _refusal(target.getvalue()).message


def test_sniff__zip_that_would_fill_the_memory__is_refused(settings: Settings) -> None:
    settings.MODEL_MAX_BYTES = 100_000

    bomb = _zip(schema__json=b"{" + bytes(600_000))

    assert len(bomb) < 10_000
    assert _refusal(bomb).code == "too_large"


def test_sniff__zip_with_a_huge_directory__is_refused_before_it_is_read() -> None:
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 60_000, 60_000, 60_000 * 46, 0, 0)

    assert _refusal(b"PK\x03\x04" + end).code == "too_large"
    large = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1) + struct.pack(
        "<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 46, 0, 0
    )
    assert _refusal(b"PK\x03\x04" + large).code == "too_large"


# -- Cut short --------------------------------------------------------------------------------


def test_sniff__lightgbm_cut_short__is_refused_up_to_its_importances() -> None:
    whole = TITANIC.index(b"end of trees")

    for size in range(5, whole + 11, 97):
        assert _refusal(TITANIC[:size]).code == "truncated"
    for size in range(len(TITANIC) - 20, len(TITANIC) - 2):
        assert _refusal(TITANIC[:size]).code == "truncated"


def test_sniff__ubj_cut_short__is_refused_at_every_byte(ubj: bytes) -> None:
    # XGBoost itself would ask for all memory at some of these.
    for size in range(20, len(ubj)):
        assert _refusal(ubj[:size]).code == "truncated"
    assert _refusal(ubj + b"x").code == "damaged"


def test_sniff__ubj_with_a_length_beyond_its_end__is_refused(ubj: bytes) -> None:
    place = ubj.index(b"feature_names[#L") + len(b"feature_names[#L")
    huge = ubj[:place] + struct.pack(">q", 2**40) + ubj[place + 8 :]
    negative = ubj[:place] + struct.pack(">q", -1) + ubj[place + 8 :]

    assert _refusal(huge).code in {"truncated", "damaged"}
    assert _refusal(negative).code == "damaged"


@pytest.mark.parametrize("form", ["json", "ubj"])
def test_sniff__deep_nesting__is_refused(form: str) -> None:
    if form == "json":
        content = b'{"learner":' + b"[" * 100_000
    else:
        content = b"{L" + struct.pack(">q", 7) + b"learner" + b"[" * 100_000

    assert _refusal(content).code in {"format", "damaged"}


def test_sniff__json_cut_short__is_refused(boosted: xgboost.Booster) -> None:
    content = bytes(boosted.save_raw("json"))

    for size in range(len('{"learner":'), len(content), 13):
        assert _refusal(content[:size]).code == "truncated"


def test_sniff__skops_cut_short__is_refused() -> None:
    content = skops.io.dumps(TREE)

    for size in range(4, len(content), 53):
        assert _refusal(content[:size]).code == "truncated"


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"tree\n", b"PK\x03\x04", b'{"learner":', b"{L\0\0\0\0\0\0\0\x07learner"]),
)
def test_sniff__any_bytes__are_refused_in_a_sentence(content: bytes, begin: bytes) -> None:
    refused = _refusal(begin + content)

    assert refused.message.endswith((".", "?"))


# -- Other files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\x89HDF\r\n\x1a\n rest", "HDF5"),
        (b"\x08\x08\x12\x07pytorch", "ONNX"),
        (b"\x93NUMPY\x01\x00", "NumPy"),
        (b"PAR1", "Parquet"),
        (b"GGUF\x03", "language model"),
        (b'\x10\0\0\0\0\0\0\0{"a": 1}', "safetensors"),
        (b"CBM1", "CatBoost"),
        (b"booster[0]:\n0:[f0<1]", "dump for people"),
        (b'{"name": "tree", "version": "v4", "tree_info": []}', "dump_model"),
        (b'{"features": [{"name": "age"}]}', "feature dictionary"),
        (b'{"a": 1}', "no model that XGBoost saved"),
        (b'{"learner": {}}', "no model that XGBoost saved"),
        (b"<?xml version='1.0'?><PMML>", "PMML"),
        (b"\x7fELF\x02", "program"),
        (b"\xef\xbb\xbftree\nversion=v4", "byte-order mark"),
        (b"hello", "no model"),
        (_zip(a__txt=b"hello"), "no schema.json"),
        (_zip(**{"[Content_Types].xml": b"<x/>"}), "Office"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_sniff__other_kinds_of_file__are_called_by_their_name(content: bytes, words: str) -> None:
    refused = _refusal(content)

    assert words in refused.message
