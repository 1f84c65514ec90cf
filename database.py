"""The database: which one, its connections, transactions and schema.

The same code runs on SQLite, PostgreSQL and MySQL/MariaDB; what differs between them is here and
nowhere else.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import logging
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

import peewee
from playhouse import db_url, migrations
from playhouse.pool import (
    MaxConnectionsExceeded,
    PooledDatabase,
    PooledMySQLDatabase,
    PooledPostgresqlDatabase,
)

from extrapypi.config import without_password
from extrapypi.errors import BrokenOff, ConfigError, SchemaError, Unavailable

log = logging.getLogger("extrapypi")

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT = 30  # seconds that a writer waits for another, or a thread for a connection
LOCK_TIMEOUT = 60  # seconds that a process waits for one that changes tables on MySQL
MAX_CONNECTIONS = 32  # per process, to a database server
CONNECT_TIMEOUT = 10  # seconds until a server must have taken a connection
PATIENCE = 30  # seconds that a statement may take; drivers would wait for ever on a dead line
AWAY = 1  # seconds in which nobody tries again, after a server has kept one waiting
# MySQL's locks belong to no database, so the name has to tell of it, in at most 64 characters.
MYSQL_LOCK = "CONCAT_WS('.', 'extrapypi', SHA1(DATABASE()))"
DUPLICATE_KEY_NAME = 1061  # MySQL's error when an index is there
REFUSALS = (  # in which peewee and the drivers say that they do not take a parameter
    *(ValueError, TypeError, AttributeError, LookupError, NotImplementedError, OSError),
    peewee.PeeweeException,
)
BROKEN = (peewee.OperationalError, peewee.InterfaceError)  # by the server or the way to it
OUR_FAULTS = (  # of the errors that are the database's, those that a statement of ours makes
    *(peewee.DataError, peewee.IntegrityError, peewee.ProgrammingError),
    peewee.NotSupportedError,
)
MOVED = "its file was deleted or replaced; put it back, or restart the server"
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


def bind(url: str) -> None:
    """Lets the models use the database at ``url`` from now on; connects when first needed.

    :raises ConfigError: for a database whose driver is not installed, or a malformed URL.
    """
    close()
    database.initialize(database_at(url))


def database_at(url: str) -> peewee.Database:
    """The database at ``url``, not connected to yet; raises as :func:`bind`."""
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


def schema_is_current() -> None:
    """Refuses tables that are not those of this program.

    :raises SchemaError: with what to do, when there are none, older or newer ones.
    """
    if no_file():
        raise SchemaError(f"There is no database {database.database} yet; run: extrapypi init")
    refuse_2018()
    status = schema_status()
    if not any(applied for _, applied, _ in status):
        raise SchemaError("The database has no tables yet; run: extrapypi init")
    if any(not is_known for _, _, is_known in status):
        raise SchemaError("The database was made by a newer extrapypi; upgrade the program.")
    if not all(applied for _, applied, _ in status):
        raise SchemaError("The database is older than the program; run: extrapypi db upgrade")


def schema_status() -> list[tuple[str, datetime | None, bool]]:
    """For every migration: its name, when it was applied (or None), whether it is known here."""
    runner = migrations.Runner(database.obj, str(MIGRATIONS))
    rows = runner.migrations() if no_file() else runner.status()
    return [(row.name, row.applied, row.path is not None) for row in rows]


def no_file() -> bool:
    """Whether the database is a file that is not there; connecting would make an empty one."""
    is_sqlite = isinstance(database.obj, peewee.SqliteDatabase)
    return is_sqlite and not Path(database.database).exists()


def upgrade_schema(target: str | None = None) -> list[str]:
    """Creates or upgrades the tables; the names of the migrations that were applied.

    Two processes may call it at once: one does it, the other waits and has nothing to do.

    :param target: the last migration to apply; None for all.
    """
    if no_file():
        create_file()
    with migrating():
        refuse_2018()
        return migrations.Runner(database.obj, str(MIGRATIONS)).up(target)


def create_file() -> None:
    """An empty database file of SQLite."""
    Path(database.database).parent.mkdir(parents=True, exist_ok=True)
    Path(database.database).touch(mode=0o600)  # it will hold the hashes of passwords


def refuse_2018() -> None:
    """:raises SchemaError: for a database of the 2018 program, which must not be touched."""
    if database.table_exists("alembic_version"):
        raise SchemaError(
            "This database belongs to extrapypi 0.4 or older and is left as it is; "
            "name a new one in DATABASE_URL."
        )


@contextmanager
def migrating() -> Iterator[None]:
    """Holds the lock under which only one process changes the schema.

    :raises Unavailable: on MySQL, when another one holds it for very long; the others wait.
    """
    if isinstance(database.obj, peewee.SqliteDatabase):
        with database.atomic("EXCLUSIVE"):
            yield
        return
    take, give = {
        PostgreSQL: (
            "SELECT 1 FROM pg_advisory_lock(736)",
            "SELECT pg_advisory_unlock(736)",
        ),
        MySQL: (
            f"SELECT GET_LOCK({MYSQL_LOCK}, {LOCK_TIMEOUT})",
            f"SELECT RELEASE_LOCK({MYSQL_LOCK})",
        ),
    }[type(database.obj)]
    database.close_idle()
    database.obj.patience = None  # a change of a large table takes its time
    with database.connection_context():
        if fetch(take) != (1,):
            raise Unavailable("Another process changes the tables; try again.")
        try:
            yield
        finally:
            database.execute_sql(give)
