"""Which files a run is drawn from: those in AUDIT_FILES_DIR that a pattern matches, and no others."""

import re
from pathlib import Path, PurePosixPath

from django.conf import settings

from opsportal.core.errors import Invalid

SUFFIXES = (".parquet", ".csv")
FILES_MAX = 1_000
_PATTERN = re.compile(r"[\w.*?\[\]{}!=+@ -]+(/[\w.*?\[\]{}!=+@ -]+)*", re.ASCII)


def check_pattern(pattern: str) -> str:
    """The pattern without space around it. Raises Invalid at `files` for what could leave the folder."""
    text = pattern.strip()
    if not text:
        raise _refusal("Name the files, such as 2026/*.parquet.", code="required")
    parts = PurePosixPath(text).parts
    if text.startswith(("/", "~")) or "\\" in text or ".." in parts or ":" in text:
        raise _refusal("The files must lie inside the folder for audits: no path that leads out of it.")
    if not _PATTERN.fullmatch(text):
        raise _refusal("A pattern has letters, digits and . _ - = * ? [ ] between slashes.")
    if "**" in text:
        raise _refusal("Name each folder; ** for folders of any depth is not taken.")
    if not text.endswith(SUFFIXES):
        raise _refusal("The pattern must end in .parquet or .csv.")
    return text


def find_files(pattern: str) -> list[str]:
    """The names of the files that match, relative to AUDIT_FILES_DIR, in their order.

    Raises Invalid at `files` when there are none or too many, and when a link leads out of the folder.
    """
    folder = Path(settings.AUDIT_FILES_DIR).resolve()
    found = sorted(path for path in folder.glob(check_pattern(pattern)) if path.is_file())
    for path in found:
        if not path.resolve().is_relative_to(folder):
            name = path.relative_to(folder)
            raise _refusal(f"“{name}” is a link to a file outside the folder for audits.")
    if not found:
        raise _refusal("No file matches.", code="no_files")
    if len(found) > FILES_MAX:
        raise _refusal(f"{len(found):,} files match; at most {FILES_MAX:,} are taken.")
    return [str(path.relative_to(folder)) for path in found]


def path_of(name: str) -> Path:
    """Where a file that was found lies now. Raises Invalid when it is gone, or now is a link to outside."""
    folder = Path(settings.AUDIT_FILES_DIR).resolve()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise _refusal(f"“{name}” is a link to a file outside the folder for audits.")
    if not path.is_file():
        raise _refusal(f"“{name}” is no longer there.")
    return path


def fingerprint_of(path: Path) -> str:
    """Size and modification time: what tells that a file was changed between two looks."""
    found = path.stat()
    return f"{found.st_size}-{found.st_mtime_ns}"


def _refusal(message: str, *, code: str = "invalid") -> Invalid:
    return Invalid.at("files", code, message)
