"""What is wrong with an installation, and how to mend it: the command `doctor`.

Everything is tried as the server does it, and what a check leaves behind it takes away; a running
server is asked by :mod:`~extrapypi.outside`.
"""

from __future__ import annotations

import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import peewee
from urllib3.exceptions import HTTPError

from extrapypi import database, models, schema
from extrapypi.config import Config, without_password
from extrapypi.errors import ExtraPyPIError, StorageError
from extrapypi.storage import BaseStorage, get_store

BODY = b"a file of `extrapypi doctor`, which takes it away again\n"
SKEW = 30  # seconds by which two clocks may differ


class Finding(NamedTuple):
    """What a check has found: a fault has a text that says how to mend it."""

    subject: str
    is_ok: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok' if self.is_ok else 'WRONG':5}  {self.subject}: {self.text}"


class Fault(Exception):
    """A check has found a fault; the message says what to do."""


def tried(subject: str, work: Callable[..., str], *arguments: Any) -> Finding:
    """What a check has found; an error that it meets is the fault."""
    try:
        return Finding(subject, True, work(*arguments))
    except (Fault, ExtraPyPIError, peewee.PeeweeException, OSError, HTTPError) as error:
        said, because = (
            str(each or "").strip().partition("\n")[0] for each in (error, error.__cause__)
        )
        return Finding(subject, False, said if because in said else f"{said} {because}")


def local(settings: Config) -> Iterator[Finding]:
    """What is found on this machine, with the database bound."""
    where = settings.source or "no file; the defaults and the environment"
    yield Finding("configuration", True, f"{where}.")
    yield tried("secret key", secret_key, settings)
    yield tried("metrics", metrics, settings)
    for subject, path, unwanted in secret_files(settings):
        yield tried(f"permissions of the {subject}", permissions, path, unwanted)
    schema = tried("tables", tables, settings)
    yield schema
    if schema.is_ok:
        for subject, work in (
            ("writing to the database", database_write),
            ("passwords", documented_passwords),
            ("clock of the database", database_clock),
        ):
            yield tried(subject, in_connection, work)
    yield tried("storage", storage, settings)


def in_connection(work: Callable[[], str]) -> str:
    """What the work says, with the database open."""
    with database.connection():
        return work()


def secret_key(settings: Config) -> str:
    """Whether nobody can guess it; none is made here."""
    if settings.SECRET_KEY is None and not (settings.BASE_DIR / "secret_key").exists():
        return "none yet; the server makes one at its first start."
    if settings.has_sample_key:
        raise Fault(
            "SECRET_KEY is a sample or shorter than 16 characters. Set a random one "
            "(`extrapypi start` makes one), or none at all."
        )
    return "set and long enough."


def metrics(settings: Config) -> str:
    """Whether what the setting needs is installed."""
    if settings.METRICS and find_spec("prometheus_client") is None:
        raise Fault(
            "METRICS is True, but prometheus-client is missing: install extrapypi[metrics]."
        )
    return "served at /metrics." if settings.METRICS else "not served (METRICS is False)."


def secret_files(settings: Config) -> Iterator[tuple[str, Path, int]]:
    """What others must not get at: what it is, where, and the permissions that it must not have."""
    if settings.source is not None:
        yield "configuration", settings.source, 0o027
    yield "secret key", settings.BASE_DIR / "secret_key", 0o027
    if settings.DATABASE_URL.startswith("sqlite:///"):
        yield "database", Path(settings.DATABASE_URL.removeprefix("sqlite:///")), 0o007
    yield "data folder", settings.BASE_DIR, 0o002
    if settings.STORAGE == "LocalStorage":
        yield "packages folder", Path(settings.STORAGE_PARAMS["packages_root"]), 0o002


def permissions(path: Path, unwanted: int) -> str:
    """Whether a file or folder has none of the unwanted permissions; what is absent has none."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return f"{path} is not there, and need not be yet."
    if mode & unwanted:
        raise Fault(f"{path} has mode {mode:04o}. Run: chmod {mode & ~unwanted:04o} {path}")
    return f"{path} has mode {mode:04o}."


def tables(settings: Config) -> str:
    """Whether the tables are those of this program."""
    with database.connection():
        schema.check_current()
    return f"{without_password(settings.DATABASE_URL)} has those of this version."


def database_write() -> str:
    """Whether it takes a change, of nothing."""
    with database.transaction():
        database.execute("UPDATE serial SET value = value")
    return "it takes changes."


def documented_passwords() -> str:
    """Whether nobody has a password that stands in the manual."""
    weak = models.User.select().where(models.User.default_password, models.User.is_active)
    names = sorted(user.username for user in weak)
    if names:
        raise Fault(
            f"documented ones are in place ({', '.join(names)}). "
            f"Run: extrapypi set-password {names[0]} -"
        )
    return "no documented one is in place."


def database_clock() -> str:
    """Whether a database server has our time."""
    kind = type(database.database.obj).__name__
    sql = {
        "PostgreSQL": "SELECT EXTRACT(EPOCH FROM clock_timestamp())",
        "MySQL": "SELECT UNIX_TIMESTAMP(SYSDATE(6))",
    }.get(kind)
    if sql is None:
        return "this machine's own."
    return same_clock(float(database.fetch(sql)[0]), "The database server")


def same_clock(seconds: float, whose: str) -> str:
    """Whether a clock tells the time of this machine's."""
    ahead = seconds - time.time()
    if abs(ahead) > SKEW:
        raise Fault(
            f"{whose} is {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}. "
            "Let both machines set their clocks by NTP."
        )
    return f"within {SKEW} s of this machine's."


def storage(settings: Config) -> str:
    """Whether it takes a file, has it, gives it back and deletes it."""
    store = get_store(settings.STORAGE, settings.STORAGE_PARAMS)
    store.ping()
    name = f"extrapypi-doctor-{secrets.token_hex(4)}"
    package = models.Package(id=0, name=name, normalized_name=name)
    incoming = store.receive()
    try:
        incoming.filename = f"{name.replace('-', '_')}-1.0.tar.gz"
        incoming.metadata = b"Metadata-Version: 2.1\n"
        incoming.write(BODY)
        incoming.finish()
        store.create_package(package)
        store.prepare(package, incoming)
        location = store.create_release(package, incoming)
        try:
            check_stored(store, location)
        finally:
            store.delete_file(location)
            store.delete_package(package)
    finally:
        incoming.discard()
    if store.has(location, len(BODY)):
        raise Fault(f"{settings.STORAGE} still has {location}, which was deleted.")
    return f"{settings.STORAGE} takes files, gives them back and deletes them."


def check_stored(store: BaseStorage, location: str) -> None:
    """Refuses a storage that does not have the bytes, with StorageError."""
    with closing(store.get_file(location)) as stream:
        if not store.has(location, len(BODY)) or stream.read() != BODY:
            raise StorageError(f"What was stored at {location} is not what comes back.")
