"""The configuration: where the settings come from, and whether they make sense.

A configuration is a Python file; its UPPERCASE names are settings. The variable
EXTRAPYPI_CONFIG names it, and EXTRAPYPI_<NAME> overrides a single setting.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import logging.config
import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

from extrapypi.errors import ConfigError
from extrapypi.settings import (
    DEFAULTS,
    KUBERNETES,
    NONE,
    OLD_EXTENSIONS,
    OLD_NAMES,
    SAMPLE_KEYS,
    SETTINGS,
    Settings,
)

log = logging.getLogger("extrapypi")

FOLDERS = {  # storage driver -> its parameter that is a folder, and the default below BASE_DIR
    "LocalStorage": ("packages_root", "packages"),
    "S3Storage": ("spool_folder", "spool"),
}


class Config(Settings):
    """The settings as attributes, complete and checked.

    ``source`` is the configuration file or None, ``configured`` is False when neither a
    file nor a database was named, ``trusted_proxies`` is True or a list of networks.
    """

    def __init__(self, values: Mapping[str, Any], source: Path | None = None) -> None:
        values = dict(values)
        self.source = source
        self.configured = source is not None or "DATABASE_URL" in values
        self.base = source.parent if source else Path.cwd()
        for name in values:
            check_kind(name, values[name])
        for setting in DEFAULTS:
            setattr(self, setting.name, values.get(setting.name, setting.default))
        self._complete()
        self.check()

    def _complete(self) -> None:
        base_dir = self.BASE_DIR or platformdirs.user_data_path("extrapypi", appauthor=False)
        try:
            self.BASE_DIR = self.base / Path(base_dir).expanduser()
        except RuntimeError as error:
            raise ConfigError(f"BASE_DIR is {str(base_dir)!r}: {error}") from error
        self.DATABASE_URL = self._database_url(
            self.DATABASE_URL or f"sqlite:///{self.BASE_DIR / 'extrapypi.db'}"
        )
        if self.STORAGE_PARAMS is None:
            self.STORAGE_PARAMS = {}
        if self.STORAGE in FOLDERS:
            name, default = FOLDERS[self.STORAGE]
            folder = self.STORAGE_PARAMS.get(name) or self.BASE_DIR / default
            if not isinstance(folder, (str, Path)):
                raise ConfigError(f"STORAGE_PARAMS: {name} is {folder!r}; it must be a path.")
            self.STORAGE_PARAMS = {**self.STORAGE_PARAMS, name: str(self.base / folder)}
        self.URL_PREFIX = "/" + self.URL_PREFIX.strip("/") if self.URL_PREFIX.strip("/") else ""
        self.trusted_proxies = networks(self.TRUSTED_PROXY)

    def _database_url(self, url: str) -> str:
        scheme, separator, rest = url.partition("://")
        scheme = scheme.partition("+")[0]
        if scheme == "postgres":
            scheme = "postgresql"
        if not separator or scheme not in ("sqlite", "postgresql", "mysql"):
            raise ConfigError(
                f"DATABASE_URL {without_password(url)!r} is not understood; write "
                "sqlite:////absolute/file.db, postgresql://user:password@host/name or "
                "mysql://user:password@host/name."
            )
        if scheme == "sqlite":
            path = rest.removeprefix("/")
            if path in ("", ":memory:"):
                raise ConfigError(
                    "DATABASE_URL: SQLite needs a file here, as sqlite:////data/x.db."
                )
            rest = f"/{self.base / path}"
        return f"{scheme}://{rest}"

    def check(self) -> None:
        """Refuses a setting that makes no sense, with ConfigError naming it and the rule."""
        within(self, "PORT", 0, 65535)
        within(self, "THREADS", 1, 256)
        for name in ("MAX_UPLOAD_SIZE", "SESSION_LIFETIME", "REMEMBER_LIFETIME"):
            within(self, name, 1, 2**62)
        within(self, "SHUTDOWN_TIMEOUT", 0, 24 * 3600)
        within(self, "KEPT_PAGES_MB", 0, 2**20)
        if self.SENDFILE not in (None, "nginx", "apache"):
            raise ConfigError(f"SENDFILE is {self.SENDFILE!r}; it takes None, 'nginx' or 'apache'.")
        if self.SENDFILE and self.STORAGE != "LocalStorage":
            raise ConfigError(f"SENDFILE needs STORAGE = 'LocalStorage', not {self.STORAGE!r}.")
        if self.SENDFILE and not self.trusted_proxies:
            raise ConfigError("SENDFILE needs TRUSTED_PROXY: others get no answers without bytes.")
        if not re.fullmatch(r"(/[\w.~-]+)*", self.URL_PREFIX, re.ASCII):
            raise ConfigError(f"URL_PREFIX is {self.URL_PREFIX!r}; write a path such as '/index'.")
        if not re.fullmatch(r"/([\w.-]+/)+", self.STATIC_URL):
            raise ConfigError(
                f"STATIC_URL is {self.STATIC_URL!r}; write a path such as '/static/'."
            )
        if self.SECRET_KEY is not None and not all(
            isinstance(key, str) and key for key in listed(self.SECRET_KEY) or [None]
        ):
            raise ConfigError("SECRET_KEY must be a text or a list of texts, none of them empty.")

    def start_logging(self) -> None:
        """Logs as LOGGING_CONFIG says from now on; ConfigError when it cannot be used."""
        try:
            logging.config.dictConfig(self.LOGGING_CONFIG)
        except (ValueError, TypeError, AttributeError, ImportError) as error:
            because = f": {error.__cause__}" if error.__cause__ else ""
            raise ConfigError(f"LOGGING_CONFIG cannot be used: {error}{because}.") from error

    @property
    def secret_keys(self) -> list[str]:
        """The keys, the one in use first.

        :raises ConfigError: when none is set and none can be kept below BASE_DIR.
        """
        if self.SECRET_KEY is None:
            self.SECRET_KEY = kept_secret(self.BASE_DIR / "secret_key")
        return listed(self.SECRET_KEY)

    @property
    def has_sample_key(self) -> bool:
        """Whether the first secret key is one that strangers can guess."""
        key = self.secret_keys[0]
        return key.lower() in SAMPLE_KEYS or len(key) < 16


def load(config: Any = None, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration from a file, a mapping, or (None) from what EXTRAPYPI_CONFIG names.

    :raises ConfigError: with the name of the setting and the rule it breaks.
    """
    if isinstance(config, Config):
        return config
    if isinstance(config, Mapping):
        return Config(known(config, "The configuration"))
    path = config or environ.get("EXTRAPYPI_CONFIG")
    source = Path(path).expanduser().absolute() if path else None
    values = from_file(source) if source else {}
    return Config({**values, **from_environment(environ)}, source)


