"""The tables' schema: whether it is this program's, and its migrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import peewee
from playhouse import migrations

from extrapypi.database import database, fetch
from extrapypi.engines import MySQL, PostgreSQL
from extrapypi.errors import SchemaError, Unavailable

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK_TIMEOUT = 60  # seconds that a process waits for one that changes tables on MySQL
# MySQL's locks belong to no database, so the name has to tell of it, in at most 64 characters.
MYSQL_LOCK = "CONCAT_WS('.', 'extrapypi', SHA1(DATABASE()))"


def check_current() -> None:
    """Refuses tables that are not those of this program.

    :raises SchemaError: with what to do, when there are none, older or newer ones.
    """
    if no_file():
        raise SchemaError(f"There is no database {database.database} yet; run: extrapypi init")
    refuse_2018()
    rows = status()
    if not any(applied for _, applied, _ in rows):
        raise SchemaError("The database has no tables yet; run: extrapypi init")
    if any(not is_known for _, _, is_known in rows):
        raise SchemaError("The database was made by a newer extrapypi; upgrade the program.")
    if not all(applied for _, applied, _ in rows):
        raise SchemaError("The database is older than the program; run: extrapypi db upgrade")


def status() -> list[tuple[str, datetime | None, bool]]:
    """For every migration: its name, when it was applied (or None), whether it is known here."""
    runner = migrations.Runner(database.obj, str(MIGRATIONS))
    rows = runner.migrations() if no_file() else runner.status()
    return [(row.name, row.applied, row.path is not None) for row in rows]


def no_file() -> bool:
    """Whether the database is a file that is not there; connecting would make an empty one."""
    is_sqlite = isinstance(database.obj, peewee.SqliteDatabase)
    return is_sqlite and not Path(database.database).exists()


def upgrade(target: str | None = None) -> list[str]:
    """Creates or upgrades the tables; the names of the migrations that were applied.

    Two processes may call it at once: one does it, the other waits and has nothing to do.

    :param target: the last migration to apply; None for all.
    """
    if no_file():
        create_file()
    with migrating():
        refuse_2018()
        check_encoding()
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


def check_encoding() -> None:
    """:raises SchemaError: for a database of PostgreSQL that cannot hold every text."""
    is_utf8 = "SELECT current_setting('server_encoding') = 'UTF8'"
    if isinstance(database.obj, PostgreSQL) and not fetch(is_utf8)[0]:
        raise SchemaError(
            f"The encoding of the database {database.database} is not UTF8. Make it by: "
            f"CREATE DATABASE {database.database} ENCODING 'UTF8' TEMPLATE template0"
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
