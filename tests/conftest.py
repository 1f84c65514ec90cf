"""An index of its own for every test: a fresh database and storage in ``tmp_path``."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable

import pytest
import webtest
from archives_made import wheel_bytes
from peewee import sort_models
from s3_server import s3_server

from extrapypi import accounts, database, models, passwords, schema
from extrapypi.app import create_app
from extrapypi.auth import Actor
from extrapypi.errors import Unavailable
from extrapypi.settings import LOGGING_CONFIG

passwords.COST = 4  # bcrypt's least: the tests are not about its slowness
COMMAND_LINE = Actor()
SERVERS = {"postgresql": "postgres", "mysql": "mysql"}  # a database that each server has
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


def with_server(url: str) -> str:
    """The URL of an empty database with our tables, on a server that runs on this machine."""
    engine, name = url.partition(":")[0], f"extrapypi_test_{os.getpid()}"
    database.bind(url + SERVERS[engine])
    try:
        with database.connection():
            database.database.execute_sql(f"DROP DATABASE IF EXISTS {name}")
            database.database.execute_sql(f"CREATE DATABASE {name}")
    except Unavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{engine} does not run at {url} (see the README): {error.__cause__}")
    database.bind(url + name)
    schema.upgrade()
    return url + name


@pytest.fixture(scope="session")
def postgresql():
    """The URL of a database on PostgreSQL, which is dropped in the end."""
    yield with_server("postgresql://postgres@127.0.0.1:5432/")
    drop("postgresql://postgres@127.0.0.1:5432/")


@pytest.fixture(scope="session")
def mysql():
    """The URL of a database on MySQL or MariaDB, which is dropped in the end."""
    yield with_server("mysql://root@127.0.0.1:3306/")
    drop("mysql://root@127.0.0.1:3306/")


@pytest.fixture(scope="session")
def object_store(tmp_path_factory):
    """A running S3 server."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


def drop(url: str) -> None:
    """Drops the database of this test run."""
    database.bind(url + SERVERS[url.partition(":")[0]])
    with database.connection():
        database.database.execute_sql(f"DROP DATABASE extrapypi_test_{os.getpid()}")
    database.close()


def drop_tables() -> None:
    """Takes every table out of the bound database."""
    with database.connection():
        for table in (*reversed(sort_models(models.TABLES)), "schema_migration"):
            name = table if isinstance(table, str) else table._meta.table_name
            database.database.execute_sql(f"DROP TABLE IF EXISTS {name}")


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def database_url(request, tmp_path):
    """The URL of an empty database, on one of the three kinds after the other."""
    return empty_database(request, request.param, tmp_path)


def empty_database(request, engine: str, tmp_path) -> str:
    """The URL of an empty database of this kind; one on a server has our tables."""
    if engine == "sqlite":
        return f"sqlite:///{tmp_path}/index/extrapypi.db"
    url = request.getfixturevalue(engine)
    database.bind(url)
    with database.connection(), database.database.atomic():
        for table in reversed(sort_models(models.TABLES)):
            table.delete().execute()
        models.Serial.create(value=0)
    database.close()
    return url


@pytest.fixture
def settings(tmp_path, log, database_url):
    """The settings of the test's index; change them before `app` is used."""
    handler = {"class": "logging.FileHandler", "filename": str(log), "formatter": "default"}
    return {
        "BASE_DIR": str(tmp_path / "index"),
        "DATABASE_URL": database_url,
        "SECRET_KEY": "a key that only the tests have",
        "LOGGING_CONFIG": {**LOGGING_CONFIG, "handlers": {"default": handler, "access": handler}},
    }


@pytest.fixture
def tables(settings):
    """The database with its tables and a user for each role, without an application."""
    database.bind(settings["DATABASE_URL"])
    schema.upgrade()
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


def at_once(count: int, work: Callable[[int], None]) -> None:
    """Runs the work in so many threads at the same time, each with its number, to their end."""

    def numbered(number: int) -> None:
        work(number)
        database.close()  # SQLite's connections are one a thread

    threads = [threading.Thread(target=numbered, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def until(condition: Callable[[], bool]) -> None:
    """Waits until it is so, and fails when it never is."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
