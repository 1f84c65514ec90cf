"""The database: which one it is, its connections and transactions, and its own types of fields.

The same code runs on SQLite, PostgreSQL and MySQL/MariaDB; what differs between them is here, in
:mod:`~extrapypi.engines` and in :mod:`~extrapypi.schema`, and nowhere else.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import Any

import peewee
from playhouse.pool import MaxConnectionsExceeded

from extrapypi.engines import BROKEN, MOVED, PostgreSQL, Server, database_at
from extrapypi.errors import BrokenOff, Unavailable

log = logging.getLogger("extrapypi")

OUR_FAULTS = (  # of the errors that are the database's, those that a statement of ours makes
    *(peewee.DataError, peewee.IntegrityError, peewee.ProgrammingError),
    peewee.NotSupportedError,
)
SQLITE_SAYS = (  # what tells its administrator more than the kind of error does
    "database or disk is full",
    "database is locked",
    "disk I/O error",
    "attempt to write a readonly database",
    "unable to open database file",
    "database disk image is malformed",
    "file is not a database",
    MOVED,
)

database = peewee.DatabaseProxy()


def utcnow() -> datetime:
    """The time now, aware, in UTC."""
    return datetime.now(timezone.utc)


class TimeField(peewee.DateTimeField):
    """A moment, to the microsecond: aware UTC in Python, naive UTC in the table."""

    def get_modifiers(self) -> list[int]:
        return [6]  # DATETIME alone drops the fraction on MySQL

    def db_value(self, value: datetime | None) -> Any:
        if value is None:
            return None
        naive = value.astimezone(timezone.utc).replace(tzinfo=None)
        # SQLite compares times as text: every one has the same length.
        if isinstance(database.obj, peewee.SqliteDatabase):
            return naive.isoformat(" ", "microseconds")
        return naive

    def python_value(self, value: Any) -> Any:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        return value and value.replace(tzinfo=timezone.utc)


class LongTextField(peewee.TextField):
    """Text of any length; TEXT ends at 64 KB on MySQL."""

    field_type = "LONGTEXT"


class JSONTextField(LongTextField):
    """A list or dict, kept as JSON text, on all databases alike."""

    def db_value(self, value: Any) -> str | None:
        return None if value is None else json.dumps(value, ensure_ascii=False)

    def python_value(self, value: str | None) -> Any:
        return None if value is None else json.loads(value)


def bind(url: str) -> None:
    """Lets the models use the database at ``url`` from now on; connects when first needed.

    :raises ConfigError: for a database whose driver is not installed, or a malformed URL.
    """
    close()
    database.initialize(database_at(url))


def execute(sql: str, *parameters: Any) -> Any:
    """The cursor of a statement written by hand, with a question mark for each parameter."""
    return database.execute_sql(sql.replace("?", database.param), parameters)


def fetch(sql: str, *parameters: Any) -> Any:
    """The first row of a query written by hand, as for :func:`execute`; None if there is none."""
    return execute(sql, *parameters).fetchone()


def insert(sql: str, *parameters: Any) -> int:
    """Runs an INSERT written by hand, as for :func:`execute`; the id of the row."""
    if isinstance(database.obj, PostgreSQL):
        return fetch(f"{sql} RETURNING id", *parameters)[0]
    return execute(sql, *parameters).lastrowid


def tuples(query: peewee.BaseQuery) -> Iterable[Any]:
    """The rows of a query, each the tuple of what it selects."""
    return query.tuples()


def close() -> None:
    """Closes this thread's connection, if there is one, and all idle ones of a pool."""
    if database.obj is None:
        return
    if not database.is_closed():
        database.close()
    if hasattr(database.obj, "close_idle"):
        database.close_idle()


@contextmanager
def connection() -> Iterator[None]:
    """A connection for the length of a request or command.

    SQLite's stay open, one a thread: opening one costs more than most requests. Those to a
    server go back to the pool.

    :raises Unavailable: when the database does not answer.
    """
    try:
        if not is_server():
            database.check_file()
        opened = is_server() and database.connect(reuse_if_open=True)
        try:
            yield
        finally:
            if opened:
                give_back()
    except MaxConnectionsExceeded as error:
        raise Unavailable("All connections to the database are in use.") from error
    except (peewee.DatabaseError, peewee.InterfaceError) as error:
        if isinstance(error, OUR_FAULTS):
            raise
        drop_connection()
        raise Unavailable(f"The database does not answer ({told(error)}).") from error


def told(error: Exception) -> str:
    """What may be said of an error to everybody: no statement, and nothing of a server's."""
    return str(error) if str(error) in SQLITE_SAYS else type(error).__name__


def is_server() -> bool:
    """Whether the database is a server, which may keep one waiting, and no file."""
    return isinstance(database.obj, Server)


def give_back() -> None:
    """Returns this thread's connection to the pool, until the thread asks something again.

    Whoever is about to wait for something else does so, or others would wait for him.
    """
    if is_server() and not database.in_transaction():
        database.close()


def drop_connection() -> None:
    """Forgets this thread's connection to a server, which may be dead, and the idle ones."""
    if is_server():
        database.drop()


@contextmanager
def transaction() -> Iterator[None]:
    """One transaction; inside another one, a part of that.

    :raises BrokenOff: when a server ends it before the commit: a lost connection, a deadlock. The
        outcome of a commit that fails is unknown, and is no reason to do the same once more.
    """
    is_outermost, committing = not database.in_transaction(), False
    try:
        with database.atomic():
            yield
            committing = True
    except BROKEN as error:
        if committing or not is_outermost or not is_server():
            raise
        drop_connection()
        raise BrokenOff(f"The database broke off a change ({type(error).__name__}).") from error


def retried(work: Callable) -> Callable:
    """Decorates a unit of work, one transaction; when that is broken off, it is done again."""

    @functools.wraps(work)
    def attempts(*arguments: Any, **options: Any) -> Any:
        for _ in range(2):
            with suppress(BrokenOff):
                return work(*arguments, **options)
        return work(*arguments, **options)

    return attempts


@contextmanager
def not_now(message: str) -> Iterator[None]:
    """Lets a request go on when the database does not take what can be written another time.

    :param message: for the log.
    """
    try:
        yield
    except (*BROKEN, Unavailable) as error:
        log.warning("%s: %s", message, error)


@contextmanager
def snapshot() -> Iterator[None]:
    """One transaction that sees the database as it is now, whatever others write meanwhile.

    It keeps nobody waiting; it is for reading only.
    """
    is_sqlite = isinstance(database.obj, peewee.SqliteDatabase)
    with database.atomic("DEFERRED" if is_sqlite else "REPEATABLE READ"):
        yield


def continue_ids(table: str) -> None:
    """Lets ids go on above those that rows were inserted with; only PostgreSQL has to be told."""
    if isinstance(database.obj, PostgreSQL):
        sequence = f"pg_get_serial_sequence('{table}', 'id')"
        database.execute_sql(f"SELECT setval({sequence}, max(id)) FROM {table}")
