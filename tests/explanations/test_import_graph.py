"""Web processes import nothing numeric, and whoever only knows the tasks stays light, too."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NUMERIC = [
    "numpy", "pandas", "pyarrow", "scipy", "sklearn", "skops", "shap", "lime", "lightgbm", "xgboost", "numba",
    "matplotlib",
]  # fmt: skip
WORKERS_HALF = [
    "opsportal.explanations.engine.contributions",
    "opsportal.explanations.explaining",
    "opsportal.explanations.loaded",
    "opsportal.explanations.checking",
    "opsportal.explanations.profiling",
    "opsportal.predictions.tables",
]

EVERYTHING_OF_THE_WEB = """
import importlib, pkgutil
from opsportal import wsgi
from django.urls import get_resolver
def walk(patterns):
    for pattern in patterns:
        walk(pattern.url_patterns) if hasattr(pattern, "url_patterns") else pattern.callback
walk(get_resolver().url_patterns)
import opsportal
light = {"views", "api", "services", "selectors", "models", "urls", "admin", "apps", "tasks", "middleware"}
# What reads files of tables; a lint contract leaves it to commands.
heavy = {"opsportal.predictions.services.importing"}
for found in pkgutil.walk_packages(opsportal.__path__, "opsportal."):
    parts = found.name.split(".")
    if found.name not in heavy and len(parts) > 2 and (parts[2] in light or parts[2].startswith("forms")):
        importlib.import_module(found.name)
from django.core.management import call_command
call_command("check")
"""
ONLY_THE_TASKS = """
import django
django.setup()
from opsportal.celery import app
app.loader.import_default_modules()
assert "explanations.explain" in app.tasks
"""


def imported_by(code: str) -> set[str]:
    """The modules that a process of its own has after running the code."""
    finished = subprocess.run(
        [sys.executable, "-c", code + "\nimport sys, json; print(json.dumps(sorted(sys.modules)))"],
        cwd=ROOT,
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return set(json.loads(finished.stdout.splitlines()[-1]))


@pytest.mark.parametrize("code", [EVERYTHING_OF_THE_WEB, ONLY_THE_TASKS], ids=["web", "tasks"])
def test_import__all_that_serves_pages__loads_nothing_numeric(code: str) -> None:
    modules = imported_by(code)

    assert "opsportal.explanations.tasks" in modules
    assert [name for name in [*NUMERIC, *WORKERS_HALF] if name in modules] == []


def test_load__lightgbm_model__imports_neither_shap_nor_another_booster() -> None:
    modules = imported_by(
        "from pathlib import Path\nimport json\n"
        "from opsportal.explanations.engine.loading import load\n"
        "from opsportal.predictions.dictionary import read_dictionary\n"
        "golden = Path('tests/explanations/golden')\n"
        "load(format='lightgbm', content=(golden / 'titanic.txt').read_bytes(),"
        " dictionary=read_dictionary(json.loads((golden / 'titanic.json').read_text())),"
        " background=[], trusted=[])"
    )

    assert "lightgbm" in modules
    assert [name for name in ("shap", "xgboost", "skops", "lime", "numba") if name in modules] == []