def from_file(path: Path) -> dict[str, Any]:
    """The settings that a configuration file leaves behind when it is run."""
    try:
        code = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"The configuration {path} is not UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"The configuration {path} cannot be read: {error.strerror}.") from error
    namespace: dict[str, Any] = {"__file__": str(path), "__name__": "extrapypi_config"}
    try:
        exec(compile(code, str(path), "exec"), namespace)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"The configuration {path} fails with {type(error).__name__}: {error}."
        ) from error
    names = [name for name in namespace if re.fullmatch(r"[A-Z][A-Z0-9_]*", name)]
    return known({name: namespace[name] for name in names}, str(path))


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """The settings that EXTRAPYPI_<NAME> variables override."""
    found = {}
    for variable, text in environ.items():
        name = variable.removeprefix("EXTRAPYPI_")
        if name == variable or name == "CONFIG" or KUBERNETES.fullmatch(name):
            continue
        if name == "PORT" and "://" in text:  # Kubernetes again
            continue
        known({name: text}, "The environment")
        found[name] = from_text(name, text)
    return found


def from_text(name: str, text: str) -> Any:
    """A setting's value from the text of an environment variable.

    :raises ConfigError: when the text is no number, switch or JSON value where one is due.
    """
    kinds = SETTINGS[name].kinds
    is_json = dict in kinds or (list in kinds and text.lstrip().startswith("["))
    try:
        if int in kinds:
            return int(text)
        if bool in kinds and text.strip().lower() in ("1", "true", "yes", "on"):
            return True
        if kinds == (bool,):
            return {"0": False, "false": False, "no": False, "off": False}[text.strip().lower()]
        if is_json:
            return json.loads(text)
    except (ValueError, KeyError) as error:
        wanted = " or ".join(kind.__name__ for kind in kinds if kind is not NONE)
        shown = "no JSON" if is_json else repr(text)  # which may hold keys and passwords
        raise ConfigError(f"EXTRAPYPI_{name} is {shown}; it must be {wanted}.") from error
    return text or None if NONE in kinds else text


