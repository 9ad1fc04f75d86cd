"""Every setting of the portal, read top to bottom. The README's table names each variable."""

import os
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import dj_database_url
import structlog
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent


# -- Reading the environment ----------------------------------------------------------------


def _load_env_file() -> None:
    """Take over the variables of ENV_FILE (`make demo` writes var/demo.env); the environment wins."""
    path = Path(os.environ.get("ENV_FILE", BASE_DIR / "var" / "demo.env"))
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        name, separator, value = line.partition("=")
        if separator and not name.startswith("#"):
            os.environ.setdefault(name.strip(), value.strip())


def env_text(name: str, default: str | None = None) -> str:
    """The variable's text, or the content of the file that NAME_FILE names; required without a default."""
    if file := os.environ.get(f"{name}_FILE"):
        return Path(file).read_text(encoding="utf-8").strip()
    value = os.environ.get(name, default)
    if value is None:
        raise ImproperlyConfigured(f"Set {name} (or {name}_FILE). The README's table says what it is for.")
    return value


def env_bool(name: str, default: bool) -> bool:
    """True or false; any other word is refused rather than guessed at."""
    value = os.environ.get(name, str(default)).lower()
    if value not in {"true", "false"}:
        raise ImproperlyConfigured(f"{name} must be true or false, not {value!r}.")
    return value == "true"


def env_number(name: str, default: float, low: float, high: float) -> float:
    """A number within low..high."""
    text = os.environ.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise ImproperlyConfigured(f"{name} must be a number from {low:g} to {high:g}, not {text!r}.")
    return value


def env_list(name: str, default: str = "") -> list[str]:
    """Comma-separated words; empty ones are dropped."""
    return [word.strip() for word in os.environ.get(name, default).split(",") if word.strip()]


