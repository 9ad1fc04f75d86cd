"""Tell what a model's file is, by its content alone, and refuse what is code or cut short.

Nothing is loaded here and nothing is believed of a name. Pure Python: the web process asks it as soon as a
file arrives; a worker loads what passes.
"""

import bz2
import lzma
import mmap
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TypeAlias

import msgspec
from django.conf import settings

from opsportal.core.errors import Invalid
from opsportal.predictions.models import Format

Content: TypeAlias = bytes | mmap.mmap

HEAD = 64_000
# A skops file holds one member for each array: twenty for each of a thousand trees.
ZIP_MEMBERS_MAX = 20_000
# Of what a zip may unpack to, in sizes of the largest file that is taken.
ZIP_GROWTH_MAX = 5
UBJ_DEPTH_MAX = 64
UBJ_PARTS_MAX = 5_000_000

HOW_TO_SAVE = (
    "Save the model with booster.save_model (LightGBM, XGBoost) or with skops.io.dump (scikit-learn)."
)
_CODE = "A pickle is a program that runs when it is loaded, so none is ever taken. " + HOW_TO_SAVE
_CUT = "The file is cut short: {}. Copy or save it again."


def sniff(file: IO[bytes]) -> Format:
    """The format of the model in this file, which is read from its start and left there.

    Raises Invalid at `file`: for what is empty, is no model that is taken, is or holds a pickle, or is
    evidently not whole. Costs one pass over the bytes; memory does not grow with the file where it has a
    place on the disk.
    """
    with _content_of(file) as content:
        head = bytes(content[:HEAD])
        for begins, check in _FORMATS:
            if begins(head):
                return check(content, file)
        raise _refusal(_what_else(head, len(content)))


@contextmanager
def _content_of(file: IO[bytes]) -> Iterator[Content]:
    """The whole file: mapped where it lies on the disk, read where it is in memory."""
    file.seek(0)
    try:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (AttributeError, OSError, ValueError):
        # Not on the disk (io.UnsupportedOperation is an OSError), or empty.
        yield file.read()
    else:
        with mapped:
            yield mapped
    file.seek(0)


def _refusal(sentence: str, code: str = "format") -> Invalid:
    return Invalid.at("file", code, sentence)


def _cut_short(where: str) -> Invalid:
    return _refusal(_CUT.format(where), "truncated")


# -- What is taken ----------------------------------------------------------------------------


def _begins_as_lightgbm(head: bytes) -> bool:
    return re.match(rb"tree\r?\n", head) is not None


def _check_lightgbm(content: Content, _: IO[bytes]) -> Format:
    end = content.rfind(b"end of trees")
    if end < 0:
        raise _cut_short("it is a LightGBM model without “end of trees”")
    if content.find(b"\nparameters:", end) >= 0 and content.find(b"end of parameters", end) < 0:
        raise _cut_short("it is a LightGBM model without “end of parameters”")
    # Python's last line. Without its categories the model would read those of a row wrongly.
    line = bytes(content[max(end, content.rfind(b"\n\n")) :]).strip()
    name = b"pandas_categorical:"
    if line and (name.startswith(line) or (line.startswith(name) and not _is_json(line[len(name) :]))):
        raise _cut_short("its last line, “pandas_categorical”, does not end")
    return Format.LIGHTGBM


