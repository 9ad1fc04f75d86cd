"""Everything that can be said about the code without running it: `make check`."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent

# What must work on any machine names no folder of this one; the package index is the installer's business.
_MACHINE_MARKS = re.compile(
    r"(?<![\w.])/(?:work|home|root|Users)/[\w.-]|py[p]i\.org|python[h]osted|npm[j]s\.|debian\.[o]rg|--[e]xtra-index-url"
)
_PRODUCTION = {
    "ENV_FILE": "/nonexistent",
    "DJANGO_SETTINGS_MODULE": "opsportal.settings",
    "DEBUG": "false",
    "SECRET_KEY": "a-long-secret-of-a-production-site-" + "q7R2" * 10,
    "CUSTOMER_KEY": "a-long-key-of-a-production-site-" + "q7R2" * 10,
    "ALLOWED_HOSTS": "portal.example.com",
    "DATABASE_URL": "postgresql://portal@db.example.com/portal",
}


def tracked(*patterns: str) -> list[str]:
    """The files under version control that match, or would be after `git add`."""
    git = shutil.which("git")
    if git is None or not (_ROOT / ".git").exists():
        found = (path for pattern in patterns for path in _ROOT.rglob(pattern.rpartition("/")[2]))
        return sorted(str(path.relative_to(_ROOT)) for path in found if ".venv" not in path.parts)
    command = [git, "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(
        command, cwd=_ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return [name for name in listed if (_ROOT / name).is_file()]


def machine_marks() -> list[str]:
    """Lines that name a path of one machine or a package registry."""
    patterns = ("*.py", "*.toml", "*.lock", "*.md", "*.html", "*.js", "*.css", "Makefile", ".ci/run")
    lines = []
    for name in tracked(*patterns):
        text = (_ROOT / name).read_text(encoding="utf-8")
        if "/vendor/" in name:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if _MACHINE_MARKS.search(line) and "_MACHINE_MARKS" not in line and name != "tests/check.py":
                lines.append(f"{name}:{number}: {line.strip()[:100]}")
    return lines


def run(title: str, command: list[str], environment: dict[str, str] | None = None) -> bool:
    """Run one check; shows its output only when it fails."""
    started = time.monotonic()
    finished = subprocess.run(
        command,
        cwd=_ROOT,
        env={**os.environ, **(environment or {"DJANGO_SETTINGS_MODULE": "tests.settings"})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if finished.returncode:
        print(f"FAILED  {title}\n{finished.stdout.rstrip()}\n", flush=True)
    else:
        print(f"ok      {title} ({time.monotonic() - started:.1f} s)", flush=True)
    return finished.returncode == 0


def main() -> int:
    """Run every check, also after a failure; 0 if all passed."""
    python = sys.executable
    scripts = Path(sysconfig.get_path("scripts"))
    manage = [python, "manage.py"]
    checks = [
        run("format", [python, "-m", "ruff", "format", "--check", "."]),
        run("lint", [python, "-m", "ruff", "check", "--quiet", "."]),
        run(
            "layers",
            [python, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-logo"],
        ),
        run(
            "templates",
            [str(scripts / "djade"), "--check", "--target-version", "5.2", *tracked("templates/*.html")],
        ),
        run("types", [python, "-m", "mypy"]),
        run("migrations exist", [*manage, "makemigrations", "--check", "--dry-run"]),
        run(
            "migrations are safe",
            # The column that is left out has its default in the database; the linter reads SQLite's way of
            # writing that, with the default first, as none.
            [
                *(*manage, "lintmigrations", "--no-cache", "--ignore-initial-migrations"),
                *("--ignore-name", "0002_thresholds_are_counted"),
            ],
        ),
        run("system", [*manage, "check", "--fail-level", "WARNING"]),
        run("deployment", [*manage, "check", "--deploy", "--fail-level", "WARNING"], _PRODUCTION),
    ]
    marks = machine_marks()
    print(
        "\n".join(["FAILED  no machine paths, no registries", *marks])
        if marks
        else "ok      no machine paths, no registries"
    )
    passed = all(checks) and not marks
    print("Every check passed." if passed else "Some checks failed.")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