def installed_folder(package: str) -> Path:
    """Where a package is installed, without importing it."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ImproperlyConfigured(f"The package {package} is not installed.")
    return Path(spec.origin).parent


_load_env_file()

# -- Core -----------------------------------------------------------------------------------

DEBUG = env_bool("DEBUG", default=False)
SECRET_KEY = env_text("SECRET_KEY", "debug-only-secret-key-" + "0" * 40 if DEBUG else None)
SECRET_KEY_FALLBACKS = env_list("SECRET_KEY_FALLBACKS")
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS", "127.0.0.1,localhost" if DEBUG else "")
CSRF_TRUSTED_ORIGINS = env_list("CSRF_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "opsportal.core",
    "opsportal.events",
    "opsportal.accounts",
    "opsportal.predictions",
    "opsportal.overrides",
    "opsportal.audits",
    "opsportal.serving",
    "opsportal.explanations",
    "opsportal.home",
    "opsportal.demo",
    "opsportal.accounts.apps.SupportConfig",  # django.contrib.admin behind our sign-in
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "csp",
    "django_htmx",
    "django_structlog",
    "drf_spectacular",
    "rest_framework",
]

MIDDLEWARE = [
    # The first two stand outside of everything that answers by itself: redirects, static files, errors.
    "opsportal.core.middleware.SecurityHeadersMiddleware",
    "opsportal.core.middleware.CleanInputMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "opsportal.core.middleware.SlashMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "opsportal.accounts.middleware.SessionAgeMiddleware",
    "opsportal.accounts.middleware.TimeZoneMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "opsportal.core.middleware.RequestLogMiddleware",
]

ROOT_URLCONF = "opsportal.urls"
WSGI_APPLICATION = "opsportal.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "opsportal.home.context_processors.frame",
            ],
            "builtins": ["opsportal.core.templatetags.ui"],
        },
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-gb"
USE_I18N = False
USE_TZ = True
TIME_ZONE = env_text("TIME_ZONE", "UTC")

# -- Databases: PostgreSQL is the truth in production, SQLite the embedded default -----------

DATABASE_URL = env_text("DATABASE_URL", f"sqlite:///{BASE_DIR / 'var' / 'opsportal.sqlite3'}")
DATABASES = {"default": dj_database_url.parse(DATABASE_URL, conn_max_age=60, conn_health_checks=True)}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A deferred BEGIN fails at once when it turns into a write beside another writer; IMMEDIATE waits.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        # Pages are kept per connection, and a web process has one a thread: 8 MB each.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-8000;",
    }

# -- The serving store and the broker: two settings, since one may fail without the other ----

REDIS_URL = env_text("REDIS_URL", "redis://127.0.0.1:6379/0")
STORE_PREFIX = env_text("STORE_PREFIX", "{ops}")
STORE_TIMEOUT_SECONDS = env_number("STORE_TIMEOUT_SECONDS", 2, 0.01, 30)
DECISION_TIMEOUT_SECONDS = env_number("DECISION_TIMEOUT_SECONDS", 0.25, 0.01, 5)

CELERY_BROKER_URL = env_text("CELERY_BROKER_URL", "redis://127.0.0.1:6379/1")
OUTBOX_NUDGE = env_bool("OUTBOX_NUDGE", default=True)
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False
CELERY_TASK_TIME_LIMIT = 300
CELERY_TASK_SOFT_TIME_LIMIT = 270
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 20
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # Publishing to a frozen broker blocks for 30 s without these.
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "visibility_timeout": 3600,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
}
# Models are loaded by workers of their own, so that nothing light waits for one.
OUTBOX_LANES = ("explanations.", "audits.")
CELERY_TASK_ROUTES = {
    "serving.*": {"queue": "push"},
    "explanations.*": {"queue": "explain"},
    "audits.*": {"queue": "audit"},
}
CELERY_BEAT_SCHEDULE = {
    # Ticks carry nothing and expire, so a backlog of them never builds up.
    "project": {"task": "serving.project", "schedule": 2.0, "options": {"expires": 5}},
    "heartbeat": {"task": "serving.heartbeat", "schedule": 5.0, "options": {"expires": 5}},
    "check": {"task": "serving.check", "schedule": 30.0, "options": {"expires": 30}},
    "compare": {"task": "serving.compare", "schedule": 300.0, "options": {"expires": 300}},
    "drain": {"task": "events.drain", "schedule": 2.0, "options": {"expires": 5}},
    "tidy": {"task": "overrides.tidy", "schedule": 3600.0, "options": {"expires": 600}},
    "tidy-accounts": {"task": "accounts.tidy", "schedule": 3600.0, "options": {"expires": 600}},
    "tidy-predictions": {"task": "predictions.tidy", "schedule": 3600.0, "options": {"expires": 600}},
    "tidy-audits": {"task": "audits.tidy", "schedule": 3600.0, "options": {"expires": 600}},
    "drain-heavy": {"task": "explanations.drain", "schedule": 2.0, "options": {"expires": 5}},
    "tick-audits": {"task": "audits.tick", "schedule": 60.0, "options": {"expires": 60}},
    "sweep-audits": {"task": "audits.sweep", "schedule": 60.0, "options": {"expires": 60}},
    "drain-audits": {"task": "audits.drain", "schedule": 2.0, "options": {"expires": 5}},
    "profile": {"task": "explanations.profile_all", "schedule": 3600.0, "options": {"expires": 600}},
}

# -- People ---------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "accounts-sign-in"
LOGIN_REDIRECT_URL = "home"
PASSWORD_HASHERS = [
    "opsportal.accounts.hashers.ModestArgon2Hasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 15},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
SIGN_IN_WINDOW = timedelta(minutes=15)
SIGN_IN_TRIES_PER_USER_AND_ADDRESS = 5
SIGN_IN_TRIES_PER_USER = 30
SIGN_IN_TRIES_PER_ADDRESS = 60
SESSION_IDLE = timedelta(minutes=30)
SESSION_ABSOLUTE = timedelta(hours=12)
TRUSTED_PROXIES = int(env_number("TRUSTED_PROXIES", 0, 0, 10))

# The key that turns customer IDs into pseudonyms. It lives outside the database and is never rotated alone.
CUSTOMER_KEY = env_text("CUSTOMER_KEY", "debug-only-customer-key-" + "0" * 40 if DEBUG else None)

# -- Risk: above these a second person approves ----------------------------------------------

APPROVAL_MIN_ITEMS = int(env_number("APPROVAL_MIN_ITEMS", 500, 1, 1_000_000))
APPROVAL_IMPRESSION_SHARE = env_number("APPROVAL_IMPRESSION_SHARE", 0.20, 0.0, 1.0)

# -- Models and predictions -------------------------------------------------------------------

# Model files, by their SHA-256. Web and workers share this folder.
MEDIA_ROOT = Path(env_text("MODELS_DIR", str(BASE_DIR / "var" / "models")))
MODEL_MAX_BYTES = int(env_number("MODEL_MAX_MEGABYTES", 200, 1, 2_000)) * 1_000_000
PREDICTION_RETENTION = timedelta(days=int(env_number("PREDICTION_RETENTION_DAYS", 90, 1, 3_650)))
# The only types that a skops file may hold beside what skops itself trusts; never taken from the file.
SKOPS_TRUSTED_TYPES = env_list(
    "SKOPS_TRUSTED_TYPES",
    "numpy.dtype,sklearn.tree._tree.Tree,sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor,"
    "sklearn._loss.link.LogitLink,sklearn._loss.link.Interval,sklearn._loss.loss.HalfBinomialLoss",
)

# -- Audits -----------------------------------------------------------------------------------

# Runs may be drawn from Parquet and CSV files in here; nowhere else.
AUDIT_FILES_DIR = Path(env_text("AUDIT_FILES_DIR", str(BASE_DIR / "var" / "audit-files")))
# What people saw of a prediction is erased after this time; labels and figures stay.
AUDIT_RETENTION = timedelta(days=int(env_number("AUDIT_RETENTION_DAYS", 365, 1, 3_650)))
# From so many corrections on a second person approves a rule.
AUDIT_RULE_APPROVAL_MIN = int(env_number("AUDIT_RULE_APPROVAL_MIN", 100, 1, 1_000_000))

# -- Browser security -----------------------------------------------------------------------

_secure = not DEBUG
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _secure
SESSION_COOKIE_NAME = "__Host-session" if _secure else "session"
CSRF_COOKIE_NAME = "__Host-csrf" if _secure else "csrf"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = int(SESSION_ABSOLUTE.total_seconds())
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
CSRF_FAILURE_VIEW = "opsportal.core.views.csrf_failure"
SECURE_SSL_REDIRECT = _secure and env_bool("SSL_REDIRECT", default=True)
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^api/"]
SECURE_HSTS_SECONDS = 31_536_000 if _secure else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _secure
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
# Other sites get no referrer. Under no-referrer browsers send `Origin: null` with our own forms, and
# the CSRF check would refuse every one of them.
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# SecurityHeadersMiddleware sends X-Frame-Options with every answer.
SILENCED_SYSTEM_CHECKS = ["security.W002"]
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        # shap's force plot puts one <style> of its own into its SVG: one of a single plot, one of a stack.
        # They belong to the bundle of shap 0.51; a browser test notices when they change.
        "style-src": [
            SELF,
            "'sha256-s2+Dhtl8HUVlLr1UUaRc6dzYKM9VVtrBB+VmN0ZxGmM='",
            "'sha256-6hWa0WVH6HRY7oVASmsDv31hvxVRjzEbGIfnJZ8wY3k='",
        ],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "font-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
        "object-src": [NONE],
    }
}
# JSON bodies and pasted lists stay below this; CSV files are streamed and have their own bound.
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_500_000
DATA_UPLOAD_MAX_NUMBER_FIELDS = 6_000
CSV_MAX_BYTES = 16_000_000
# An upload of customer IDs never touches the disk; CleanInputMiddleware takes none that is larger.
FILE_UPLOAD_MAX_MEMORY_SIZE = CSV_MAX_BYTES + 1_000_000

# -- Static files ---------------------------------------------------------------------------

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "var" / "static"
STATICFILES_DIRS = [BASE_DIR / "static", ("shap", installed_folder("shap") / "plots" / "resources")]
WHITENOISE_USE_FINDERS = DEBUG
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if not DEBUG
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

# -- REST -----------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "opsportal.accounts.authentication.ApiKeyAuthentication",
        "opsportal.accounts.authentication.SignedInSession",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["opsportal.accounts.authentication.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["opsportal.core.parsers.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "opsportal.core.problems.drf_exception_handler",
    "UNAUTHENTICATED_USER": None,
    # `?format=` belongs to the views that offer formats.
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Opsportal",
    "DESCRIPTION": "Overrides, privacy opt-outs and decisions for rankers.",
    "VERSION": "1",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "POSTPROCESSING_HOOKS": [
        "opsportal.serving.schema.add_decision_paths",
        "opsportal.core.schema.describe_problems",
    ],
}

# -- Logs -----------------------------------------------------------------------------------

LOG_LEVEL = env_text("LOG_LEVEL", "INFO")
DJANGO_STRUCTLOG_CELERY_ENABLED = False
# It believes the left-most X-Forwarded-For, which anybody can write; sign-in logs the address we trust.
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "structured": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processor": structlog.dev.ConsoleRenderer(colors=False)
            if DEBUG
            else structlog.processors.JSONRenderer(),
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "structured"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "django_structlog": {"level": "WARNING"},
        # Making a letter's font, it would tell the log which characters the letter has.
        "fontTools": {"level": "WARNING"},
    },
}
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.filter_by_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.format_exc_info,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
