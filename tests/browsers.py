"""The system's Chromium for the browser tests; nothing is downloaded."""

import os
import shutil

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """The path of a Chromium: CHROMIUM if set, else the first on PATH; None where there is none."""
    if chosen := os.environ.get("CHROMIUM"):
        return chosen
    return next((path for name in _NAMES if (path := shutil.which(name))), None)
