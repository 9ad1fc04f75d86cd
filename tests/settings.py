"""The portal's settings, with only what tests must change."""

import os
import secrets
import tempfile
from pathlib import Path

from opsportal.demo.ports import free_port

# Each process has its own folder and store, so that xdist workers and two runs at once never meet.
# tests.conftest makes and removes the folder: the type checker and the commands of `make check` need none.
TEST_FOLDER = Path(tempfile.gettempdir()) / f"opsportal-tests-{secrets.token_hex(8)}"
_store_port = free_port()

os.environ.update(
    ENV_FILE="/nonexistent",  # a developer's var/demo.env stays out of the tests
    DEBUG="false",
    SSL_REDIRECT="false",
    SECRET_KEY="tests-only-secret-key-" + "0" * 40,
    CUSTOMER_KEY="tests-only-customer-key-" + "0" * 40,
    ALLOWED_HOSTS="testserver,127.0.0.1,localhost",
    DATABASE_URL=os.environ.get("TEST_DATABASE_URL") or "sqlite://:memory:",
    REDIS_URL=f"redis://127.0.0.1:{_store_port}/0",
    CELERY_BROKER_URL=f"redis://127.0.0.1:{_store_port}/1",
    LOG_LEVEL="WARNING",
)

from opsportal.settings import *  # noqa: E402, F403  everything else is as in production
from opsportal.settings import DATABASES, INSTALLED_APPS, STORAGES  # noqa: E402

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file, as in the demo: an in-memory database has neither WAL nor writers that wait for each other.
    DATABASES["default"]["TEST"] = {"NAME": TEST_FOLDER / "test.sqlite3"}

# makemigrations keeps max_migration.txt up to date, so that two branches cannot both add a migration.
INSTALLED_APPS = [*INSTALLED_APPS, "django_linear_migrations", "django_migration_linter"]
FIRST_PARTY_APPS = [
    app for app in INSTALLED_APPS if app.startswith("opsportal.") and not app.endswith("SupportConfig")
]
MIGRATION_LINTER_OPTIONS = {"include_apps": [app.rpartition(".")[2] for app in FIRST_PARTY_APPS]}

OUTBOX_NUDGE = False  # no test waits for a worker; those about the nudge turn it on
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # Argon2 is slow on purpose

# The live server of the browser tests speaks plain HTTP.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = False
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "session", "csrf"
STATIC_ROOT = TEST_FOLDER  # WhiteNoise warns about a folder that is missing
MEDIA_ROOT = TEST_FOLDER / "models"
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
WHITENOISE_USE_FINDERS = True
# Looked up when asked for: every test's client would list all of them anew, a third of the suite's time.
WHITENOISE_AUTOREFRESH = True
