"""An index of its own for every test: a fresh database and storage in ``tmp_path``."""

from __future__ import annotations

import hashlib
import logging

import pytest
import webtest
from archives_made import wheel_bytes

from extrapypi import accounts, database, models, passwords
from extrapypi.app import create_app
from extrapypi.auth import Actor
from extrapypi.settings import LOGGING_CONFIG

passwords.COST = 4  # bcrypt's least: the tests are not about its slowness
COMMAND_LINE = Actor()
USERS = {  # every role has a user of its name
    role: f"secret of {role}" for role in models.ROLES
}


@pytest.fixture
def log(tmp_path):
    """The file that the test's application logs to."""
    yield tmp_path / "log"
    for name in (None, "extrapypi", "extrapypi.access", "peewee.migrations"):
        logger = logging.getLogger(name)
        logger.propagate = True
        for handler in logger.handlers[:]:
            if isinstance(handler, logging.FileHandler):
                logger.removeHandler(handler)
                handler.close()


@pytest.fixture
def settings(tmp_path, log):
    """The settings of the test's index; change them before `app` is used."""
    handler = {"class": "logging.FileHandler", "filename": str(log), "formatter": "default"}
    return {
        "BASE_DIR": str(tmp_path / "index"),
        "SECRET_KEY": "a key that only the tests have",
        "LOGGING_CONFIG": {**LOGGING_CONFIG, "handlers": {"default": handler}},
    }


@pytest.fixture
def tables(settings, tmp_path):
    """The database with its tables and a user for each role, without an application."""
    url = settings.setdefault("DATABASE_URL", f"sqlite:///{tmp_path}/index/extrapypi.db")
    database.bind(url)
    database.upgrade_schema()
    for role, password in USERS.items():
        accounts.create_user(COMMAND_LINE, role, password, f"{role}@example.org", role)
    yield
    database.close()


@pytest.fixture
def app(settings, tables):
    """The application, as `create_app` makes it."""
    application = create_app(settings)
    yield application
    application.close()


@pytest.fixture
def client(app):
    """A client without credentials; it checks every answer against the WSGI standard."""
    return webtest.TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})


@pytest.fixture
def as_role(app):
    """A function that gives a client with the credentials of a role's user."""

    def client_of(role: str) -> webtest.TestApp:
        return as_user(app, role, USERS[role])

    return client_of


def as_user(app, username: str, password: str, **environ: str) -> webtest.TestApp:
    """A client that sends these credentials with every request."""
    environ.setdefault("REMOTE_ADDR", "127.0.0.1")
    test_app = webtest.TestApp(app, extra_environ=environ)
    test_app.authorization = ("Basic", (username, password))
    return test_app


def form_of(filename: str, body: bytes, **changes: str | None) -> dict[str, str]:
    """The text fields that twine sends with a file; a change of None leaves one out."""
    stem = filename.removesuffix(".tar.gz").removesuffix(".zip")
    is_wheel = filename.endswith(".whl")
    name, version = stem.split("-")[:2] if is_wheel else stem.rpartition("-")[::2]
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "metadata_version": "2.1",
        "name": name,
        "version": version,
        "filetype": "bdist_wheel" if is_wheel else "sdist",
        "pyversion": "py3" if is_wheel else "source",
        "sha256_digest": hashlib.sha256(body).hexdigest(),
        **changes,
    }
    return {key: value for key, value in fields.items() if value is not None}


def upload(
    client, filename: str | None = None, body: bytes | None = None, status=200, **changes
) -> webtest.TestResponse:
    """The answer to an upload, of a small wheel when nothing else is given."""
    if filename is None:
        filename, body = wheel_bytes()
    url = changes.pop("url", "/legacy/")
    headers = changes.pop("headers", None)
    fields = form_of(filename, body, **changes)
    files = [("content", filename, body)]
    return client.post(url, fields, upload_files=files, status=status, headers=headers)


def counts() -> dict[str, int]:
    """How many rows each table about packages has."""
    tables = (models.Package, models.Release, models.File, models.UsedFilename, models.Dependency)
    return {table.__name__: table.select().count() for table in tables}


def stored(app) -> list[str]:
    """Everything below the storage's folder, temporary files too."""
    root = app.site.storage.root
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
