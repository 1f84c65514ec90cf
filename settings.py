"""The table of all settings: name, default, types, meaning; and the names of older versions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

FORMAT = "[%(asctime)s: %(levelname)s / %(name)s] %(message)s"
LOGGING_CONFIG = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"default": {"format": FORMAT}},
    "handlers": {
        "default": {"class": "logging.StreamHandler", "level": "INFO", "formatter": "default"},
        "access": {"class": "extrapypi.accesslog.TogetherHandler", "formatter": "default"},
    },
    "root": {"level": "NOTSET", "handlers": ["default"]},
    "loggers": {
        "extrapypi": {"level": "WARNING", "handlers": ["default"], "propagate": False},
        "extrapypi.access": {"level": "INFO", "handlers": ["access"], "propagate": False},
        "peewee": {"level": "INFO"},
        "waitress.queue": {"level": "ERROR"},  # that requests wait for a thread is no news
        "peewee.migrations": {"level": "INFO", "handlers": ["default"], "propagate": False},
    },
}


class Setting(NamedTuple):
    """One setting: its name, default, the types it takes, and what it means, with its unit."""

    name: str
    default: Any
    kinds: tuple[type, ...]
    meaning: str


NONE = type(None)
DEFAULTS = (
    Setting("BASE_DIR", None, (str, Path), "folder for the rest; None: the platform's user data"),
    Setting("DATABASE_URL", None, (str,), "sqlite:///, postgresql:// or mysql://; None: BASE_DIR"),
    Setting(
        "SECRET_KEY",
        None,
        (str, list, tuple),
        "text or list, newest first; None: kept in BASE_DIR",
    ),
    Setting("STORAGE", "LocalStorage", (str,), "name of the storage driver"),
    Setting("STORAGE_PARAMS", None, (dict,), "the storage driver's parameters, by name"),
    Setting("DASHBOARD", True, (bool,), "False removes every browser page"),
    Setting("STATIC_URL", "/static/", (str,), "where the dashboard's own files are"),
    Setting("DEBUG", False, (bool,), "tracebacks on error pages, templates reloaded"),
    Setting("LOGGING_CONFIG", LOGGING_CONFIG, (dict,), "for logging.config.dictConfig"),
    Setting("HOST", "127.0.0.1", (str,), "address that `run` listens on"),
    Setting("PORT", 8000, (int,), "port that `run` listens on, 0 to 65535 (0: a free one)"),
    Setting("THREADS", 8, (int,), "threads that answer requests, 1 to 256"),
    Setting("ANONYMOUS_READ", False, (bool,), "True: installing needs no credentials"),
    Setting("MAX_UPLOAD_SIZE", 2 * 1024**3, (int,), "bytes of one file"),
    Setting("SESSION_LIFETIME", 12 * 3600, (int,), "seconds until a browser must log in again"),
    Setting("REMEMBER_LIFETIME", 30 * 24 * 3600, (int,), "the same in seconds, if remembered"),
    Setting(
        "TRUSTED_PROXY", None, (NONE, str, list, tuple, bool), "address, network, list or True"
    ),
    Setting("URL_PREFIX", "", (str,), "path below which the application is mounted, as /index"),
    Setting("SENDFILE", None, (NONE, str), "nginx or apache: let it send the files"),
    Setting("SHUTDOWN_TIMEOUT", 30, (int,), "seconds that running requests get at a stop"),
    Setting("KEPT_PAGES_MB", 64, (int,), "MB of ready index pages in memory"),
    Setting("METRICS", False, (bool,), "True: /metrics has numbers for Prometheus, for admins"),
    Setting("README_IMAGES", False, (bool,), "True: READMEs may load images from other hosts"),
)


class Settings:
    """Each setting by its type, as it is once the configuration is complete."""

    BASE_DIR: Path
    DATABASE_URL: str
    SECRET_KEY: str | list[str] | tuple[str, ...] | None
    STORAGE: str
    STORAGE_PARAMS: dict[str, Any]
    DASHBOARD: bool
    STATIC_URL: str
    DEBUG: bool
    LOGGING_CONFIG: dict[str, Any]
    HOST: str
    PORT: int
    THREADS: int
    ANONYMOUS_READ: bool
    MAX_UPLOAD_SIZE: int
    SESSION_LIFETIME: int
    REMEMBER_LIFETIME: int
    TRUSTED_PROXY: str | list[str] | tuple[str, ...] | bool | None
    URL_PREFIX: str
    SENDFILE: str | None
    SHUTDOWN_TIMEOUT: int
    KEPT_PAGES_MB: int
    METRICS: bool
    README_IMAGES: bool


SETTINGS = {setting.name: setting for setting in DEFAULTS}
OLD_NAMES = {"SQLALCHEMY_DATABASE_URI": "DATABASE_URL", "SQLALCHEMY_URI": "DATABASE_URL"}
# The 2018 program's manual invited people to set these of its extensions; they do nothing now.
OLD_EXTENSIONS = re.compile(r"(SQLALCHEMY|WTF|REMEMBER_COOKIE|SESSION_COOKIE)_\w+")
SAMPLE_KEYS = ("changeit", "changeme", "secret")
# Kubernetes sets these for a service that is named extrapypi.
KUBERNETES = re.compile(r"SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP)(_\w+)?")