def known(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values under today's names, without those that the 2018 program's extensions had.

    :raises ConfigError: for a name that is no setting.
    """
    values, dropped = dict(values), []
    for old, new in OLD_NAMES.items():
        if old in values:
            values.setdefault(new, values.pop(old))
    for name in list(values):
        if name not in SETTINGS and OLD_EXTENSIONS.fullmatch(name):
            dropped.append(name)
            del values[name]
        elif name not in SETTINGS:
            nearest = difflib.get_close_matches(name, SETTINGS, 1, 0.5)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            raise ConfigError(f"{where} sets {name}, which is no setting of extrapypi.{hint}")
    if dropped:
        log.warning("%s: without effect any more: %s.", where, ", ".join(sorted(dropped)))
    return values


def check_kind(name: str, value: Any) -> None:
    """Refuses a value of a type that the setting does not take.

    :raises ConfigError: naming the setting, the value's type and the types it takes.
    """
    kinds = SETTINGS[name].kinds
    if value is None and SETTINGS[name].default is None:
        return
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join("None" if kind is NONE else kind.__name__ for kind in kinds)
        raise ConfigError(f"{name} must be {wanted}, not {type(value).__name__}.")


def within(config: Config, name: str, least: int, most: int) -> None:
    """Refuses a number that does not lie between the two, with ConfigError."""
    if not least <= getattr(config, name) <= most:
        raise ConfigError(f"{name} is {getattr(config, name)}; it goes from {least} to {most}.")


def listed(value: Any) -> list:
    """The value itself as a list, one element for a single text."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def networks(value: Any) -> bool | list:
    """TRUSTED_PROXY as True (every peer) or a list of IP networks (empty: none).

    :raises ConfigError: for what is no address.
    """
    if value is True:
        return True
    try:
        return [ipaddress.ip_network(text, strict=False) for text in listed(value or [])]
    except ValueError as error:
        raise ConfigError(f"TRUSTED_PROXY: {error}; write 10.0.0.1 or 10.0.0.0/8.") from error


def without_password(url: str) -> str:
    """The URL as it may be shown: passwords before the host or in parameters become stars."""
    url = re.sub(r"([?&][^=&]*passw(?:or)?d=)[^&]*", r"\1***", url)
    return re.sub(r"://([^:/@]*):.*@", r"://\1:***@", url)


def kept_secret(path: Path) -> str:
    """The secret key in the file, made on first use (readable for its owner only)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            handle, fresh = tempfile.mkstemp(dir=path.parent)  # mode 0600
            with os.fdopen(handle, "w") as stream:
                stream.write(secrets.token_urlsafe(48))
                stream.flush()
                os.fsync(handle)
            try:
                os.link(fresh, path)  # unlike a rename it never replaces another process's key
            except FileExistsError:
                pass
            finally:
                os.unlink(fresh)
        if key := path.read_text().strip():
            return key
    except OSError as error:
        raise ConfigError(
            f"No SECRET_KEY is set and none can be kept in {path}: {error.strerror}. "
            "Set SECRET_KEY, or BASE_DIR to a folder that can be written."
        ) from error
    raise ConfigError(f"The file {path} is empty; remove it, and a new secret key is made.")