def _is_json(content: bytes) -> bool:
    try:
        msgspec.json.decode(content, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _begins_as_xgboost_json(head: bytes) -> bool:
    return re.match(rb'\s*\{\s*"(learner|version)"\s*:', head) is not None


def _check_xgboost_json(content: Content, _: IO[bytes]) -> Format:
    try:
        msgspec.json.decode(content, type=msgspec.Raw)
    except RecursionError:
        raise _refusal("The JSON is nested too deeply for an XGBoost model.") from None
    except msgspec.DecodeError as error:
        if "truncated" in str(error):
            raise _cut_short("its JSON does not end") from None
        sentence = f"This begins as an XGBoost model in JSON, but it is no JSON: {error}. Save it as UBJ."
        raise _refusal(sentence, "truncated") from None
    if content.find(b'"gradient_booster"') < 0:
        raise _refusal(f"This is JSON, but no model that XGBoost saved. {HOW_TO_SAVE}")
    return Format.XGBOOST


def _begins_as_xgboost_ubj(head: bytes) -> bool:
    return re.match(rb"\{[iUIlL]\0*[\x07](learner|version)", head) is not None


def _check_xgboost_ubj(content: Content, _: IO[bytes]) -> Format:
    # XGBoost believes the lengths in such a file: one that is cut short can make it ask for all memory.
    try:
        end = _end_of_ubj(content)
    except (IndexError, struct.error):
        raise _cut_short("its UBJ does not end") from None
    if end != len(content):
        raise _refusal("The UBJ goes on after its end: this is not what XGBoost saved.", "damaged")
    return Format.XGBOOST


def _begins_as_zip(head: bytes) -> bool:
    return head[:4] in {b"PK\x03\x04", b"PK\x05\x06"}


def _check_skops(content: Content, file: IO[bytes]) -> Format:
    _check_zip_directory(content)
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            unpacked = sum(member.file_size for member in members)
            if unpacked > ZIP_GROWTH_MAX * settings.MODEL_MAX_BYTES:
                sentence = f"The zip would unpack to {unpacked:,} bytes, which is more than any model here."
                raise _refusal(sentence, "too_large")
            names = {member.filename for member in members}
            if pickled := next((m for m in members if _is_pickled(archive, m)), None):
                what = "PyTorch writes such files" if pickled.filename.endswith("data.pkl") else "a pickle"
                raise _refusal(
                    f"This is a zip with a pickle in it ({pickled.filename[:100]}; {what}). {_CODE}", "pickle"
                )
            if "schema.json" not in names:
                raise _refusal(f"{_kind_of_zip(names)} {HOW_TO_SAVE}")
            with archive.open("schema.json") as schema:
                if not schema.read(64).lstrip().startswith(b"{"):
                    raise _refusal("The schema.json in this zip is not what skops writes.", "damaged")
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        struct.error,
        NotImplementedError,
        RuntimeError,
    ) as error:
        # RuntimeError: a member is encrypted. NotImplementedError: compressed in a way that zip lacks here.
        raise _refusal(f"The zip is damaged or cannot be read here: {error}.", "damaged") from None
    return Format.SKOPS


_FORMATS: tuple[tuple[Callable[[bytes], bool], Callable[[Content, IO[bytes]], Format]], ...] = (
    (_begins_as_lightgbm, _check_lightgbm),
    (_begins_as_xgboost_json, _check_xgboost_json),
    (_begins_as_xgboost_ubj, _check_xgboost_ubj),
    (_begins_as_zip, _check_skops),
)


# -- Zip ----------------------------------------------------------------------------------------


def _check_zip_directory(content: Content) -> None:
    """Look at the directory's size before zipfile reads all of it."""
    end = content.rfind(b"PK\x05\x06", max(0, len(content) - 66_000))
    if end < 0 or end + 22 > len(content):
        raise _cut_short("it is a zip without its directory")
    if content[max(0, end - 20) : end].startswith(b"PK\x06\x07"):
        raise _refusal("The zip is in the large form (zip64), which no model needs here.", "too_large")
    (members,) = struct.unpack_from("<H", content, end + 10)
    (size,) = struct.unpack_from("<L", content, end + 12)
    if members > ZIP_MEMBERS_MAX or size > 512 * ZIP_MEMBERS_MAX:
        raise _refusal(f"The zip has more than {ZIP_MEMBERS_MAX:,} members.", "too_large")


