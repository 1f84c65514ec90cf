"""The three kinds of databases: how each is connected to, and what makes them behave alike."""

from __future__ import annotations

import functools
import importlib.util
import os
import time
from collections.abc import Generator
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

import peewee
from playhouse import db_url
from playhouse.pool import PooledDatabase, PooledMySQLDatabase, PooledPostgresqlDatabase

from extrapypi.config import without_password
from extrapypi.errors import ConfigError

BUSY_TIMEOUT = 30  # seconds that a writer waits for another, or a thread for a connection
MAX_CONNECTIONS = 32  # per process, to a database server
CONNECT_TIMEOUT = 10  # seconds until a server must have taken a connection
PATIENCE = 30  # seconds that a statement may take; drivers would wait for ever on a dead line
AWAY = 1  # seconds in which nobody tries again, after a server has kept one waiting
DUPLICATE_KEY_NAME = 1061  # MySQL's error when an index is there
REFUSALS = (  # in which peewee and the drivers say that they do not take a parameter
    *(ValueError, TypeError, AttributeError, LookupError, NotImplementedError, OSError),
    peewee.PeeweeException,
)
BROKEN = (peewee.OperationalError, peewee.InterfaceError)  # by the server or the way to it
MOVED = "its file was deleted or replaced; put it back, or restart the server"


class SQLite(peewee.SqliteDatabase):
    """A file, which may go away or become another one while it is open."""

    file: tuple[int, int] | None = None  # the one that was opened first

    def _connect(self) -> Any:
        connection = super()._connect()  # type: ignore[misc] # peewee's types lack it
        self.file = self.file or identity(self.database)
        return connection

    def check_file(self) -> None:
        """Refuses any file but the first one: connecting would make an empty one where none is.

        :raises OperationalError: also for open connections, whose file nobody will find again.
        """
        if self.file is not None and identity(self.database) != self.file:
            raise peewee.OperationalError(MOVED)

    def rollback(self) -> None:
        """Ends the transaction, which SQLite has done by itself after a full disk."""
        if self.connection().in_transaction:
            super().rollback()


def identity(path: str) -> tuple[int, int] | None:
    """What a file is known by in spite of its name; None for one that cannot be found."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Server(PooledDatabase):
    """A database server, whose connections may be lost at any time.

    What is asked outside of a transaction is asked once more then; all that writes is inside one.
    So a connection of the pool is used as it is, and need not be tried before.
    """

    away_until = 0.0  # by the monotonic clock

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.patience: float | None = PATIENCE  # seconds for a statement; None: as it takes

    def _connect(self) -> Any:
        # One thread after the other connects; they shall not all wait their time.
        began = time.monotonic()
        if began < self.away_until:
            raise peewee.OperationalError("It did not answer a moment ago.")
        try:
            return super()._connect()
        except Exception:
            if time.monotonic() > began + AWAY:
                self.away_until = time.monotonic() + AWAY
            raise

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        try:
            return super().execute_sql(sql, params)
        except BROKEN:
            # A connection_context holds a lock, which goes with the connection.
            is_bound = self.in_transaction() or self._state.ctx
            if is_bound or self.is_closed() or not super()._is_closed(self.connection()):
                raise
            self.drop()
            return super().execute_sql(sql, params)

    def drop(self) -> None:
        """Closes this thread's connection, which is dead, and the idle ones, which may be, too."""
        self.manual_close()
        self.close_idle()


class Adapter(peewee.Psycopg3Adapter):
    """Connects to PostgreSQL so that no statement is waited for for ever."""

    def connect(self, db: PostgreSQL, **arguments: Any) -> Any:
        connection = patient_connection().connect(dbname=db.database, **arguments)
        connection.patience = db.patience
        return connection


class PostgreSQL(Server, PooledPostgresqlDatabase):
    """PostgreSQL; it knows no LONGTEXT, because its TEXT has no end."""

    field_types: ClassVar[dict] = {**PooledPostgresqlDatabase.field_types, "LONGTEXT": "TEXT"}
    psycopg3_adapter = Adapter

    def _is_closed(self, connection: Any) -> bool:
        return connection.closed