def _is_pickled(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    """Whether the member is a pickle, is compressed as joblib does it, or is an array of pickled objects."""
    with archive.open(member) as stream:
        head = stream.read(4_096)
    if head.startswith(b"\x93NUMPY"):
        return re.search(rb"'descr':\s*'[|<>=]?O", head[:256]) is not None
    return bool(_pickle_words(head, member.file_size)) or bool(_compression(head)[0])


def _kind_of_zip(names: set[str]) -> str:
    if "[Content_Types].xml" in names:
        return "This is an Office document."
    if "META-INF/MANIFEST.MF" in names:
        return "This is a Java archive."
    if any(name.endswith(("weights.h5", "keras_metadata.pb", "saved_model.pb")) for name in names):
        return "This is a Keras model, which cannot be explained here."
    if names and all(name.endswith(".npy") for name in names):
        return "This is an archive of NumPy arrays, not a model."
    return "This is a zip, but skops did not write it: it has no schema.json."


# -- UBJ ----------------------------------------------------------------------------------------

_UBJ_SIZES = {
    b"Z": 0,
    b"T": 0,
    b"F": 0,
    b"i": 1,
    b"U": 1,
    b"C": 1,
    b"I": 2,
    b"l": 4,
    b"d": 4,
    b"L": 8,
    b"D": 8,
}
_UBJ_LENGTHS = {b"i": ">b", b"U": ">B", b"I": ">h", b"l": ">i", b"L": ">q"}


def _end_of_ubj(content: Content) -> int:
    """Where the UBJ value at the start of `content` ends, without building it.

    Raises IndexError or struct.error where the content ends before, and Invalid for what is no UBJ.
    """
    place = 0
    # Of each open container: whether it is an object, and how many parts it still has (-1: until its end).
    opened: list[tuple[bool, int]] = []
    for _ in range(UBJ_PARTS_MAX):
        if opened:
            is_object, left = opened[-1]
            if left == 0 or (left < 0 and _byte(content, place) == (b"}" if is_object else b"]")):
                place += left < 0
                opened.pop()
                if not opened:
                    return place
                continue
            if left > 0:
                opened[-1] = (is_object, left - 1)
            if is_object:
                length, place = _ubj_length(content, place)
                place = _skip(content, place, length)
        marker = _byte(content, place)
        place += 1
        if marker in (b"[", b"{"):
            place, frame = _ubj_container(content, place, is_object=marker == b"{")
            if frame is not None:
                opened.append(frame)
            if len(opened) > UBJ_DEPTH_MAX:
                raise _refusal("The UBJ is nested too deeply for an XGBoost model.", "damaged")
        elif marker in (b"S", b"H"):
            length, place = _ubj_length(content, place)
            place = _skip(content, place, length)
        elif marker in _UBJ_SIZES:
            place = _skip(content, place, _UBJ_SIZES[marker])
        else:
            raise _no_ubj(place - 1)
        if not opened:
            return place
    raise _refusal("The UBJ has too many parts for an XGBoost model.", "too_large")


def _ubj_container(content: Content, place: int, *, is_object: bool) -> tuple[int, tuple[bool, int] | None]:
    """Read what follows `[` or `{`; an array of numbers is passed over at once and opens nothing."""
    kind = b""
    if _byte(content, place) == b"$":
        kind = _byte(content, place + 1)
        place += 2
        if kind not in _UBJ_SIZES or _byte(content, place) != b"#" or is_object:
            raise _no_ubj(place)
    if _byte(content, place) != b"#":
        return place, (is_object, -1)
    count, place = _ubj_length(content, place + 1)
    if kind:
        return _skip(content, place, count * _UBJ_SIZES[kind]), None
    return place, (is_object, count)


def _ubj_length(content: Content, place: int) -> tuple[int, int]:
    form = _UBJ_LENGTHS.get(_byte(content, place))
    if form is None:
        raise _no_ubj(place)
    (length,) = struct.unpack_from(form, content, place + 1)
    if length < 0:
        raise _no_ubj(place)
    return length, place + 1 + struct.calcsize(form)


def _skip(content: Content, place: int, length: int) -> int:
    if place + length > len(content):
        raise IndexError
    return place + length


def _byte(content: Content, place: int) -> bytes:
    if place >= len(content):
        raise IndexError
    return bytes(content[place : place + 1])


def _no_ubj(place: int) -> Invalid:
    return _refusal(f"This begins as an XGBoost model in UBJ, but byte {place:,} is no UBJ.", "damaged")


# -- What is refused, and what it is -------------------------------------------------------------


def _what_else(head: bytes, size: int) -> str:
    """A sentence or two: what the file is, and what to do instead."""
    if not head:
        return "The file is empty."
    if words := _pickle_words(head, size):
        return f"This is {words}. {_CODE}"
    name, inside = _compression(head)
    if name:
        if _pickle_words(inside, -1):
            return f"This is a pickle compressed with {name}, as joblib writes it. {_CODE}"
        if any(begins(inside) for begins, _ in _FORMATS):
            return f"This is a model compressed with {name}. Unpack it and choose the file inside."
        return f"This is compressed with {name}, as joblib compresses its pickles. {_CODE}"
    for begins, sentence in _OTHERS:
        if re.match(begins, head, re.DOTALL):
            return f"{sentence} {HOW_TO_SAVE}"
    if head[257:262] == b"ustar":
        return f"This is a tar archive; old PyTorch files are, and hold pickles. {HOW_TO_SAVE}"
    return f"This is no model that can be read here. {HOW_TO_SAVE}"


def _pickle_words(head: bytes, size: int) -> str:
    """`a pickle (protocol 4)` if the content is one, else empty. size: of the whole content, -1 if unknown.

    From protocol 2 on a pickle says so itself. The older two are just their instructions: those are read
    without following any.
    """
    if head[:1] == b"\x80" and len(head) > 1 and 2 <= head[1] <= 9:
        return f"a pickle (protocol {head[1]})"
    if head.startswith(b"ZF"):
        return "a pickle of an old joblib, compressed"
    imports = ended = False
    read = 0
    try:
        for instruction, _, place in pickletools.genops(head):
            read += 1
            imports = imports or instruction.name in {"GLOBAL", "INST"}
            ended = instruction.name == "STOP" and size in {-1, (place or 0) + 1}
    except (ValueError, IndexError, OverflowError, struct.error):
        # Here the head ends, or the old joblib has put the bytes of an array between the instructions.
        pass
    is_pickle = ended or (imports and read > 1) or read >= 100
    return "a pickle (of the oldest kind, protocol 0 or 1)" if is_pickle else ""


def _compression(head: bytes) -> tuple[str, bytes]:
    """Name of the compression and the first bytes of what is inside (empty where we cannot tell)."""
    for begins, name in ((b"\x04\x22\x4d\x18", "lz4"), (b"\x28\xb5\x2f\xfd", "zstd")):
        if head.startswith(begins):
            return name, b""
    for pattern, name, opened in _PACKED:
        if re.match(pattern, head, re.DOTALL):
            try:
                return name, opened(head)
            except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error):
                # A text may begin with x^ as zlib does; the others cannot be anything else.
                return ("", b"") if name == "zlib" else (name, b"")
    return "", b""


# How it begins, what it is called, and how its beginning is unpacked.
_PACKED: tuple[tuple[bytes, str, Callable[[bytes], bytes]], ...] = (
    (rb"\x1f\x8b\x08", "gzip", lambda head: zlib.decompressobj(wbits=31).decompress(head, HEAD)),
    (rb"BZh[1-9]1AY&SY", "bzip2", lambda head: bz2.BZ2Decompressor().decompress(head, HEAD)),
    (rb"\xfd7zXZ\0", "xz", lambda head: lzma.LZMADecompressor(memlimit=2**28).decompress(head, HEAD)),
    (rb"\x5d\0\0", "lzma", lambda head: lzma.LZMADecompressor(memlimit=2**28).decompress(head, HEAD)),
    (rb"\x78[\x01\x5e\x9c\xda]", "zlib", lambda head: zlib.decompressobj().decompress(head, HEAD)),
)
# How it begins, and what it is.
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (rb"\x89HDF\r\n\x1a\n", "This is an HDF5 file, such as Keras writes; it cannot be explained here."),
    (rb"[\x08][\x01-\x1f][\x12\x3a\x42]", "This is an ONNX model, which has no attributions of its own."),
    (rb"\x93NUMPY", "This is a NumPy array, not a model."),
    (rb"PAR1", "This is a Parquet table, not a model."),
    (rb"GGUF", "This is a language model (GGUF), which cannot be explained here."),
    (rb".{4}TFL3", "This is a TensorFlow Lite model, which cannot be explained here."),
    (rb".{6}\0\0\{\s*\"", "This is a safetensors file, which cannot be explained here."),
    (rb"CBM1", "This is a CatBoost model, which cannot be read here."),
    (rb"binf|bs64", "This is an XGBoost model in its old binary form. Load it in XGBoost and save it anew."),
    (rb"booster\[\d+\]:", "This is XGBoost’s dump for people; it cannot be loaded."),
    (rb'\s*\[\s*\{\s*"nodeid"', "This is XGBoost’s dump for people; it cannot be loaded."),
    (rb'\s*\{.{0,2000}"tree_info"', "This is LightGBM’s dump for people (dump_model); it cannot be loaded."),
    (
        rb'\s*\{\s*"(name|features|subject|outcome|groups)"',
        "This looks like a feature dictionary, not a model.",
    ),
    (rb"\s*[\[{]", "This is JSON, but no model that XGBoost saved."),
    (rb"\s*<\?xml", "This is XML (PMML is); it cannot be read here."),
    (rb"\s*<", "This is a web page or XML, not a model."),
    (rb"\x7fELF|MZ", "This is a program."),
    (rb"%PDF", "This is a PDF document."),
    (
        rb"\xef\xbb\xbftree|\xff\xfet\0r\0",
        "An editor has changed this LightGBM model: it begins with a byte-order mark.",
    ),
)