@functools.cache
def patient_connection() -> Any:
    """psycopg's kind of connection, with an end to its waiting."""
    import psycopg

    class PatientConnection(psycopg.Connection):
        patience: float | None = None

        def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **options: Any) -> Any:
            if self.patience is not None:
                gen = self.until(gen, time.monotonic() + self.patience)
            return super().wait(gen, *arguments, **options)

        def until(self, steps: Generator, deadline: float) -> Generator:
            """The steps of a statement, as long as there is time."""
            try:
                waits_for = next(steps)
                while True:
                    ready = yield waits_for
                    if not ready and time.monotonic() > deadline:
                        self.close()
                        raise psycopg.OperationalError("No answer has come in time.")
                    waits_for = steps.send(ready)
            except StopIteration as end:
                return end.value

    return PatientConnection


class MySQL(Server, PooledMySQLDatabase):
    """MySQL or MariaDB; names are compared byte by byte, as on the other two.

    What a migration has created stays when it breaks off, so creating it again is no error; an
    index knows no IF NOT EXISTS on MySQL.
    """

    safe_create_index = True

    def _connect(self) -> Any:
        self.connect_params |= {"read_timeout": self.patience, "write_timeout": self.patience}
        return super()._connect()

    def _is_closed(self, connection: Any) -> bool:
        return not connection.open

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        if sql.startswith("CREATE TABLE"):
            sql += " DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin"
        elif sql.startswith(("CREATE INDEX", "CREATE UNIQUE INDEX")):
            sql = sql.replace(" IF NOT EXISTS", "", 1)
        try:
            return super().execute_sql(sql, params)
        except peewee.OperationalError as error:
            if error.args[0] != DUPLICATE_KEY_NAME:
                raise
            return self.cursor()


def database_at(url: str) -> peewee.Database:
    """The database at ``url``, not connected to yet; raises as :func:`~extrapypi.database.bind`."""
    scheme = url.partition("://")[0]
    try:
        return {"sqlite": sqlite, "postgresql": postgresql, "mysql": mysql}[scheme](url)
    except REFUSALS:
        raise ConfigError(
            f"DATABASE_URL {without_password(url)!r} cannot be used; it is scheme://user:password@"
            "host:port/name, in which : / # ? @ of the password are percent-encoded, and behind a "
            "? there may be parameters that the driver takes."
        ) from None


def sqlite(url: str) -> peewee.Database:
    """SQLite with a write-ahead log: readers and a writer do not wait for each other."""
    return SQLite(
        url.removeprefix("sqlite:///"),
        pragmas={"journal_mode": "wal", "foreign_keys": 1, "synchronous": "full"},
        timeout=BUSY_TIMEOUT,
        # A transaction that reads first and writes later fails as soon as another one wrote.
        lock_type="IMMEDIATE",
    )


def postgresql(url: str) -> peewee.Database:
    """PostgreSQL through psycopg 3."""
    require("psycopg", "postgres")
    settings = {"connect_timeout": CONNECT_TIMEOUT, **parsed(url)}
    return PostgreSQL(**settings, **pooling(), prefer_psycopg3=True)


def mysql(url: str) -> peewee.Database:
    """MySQL or MariaDB through PyMySQL."""
    require("pymysql", "mysql")
    import pymysql

    settings = {
        "charset": "utf8mb4",
        "init_command": "SET time_zone = '+00:00'",
        "connect_timeout": CONNECT_TIMEOUT,
        **parsed(url),
    }
    made = MySQL(**settings, **pooling())
    made.patience = made.connect_params.get("read_timeout", PATIENCE)
    arguments = {"database": made.database, "autocommit": True, **made.connect_params}
    pymysql.connect(**arguments, defer_connect=True)  # refuses now what it would refuse later
    return made


def require(driver: str, extra: str) -> None:
    """Refuses a database whose driver is not installed, with ConfigError naming the extra."""
    if importlib.util.find_spec(driver) is None:
        raise ConfigError(
            f"This database needs the driver {driver}; install extrapypi with the extra {extra}."
        )


def parsed(url: str) -> dict[str, Any]:
    """The arguments of a connection, from a URL with percent-encoded user and password."""
    arguments = db_url.parse(url, unquote_password=True, unquote_user=True)
    # Of the parameters behind the ? peewee makes numbers and truths, also of what is a text.
    texts = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    arguments |= {name: text for name, text in texts if name in ("user", "password", "passwd")}
    if "passwd" in arguments:  # deprecated by PyMySQL
        arguments["password"] = arguments.pop("passwd")
    return arguments


def pooling() -> dict[str, int]:
    """A pool that lets a thread wait for a connection and drops those that lie idle."""
    return {"max_connections": MAX_CONNECTIONS, "stale_timeout": 300, "timeout": BUSY_TIMEOUT}
